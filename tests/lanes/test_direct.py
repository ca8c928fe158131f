"""Direct convolution's forward pass and input gradient against float64 PyTorch, on every target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy
import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, pad

from pellucid.lanes.arguments import structure
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import GUARD, Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")
TERM_ERROR = 2.0**-23  # of one multiply-add, relative to the sum of the terms' sizes


@dataclass(frozen=True)
class Shape:
    """A convolution. pad: before rows and columns; behind: after, where it differs."""

    N: int
    C: int
    K: int
    H: int
    W: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    behind: tuple[int, int] | None = None

    @property
    def out(self) -> tuple[int, int]:
        """P and Q."""
        after, size = self.behind or self.pad, (self.H, self.W)
        reach = [size[i] + self.pad[i] + after[i] - self.dilation[i] * (self.kernel[i] - 1) for i in (0, 1)]
        return (reach[0] - 1) // self.stride[0] + 1, (reach[1] - 1) // self.stride[1] + 1

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """[K, C / groups, R, S]."""
        return self.K, self.C // self.groups, *self.kernel

    def convolve(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """PyTorch's."""
        (top, left), (bottom, right) = self.pad, self.behind or self.pad
        return conv2d(pad(x, (left, right, top, bottom)), w, bias, self.stride, 0, self.dilation, self.groups)

    def arguments(self, groups: int, live: int, **pointers: int) -> Any:
        """The kernels' structure."""
        return structure("ConvolutionArguments")(
            G=groups,
            live=live,
            C=self.C,
            H=self.H,
            W=self.W,
            K=self.K,
            R=self.kernel[0],
            S=self.kernel[1],
            P=self.out[0],
            Q=self.out[1],
            stride_h=self.stride[0],
            stride_w=self.stride[1],
            pad_h=self.pad[0],
            pad_w=self.pad[1],
            dilation_h=self.dilation[0],
            dilation_w=self.dilation[1],
            conv_groups=self.groups,
            **pointers,
        )


SHAPES = (
    Shape(19, 1, 6, 14, 13, (5, 5), pad=(2, 2)),
    Shape(16, 6, 16, 14, 14, (5, 5), pad=(0, 0)),
    Shape(17, 3, 32, 10, 12),
    Shape(5, 33, 9, 7, 8),
    Shape(5, 80, 17, 4, 4),  # several chunks of input channels
    Shape(3, 8, 12, 1, 1),
    Shape(3, 8, 12, 2, 2),
    Shape(18, 13, 21, 5, 6, (1, 1), pad=(0, 0)),
    Shape(5, 700, 6, 3, 3, (1, 1), pad=(0, 0)),
    Shape(5, 6, 11, 9, 7, (1, 1), (2, 2), (0, 0)),
    Shape(5, 6, 11, 9, 8, (3, 3), (2, 2)),
    Shape(5, 6, 11, 8, 8, (3, 3), (2, 2), (0, 0), behind=(1, 1)),
    Shape(4, 3, 10, 23, 21, (7, 7), (2, 2), (3, 3)),
    Shape(4, 3, 5, 9, 9, (2, 2), pad=(0, 0)),
    Shape(4, 5, 7, 9, 10, (2, 2), pad=(1, 0), behind=(0, 1)),
    Shape(4, 4, 10, 23, 24, (11, 11), (4, 4), (2, 2)),
    Shape(4, 4, 6, 3, 2, (11, 11), pad=(5, 5)),
    Shape(4, 2, 3, 4, 5, (2, 2), pad=(4, 3)),  # padding beyond the kernel
    Shape(4, 2, 3, 4, 5, (2, 2), (3, 3), pad=(4, 3)),
    Shape(4, 5, 6, 9, 11, (3, 3), dilation=(2, 3), pad=(2, 3)),
    Shape(4, 5, 6, 9, 11, (3, 4), (2, 3), dilation=(2, 2), pad=(3, 1), behind=(1, 4)),
    Shape(4, 3, 6, 10, 11, (2, 1), (3, 4), (0, 0)),  # phases without taps
    Shape(4, 3, 5, 1, 40, (1, 9), pad=(0, 4)),
    Shape(3, 1, 5, 1, 300, (1, 80), (1, 16), (0, 30)),
    Shape(3, 17, 28, 32, 32),  # channels that crowd the caches are copied; a large y is written past them
    Shape(3, 33, 70, 32, 32, (3, 3), (2, 2)),
    Shape(3, 70, 9, 32, 32, (1, 1), (2, 2), (0, 0)),
    Shape(5, 12, 18, 6, 7, groups=3),
    Shape(5, 8, 8, 6, 7, stride=(2, 2), groups=4),
    Shape(5, 6, 6, 6, 7, groups=6),
)
NAMES = [f"{s.C}-{s.K} {s.kernel[0]}x{s.kernel[1]}s{s.stride[0]} @{s.H}x{s.W}" for s in SHAPES]
BOUNDS = Shape(1, 64, 8, 96, 96), Shape(1, 1100, 4, 5, 40, (1, 1), pad=(0, 0)), Shape(1, 3, 5, 2, 700)


