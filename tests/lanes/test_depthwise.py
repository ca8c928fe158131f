"""The depthwise convolution's kernels against float64 PyTorch, on every target."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy
import pytest
import torch
from torch.nn.functional import conv2d

from pellucid.lanes.arguments import structure
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import GUARD, Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")


@dataclass(frozen=True)
class Shape:
    """A depthwise convolution: C channels of H x W, K / C kernels of R x S for each."""

    N: int
    C: int
    H: int
    W: int
    multiplier: int = 1
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    behind: tuple[int, int] | None = None  # padding after, where it differs

    def out(self, axis: int) -> int:
        """P or Q."""
        size = (self.H, self.W)[axis] + self.pad[axis] + (self.behind or self.pad)[axis]
        return (size - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1


SHAPES = (
    Shape(5, 3, 7, 7),
    Shape(19, 2, 14, 14),
    Shape(16, 2, 9, 17),
    Shape(3, 2, 8, 12, stride=(2, 2)),
    Shape(18, 2, 15, 15, stride=(2, 2)),
    Shape(5, 2, 11, 9, kernel=(5, 5), pad=(2, 2)),
    Shape(5, 2, 14, 28, kernel=(5, 5), pad=(2, 2), stride=(2, 2)),
    Shape(5, 2, 14, 13, kernel=(7, 7), pad=(3, 3)),
    Shape(5, 2, 16, 15, kernel=(7, 7), pad=(3, 3), stride=(2, 2)),
    Shape(4, 2, 3, 2, kernel=(7, 7), pad=(3, 3)),
    Shape(4, 2, 1, 1),
    Shape(4, 2, 1, 1, kernel=(1, 1), pad=(0, 0)),
    Shape(4, 3, 6, 5, multiplier=2),
    Shape(4, 2, 8, 8, multiplier=3, stride=(2, 2), pad=(0, 0), behind=(1, 1)),
    Shape(4, 2, 9, 20, dilation=(2, 2), pad=(2, 2)),
    Shape(4, 2, 9, 20, dilation=(2, 3), pad=(1, 2), stride=(2, 3)),
    Shape(4, 2, 1, 33, kernel=(1, 9), pad=(0, 4)),
    Shape(4, 2, 9, 11, kernel=(4, 2), pad=(1, 0), behind=(2, 1)),
    Shape(4, 2, 9, 11, kernel=(1, 1), pad=(0, 0), stride=(2, 2)),
    Shape(4, 2, 10, 11, kernel=(2, 3), pad=(0, 1), stride=(3, 4)),
    Shape(2, 1, 40, 70, kernel=(3, 3)),
    Shape(2, 1, 41, 75, kernel=(3, 3), stride=(2, 2)),
)


@dataclass(frozen=True)
class Expected:
    """Of one shape in float64: the result, and the gradients of its product with dy."""

    y: Floats
    dx: Floats
    dw: Floats
    db: Floats


def expected(s: Shape, x: Floats, w: Floats, b: Floats, dy: Floats) -> Expected:
    """By PyTorch."""
    ins = [torch.from_numpy(array).double().requires_grad_() for array in (x, w, b)]
    behind = s.behind or s.pad
    padded = torch.nn.functional.pad(ins[0], (s.pad[1], behind[1], s.pad[0], behind[0]))
    y = conv2d(padded, ins[1], ins[2], s.stride, 0, s.dilation, s.C)
    assert y.shape[2:] == (s.out(0), s.out(1))
    gradients = torch.autograd.grad(y, ins, torch.from_numpy(dy).double())
    return Expected(*(tensor.detach().numpy() for tensor in (y, *gradients)))


class Case:
    """A shape with its numbers on one target."""

    def __init__(self, on: Library, s: Shape, *, small: bool = False) -> None:
        self.on, self.s = on, s
        self.K = s.C * s.multiplier
        self.x = random(s.N, s.C, s.H, s.W, seed=1, small=small)
        self.w = random(self.K, 1, *s.kernel, seed=2, small=small)
        self.b = random(self.K, seed=3, small=small)
        self.dy = random(s.N, self.K, s.out(0), s.out(1), seed=4, small=small)
        self.expected = expected(s, self.x, self.w, self.b, self.dy)
        self.lanes_x = Lanes(self.x.shape, on.lanes, gap=3)
        self.lanes_y = Lanes(self.dy.shape, on.lanes, gap=5)
        self.groups, self.live = self.lanes_x.groups, self.lanes_x.live

    def arguments(self, **more: int) -> ctypes.Structure:
        """With the addresses of x, y and w."""
        s = self.s
        found = structure("ConvolutionArguments")(
            x=self.lanes_x.address, y=self.lanes_y.address, w=self.w.ctypes.data, x_group=self.lanes_x.stride,
            y_group=self.lanes_y.stride, G=self.groups, live=self.live, C=s.C, H=s.H, W=s.W, K=self.K, R=s.kernel[0],
            S=s.kernel[1], P=s.out(0), Q=s.out(1), stride_h=s.stride[0], stride_w=s.stride[1], pad_h=s.pad[0],
            pad_w=s.pad[1], dilation_h=s.dilation[0], dilation_w=s.dilation[1], conv_groups=s.C,
        )  # fmt: skip
        for name, value in more.items():
            setattr(found, name, value)
        return found

    def forward(self, *, bias: bool = True) -> tuple[Floats, Floats]:
        """y, and the statistics [G, K, 3, L]."""
        self.lanes_x.write(self.x)
        statistics = aligned(self.groups * self.K * 3 * self.on.lanes)
        a = self.arguments(statistics=statistics.ctypes.data, bias=self.b.ctypes.data if bias else 0)
        self.on.call("depthwise_forward", a, groups=self.groups)
        return self.lanes_y.read(), statistics.reshape(self.groups, self.K, 3, self.on.lanes)

    def input_gradient(self, before: Floats | None = None) -> Floats:
        """dx, added to what was there before if anything was."""
        self.lanes_y.write(self.dy, dead=0)
        if before is not None:
            self.lanes_x.write(before)
        self.on.call("depthwise_input_gradient", self.arguments(accumulate=int(before is not None)), groups=self.groups)
        return self.lanes_x.read()

    def weight_gradient(self, slots: int = 1) -> tuple[Floats, Floats]:
        """dw and db, summed over the slots."""
        self.lanes_x.write(self.x)
        self.lanes_y.write(self.dy, dead=7)
        n = self.w.size + self.K
        parts = aligned(slots * n)
        a = self.arguments(w=parts.ctypes.data, bias=parts.ctypes.data + 4 * self.w.size, w_slot=n)
        self.on.call("depthwise_weight_gradient", a, groups=self.groups, slots=slots)
        whole = parts.reshape(slots, n).sum(0, dtype=numpy.float32)
        return whole[: self.w.size].reshape(self.w.shape), whole[self.w.size :]


def near(found: Floats, right: Floats, terms: int) -> None:
    """To rounding errors of so many terms, on numbers that are not all the same."""
    assert right.std() > 0 or right.size == 1
    assert numpy.abs(right).max() > 0
    numpy.testing.assert_allclose(found, right, rtol=0, atol=3e-7 * numpy.abs(right).max() * max(4, terms**0.5))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("s", SHAPES, ids=str)
def test_all_passes(target: str, s: Shape) -> None:
    case = Case(on_target(target), s)
    y, statistics = case.forward()
    near(y, case.expected.y, s.kernel[0] * s.kernel[1])
    pictures = case.lanes_y.pictures.reshape(case.groups, case.on.lanes, case.K, -1).astype(numpy.float64)
    shift, sums, squares = numpy.moveaxis(statistics.astype(numpy.float64), 2, 0)
    distance = pictures - numpy.moveaxis(shift, 1, 2)[..., None]
    scale = max(1.0, (distance**2).sum(-1).max())
    numpy.testing.assert_allclose(numpy.moveaxis(sums, 1, 2), distance.sum(-1), rtol=0, atol=1e-6 * scale)
    numpy.testing.assert_allclose(numpy.moveaxis(squares, 1, 2), (distance**2).sum(-1), rtol=0, atol=1e-6 * scale)
    near(case.input_gradient(), case.expected.dx, s.multiplier * s.kernel[0] * s.kernel[1])
    before = random(*case.x.shape, seed=9)
    near(case.input_gradient(before), case.expected.dx + before, s.multiplier * s.kernel[0] * s.kernel[1])
    dw, db = case.weight_gradient()
    near(dw, case.expected.dw, s.N * s.out(0) * s.out(1))
    near(db, case.expected.db, s.N * s.out(0) * s.out(1))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("s", SHAPES, ids=str)
def test_whole_numbers_are_exact(target: str, s: Shape) -> None:
    case = Case(on_target(target), s, small=True)
    assert (case.forward()[0] == case.expected.y).all()
    assert (case.input_gradient() == case.expected.dx).all()
    dw, db = case.weight_gradient(slots=min(2, case.groups))
    assert (dw == case.expected.dw).all()
    assert (db == case.expected.db).all()


def test_no_bias_no_statistics() -> None:
    case = Case(on_target("portable"), SHAPES[0], small=True)
    y = case.forward(bias=False)[0]
    assert (y == case.expected.y - case.b[:, None, None]).all()


def test_bits_do_not_depend_on_the_width_of_a_vector() -> None:
    """One fused multiply-add a term, in the same order: AVX2 and AVX-512 agree bit for bit."""
    for s in SHAPES:
        wide, narrow = Case(on_target("avx512"), s), Case(on_target("avx2"), s)
        assert (wide.forward()[0] == narrow.forward()[0]).all()
        assert (wide.input_gradient() == narrow.input_gradient()).all()


def test_partial_sums_begin_anew() -> None:
    """What was in the memory of the partial sums does not matter (the guard's number was), whatever the slots."""
    case = Case(on_target("portable"), Shape(13, 2, 5, 5), small=True)
    assert case.groups == 4
    for slots in (1, 2, 4):
        dw, db = case.weight_gradient(slots)
        assert (dw == case.expected.dw).all()
        assert numpy.abs(dw).max() < GUARD
        assert (db == case.expected.db).all()
