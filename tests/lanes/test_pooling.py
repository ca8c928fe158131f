"""The kernels of pooling and of reductions against float64 PyTorch, on every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import torch
from torch.nn import functional

from pellucid.lanes.arguments import structure_of
from pellucid.lanes.library import Library
from tests.lanes.lane_arrays import Floats, Lanes, aligned, on_target, random

TARGETS = ("avx512", "avx2", "portable")
GAP = 2
Plain = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float64]]


@dataclass(frozen=True)
class Shape:
    """N pictures of C maps of H x W, and windows over them. ceil: ceil mode. adaptive: the output's size."""

    N: int
    C: int
    H: int
    W: int
    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False
    adaptive: tuple[int, int] | None = None

    def out(self) -> tuple[int, int]:
        """P and Q, as PyTorch has them."""
        probe = torch.zeros(1, 1, self.H, self.W, dtype=torch.float64)
        found = self.max_pool(probe).shape
        return found[2], found[3]

    def max_pool(self, x: torch.Tensor) -> torch.Tensor:
        """The oracle of max pooling."""
        if self.adaptive:
            return functional.adaptive_max_pool2d(x, self.adaptive)
        return functional.max_pool2d(x, self.kernel, self.stride, self.pad, self.dilation, self.ceil)

    def average_pool(self, x: torch.Tensor, include_pad: bool, divisor: int | None) -> torch.Tensor:
        """The oracle of average pooling."""
        if self.adaptive:
            return functional.adaptive_avg_pool2d(x, self.adaptive)
        return functional.avg_pool2d(x, self.kernel, self.stride, self.pad, self.ceil, include_pad, divisor)

    def settings(self) -> dict[str, int]:
        """The kernels' arguments that are whole numbers."""
        P, Q = self.out()
        R, S = self.kernel
        if self.adaptive:
            R, S = self.H // P + 2, self.W // Q + 2
        names = {"C": self.C, "H": self.H, "W": self.W, "P": P, "Q": Q, "R": R, "S": S}
        for axis, (stride, pad, dilation) in enumerate(zip(self.stride, self.pad, self.dilation, strict=True)):
            end = "hw"[axis]
            names |= {f"stride_{end}": stride, f"pad_{end}": pad, f"after_{end}": pad, f"dilation_{end}": dilation}
        return names | {"adaptive": int(self.adaptive is not None), "wide_winners": int(R * S > 255)}


SHAPES = (
    Shape(5, 3, 8, 6),
    Shape(19, 2, 7, 9),
    Shape(3, 2, 7, 9, ceil=True),
    Shape(17, 2, 8, 8, (3, 3), (1, 1), (1, 1)),
    Shape(4, 2, 9, 12, (3, 3), (2, 2), (1, 1)),
    Shape(4, 2, 10, 7, (3, 3), (2, 2), (1, 1), ceil=True),
    Shape(4, 2, 11, 8, (3, 2), (2, 3), (1, 0)),
    Shape(4, 1, 6, 7, (2, 2), (3, 3)),
    Shape(4, 1, 6, 6, (2, 2), (2, 2), (1, 1)),
    Shape(2, 1, 9, 11, (5, 4), (2, 1), (2, 2)),
    Shape(2, 1, 1, 13, (1, 3), (1, 2), (0, 1)),
    Shape(2, 2, 1, 1, (1, 1), (1, 1)),
    Shape(2, 1, 20, 18, (17, 16), (3, 2), (8, 8)),
    Shape(2, 2, 9, 7, adaptive=(1, 1)),
    Shape(2, 2, 9, 7, adaptive=(4, 3)),
    Shape(2, 1, 4, 5, adaptive=(7, 5)),
    Shape(2, 1, 24, 20, adaptive=(1, 1)),
)
DILATED = (Shape(2, 2, 9, 10, (3, 2), (2, 1), (1, 1), (2, 3)), Shape(2, 1, 8, 8, (2, 2), (2, 2), (0, 0), (1, 2)))


def near(found: Floats, expected: torch.Tensor, bound: float = 2e-6) -> None:
    """Equal up to rounding, and about something."""
    right = expected.detach().numpy()
    assert numpy.isfinite(right).all()
    assert numpy.ptp(right) > 0, "the expected numbers carry no information"
    assert numpy.abs(found - right).max() <= bound * max(1.0, float(numpy.abs(right).max()))


def leaf(x: Floats) -> torch.Tensor:
    """A copy in float64 whose gradient is asked for."""
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def call(target: Library, kernel: str, groups: int, live: int, values: dict[str, Lanes], **settings: Any) -> None:
    """Run a kernel by groups."""
    fields: dict[str, Any] = dict(settings)
    for name, lanes in values.items():
        fields |= {name: lanes.address, f"{name}_group": lanes.stride}
    target.call(kernel, structure_of(kernel)(G=groups, live=live, **fields), groups=groups, slots=min(2, groups))