@dataclass
class Case:
    """A shape's arrays: x, w, bias and dy (0 in dead lanes), packed weights, results."""

    shape: Shape
    library: Library
    small: bool = False
    gap: int = 3
    packed: Floats = field(init=False)

    def __post_init__(self) -> None:
        s, lanes = self.shape, self.library.lanes
        self.x = random(s.N, s.C, s.H, s.W, seed=1, small=self.small)
        self.w = random(*s.weight, seed=2, small=self.small)
        self.bias = random(s.K, seed=3, small=self.small)
        self.dy = random(s.N, s.K, *s.out, seed=4, small=self.small)
        self.X = Lanes(self.x.shape, lanes, self.gap)
        self.Y = Lanes(self.dy.shape, lanes, self.gap)

    def pack(self, kernel: str) -> Any:
        """Pack the weights; returns the arguments of the pass."""
        s, most = self.shape, 8 if self.library.lanes == 16 else 4
        channels = (s.C if kernel.endswith("transposed") else s.K) // s.groups
        self.packed = aligned(self.w.size + 16)
        arguments = s.arguments(self.X.groups, self.X.live)
        arguments.w, arguments.packed = self.w.ctypes.data, self.packed.ctypes.data
        arguments.x, arguments.x_group = self.X.address, self.X.stride
        arguments.y, arguments.y_group = self.Y.address, self.Y.stride
        self.library.call(kernel, arguments, units=s.groups * -(-channels // most))
        assert (self.packed[self.w.size :] == GUARD).all()
        assert sorted(self.packed[: self.w.size]) == sorted(self.w.flat)
        return arguments

    def forward(self, *, bias: bool = True, statistics: Floats | None = None, before: Floats | None = None) -> Floats:
        """y by the kernel."""
        arguments = self.pack("direct_pack")
        self.X.write(self.x)
        if before is not None:
            self.Y.write(before)
            arguments.accumulate = 1
        arguments.bias = self.bias.ctypes.data if bias else None
        arguments.statistics = None if statistics is None else statistics.ctypes.data
        self.library.call("direct_forward", arguments, groups=self.X.groups)
        return self.Y.read()

    def input_gradient(
        self, before: Floats | None = None, bias: Floats | None = None, statistics: Floats | None = None
    ) -> Floats:
        """dx by the kernel."""
        arguments = self.pack("direct_pack_transposed")
        self.Y.write(self.dy, dead=0.0)
        if before is not None:
            self.X.write(before)
            arguments.accumulate = 1
        arguments.bias = None if bias is None else bias.ctypes.data
        arguments.statistics = None if statistics is None else statistics.ctypes.data
        self.library.call("direct_input_gradient", arguments, groups=self.X.groups)
        return self.X.read()

    def expected(self, *, bias: bool = True) -> tuple[Floats, Floats, Floats, Floats]:
        """y and dx in float64, and the sums of the sizes of their terms."""
        b = torch.from_numpy(self.bias).double() if bias else None
        values = []
        for change in (lambda t: t, torch.abs):
            x, w, dy = (change(torch.from_numpy(a).double()) for a in (self.x, self.w, self.dy))
            x.requires_grad_()
            y = self.shape.convolve(x, w, b if b is None else change(b))
            (dx,) = torch.autograd.grad(y, x, dy)
            values += [y.detach().numpy(), dx.numpy()]
        assert numpy.abs(values[0]).max() > 0
        assert numpy.abs(values[1]).max() > 0
        return values[0], values[1], values[2], values[3]

    @property
    def terms(self) -> int:
        """Of one sum, at most."""
        return max(self.shape.C, self.shape.K) * self.shape.kernel[0] * self.shape.kernel[1] + 2


def assert_near(found: Floats, expected: Floats, sizes: Floats, terms: int) -> None:
    """Within the rounding of so many additions in sequence (random signs: their square root, times 8)."""
    assert numpy.isfinite(found).all()
    assert (numpy.abs(found - expected) <= TERM_ERROR * 8 * terms**0.5 * sizes + 1e-30).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_agrees_with_float64(shape: Shape, target: str) -> None:
    case = Case(shape, on_target(target))
    y, dx, y_sizes, dx_sizes = case.expected()
    assert_near(case.forward(), y, y_sizes, case.terms)
    assert_near(case.input_gradient(), dx, dx_sizes, case.terms)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [*SHAPES, *BOUNDS], ids=[*NAMES, "tiles", "chunks", "wide"])
def test_small_integers_are_exact(shape: Shape, target: str) -> None:
    case = Case(shape, on_target(target), small=True, gap=0)
    y, dx, *_ = case.expected(bias=False)
    assert (case.forward(bias=False) == y).all()
    assert (case.input_gradient() == dx).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_accumulates(shape: Shape, target: str) -> None:
    case = Case(shape, on_target(target), small=True)
    y, dx, *_ = case.expected()
    before_x, before_y = random(*dx.shape, seed=5, small=True), random(*y.shape, seed=6, small=True)
    assert (case.input_gradient(before_x) == dx + before_x).all()
    assert (case.forward(before=before_y) == y + before_y).all()


def assert_statistics(statistics: Floats, of: Lanes) -> None:
    """Shift, sum and sum of squares give each lane's mean and variance."""
    y = of.pictures.astype(numpy.float64).reshape(of.groups, of.lanes, of.shape[1], -1)
    found = statistics.reshape(of.groups, of.shape[1], 3, of.lanes).astype(numpy.float64)
    shift, first, second = numpy.moveaxis(found, 2, 0).transpose(0, 1, 3, 2)
    count = y.shape[-1]
    numpy.testing.assert_allclose(shift + first / count, y.mean(-1), rtol=3e-6, atol=1e-5)
    variance = second / count - (first / count) ** 2
    numpy.testing.assert_allclose(variance, y.var(-1), rtol=1e-4, atol=1e-4 * y.var(-1).max() + 1e-9)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=NAMES)
