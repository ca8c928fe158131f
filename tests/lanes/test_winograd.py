"""Winograd's convolution in all three passes against float64 PyTorch, on every target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import torch
from torch.nn.functional import conv2d, pad

from pellucid.lanes.arguments import structure
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import GUARD, Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")
BOUND = 1e-5  # of the largest value


@dataclass(frozen=True)
class Shape:
    """A 3x3 convolution. pad: before rows and columns; behind: after."""

    N: int
    C: int
    K: int
    H: int
    W: int
    pad: tuple[int, int] = (1, 1)
    behind: tuple[int, int] = (1, 1)

    @property
    def out(self) -> tuple[int, int]:
        """P and Q."""
        return self.H + self.pad[0] + self.behind[0] - 2, self.W + self.pad[1] + self.behind[1] - 2

    def convolve(self, x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """PyTorch's."""
        (top, left), (bottom, right) = self.pad, self.behind
        return conv2d(pad(x, (left, right, top, bottom)), w, bias)


SHAPES = (
    Shape(19, 5, 6, 8, 8),
    Shape(16, 16, 33, 9, 10),
    Shape(17, 3, 32, 1, 1),
    Shape(5, 36, 70, 3, 3, (0, 0), (0, 0)),
    Shape(5, 33, 9, 7, 12, (0, 0), (0, 0)),
    Shape(4, 80, 17, 4, 4, (2, 2), (2, 2)),
    Shape(21, 130, 8, 2, 3),
    Shape(3, 9, 31, 13, 6, (2, 0), (0, 1)),
    Shape(3, 20, 5, 6, 17, (0, 2), (2, 1)),
    Shape(70, 6, 40, 5, 4),
    Shape(20, 173, 181, 3, 2),  # whose packed weights go past the caches
)
CASES = [(shape, target) for target in TARGETS for shape in SHAPES[:: 1 if target == "avx512" else 2]]
NAMES = [f"{s.C}-{s.K} @{s.H}x{s.W} {s.pad}{s.behind} {target}" for s, target in CASES]


def close(found: Floats, wanted: torch.Tensor) -> None:
    """Within the bound, of values that say something."""
    largest = float(wanted.abs().max())
    assert largest > 0.5
    assert float(numpy.abs(found - wanted.numpy()).max()) <= BOUND * largest