def forward_and_back(
    target: Library,
    names: tuple[str, str],
    x: Floats,
    oracle: Callable[[torch.Tensor], torch.Tensor],
    accumulate: bool,
    settings: dict[str, Any],
    bound: float = 2e-6,
) -> None:
    """Both passes of kernels whose way back needs no value of the way forth."""
    source = leaf(x)
    right = oracle(source)
    gradient = random(*right.shape, seed=3)
    right.backward(torch.tensor(gradient, dtype=torch.float64))
    before = random(*x.shape, seed=4)
    a, b = Lanes(x.shape, target.lanes, GAP).write(x), Lanes(tuple(right.shape), target.lanes, GAP)
    call(target, names[0], a.groups, a.live, {"x": a, "y": b}, **settings)
    near(b.read(), right, bound)
    b.write(gradient, dead=0.0)
    a.write(before, dead=0.0)
    call(target, names[1], a.groups, a.live, {"x": a, "y": b}, **settings, accumulate=int(accumulate))
    assert source.grad is not None
    near(a.read(), source.grad + torch.tensor(before) * accumulate, 2 * bound)
    assert not a.pictures[x.shape[0] :].any(), "the gradient of a lane without a picture"


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("shape", SHAPES + DILATED, ids=str)
@pytest.mark.parametrize("name", TARGETS)
def test_max_pool(name: str, shape: Shape, accumulate: bool) -> None:
    """Whole numbers, so that many windows have several largest: the first must win."""
    target = on_target(name)
    x = random(shape.N, shape.C, shape.H, shape.W, seed=1, small=True)
    x[0] = random(shape.C, shape.H, shape.W, seed=2)
    source = leaf(x)
    right = shape.max_pool(source)
    gradient, before = random(*right.shape, seed=3), random(*x.shape, seed=4)
    right.backward(torch.tensor(gradient, dtype=torch.float64))
    a, b = Lanes(x.shape, target.lanes, GAP).write(x), Lanes(tuple(right.shape), target.lanes, GAP)
    winners = aligned(b.groups * b.inside)
    for pointer in (None, winners.ctypes.data):
        b.write(gradient)
        settings = shape.settings() | {"winners": pointer}
        call(target, "max_pool_forward", a.groups, a.live, {"x": a, "y": b}, **settings)
        near(b.read(), right, 0.0)
    b.write(gradient, dead=0.0)
    a.write(before, dead=0.0)
    call(target, "max_pool_backward", a.groups, a.live, {"x": a, "y": b}, **settings, accumulate=int(accumulate))
    assert source.grad is not None
    near(a.read(), source.grad + torch.tensor(before) * accumulate)
    assert not a.pictures[shape.N :].any()


@pytest.mark.parametrize("name", TARGETS)
def test_max_pool_of_nan_and_infinity(name: str) -> None:
    """NaN wins wherever it stands, minus infinity beside the padding is still a number."""
    target = on_target(name)
    for shape in (Shape(3, 2, 8, 8), Shape(3, 2, 8, 8, (3, 3), (1, 1), (1, 1))):
        x = random(3, 2, 8, 8, seed=1)
        x[0, 0, 2, 3] = x[1, 1, 0, 0] = x[1, 1, 7, 6] = numpy.nan
        x[2, 0, :4, :4] = -numpy.inf
        right = shape.max_pool(torch.tensor(x)).numpy()
        a, b = Lanes(x.shape, target.lanes).write(x), Lanes(right.shape, target.lanes)
        for winners in (None, aligned(b.groups * b.inside)):
            pointer = None if winners is None else winners.ctypes.data
            b.write(numpy.zeros_like(right))
            call(target, "max_pool_forward", a.groups, a.live, {"x": a, "y": b}, **shape.settings(), winners=pointer)
            numpy.testing.assert_array_equal(b.read(), right)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", TARGETS)
def test_average_pool(name: str, shape: Shape) -> None:
    target = on_target(name)
    x = random(shape.N, shape.C, shape.H, shape.W, seed=1)
    ways: list[tuple[bool, int | None]] = [(True, None)]
    if not shape.adaptive:
        ways += [(False, None), (True, 3), (False, 1)]
    for i, (include_pad, divisor) in enumerate(ways):
        settings = shape.settings() | {"include_pad": int(include_pad), "divisor": divisor or 0}

        def oracle(t: torch.Tensor, include_pad: bool = include_pad, divisor: int | None = divisor) -> torch.Tensor:
            return shape.average_pool(t, include_pad, divisor)

        forward_and_back(target, ("average_pool_forward", "average_pool_backward"), x, oracle, i % 2 == 1, settings)


