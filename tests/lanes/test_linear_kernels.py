"""The kernels of linear layers against float64, on every target."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy
import pytest

from pellucid.lanes.arguments import structure
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import GUARD, Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")
# Pictures, inputs, outputs.
SHAPES = (
    (5, 7, 3),
    (16, 64, 10),
    (37, 130, 25),
    (70, 33, 50),
    (128, 84, 10),
    (130, 200, 97),
    (20, 600, 17),
    (250, 3, 5),
    (1, 1, 1),
)


@dataclass(frozen=True)
class Layer:
    """One layer's arrays on one target: x [N, I], w [O, I], bias [O], dL/dy [N, O]."""

    lib: Library
    x: Floats
    w: Floats
    bias: Floats
    dy: Floats
    gap: int = 3

    @property
    def y(self) -> Floats:
        """x w^T + bias in float64."""
        return numpy.asarray(self.x.astype(float) @ self.w.astype(float).T + self.bias)

    @property
    def dx(self) -> Floats:
        """dL/dx in float64."""
        return numpy.asarray(self.dy.astype(float) @ self.w.astype(float))

    @property
    def dw(self) -> Floats:
        """dL/dw in float64."""
        return numpy.asarray(self.dy.astype(float).T @ self.x.astype(float))

    def call(self, kernel: str, x: Lanes, y: Lanes, *, units: int = 0, slots: int = 1, **more: Any) -> None:
        """Run a kernel over the layer."""
        outputs, inputs = self.w.shape
        sizes = {"x_group": x.stride, "y_group": y.stride, "G": x.groups, "I": inputs, "O": outputs}
        given: ctypes.Structure = structure("LinearArguments")(x=x.address, y=y.address, **sizes, **more)
        self.lib.call(kernel, given, groups=x.groups, slots=slots, units=units)

    def lanes(self, array: Floats, dead: float | None = None) -> Lanes:
        """An array in the layout of lanes."""
        return Lanes(array.shape, self.lib.lanes, self.gap).write(array, dead)


def layer(target: str, shape: tuple[int, int, int], *, small: bool = True) -> Layer:
    """A layer of random numbers."""
    pictures, inputs, outputs = shape
    lib = on_target(target)
    arrays = [(pictures, inputs), (outputs, inputs), (outputs,), (pictures, outputs)]
    x, w, bias, dy = (random(*size, seed=i, small=small) for i, size in enumerate(arrays))
    if shape == (1, 1, 1):
        x[:], w[:], dy[:] = 2, -2, 3
    return Layer(lib, x, w, bias, dy)


def forward(of: Layer, block: int, *, bias: bool = True) -> Floats:
    """y by blocks of outputs, or for block = 0 by groups."""
    x, y = of.lanes(of.x), Lanes(of.dy.shape, of.lib.lanes, of.gap)
    more: dict[str, Any] = {"w": of.w.ctypes.data, "bias": of.bias.ctypes.data if bias else None}
    if block:
        of.call("linear_forward_blocks", x, y, units=-(-of.w.shape[0] // block), block=block, **more)
    else:
        of.call("linear_forward", x, y, **more)
    return y.read()


def input_gradient(of: Layer, block: int, before: Floats | None) -> Floats:
    """dL/dx by blocks of inputs or by groups, written or added to what was there before."""
    x, dy = Lanes(of.x.shape, of.lib.lanes, of.gap), of.lanes(of.dy, dead=0.0)
    if before is not None:
        x.write(before, dead=0.0)
    more: dict[str, Any] = {"w": of.w.ctypes.data, "accumulate": int(before is not None)}
    if block:
        of.call("linear_input_gradient_blocks", x, dy, units=-(-of.w.shape[1] // block), block=block, **more)
    else:
        of.call("linear_input_gradient", x, dy, **more)
    dead = x.pictures[of.x.shape[0] :]
    assert (dead == 0).all()
    return x.read()


def weight_gradient(of: Layer, block: int, *, only_bias: bool = False) -> tuple[Floats, Floats]:
    """dL/dw, left alone where nobody wants it, and dL/dbias, by blocks of outputs."""
    x, dy = of.lanes(of.x), of.lanes(of.dy, dead=0.0)
    outputs, inputs = of.w.shape
    n = of.w.size
    memory, packed = aligned(n + outputs + 3), aligned(-(-inputs // 64) * 64 * x.groups * of.lib.lanes)
    more: dict[str, Any] = {"bias": memory.ctypes.data + 4 * n}
    if not only_bias:
        more |= {"w": memory.ctypes.data, "packed": packed.ctypes.data}
        of.call("linear_pack", x, dy, **more)
    of.call("linear_weight_gradient_blocks", x, dy, units=-(-outputs // block), block=block, **more)
    assert (memory[n + outputs :] == GUARD).all(), "wrote past the gradients"
    return memory[:n].reshape(outputs, inputs), memory[n : n + outputs]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", [0, 7])
def test_exact_on_small_integers(target: str, shape: tuple[int, int, int], block: int) -> None:
    of = layer(target, shape)
    before = random(*of.x.shape, seed=9, small=True)
    assert min(abs(of.y).max(), abs(of.dx).max(), abs(of.dw).max()) > 1, "the case carries no information"
    assert numpy.array_equal(forward(of, block), of.y)
    assert numpy.array_equal(forward(of, block, bias=False), of.y - of.bias)
    assert numpy.array_equal(input_gradient(of, block, None), of.dx)
    assert numpy.array_equal(input_gradient(of, block, before), of.dx + before)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block", [7, 100])
def test_weight_gradient_is_exact_on_small_integers(target: str, shape: tuple[int, int, int], block: int) -> None:
    of = layer(target, shape)
    dw, db = weight_gradient(of, block)
    assert numpy.array_equal(dw, of.dw)
    assert numpy.array_equal(db, of.dy.astype(float).sum(0))
    untouched, db = weight_gradient(of, block, only_bias=True)
    assert (untouched == GUARD).all()
    assert numpy.array_equal(db, of.dy.astype(float).sum(0))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("block", [0, 24])
def test_close_to_float64(target: str, block: int) -> None:
    of = layer(target, (130, 200, 97), small=False)
    found_ones = (forward(of, block), input_gradient(of, block, None), weight_gradient(of, block or 5)[0])
    for found, expected in zip(found_ones, (of.y, of.dx, of.dw), strict=True):
        assert numpy.abs(found - expected).max() <= 1e-6 * numpy.abs(expected).max()


@pytest.mark.parametrize("target", TARGETS)
def test_bits_do_not_depend_on_the_cut(target: str) -> None:
    of = layer(target, (130, 200, 97), small=False)
    for kernel in (forward, lambda of, block: input_gradient(of, block, None)):
        assert numpy.array_equal(kernel(of, 0), kernel(of, 5))
        assert numpy.array_equal(kernel(of, 48), kernel(of, 5))
    assert numpy.array_equal(weight_gradient(of, 5)[0], weight_gradient(of, 48)[0])


def test_targets_agree_bit_for_bit() -> None:
    wide, narrow = (layer(target, (130, 200, 97), small=False) for target in ("avx512", "avx2"))
    assert numpy.array_equal(forward(wide, 24), forward(narrow, 24))
    assert numpy.array_equal(input_gradient(wide, 24, None), input_gradient(narrow, 24, None))
