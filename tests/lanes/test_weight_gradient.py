"""The weight's gradient of direct convolution against float64 PyTorch, on every target."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy
import pytest
import torch
from torch.nn.functional import conv2d, pad

from pellucid.lanes.arguments import structure
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import GUARD, Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")


@dataclass(frozen=True)
class Shape:
    """A convolution of N pictures [C, H, W] by K kernels; ``behind``: padding after, where it differs from ``pad``."""

    N: int
    C: int
    K: int
    H: int
    W: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    behind: tuple[int, int] | None = None
    conv_groups: int = 1

    def out(self, axis: int) -> int:
        """P or Q."""
        size = (self.H, self.W)[axis] + self.pad[axis] + (self.behind or self.pad)[axis]
        return (size - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """The shape of the weight."""
        return (self.K, self.C // self.conv_groups, *self.kernel)

    def gradients(self, x: Floats, dy: Floats) -> tuple[Floats, Floats]:
        """dL/dw and dL/dbias in float64, by PyTorch."""
        (above, left), (below, right) = self.pad, self.behind or self.pad
        padded = pad(torch.from_numpy(x).double(), (left, right, above, below))
        weight = torch.zeros(self.weight, dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(self.K, dtype=torch.float64, requires_grad=True)
        y = conv2d(padded, weight, bias, self.stride, 0, self.dilation, self.conv_groups)
        dw, db = torch.autograd.grad(y, (weight, bias), torch.from_numpy(dy).double())
        return dw.numpy(), db.numpy()


SHAPES = (
    Shape(5, 3, 7, 7, 9),
    Shape(19, 1, 6, 12, 12, (5, 5), pad=(2, 2)),
    Shape(37, 6, 16, 10, 10, (5, 5), pad=(0, 0)),
    Shape(3, 5, 9, 16, 16),
    Shape(40, 8, 9, 4, 4),
    Shape(70, 5, 6, 2, 2),
    Shape(20, 4, 5, 1, 1),
    Shape(3, 5, 5, 2, 2, (5, 5), pad=(2, 2)),
    Shape(3, 3, 8, 8, 9, (2, 2), pad=(0, 0)),
    Shape(3, 2, 4, 8, 8, (2, 2), pad=(1, 1)),
    Shape(17, 9, 13, 7, 7, (1, 1), pad=(0, 0)),
    Shape(2, 30, 50, 13, 13, (1, 1), pad=(0, 0)),
    Shape(17, 9, 13, 7, 8, (1, 1), (2, 2), (0, 0)),
    Shape(4, 3, 8, 29, 30, (7, 7), (2, 2), (3, 3)),
    Shape(4, 4, 7, 15, 14, (7, 7), pad=(3, 3)),
    Shape(4, 4, 7, 15, 14, (3, 3), (2, 2)),
    Shape(4, 4, 7, 14, 14, (3, 3), (2, 2), (0, 0), behind=(1, 1)),
    Shape(4, 4, 7, 15, 14, (5, 5), (2, 3), (2, 2)),
    Shape(4, 3, 7, 23, 23, (11, 11), (4, 4), (2, 2)),
    Shape(4, 4, 7, 11, 10, (4, 3), (1, 2), (2, 1), behind=(1, 0)),
    Shape(4, 4, 7, 11, 30, (3, 3), pad=(2, 3), dilation=(2, 3)),
    Shape(4, 4, 7, 11, 10, (3, 5), pad=(0, 4), dilation=(3, 2), stride=(2, 1)),
    Shape(4, 4, 7, 1, 40, (1, 9), pad=(0, 4)),
    Shape(4, 6, 9, 9, 9, conv_groups=3),
    Shape(4, 12, 20, 9, 9, (1, 1), pad=(0, 0), conv_groups=4),
    Shape(4, 6, 6, 9, 9, conv_groups=6),
    Shape(2, 3, 4, 3, 130),
    Shape(2, 2, 3, 4, 4, (3, 3), (3, 3), (4, 4)),
    Shape(1, 100, 100, 12, 12, (1, 1), pad=(0, 0)),
    # Enough channels for features in the lanes.
    Shape(3, 16, 6, 9, 9),
    Shape(18, 30, 7, 3, 2),
    Shape(37, 40, 9, 4, 4),
    Shape(3, 70, 25, 6, 20),
    Shape(2, 24, 13, 15, 16, (3, 3), (2, 2)),
    Shape(2, 24, 13, 14, 14, (3, 3), (2, 2), (0, 0), behind=(1, 1)),
    Shape(2, 17, 9, 11, 13, (5, 5), (2, 3), (2, 2)),
    Shape(2, 16, 9, 11, 13, (3, 3), pad=(2, 3), dilation=(2, 3)),
    Shape(2, 16, 9, 11, 13, (3, 2), (2, 1), pad=(3, 1), dilation=(1, 2), behind=(2, 0)),
    Shape(2, 32, 50, 9, 8, (1, 1), (2, 2), (0, 0)),
    Shape(2, 32, 50, 9, 8, (1, 1), (2, 2), (1, 1)),
    Shape(2, 32, 50, 8, 8, (1, 1), (3, 3), (0, 0), behind=(3, 3)),
    Shape(2, 48, 20, 7, 7, conv_groups=2),
    Shape(2, 16, 5, 3, 130),
    Shape(2, 16, 5, 1, 40, (1, 9), pad=(0, 4)),
    Shape(20, 16, 300, 1, 1, (1, 1), pad=(0, 0)),
)


def arguments(kind: type[ctypes.Structure], shape: Shape, x: Lanes, y: Lanes, **more: int | None) -> ctypes.Structure:
    """The kernel's arguments."""
    return kind(
        x=x.address, y=y.address, x_group=x.stride, y_group=y.stride, G=x.groups, live=x.live, C=shape.C, H=shape.H,
        W=shape.W, K=shape.K, R=shape.kernel[0], S=shape.kernel[1], P=shape.out(0), Q=shape.out(1),
        stride_h=shape.stride[0], stride_w=shape.stride[1], pad_h=shape.pad[0], pad_w=shape.pad[1],
        dilation_h=shape.dilation[0], dilation_w=shape.dilation[1], conv_groups=shape.conv_groups, **more,
    )  # fmt: skip