def test_statistics_of_the_output(shape: Shape, target: str) -> None:
    case = Case(shape, on_target(target))
    case.bias += 100  # a mean that would swallow the variance without a shift
    statistics = aligned(case.X.groups * shape.K * 3 * case.library.lanes)
    case.forward(statistics=statistics)
    assert_statistics(statistics, case.Y)


@pytest.mark.parametrize("target", TARGETS)
def test_input_gradient_with_a_bias_is_a_transposed_convolution(target: str) -> None:
    shape = Shape(5, 7, 6, 9, 11, (3, 3), (2, 2))
    case = Case(shape, on_target(target), small=True)
    bias = random(shape.C, seed=7, small=True)
    dy, w, b = (torch.from_numpy(a).double() for a in (case.dy, case.w, bias))
    expected = conv_transpose2d(dy, w, b, stride=2, padding=1)
    assert expected.shape == case.x.shape
    statistics = aligned(case.X.groups * shape.C * 3 * case.library.lanes)
    assert (case.input_gradient(bias=bias, statistics=statistics) == expected.numpy()).all()
    assert_statistics(statistics, case.X)


def test_vector_widths_agree_bit_for_bit() -> None:
    wide, narrow = on_target("avx512"), on_target("avx2")
    for shape in SHAPES:
        a, b = Case(shape, wide), Case(shape, narrow)
        assert (a.forward() == b.forward()).all(), shape
        assert (a.input_gradient() == b.input_gradient()).all(), shape


def test_what_stands_in_one_group_reaches_no_other() -> None:
    library = on_target("portable")
    shape = Shape(9, 4, 5, 6, 6)
    case = Case(shape, library)
    before = case.forward()
    case.x[:4] = numpy.nan
    after = case.forward()
    assert numpy.isnan(after[:4]).all()
    assert (after[4:] == before[4:]).all()
