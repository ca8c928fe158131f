"""Feature maps that are made again on the way back, and gradients of sums that stay where they stand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.lanes import lower
from tests.lanes.lane_arrays import on_target

ROADS = ("handed on", "both of one map", "read twice")


class Residual(nn.Module):
    """silu(norm(y) + skip) in a row, so that the second is made again of the first; silu has no kink to flip."""

    def __init__(self, road: str) -> None:
        super().__init__()
        self.road = road
        self.convolutions = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1) for i in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        first, *inner, last = self.convolutions
        x = nn.functional.hardtanh(first(x), -3.0, 3.0)
        for convolution, norm in zip(inner, self.norms, strict=True):
            y = convolution(x)
            x = nn.functional.silu(norm(y) + (y if self.road == "both of one map" else x))
        out: Tensor = last(x) + nn.functional.leaky_relu(x, 0.5) if self.road == "read twice" else last(x)
        return out


@pytest.mark.parametrize("instructions", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("road", ROADS)
def test_gradients_through_sums(road: str, instructions: str) -> None:
    torch.manual_seed(0)
    net = Residual(road)
    given = torch.randn(19, 8, 9, 7)
    images = torch.randn(19, 3, 9, 7, requires_grad=True)
    truth, exact = copy.deepcopy(net).double(), images.detach().double().requires_grad_()
    truth(exact).backward(given.double())
    on_target(instructions)
    low = lower(net, tune=False, instructions=instructions)
    low(images).backward(given)
    for own, other in zip([images, *net.parameters()], [exact, *truth.parameters()], strict=True):
        assert own.grad is not None
        assert other.grad is not None
        scale = max(float(other.grad.abs().max()), 5.0)  # a bias under a norm has none, but sums of 1197 numbers
        assert float((own.grad.double() - other.grad).abs().max()) <= 1e-5 * scale
    steps: list[Any] = [step for plan in low._plans.values() if plan for step in plan.steps["backward"]]
    assert any(getattr(step, "kernel", "") == "map_backward_sums" and step.arguments.middle_register for step in steps)
