"""The kernels of normalisations within a picture against float64 PyTorch, on every target."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import pytest
import torch
from torch.nn import functional

from pellucid.lanes.arguments import structure
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")
EPS = 1e-5


@dataclass(frozen=True)
class Norm:
    """A normalisation of [N, C, H, W]. groups: of channels, 0 for one over the channels of each pixel."""

    N: int
    C: int
    H: int
    W: int
    groups: int = 0
    elementwise: bool = False
    centred: bool = True
    affine: bool = True
    offset: float = 0.5

    @property
    def kind(self) -> str:
        """Of the kernels' names."""
        return "group_norm" if self.groups else "pixel_norm"

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the weight and the bias."""
        return (self.C, self.H, self.W) if self.elementwise else (self.C,)

    def oracle(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """By PyTorch."""
        if not self.affine:
            weight, bias = torch.ones_like(weight), torch.zeros_like(bias)
        if not self.centred:
            axes = (1, 2, 3) if self.groups else (1,)
            normal = x * torch.rsqrt(x.square().mean(axes, keepdim=True) + EPS)
            expanded = (1, *self.weight_shape) if self.elementwise else (1, self.C, 1, 1)
            return normal * weight.view(expanded) + bias.view(expanded)
        if self.elementwise:
            return functional.layer_norm(x, self.weight_shape, weight, bias, EPS)
        if self.groups:
            return functional.group_norm(x, self.groups, weight, bias, EPS)
        moved = functional.layer_norm(x.permute(0, 2, 3, 1), (self.C,), weight, bias, EPS)
        return moved.permute(0, 3, 1, 2)


NORMS = (
    Norm(5, 24, 3, 5),
    Norm(19, 40, 1, 1),
    Norm(3, 300, 3, 3),
    Norm(7, 16, 7, 9, affine=False),
    Norm(5, 24, 3, 5, centred=False),
    Norm(5, 12, 5, 5, groups=4),
    Norm(18, 12, 9, 9, groups=12),
    Norm(5, 6, 3, 4, groups=1),
    Norm(5, 6, 30, 31, groups=2),
    Norm(5, 6, 3, 4, groups=3, affine=False),
    Norm(7, 5, 3, 4, groups=1, elementwise=True),
    Norm(7, 5, 3, 4, groups=1, centred=False, elementwise=True),
)
LARGE_MEANS = (Norm(5, 24, 3, 5, offset=1e4), Norm(5, 6, 30, 31, groups=2, offset=1e4), Norm(5, 8, 4, 4, 8, offset=1e4))


class Case:
    """A normalisation with its numbers on one target."""

    def __init__(self, on: Library, norm: Norm) -> None:
        self.on, self.norm = on, norm
        shape = (norm.N, norm.C, norm.H, norm.W)
        self.x = random(*shape, seed=1) + numpy.float32(norm.offset)
        self.weight = random(*norm.weight_shape, seed=2) + 1
        self.bias = random(*norm.weight_shape, seed=3)
        self.dy = random(*shape, seed=4)
        ins = [torch.from_numpy(array).double().requires_grad_() for array in (self.x, self.weight, self.bias)]
        y = norm.oracle(*ins)
        gradients = torch.autograd.grad(y, ins, torch.from_numpy(self.dy).double(), allow_unused=True)
        self.y = y.detach().numpy()
        self.dx, self.dweight, self.dbias = (None if g is None else g.numpy() for g in gradients)
        self.lanes_x, self.lanes_y = Lanes(shape, on.lanes, gap=3).write(self.x), Lanes(shape, on.lanes, gap=1)
        self.lanes_dx = Lanes(shape, on.lanes, gap=2)
        self.groups = self.lanes_x.groups
        self.statistics = aligned(self.groups * (norm.groups or norm.H * norm.W) * 2 * on.lanes)

    def arguments(self, **more: int) -> ctypes.Structure:
        """With the addresses of x, y and the parameters."""
        n = self.norm
        found = structure("LayerNormArguments")(
            x=self.lanes_x.address, y=self.lanes_y.address, statistics=self.statistics.ctypes.data,
            weight=self.weight.ctypes.data if n.affine else 0, bias=self.bias.ctypes.data if n.affine else 0,
            x_group=self.lanes_x.stride, y_group=self.lanes_y.stride, dx_group=self.lanes_dx.stride, G=self.groups,
            live=self.lanes_x.live, C=n.C, M=n.H * n.W, norm_groups=n.groups, elementwise=int(n.elementwise),
            centred=int(n.centred), eps=EPS,
        )  # fmt: skip
        for name, value in more.items():
            setattr(found, name, value)
        return found

    def forward(self) -> Floats:
        """y, and the statistics stay."""
        self.on.call(f"{self.norm.kind}_forward", self.arguments(), groups=self.groups)
        return self.lanes_y.read()

    def gradient(
        self, *, before: Floats | None = None, slots: int = 1, sums: bool = True
    ) -> tuple[Floats, Floats, Floats]:
        """dx, dweight, dbias, after forward."""
        self.lanes_y.write(self.dy, dead=0)
        if before is not None:
            self.lanes_dx.write(before)
        parts = aligned(slots * 2 * self.weight.size)
        a = self.arguments(
            dx=self.lanes_dx.address,
            sums=parts.ctypes.data if sums else 0,
            sums_slot=2 * self.weight.size,
            accumulate=int(before is not None),
        )
        self.on.call(f"{self.norm.kind}_gradient", a, groups=self.groups, slots=slots)
        whole = parts.reshape(slots, 2, *self.norm.weight_shape).sum(0)
        return self.lanes_dx.read(), whole[0], whole[1]


def near(found: Floats, right: Floats, tolerance: float = 3e-6) -> None:
    """Relative to the largest number; the numbers differ among themselves."""
    assert right.std() > 0.05
    numpy.testing.assert_allclose(found, right, rtol=0, atol=tolerance * numpy.abs(right).max())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("norm", NORMS, ids=str)
def test_forward_and_gradients(target: str, norm: Norm) -> None:
    case = Case(on_target(target), norm)
    near(case.forward(), case.y)
    dx, dweight, dbias = case.gradient()
    near(dx, case.dx)
    if norm.affine:
        near(dweight, case.dweight)
        near(dbias, case.dbias)
    before = random(*case.x.shape, seed=5)
    near(case.gradient(before=before, slots=min(2, case.groups))[0], case.dx + before)
    near(case.gradient(sums=False)[0], case.dx)


@pytest.mark.parametrize("target", TARGETS)
def test_slots_and_dead_lanes(target: str) -> None:
    """Sums over the batch are the same however groups are dealt, and leave out what dead lanes hold."""
    for norm in (Norm(13 * 4, 24, 2, 2), Norm(49, 4, 3, 3, groups=2), Norm(49, 4, 3, 3, groups=1, elementwise=True)):
        case = Case(on_target(target), norm)
        case.forward()
        for slots in {1, min(3, case.groups), case.groups}:
            _, dweight, dbias = case.gradient(slots=slots)
            near(dweight, case.dweight)
            near(dbias, case.dbias)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("norm", LARGE_MEANS, ids=str)
def test_a_large_mean_leaves_the_variance(target: str, norm: Norm) -> None:
    """Numbers around 10,000 with a deviation of 1: the variance to 1e-6, the result to what float32 holds of such x."""
    case = Case(on_target(target), norm)
    near(case.forward(), case.y, 1e-3)
    x = torch.from_numpy(case.x).double().flatten(2)
    variance = x.reshape(norm.N, norm.groups, -1).var(-1, correction=0) if norm.groups else x.var(1, correction=0)
    rows = case.statistics.reshape(case.groups, -1, 2, case.on.lanes)[:, :, 1]
    found = numpy.moveaxis(rows, 1, 2).reshape(case.groups * case.on.lanes, -1)[: norm.N]
    numpy.testing.assert_allclose(found, (variance + EPS).rsqrt(), rtol=2e-6)


def _local(size: int, alpha: float, beta: float, k: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: functional.local_response_norm(x, size, alpha, beta, k)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("size", "alpha", "beta", "k"),
    [
        (5, 1e-4, 0.75, 2.0),
        (5, 0.5, 0.75, 1.0),
        (4, 0.7, 0.5, 1.0),
        (3, 1.0, 1.0, 0.5),
        (2, 2.0, 0.6, 1.0),
        (1, 1, 2, 1),
    ],
)
@pytest.mark.parametrize("shape", [(5, 9, 3, 5), (18, 3, 1, 1), (2, 1, 2, 2)], ids=str)
def test_local_response_norm(
    target: str, size: int, alpha: float, beta: float, k: float, shape: tuple[int, int, int, int]
) -> None:
    on = on_target(target)
    x, dy, before = random(*shape, seed=1), random(*shape, seed=2), random(*shape, seed=3)
    leaf = torch.from_numpy(x).double().requires_grad_()
    y = _local(size, alpha, beta, k)(leaf)
    (dx,) = torch.autograd.grad(y, leaf, torch.from_numpy(dy).double())
    lanes_x, lanes_y = Lanes(shape, on.lanes, gap=1).write(x), Lanes(shape, on.lanes, gap=2)
    lanes_dx = Lanes(shape, on.lanes, gap=3)
    a = structure("LocalResponseNormArguments")(
        x=lanes_x.address, y=lanes_y.address, dx=lanes_dx.address, x_group=lanes_x.stride, y_group=lanes_y.stride,
        dx_group=lanes_dx.stride, C=shape[1], M=shape[2] * shape[3], size=size, alpha=alpha, beta=beta, k=k,
    )  # fmt: skip
    on.call("local_response_norm_forward", a, groups=lanes_x.groups)
    near(lanes_y.read(), y.detach().numpy(), 2e-6)
    lanes_y.write(dy, dead=0)
    on.call("local_response_norm_gradient", a, groups=lanes_x.groups)
    near(lanes_dx.read(), dx.numpy(), 2e-6)
    a.accumulate = 1
    lanes_dx.write(before)
    on.call("local_response_norm_gradient", a, groups=lanes_x.groups)
    near(lanes_dx.read(), dx.numpy() + before, 2e-6)