class Case:
    """A shape's arrays and the kernels' arguments. Dead lanes of dy are 0."""

    def __init__(self, shape: Shape, library: Library, tile: int, gap: int = 3) -> None:
        self.shape, self.library, self.tile, self.kept = shape, library, tile, {}
        s, lanes = shape, library.lanes
        self.x = random(s.N, s.C, s.H, s.W, seed=1)
        self.w = random(s.K, s.C, 3, 3, seed=2)
        self.bias = random(s.K, seed=3)
        self.dy = random(s.N, s.K, *s.out, seed=4)
        self.X = Lanes(self.x.shape, lanes, gap)
        self.Y = Lanes(self.dy.shape, lanes, gap)
        self.points = (tile + 2) ** 2
        self.tiles = self.X.groups * -(-s.out[0] // tile) * -(-s.out[1] // tile)

    kept: dict[str, Floats]

    def memory(self, name: str, floats: int) -> Floats:
        """Guarded memory that a kernel writes."""
        self.kept[name] = aligned(floats + 16)
        return self.kept[name]

    def guarded(self) -> None:
        """No memory was written past its end."""
        for name, array in self.kept.items():
            assert (array[-16:] == GUARD).all(), name

    def arguments(self, **more: Any) -> Any:
        """The kernels' structure."""
        s = self.shape
        values: Mapping[str, Any] = {
            "G": self.X.groups,
            "live": self.X.live,
            "C": s.C,
            "H": s.H,
            "W": s.W,
            "K": s.K,
            "P": s.out[0],
            "Q": s.out[1],
            "pad_h": s.pad[0],
            "pad_w": s.pad[1],
            "tile": self.tile,
            "group_count": self.X.groups,
            "x": self.X.address,
            "x_group": self.X.stride,
            "y": self.Y.address,
            "y_group": self.Y.stride,
            "w": self.w.ctypes.data,
        }
        return structure("WinogradArguments")(**{**values, **more})

    def packed(self, transposed: bool) -> int:
        """The address of the packed weights."""
        s = self.shape
        inputs, kernels = (s.K, s.C) if transposed else (s.C, s.K)
        floats = self.points * -(-kernels // 4) * 4 * -(-inputs // 4) * 4
        array = self.memory("packed", floats)
        name = "winograd_pack_transposed" if transposed else "winograd_pack"
        self.library.call(name, self.arguments(packed=array.ctypes.data), units=-(-kernels // 32))
        return array.ctypes.data


def by_groups(case: Case, kernel: str, arguments: Any) -> None:
    """Run a kernel by groups."""
    case.library.call(kernel, arguments, groups=case.X.groups, slots=min(8, case.X.groups))


def ranges(case: Case, arguments: Any) -> list[Any]:
    """The arguments for all groups in two parts, the second smaller, as a large batch is done."""
    first = -(-case.X.groups // 2) if case.X.groups > 1 else 1
    made = []
    for begin, count in ((0, first), (first, case.X.groups - first)):
        if count:
            part = type(arguments).from_buffer_copy(arguments)
            part.first_group, part.group_count = begin, count
            made.append(part)
    return made


def everywhere(case: Case, arguments: Any, inputs: int, kernels: int, height: int, width: int) -> None:
    """The three stages over many groups at once, with memory of the documented size between."""
    lanes = case.library.lanes
    for part in ranges(case, arguments):
        tiles = part.group_count * -(-height // case.tile) * -(-width // case.tile)
        points = case.memory("points", case.points * (tiles * inputs + 1) * lanes)
        products = case.memory("products", case.points * (tiles * -(-kernels // 4) * 4 + 1) * lanes)
        part.points, part.products, part.block = points.ctypes.data, products.ctypes.data, 32
        case.library.call("winograd_wide_input", part, units=part.group_count)
        case.library.call("winograd_wide_products", part, units=case.points * -(-kernels // 32))
        case.library.call("winograd_wide_output", part, units=part.group_count)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("tile", [4, 2])
@pytest.mark.parametrize(("shape", "target"), CASES, ids=NAMES)
def test_forward(shape: Shape, target: str, tile: int, wide: bool) -> None:
    case = Case(shape, on_target(target), tile)
    case.X.write(case.x)
    sums = case.memory("statistics", case.X.groups * shape.K * 3 * case.library.lanes)
    bias = case.bias.ctypes.data
    arguments = case.arguments(packed=case.packed(False), bias=bias, statistics=sums.ctypes.data)
    if wide:
        everywhere(case, arguments, shape.C, shape.K, *shape.out)
    else:
        by_groups(case, "winograd_forward", arguments)
    wanted = shape.convolve(*(torch.from_numpy(a).double() for a in (case.x, case.w, case.bias)))
    close(case.Y.read(), wanted)
    statistics(case, sums)
    case.guarded()


def statistics(case: Case, memory: Floats) -> None:
    """Shift, sum and sum of squares of what was written, for every group, channel and lane."""
    groups, K, lanes = case.X.groups, case.shape.K, case.library.lanes
    shift, total, squares = numpy.moveaxis(memory[:-16].reshape(groups, K, 3, lanes).astype(float), 2, 0)
    values = case.Y.pictures.reshape(groups, lanes, K, -1).transpose(0, 2, 1, 3).astype(float) - shift[..., None]
    assert numpy.abs(shift).max() > 0.1
    numpy.testing.assert_allclose(
        total, values.sum(-1), rtol=1e-5, atol=1e-4 * max(1, numpy.abs(values).sum(-1).max()) / 10
    )
    numpy.testing.assert_allclose(squares, (values**2).sum(-1), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("tile", [4, 2])
@pytest.mark.parametrize(("shape", "target"), CASES, ids=NAMES)
def test_input_gradient(shape: Shape, target: str, tile: int, wide: bool) -> None:
    case = Case(shape, on_target(target), tile)
    case.Y.write(case.dy, 0)
    before, accumulate = random(*case.x.shape, seed=5), int(shape.C % 2)
    case.X.write(before)
    arguments = case.arguments(packed=case.packed(True), accumulate=accumulate)
    if wide:
        arguments.is_gradient = 1
        everywhere(case, arguments, shape.K, shape.C, shape.H, shape.W)
    else:
        by_groups(case, "winograd_input_gradient", arguments)
    close(case.X.read(), gradients(case)[0] + accumulate * torch.from_numpy(before))
    case.guarded()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_a_large_output_goes_past_the_caches(target: str, wide: bool) -> None:
    shape = Shape(2, 96, 98, 33, 32)  # 1.5 MB and more for a group of the fewest lanes, and no gradient is added to
    test_forward(shape, target, 4, wide)
    test_input_gradient(shape, target, 4, wide)


def gradients(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """dL/dx, dL/dw and dL/dbias in float64."""
    x, w, bias = (torch.from_numpy(a).double().requires_grad_() for a in (case.x, case.w, case.bias))
    case.shape.convolve(x, w, bias).backward(torch.from_numpy(case.dy).double())
    assert x.grad is not None
    assert w.grad is not None
    assert bias.grad is not None
    return x.grad, w.grad, bias.grad


def everywhere_weight(case: Case, arguments: Any) -> None:
    """The stages of the weight's gradient over many groups at once."""
    s, lanes, (height, width) = case.shape, case.library.lanes, case.shape.out
    for i, part in enumerate(ranges(case, arguments)):
        pictures = part.group_count * -(-height // case.tile) * -(-width // case.tile) * lanes
        points = case.memory("points", case.points * (pictures * -(-s.C // lanes) * lanes + lanes))
        products = case.memory("products", case.points * (pictures * s.K + lanes))
        part.points, part.products, part.block = points.ctypes.data, products.ctypes.data, 12
        part.accumulate = int(i > 0)
        case.library.call("winograd_wide_turned_input", part, units=part.group_count)
        case.library.call("winograd_wide_output_gradient", part, units=part.group_count)
        case.library.call("winograd_wide_weight_products", part, units=case.points * -(-s.K // 12))


@pytest.mark.parametrize("how", ["by groups", "blocks", "rows", "wide"])
@pytest.mark.parametrize("tile", [4, 2])
@pytest.mark.parametrize(("shape", "target"), CASES, ids=NAMES)
def test_weight_gradient(shape: Shape, target: str, tile: int, how: str) -> None:
    case = Case(shape, on_target(target), tile)
    case.X.write(case.x)
    case.Y.write(case.dy, 0)
    lanes, groups = case.library.lanes, case.X.groups
    parts = {"by groups": min(groups, 8), "wide": 1}.get(how, min(groups, 2))
    memory = case.memory("parts", parts * case.points * shape.K * -(-shape.C // lanes) * lanes)
    biases, found = (
        case.memory("biases", (groups if how == "wide" else parts) * shape.K),
        case.memory("dw", case.w.size),
    )
    arguments = case.arguments(parts=memory.ctypes.data, bias=biases.ctypes.data, part_count=parts)
    if how == "by groups":
        by_groups(case, "winograd_weight_gradient", arguments)
    elif how == "wide":
        everywhere_weight(case, arguments)
    else:
        arguments.row_sets, arguments.block = int(how == "rows"), 12
        units = parts * -(-shape.K // 12) * (tile // 2 + 1 if how == "rows" else 1)
        case.library.call("winograd_weight_gradient_blocks", arguments, units=units)
    arguments.w = found.ctypes.data
    case.library.call("winograd_weight_finish", arguments, units=shape.K)
    _, dw, dbias = gradients(case)
    close(found[:-16].reshape(dw.shape), dw)
    close(biases[:-16].reshape(-1, shape.K).sum(0), dbias)
    case.guarded()
