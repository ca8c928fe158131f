"""Capture: names, any batch, the module exactly as it was, roads that depend on values, what cannot be captured."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid import capture, nets
from pellucid.errors import CaptureError, ShapeError, UsageError


class Telltale(nn.Module):
    """A module that shows whatever capture leaves behind: mixed modes, buffers that count, hooks, gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(1))
        self.heard: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.drop(self.norm(self.conv(x))).mean((2, 3)))


class Fails(Telltale):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.norm(self.conv(x))
        return self.head(x)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.conv(x))
        if y.sum() > 0:
            y = y * 2
        return self.head(y.mean((2, 3)))


def state(module: nn.Module) -> list[object]:
    return [
        [part.training for part in module.modules()],
        [tensor.detach().clone().tolist() for tensor in module.state_dict().values()],
        [None if p.grad is None else p.grad.tolist() for p in module.parameters()],
        [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()],
        [p.requires_grad for p in module.parameters()],
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("kind", [Telltale, Fails, Branching])
@pytest.mark.parametrize("training", [True, False, None])
def test_the_module_is_left_exactly_as_found(kind: type[nn.Module], training: bool | None) -> None:
    module = kind()
    module.train()
    module.conv.eval()  # type: ignore[union-attr]
    module.head.weight.requires_grad_(False)  # type: ignore[union-attr]
    module.conv.weight.grad = torch.ones(4, 3, 3, 3)  # type: ignore[union-attr]
    before = state(module)
    if kind is Fails:
        with pytest.raises(ShapeError):
            capture(module, (3, 8, 8), training=training)
    else:
        capture(module, (3, 8, 8), training=training)
    assert state(module) == before


@pytest.mark.parametrize("training", [True, False])
def test_running_the_graph_is_running_the_module(training: bool) -> None:
    module = Telltale().train(training)
    graph = capture(module, (3, 8, 8))
    x = torch.randn(5, 3, 8, 8)
    torch.manual_seed(3)
    result = graph.run(x)
    buffers = [buffer.clone() for buffer in module.buffers()]
    torch.manual_seed(3)
    wanted = module(x)
    torch.testing.assert_close(result, wanted, rtol=0, atol=0)
    if training:
        assert not all(torch.equal(a, b) for a, b in zip(buffers, module.buffers(), strict=True))  # run changed none


def test_gradients_flow_through_recorded_values() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 2))
    graph = capture(module, (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    result, record = graph.run(x, record=True)
    record["0"].retain_grad()
    result.square().sum().backward()
    mine = module[0].weight.grad.clone()
    module.zero_grad()
    module(x).square().sum().backward()
    torch.testing.assert_close(mine, module[0].weight.grad)
    assert (record["0"] < 0).any(), "the convolution's value is its own, though the ReLU is in place"
    assert record["0"].grad is not None


def test_names_are_the_modules_paths() -> None:
    graph = capture(nets.make("resnet18"), (3, 64, 64), training=False)
    names = [node.name for node in graph.shown]
    assert names[:9] == ["conv1", "bn1", "relu", "maxpool", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu",
                         "layer1.0.conv2", "layer1.0.bn2"]  # fmt: skip
    assert "layer1.0.add" in names
    assert "layer2.0.downsample.0" in names
    assert names[-3:] == ["avgpool", "flatten", "fc"]
    assert len(set(names)) == len(names)
    assert graph["layer1.0.add"].source.startswith("resnet.py:")


def test_several_inputs_and_whole_numbers() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.dense = nn.Embedding(10, 4), nn.Linear(4 + 3, 2)

        def forward(self, words: Tensor, facts: Tensor) -> Tensor:
            return self.dense(torch.cat([self.words(words).mean(1), facts], 1))

    module = Two()
    examples = (torch.zeros(3, 5, dtype=torch.long), torch.randn(3, 3))
    graph = capture(module, inputs=examples)
    account = graph.account(7)
    assert account.input_shapes == ((7, 5), (7, 3))
    assert account.rows[-1].shape == (7, 2)
    given = (torch.randint(0, 10, (2, 5)), torch.randn(2, 3))
    torch.testing.assert_close(graph.run(*given), module(*given))


def test_shared_parameters_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 6)
            self.b = nn.Linear(6, 6)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(self.a(x)))

    account = capture(Tied(), (6,)).account()
    assert account.parameters == 36 + 6 + 6
    assert sum(row.parameters for row in account.rows) == account.parameters
    assert account.macs == 3 * 36


def test_a_road_that_depends_on_values_is_kept_and_said() -> None:
    module = Branching()
    graph = capture(module, (3, 8, 8))
    assert graph.specialized
    assert [node.name for node in graph.shown][:2] == ["conv", "act"]
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(graph.run(x), module(x))
    assert graph.account(5).rows[1].shape == (5, 4, 6, 6)


def test_what_cannot_run_is_explained() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError("no such thing")

    with pytest.raises(CaptureError, match="Broken cannot be captured: ZeroDivisionError: no such thing"):
        capture(Broken(), (3, 8, 8))


def test_an_unknown_node_is_named_with_the_nearest() -> None:
    with pytest.raises(Exception, match="there is no node named 'conv'"):
        capture(nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8))["conv"]


