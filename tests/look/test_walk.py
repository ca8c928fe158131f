"""The walk back through a graph against autograd: every network, both modes, to the picture and to any node."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid import capture
from pellucid.errors import UsageError
from pellucid.look.walk import Step, back, first, record, up_to
from tests.look.made_nets import MAKERS, SIZE, opened, pictures


def by_autograd(net: nn.Module, x: Tensor, signal: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(net(x), x, signal)
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_a_walk_without_a_rule_is_the_gradient(name: str) -> None:
    (net, graph), x = opened(name), pictures()
    values = record(graph, x, graph.outputs[0])
    signal = torch.randn(first(values[graph.outputs[0]]).shape, dtype=torch.float64)
    found = back(graph, values, x, {graph.outputs[0]: signal})
    torch.testing.assert_close(found, by_autograd(net, x, signal), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", MAKERS)
def test_in_training_dropout_has_the_mask_of_the_record(name: str) -> None:
    (net, graph), x = opened(name, training=True), pictures(3)
    torch.manual_seed(3)
    values = record(graph, x, graph.outputs[0])
    signal = torch.randn(first(values[graph.outputs[0]]).shape, dtype=torch.float64)
    found = back(graph, values, x, {graph.outputs[0]: signal})
    torch.manual_seed(3)
    torch.testing.assert_close(found, by_autograd(copy.deepcopy(net), x, signal), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "node"), [("resnet", "3.bn1"), ("modules", "pool"), ("tokens", "norm"), ("gated", "conv")]
)
@pytest.mark.parametrize("training", [False, True])
def test_a_walk_stops_at_a_node(name: str, node: str, training: bool) -> None:
    (_, graph), x = opened(name, training=training), pictures(3)
    out, values = graph.run(x.requires_grad_(), record=True)
    signal = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, first(values[node]), signal)
    found = back(graph, values, x, {graph.outputs[0]: signal}, to=node)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13)


def test_signals_at_several_nodes_add_up_and_nodes_above_are_passed_over() -> None:
    (_, graph), x = opened("modules"), pictures()
    values = record(graph, x, graph.outputs[0])
    low, high = torch.randn_like(first(values["relu1"])), torch.randn_like(first(values["relu3"]))
    both = back(graph, values, x, {"relu1": low, "relu3": high})
    apart = back(graph, values, x, {"relu1": low}) + back(graph, values, x, {"relu3": high})
    torch.testing.assert_close(both, apart, rtol=1e-12, atol=1e-14)
    below = {name: value for name, value in values.items() if name in {n.name for n in up_to(graph, "relu3").nodes}}
    torch.testing.assert_close(back(graph, below, x, {"relu1": low, "relu3": high}), both, rtol=0, atol=0)


def test_a_rule_replaces_the_product_of_the_calls_that_it_names() -> None:
    (net, graph), x = opened("modules"), pictures()
    values = record(graph, x, graph.outputs[0])
    signal = torch.randn_like(first(values[graph.outputs[0]]))
    asked: list[str] = []

    def as_it_is(step: Step) -> Tensor | None:
        asked.append(step.node.name)
        return step.product(step.signal) if step.node.op.rectifies else None

    found = back(graph, values, x, {graph.outputs[0]: signal}, as_it_is)
    torch.testing.assert_close(found, by_autograd(net, x, signal), rtol=1e-12, atol=1e-14)
    assert asked[0] == "fc"
    assert asked[-1] == "conv1"


def test_what_does_not_depend_on_the_picture_sends_nothing_down() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return (self.shift * 2)[None, :, None, None].expand(x.shape[0], 3, 16, 16) + 0 * x.detach()

    x = pictures()
    graph = capture(Constant(), SIZE)
    values = record(graph, x, graph.outputs[0])
    assert not back(graph, values, x, {graph.outputs[0]: torch.ones(2, 3, 16, 16, dtype=torch.float64)}).any()


@st.composite
def stacks(draw: st.DrawFn) -> nn.Sequential:
    """Up to five layers on 3 x 11 x 9 pictures."""
    layers: list[nn.Module] = []
    channels, size = 3, 9
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv", "norm", "act", "max", "average"]))
        if kind == "conv":
            groups = draw(st.sampled_from([1, channels]))
            after = channels * draw(st.integers(1, 2))
            stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
            padding = draw(st.sampled_from([0, 1, 2])) if size > 4 else 2
            layers.append(nn.Conv2d(channels, after, 3, stride, padding, dilation, groups, padding_mode="zeros"))
            channels, size = after, (size + 2 * padding - 2 * dilation - 1) // stride + 1
        elif kind == "norm":
            layers.append(draw(st.sampled_from([nn.BatchNorm2d(channels), nn.GroupNorm(1, channels)])))
        elif kind == "act":
            layers.append(draw(st.sampled_from([nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.Hardswish()])))
        elif size >= 3:
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            layers.append(pool(3, 2, 1, ceil_mode=draw(st.booleans())))
            size = (size + 1) // 2
        if size < 3:
            break
    return nn.Sequential(*layers, nn.Identity()).double().eval()


@given(stacks())
@settings(max_examples=8, deadline=None, database=None)
def test_random_stacks(net: nn.Sequential) -> None:
    x = torch.randn(2, 3, 11, 9, dtype=torch.float64)
    graph = capture(nn.Sequential(nn.Conv2d(3, 3, 1).double(), net), (3, 11, 9))
    values = record(graph, x, graph.outputs[0])
    signal = torch.randn_like(first(values[graph.outputs[0]]))
    x.requires_grad_()
    (wanted,) = torch.autograd.grad(graph.run(x), x, signal)
    torch.testing.assert_close(back(graph, values, x, {graph.outputs[0]: signal}), wanted, rtol=1e-11, atol=1e-13)


def test_whole_numbers_are_refused() -> None:
    graph = capture(nn.Sequential(nn.Embedding(5, 4), nn.Flatten()), inputs=torch.tensor([[1, 2], [3, 4], [0, 1]]))
    x = torch.tensor([[1, 2]])
    values = record(graph, x, graph.outputs[0])
    with pytest.raises(UsageError, match="whole numbers"):
        back(graph, values, x, {graph.outputs[0]: torch.ones(1, 8)})


def test_random_numbers_that_are_not_on_the_record_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.RReLU()).double().train()
    graph = capture(net, SIZE)
    x = pictures()
    torch.manual_seed(1)
    values = record(graph, x, "1")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    with pytest.raises(UsageError, match=r"aten\.rrelu\.default draws random numbers that are not on the record"):
        back(graph, values, x, {"1": torch.ones_like(first(values["1"]))})
    assert torch.equal(torch.get_rng_state(), before)


def test_random_numbers_of_the_shape_of_a_value_take_nothing_of_it() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x * torch.empty_like(x * 2).bernoulli_(0.5) + torch.rand_like(x) + torch.zeros_like(x)

    x = pictures()
    graph = capture(Noisy(), SIZE)
    torch.manual_seed(4)
    x.requires_grad_()
    out, values = graph.run(x, record=True)
    signal = torch.randn_like(out)
    (wanted,) = torch.autograd.grad(out, x, signal)
    assert wanted.any()
    torch.testing.assert_close(back(graph, values, x, {graph.outputs[0]: signal}), wanted, rtol=1e-12, atol=1e-14)


def test_a_record_that_lacks_a_value_is_refused() -> None:
    (_, graph), x = opened("modules"), pictures()
    _, values = graph.run(x, record=["fc"])
    with pytest.raises(UsageError, match=r"the value of 'flatten\S*' is not on the record"):
        back(graph, values, x, {"fc": torch.ones(2, 5, dtype=torch.float64)})


def test_only_what_a_node_depends_on_is_run() -> None:
    _, graph = opened("modules")
    part = up_to(graph, "relu4")
    assert {"three", "relu5", "fc"}.isdisjoint(node.name for node in part.nodes)
    with pytest.raises(UsageError, match="there is no node named 'relu9'"):
        up_to(graph, "relu9")