@pytest.mark.parametrize("name", TARGETS)
def test_average_of_whole_numbers_is_exact(name: str) -> None:
    target, shape = on_target(name), Shape(5, 2, 8, 8)
    x = random(5, 2, 8, 8, seed=1, small=True)
    right = shape.average_pool(torch.tensor(x), True, None).numpy()
    a, b = Lanes(x.shape, target.lanes).write(x), Lanes(right.shape, target.lanes)
    call(target, "average_pool_forward", a.groups, a.live, {"x": a, "y": b}, **shape.settings(), include_pad=1)
    assert numpy.ptp(right) > 1
    numpy.testing.assert_array_equal(b.read(), right)


# Over which dimensions of [N, C, H, W], and how that is [outer, count, inner].
REDUCED: dict[tuple[int, ...], Callable[[int, int, int], tuple[int, int, int]]] = {
    (2, 3): lambda C, H, W: (C, H * W, 1),
    (2,): lambda C, H, W: (C, H, W),
    (3,): lambda C, H, W: (C * H, W, 1),
    (1,): lambda C, H, W: (1, C, H * W),
    (1, 2, 3): lambda C, H, W: (1, C * H * W, 1),
}


def parts(x: Floats, dims: tuple[int, ...]) -> dict[str, int]:
    """The arguments that say what is reduced."""
    _, C, H, W = x.shape
    return dict(zip(("outer", "count", "inner"), REDUCED[dims](C, H, W), strict=True))


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("dims", REDUCED)
@pytest.mark.parametrize("name", TARGETS)
def test_sum_and_mean(name: str, dims: tuple[int, ...], accumulate: bool) -> None:
    target, x = on_target(name), random(18, 3, 5, 7, seed=1)
    split = parts(x, dims)
    for oracle, scale in ((torch.sum, 1.0), (torch.mean, 1 / split["count"])):
        forward_and_back(
            target,
            ("reduce_sum_forward", "reduce_sum_backward"),
            x,
            lambda t, oracle=oracle: oracle(t, dims, keepdim=True),  # type: ignore[misc]
            accumulate,
            split | {"scale": scale},
        )


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("dims", REDUCED)
@pytest.mark.parametrize("name", TARGETS)
def test_largest_and_least(name: str, dims: tuple[int, ...], least: bool, accumulate: bool) -> None:
    """Whole numbers, so that several places share the gradient."""
    target, x = on_target(name), random(18, 3, 5, 7, seed=1, small=True)
    x[:3] = random(3, 3, 5, 7, seed=2)
    source = leaf(x)
    right = (torch.amin if least else torch.amax)(source, dims, keepdim=True)
    gradient, before = random(*right.shape, seed=3), random(*x.shape, seed=4)
    right.backward(torch.tensor(gradient, dtype=torch.float64))
    lanes = target.lanes
    values = {"x": Lanes(x.shape, lanes, GAP).write(x), "y": Lanes(tuple(right.shape), lanes, GAP)}
    settings = parts(x, dims) | {"least": int(least)}
    groups, live = values["x"].groups, values["x"].live
    call(target, "reduce_max_forward", groups, live, values, **settings)
    numpy.testing.assert_array_equal(values["y"].read(), right.detach().numpy())
    values["y_gradient"] = Lanes(tuple(right.shape), lanes, GAP).write(gradient, dead=0.0)
    values["x_gradient"] = Lanes(x.shape, lanes, GAP).write(before, dead=0.0)
    call(target, "reduce_max_backward", groups, live, values, **settings, accumulate=int(accumulate))
    assert source.grad is not None
    near(values["x_gradient"].read(), source.grad + torch.tensor(before) * accumulate)
    assert not values["x_gradient"].pictures[x.shape[0] :].any()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
@pytest.mark.parametrize("name", TARGETS)
def test_softmax(name: str, size: tuple[int, int], logarithm: bool, accumulate: bool) -> None:
    """With numbers so far apart that their powers would overflow."""
    target, x = on_target(name), random(18, 10, *size, seed=1) * 5
    x[3] += 200
    x[4] -= 300
    source = leaf(x)
    right = (functional.log_softmax if logarithm else functional.softmax)(source, 1)
    gradient, before = random(*x.shape, seed=3), random(*x.shape, seed=4)
    right.backward(torch.tensor(gradient, dtype=torch.float64))
    values = {"x": Lanes(x.shape, target.lanes, GAP).write(x), "y": Lanes(x.shape, target.lanes, GAP)}
    settings = {"C": 10, "pixels": size[0] * size[1], "logarithm": int(logarithm)}
    groups, live = values["x"].groups, values["x"].live
    call(target, "softmax_forward", groups, live, values, **settings)
    near(values["y"].read(), right)
    del values["x"]
    values["y_gradient"] = Lanes(x.shape, target.lanes, GAP).write(gradient, dead=0.0)
    values["x_gradient"] = Lanes(x.shape, target.lanes, GAP).write(before, dead=0.0)
    call(target, "softmax_backward", groups, live, values, **settings, accumulate=int(accumulate))
    assert source.grad is not None
    near(values["x_gradient"].read(), source.grad + torch.tensor(before) * accumulate, 5e-6)
    assert not values["x_gradient"].pictures[x.shape[0] :].any()