class Keeps(nn.Module):
    """Sets attributes, appends to lists, replaces a buffer, draws from every source of random numbers."""

    def __init__(self, chooses: bool) -> None:
        super().__init__()
        self.chooses, self.count, self.last = chooses, 0, None
        self.seen: list[int] = []
        self.named: dict[str, Tensor] = {}
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("broken", torch.full((1,), torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.last = x
        self.seen.append(self.count)
        self.named["x"] = x
        self.extra = x
        self.mean = self.mean + x.mean(0)
        self.broken.add_(1)
        y = x * random.random() * float(np.random.rand()) + torch.rand(1)
        return y if not self.chooses or bool(y.sum() > -1e9) else -y


@pytest.mark.parametrize("chooses", [False, True])
def test_attributes_buffers_and_random_numbers_are_put_back(chooses: bool) -> None:
    module = Keeps(chooses)
    mean, seen, named = module.mean, module.seen, module.named
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    capture(module, (2,))
    assert (module.count, module.last, module.seen, module.named) == (0, None, [], {})
    assert module.mean is mean
    assert module.seen is seen
    assert module.named is named
    assert not hasattr(module, "extra")
    assert torch.equal(mean, torch.zeros(2))
    assert torch.isnan(module.broken).all()
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(1)))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert drawn == (random.random(), float(np.random.rand()), float(torch.rand(1)))


def test_values_parameters_and_inputs_never_share_a_name() -> None:
    class Alike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mul, self.add = nn.Parameter(torch.rand(2)), nn.Parameter(torch.rand(2))
            self.relu, self.relu_2 = nn.ReLU(), nn.ReLU()

        def forward(self, relu: Tensor, add: Tensor) -> Tensor:
            x = (relu * self.mul + self.add + add) * self.mul
            return self.relu(x) + torch.relu(self.relu_2(-x)) + relu

    module = Alike()
    graph = capture(module, [(2,), (2,)])
    x, y = torch.randn(4, 2), torch.randn(4, 2)
    assert torch.equal(graph.run(x, y), module(x, y))
    names = [*(node.name for node in graph.nodes), *(own.name for own in graph.inputs), *graph.tensors]
    assert len(names) == len(set(names))
    assert {"relu", "relu_2"} <= {node.name for node in graph.shown}


def test_weights_that_are_computed_from_others() -> None:
    conv = nn.Conv2d(3, 4, 3)
    for module in (
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        nn.utils.parametrizations.spectral_norm(conv),
    ):
        module.train()
        graph = capture(module, (3, 6, 6))
        x = torch.randn(2, 3, 6, 6)
        result = graph.run(x)
        torch.testing.assert_close(result, module(x))
        account = graph.account()
        assert account.parameters == sum(parameter.numel() for parameter in module.parameters())


def test_a_network_without_memory_can_be_counted() -> None:
    with torch.device("meta"):
        module = nets.make("resnet18", classes=10, image_size=32)
    account = capture(module, (3, 32, 32)).account(2)
    assert account.rows[-1].shape == (2, 10)
    assert account.macs == capture(nets.make("resnet18", classes=10, image_size=32), (3, 32, 32)).account(2).macs


def test_one_example_serves_any_batch() -> None:
    graph = capture(nn.Linear(4, 2), inputs=torch.randn(1, 4))
    assert graph.account(6).rows[-1].shape == (6, 2)
    assert graph.run(torch.randn(5, 4)).shape == (5, 2)


def test_a_first_dimension_that_is_not_the_batch() -> None:
    module = nn.MultiheadAttention(8, 2)  # (time, batch, width)

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = module

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    graph = capture(Attend().eval(), inputs=torch.randn(5, 3, 8))
    x = torch.randn(6, 3, 8)
    torch.testing.assert_close(graph.run(x), Attend().eval()(x))
    assert not graph.opaque


@pytest.mark.parametrize("size", [(0, 3), (3, -1), (2.5,), [(3, 4), (0,)]])
def test_a_size_that_is_none_is_told(size: object) -> None:
    with pytest.raises(UsageError, match="an input size is whole numbers above 0"):
        capture(nn.ReLU(), size)  # type: ignore[arg-type]


def test_an_error_names_the_module_and_the_line() -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + undefined  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(CaptureError, match="NameError: name 'undefined' is not defined") as caught:
        capture(nn.Sequential(nn.ReLU(), Inner()), (3, 8, 8))
    assert caught.value.facts["module"] == "1 (Inner)"
    assert caught.value.facts["line"].startswith("test_capture.py:")
    assert "return x + undefined" in caught.value.facts["line"]


def test_capture_prints_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    capture(Branching(), (3, 8, 8))
    capture(Telltale(), (3, 8, 8))
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
    assert not list(recwarn)


def test_names_are_the_same_every_time() -> None:
    first, second = (capture(nets.make("inception_small"), (3, 32, 32)) for _ in range(2))
    assert [node.name for node in first.nodes] == [node.name for node in second.nodes]


def test_bookkeeping_has_no_rows() -> None:
    rows = capture(nets.make("resnet18", classes=10, image_size=32).train(), (3, 32, 32)).account().rows
    assert {row.kind for row in rows} == {
        "input", "convolution", "normalisation", "activation", "join", "pooling", "shape", "linear"
    }  # fmt: skip
    assert len(rows) == len(
        capture(nets.make("resnet18", classes=10, image_size=32).eval(), (3, 32, 32)).account().rows
    )