def gradients(
    lib: Library, shape: Shape, x: Floats, dy: Floats, *, slots: int = 0, variant: int = 4, bias: bool = True
) -> tuple[Floats, Floats]:
    """dL/dw and dL/dbias by groups over so many slots, or for slots = 0 by blocks of kernels."""
    lx, ly = Lanes(x.shape, lib.lanes, 3).write(x), Lanes(dy.shape, lib.lanes, 5).write(dy, dead=0.0)
    n, rows = int(numpy.prod(shape.weight)), max(slots, 1)
    memory = aligned(rows * (n + shape.K + 5))
    per_slot = memory.reshape(rows, -1)
    more = {"w": memory.ctypes.data, "bias": memory.ctypes.data + 4 * n if bias else None, "w_slot": n + shape.K + 5}
    given = arguments(structure("ConvolutionArguments"), shape, lx, ly, variant=variant, **more)
    if slots:
        lib.call("direct_weight_gradient", given, groups=lx.groups, slots=slots)
    else:
        lib.call("direct_weight_gradient_blocks", given, units=-(-shape.K // variant))
    assert (per_slot[:, n + shape.K :] == GUARD).all(), "wrote past the gradients"
    if not bias:
        assert (per_slot[:, n:] == GUARD).all(), "wrote a gradient that was not asked for"
    whole = per_slot.sum(0)
    return whole[:n].reshape(shape.weight), whole[n : n + shape.K]


def tensors(shape: Shape, *, small: bool) -> tuple[Floats, Floats]:
    """x and dL/dy."""
    x = random(shape.N, shape.C, shape.H, shape.W, seed=1, small=small)
    return x, random(shape.N, shape.K, shape.out(0), shape.out(1), seed=2, small=small)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("by_groups", [True, False], ids=["groups", "blocks"])
def test_exact_on_small_integers(target: str, shape: Shape, by_groups: bool) -> None:
    lib = on_target(target)
    x, dy = tensors(shape, small=True)
    expected = shape.gradients(x, dy)
    assert numpy.unique(expected[0]).size > 5, "the case carries no information"
    slots = min(2, -(-shape.N // lib.lanes)) if by_groups else 0
    found = gradients(lib, shape, x, dy, slots=slots)
    assert numpy.array_equal(found[0], expected[0])
    assert numpy.array_equal(found[1], expected[1])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3], SHAPES[11], SHAPES[13], Shape(37, 40, 17, 9, 9)], ids=str)
@pytest.mark.parametrize("slots", [0, 1])
def test_close_to_float64(target: str, shape: Shape, slots: int) -> None:
    lib = on_target(target)
    x, dy = tensors(shape, small=False)
    for found, expected in zip(gradients(lib, shape, x, dy, slots=slots), shape.gradients(x, dy), strict=True):
        assert numpy.abs(found - expected).max() <= 2e-6 * numpy.abs(expected).max()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [SHAPES[3], Shape(37, 40, 17, 9, 9)], ids=str)
def test_bits_do_not_depend_on_the_cut_into_blocks(target: str, shape: Shape) -> None:
    lib = on_target(target)
    x, dy = tensors(shape, small=False)
    one, other = (gradients(lib, shape, x, dy, variant=variant) for variant in (4, 12))
    assert all(numpy.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("slots", [0, 2])
def test_without_bias(target: str, slots: int) -> None:
    lib = on_target(target)
    x, dy = tensors(SHAPES[2], small=True)
    found, _ = gradients(lib, SHAPES[2], x, dy, slots=slots, bias=False)
    assert numpy.array_equal(found, SHAPES[2].gradients(x, dy)[0])
