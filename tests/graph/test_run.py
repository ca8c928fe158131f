"""``Graph.run``: the module's own numbers, any value kept, other weights, and nothing changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pellucid import capture, nets
from pellucid.errors import UsageError


class Changes(nn.Module):
    """Changes its input, its own values and a part of a tensor in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        y = self.norm(self.conv(x))
        y += 1
        y.relu_()
        y[:, 0] = 0
        return y.flatten(1)


@pytest.mark.parametrize("training", [False, True])
def test_changes_in_place_are_captured_as_what_they_compute(training: bool) -> None:
    module = Changes().train(training)
    graph = capture(module, (3, 6, 6))
    assert not graph.specialized
    before = copy.deepcopy(module.state_dict())
    x = torch.randn(4, 3, 6, 6)
    given = x.clone()
    result, record = graph.run(given, record=True)
    assert torch.equal(given, x), "the input is as it was"
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert torch.equal(result, module(x.clone()))
    conv = record["conv"]
    assert torch.equal(conv, module.conv(2 * x)), "a value is not what a later call made of it"
    assert record["norm"][0].min() < 0 if isinstance(record["norm"], tuple) else record["norm"].min() < 0


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Dropout2d(0.2), nn.AlphaDropout(0.3)),
        nn.Sequential(nn.RReLU(), nn.FeatureAlphaDropout(0.4)),
        nn.Sequential(nn.Flatten(2), nn.MultiheadAttention(9, 3, dropout=0.5, batch_first=True)),
    ],
    ids=["dropout", "random slopes", "attention"],
)
def test_with_the_same_random_state_training_draws_the_same(module: nn.Module) -> None:
    if isinstance(module[1], nn.MultiheadAttention):  # type: ignore[index]
        module = Attend(module[1])  # type: ignore[index]
    module.train()
    graph = capture(module, (3, 3, 3))
    x = torch.randn(5, 3, 3, 3)
    torch.manual_seed(8)
    result = graph.run(x)
    torch.manual_seed(8)
    assert torch.equal(result, module(x))
    torch.manual_seed(9)
    assert not torch.equal(result, graph.run(x))


class Attend(nn.Module):
    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0]


def test_any_values_can_be_kept() -> None:
    module = nets.make("lenet")
    graph = capture(module, (1, 28, 28), training=False)
    x = torch.randn(2, 1, 28, 28)
    names = [node.name for node in graph.shown]
    for name in names:
        out, record = graph.run(x, record=[name])
        assert set(record) == {name, *(own.name for own in graph.inputs)}
        assert torch.equal(out, module.eval()(x))
    _, record = graph.run(x, record=names[0])
    assert names[0] in record
    assert set(graph.run(x, record=True)[1]) >= set(names)


def test_values_are_those_that_hooks_see() -> None:
    module = nets.make("resnet18", classes=10, image_size=32).eval()
    seen: dict[str, Tensor] = {}
    for name, part in module.named_modules():
        if not list(part.children()):
            part.register_forward_hook(
                lambda _part, _given, out, name=name: seen.setdefault(name, out.detach().clone()) is None or None
            )
    graph = capture(module, (3, 32, 32))
    seen.clear()
    x = torch.randn(3, 3, 32, 32)
    module(x)
    _, record = graph.run(x, record=True)
    compared = [name for name in seen if name in record]
    assert len(compared) > 50
    for name in compared:
        value = (
            record[name][0] if isinstance(record[name], tuple) else record[name]
        )  # batch normalisation: statistics too
        assert torch.equal(value, seen[name]), name


def test_gradients_of_values_are_those_of_the_module() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 2))
    graph = capture(module, (3, 6, 6), training=True)
    x = torch.randn(5, 3, 6, 6, requires_grad=True)
    result, record = graph.run(x, record=True)
    record["0"].retain_grad()
    result.square().sum().backward()
    mine = [parameter.grad.clone() for parameter in module.parameters()]
    of_input, of_conv = x.grad.clone(), record["0"].grad

    module.zero_grad()
    x.grad = None
    middle = module[0](x)
    middle.retain_grad()
    module[1:](middle).square().sum().backward()
    for a, b in zip([*mine, of_input, of_conv], [*(p.grad for p in module.parameters()), x.grad, middle.grad],
                    strict=True):  # fmt: skip
        torch.testing.assert_close(a, b)


def test_other_weights_serve_without_changing_the_module() -> None:
    module = nn.Linear(3, 2)
    graph = capture(module, (3,))
    x = torch.randn(4, 3)
    weight = torch.randn(2, 3)
    assert torch.equal(graph.run(x, tensors={"weight": weight}), nn.functional.linear(x, weight, module.bias))
    assert torch.equal(graph.run(x), module(x))
    with torch.no_grad():
        module.weight.zero_()
    assert torch.equal(graph.run(x), module(x)), "weights are shared with the module"


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch(batch: int) -> None:
    module = nets.make("inception_small").eval()
    graph = capture(module, (3, 32, 32))
    x = torch.randn(batch, 3, 32, 32)
    assert torch.equal(graph.run(x), module(x))


def test_several_outputs_and_constants() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> dict[str, object]:
            return {"double": 2 * x, "same": x, "weight": self.weight, "three": 3, "nothing": None}

    double, same, weight = capture(Many(), (2,)).run(x := torch.randn(4, 2))
    assert torch.equal(double, 2 * x)
    assert same is x
    assert torch.equal(weight, torch.ones(2))


def test_a_wrong_number_of_inputs_and_unknown_names_are_told() -> None:
    graph = capture(nn.Sequential(nn.Linear(3, 2)), (3,))
    with pytest.raises(UsageError, match="the graph takes 1 inputs and was given 2"):
        graph.run(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(UsageError, match="there is no node named 'head'"):
        graph.run(torch.ones(1, 3), record=["head"])
