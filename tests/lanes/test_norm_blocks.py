"""Normalisations within a picture as parts of lowered networks, against float64 PyTorch; which forms are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid.graph import capture
from pellucid.lanes import lower
from pellucid.lanes.blocks.local_response_norm import local_response_norms
from pellucid.lanes.module import Lanes
from pellucid.lanes.plan import Plan

SHAPE = (6, 4, 5)


class OverChannels(nn.Module):
    """Layer norm as ConvNeXt has it: the channels last, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return moved


class Flat(nn.Module):
    """A layer on the features of the whole picture."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        flat: Tensor = self.layer(x.flatten(1))
        return flat


class Twice(nn.Module):
    """A norm whose input and result are read by others too, and whose weight is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(3, SHAPE[0])

    def forward(self, x: Tensor) -> Tensor:
        once = self.norm(x)
        local: Tensor = functional.local_response_norm(self.norm(once.sin()), 3, 0.5)
        return torch.add(x * 0.5 + once.sigmoid(), local)


NETS: Mapping[str, Callable[[], nn.Module]] = {
    "layer norm over channels": lambda: OverChannels(SHAPE[0]),
    "layer norm over the picture": lambda: nn.LayerNorm(SHAPE),
    "layer norm over a map": lambda: nn.LayerNorm(SHAPE[1:], elementwise_affine=False),
    "layer norm without bias": lambda: nn.LayerNorm(SHAPE, bias=False),
    "layer norm of features": lambda: Flat(nn.LayerNorm(120)),
    "RMS norm": lambda: nn.RMSNorm(SHAPE),
    "group norm": lambda: nn.GroupNorm(2, SHAPE[0]),
    "group norm without weights": lambda: nn.GroupNorm(3, SHAPE[0], affine=False),
    "instance norm": lambda: nn.InstanceNorm2d(SHAPE[0], affine=True),
    "local response norm": lambda: nn.LocalResponseNorm(5, alpha=0.7, beta=0.75, k=2.0),
    "local response norm, even": lambda: nn.LocalResponseNorm(4, alpha=0.7, beta=0.6),
    "used twice": Twice,
}


def plan_of(lowered: Lanes, x: Tensor) -> Plan:
    """What a batch runs."""
    plan = lowered.plan_for((x,))
    assert plan is not None
    return plan


def near(found: Tensor | None, right: Tensor | None) -> None:
    """To rounding errors, on numbers that differ among themselves."""
    assert found is not None
    assert right is not None
    assert right.std() > 0.01
    assert (found - right).abs().max() < 4e-6 * right.abs().max()


@pytest.mark.parametrize("name", NETS)
def test_forward_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    net = NETS[name]()
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.8, 0.5)
    x, truth = torch.randn(21, *SHAPE) * 1.5 + 0.3, copy.deepcopy(net).double()
    x.requires_grad_()
    exact = x.detach().double().requires_grad_()
    right = truth(exact)
    dy = torch.randn_like(right)
    right.backward(dy)
    lowered = lower(net)
    found = lowered(x)
    found.backward(dy.float())
    reasons = {node: why for node, why in plan_of(lowered, x).lowered.reasons.items() if node != "sin"}
    assert not reasons
    near(found, right)
    near(x.grad, exact.grad)
    for own, other in zip(net.parameters(), truth.parameters(), strict=True):
        near(own.grad, other.grad)


def test_frozen_parameters_and_inputs() -> None:
    """What nobody asks for is not computed: no gradient arrives, and no kernel of the way back is run for it."""
    net = nn.Sequential(nn.GroupNorm(2, SHAPE[0]), nn.LayerNorm(SHAPE))
    net[0].requires_grad_(False)
    x = torch.randn(5, *SHAPE)
    lowered = lower(net)
    lowered(x).square().sum().backward()
    assert [parameter.grad is not None for parameter in net.parameters()] == [False, False, True, True]


def test_what_is_no_norm_of_pictures_runs_on_pytorch() -> None:
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(SHAPE[2])

        def forward(self, x: Tensor) -> Tensor:
            rows: Tensor = self.norm(x)
            return rows

    for net, why in (
        (Rows(), "it normalises over the dimensions W of C H W"),
        (nn.InstanceNorm2d(SHAPE[0], track_running_stats=True), "it keeps running statistics"),
    ):
        x = torch.randn(5, *SHAPE)
        expected = copy.deepcopy(net)(x)
        lowered = lower(net)
        assert (lowered(x) - expected).abs().max() < 1e-6
        assert why in plan_of(lowered, x).lowered.reasons.values()


class NearlyLocal(nn.Module):
    """The operations of local response norm with one thing different."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        other = x + 1 if self.what == "another square" else x
        pad = (0, 0, 0, 0, 2, 2) if self.what != "pixels too" else (1, 1, 0, 0, 2, 2)
        square = functional.pad((x * other).unsqueeze(1), pad)
        mean = functional.avg_pool3d(square, (5, 1, 3 if self.what == "pixels too" else 1), stride=1).squeeze(1)
        power = mean.abs().mul(0.3) if self.what == "a step between" else mean.mul(0.3)
        power = power.add(1.0).pow(0.75)
        return x / power + (power if self.what == "read elsewhere" else 0)


@pytest.mark.parametrize("what", ["", "another square", "pixels too", "a step between", "read elsewhere"])
def test_what_is_recognised_as_local_response_norm(what: str) -> None:
    net = NearlyLocal(what)
    found = local_response_norms(capture(net, SHAPE))
    assert len(found) == (not what)
    x = torch.randn(5, *SHAPE)
    assert (lower(net)(x) - net(x)).abs().max() < 1e-5


def test_settings_of_local_response_norm() -> None:
    for dims in (SHAPE, SHAPE[:2]):
        net = nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(4, 0.1, 0.6, 3.0), nn.ReLU())
        graph = capture(net, dims)
        (found,) = local_response_norms(graph).values()
        assert (found.size, found.alpha, found.beta, found.k) == (4, 0.1, 0.6, 3.0)
        assert graph[found.source].target == "aten.relu.default"
        assert len(found.nodes) in (9, 10)
        x = torch.randn(5, *dims)
        assert (lower(net)(x) - net(x)).abs().max() < 1e-6
