"""The kernels that move and resize feature maps against float64 PyTorch, on every target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch.nn import functional

from tests.lanes.lane_arrays import Lanes, on_target, random
from tests.lanes.test_pooling import GAP, TARGETS, call, forward_and_back, leaf, near

Oracle = Callable[[torch.Tensor], torch.Tensor]
MODES = ("constant", "reflect", "replicate", "circular")

MOVES: dict[str, tuple[Oracle, dict[str, int]]] = {
    "copy": (lambda t: t * 1, {}),
    "channels from 1": (lambda t: t[:, 1:5], {"start_c": 1}),
    "every second channel": (lambda t: t[:, 1::2], {"start_c": 1, "step_c": 2}),
    "channels turned round": (lambda t: t.flip(1), {"start_c": 5, "step_c": -1}),
    "shuffle in 2": (lambda t: functional.channel_shuffle(t, 2), {"shuffle": 2}),
    "shuffle in 3": (lambda t: functional.channel_shuffle(t, 3), {"shuffle": 3}),
    "every second place": (lambda t: t[..., ::2, 1::2], {"step_h": 2, "start_w": 1, "step_w": 2}),
    "rows turned round": (lambda t: t.flip(2), {"start_h": 6, "step_h": -1}),
    "columns turned round": (lambda t: t.flip(3), {"start_w": 4, "step_w": -1}),
    "a part": (lambda t: t[:, 2:3, 1:6, 2:4], {"start_c": 2, "start_h": 1, "start_w": 2}),
    "a shortcut of ResNet": (
        lambda t: functional.pad(t[:, :, ::2, ::2], (0, 0, 0, 0, 3, 2)),
        {"step_h": 2, "step_w": 2, "start_c": -3},
    ),
}
PADS = ((1, 1, 1, 1), (2, 0, 0, 1), (-1, 2, 3, -2), (-1, -1, -2, 0), (4, 3, 5, 4), (0, 0, 1, 1), (0, 1, 0, 0))


def settings_of(x: tuple[int, ...], y: tuple[int, ...], **given: Any) -> dict[str, Any]:
    """The sizes, and steps of 1 where nothing else is said."""
    sizes = dict(zip("CHWKPQ", (*x[1:], *y[1:]), strict=True))
    return {"step_c": 1, "step_h": 1, "step_w": 1} | sizes | given


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("name", TARGETS)
def test_move(name: str, move: str, accumulate: bool) -> None:
    x = random(18, 6, 7, 5, seed=1)
    oracle, given = MOVES[move]
    settings = settings_of(x.shape, tuple(oracle(torch.tensor(x)).shape), **given)
    kernels = ("move_forward", "move_backward")
    forward_and_back(on_target(name), kernels, x, oracle, accumulate, settings, bound=1e-7)


@pytest.mark.parametrize("pads", PADS, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TARGETS)
def test_pad(name: str, mode: str, pads: tuple[int, int, int, int]) -> None:
    x = random(5, 2, 7, 6, seed=1)
    extra = {"value": -1.5} if mode == "constant" else {}

    def oracle(t: torch.Tensor) -> torch.Tensor:
        return functional.pad(t, pads, mode, **extra)

    shape = tuple(oracle(torch.tensor(x)).shape)
    settings = settings_of(x.shape, shape, start_w=-pads[0], start_h=-pads[2], mode=MODES.index(mode), **extra)
    forward_and_back(on_target(name), ("move_forward", "move_backward"), x, oracle, pads[0] > 0, settings)


SIZES = ((14, 10), (8, 15), (7, 5), (13, 3), (3, 11), (1, 1), (21, 20))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bilinear corners", "bicubic"])
@pytest.mark.parametrize("name", TARGETS)
def test_resize(name: str, mode: str, size: tuple[int, int]) -> None:
    x = random(5, 2, 7, 5, seed=1)
    word, _, corners = mode.partition(" ")
    extra = {} if "nearest" in word else {"align_corners": bool(corners)}

    def oracle(t: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(t, size, mode=word, **extra)

    settings: dict[str, Any] = dict(zip("CHWPQ", (*x.shape[1:], *size), strict=True))
    for end, n, m in zip("hw", x.shape[2:], size, strict=True):
        aligned = (n - 1) / (m - 1) if m > 1 else 0.0
        settings[f"factor_{end}"] = aligned if corners else n / m
    number = ("nearest", "nearest-exact", "bilinear", "bicubic").index(word)
    settings |= {"mode": number, "corners": int(bool(corners))}
    kernels = ("resize_forward", "resize_backward")
    forward_and_back(on_target(name), kernels, x, oracle, size[0] % 2 == 0, settings, bound=3e-6)


@pytest.mark.parametrize("scale", [0.3, 0.7, 1.3, 1.9, 2.6, 3.1])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_reads_the_places_that_pytorch_reads(mode: str, scale: float) -> None:
    """A scale that is given is used as it is: rounding decides between two places."""
    target = on_target("portable")
    for size in range(1, 60):
        x = numpy.arange(size, dtype=numpy.float32).reshape(1, 1, 1, size)
        if int(size * scale) == 0:
            continue
        right = functional.interpolate(torch.tensor(x[:, :, 0]), scale_factor=scale, mode=mode).numpy()[:, :, None]
        a, b = Lanes(x.shape, 4).write(x), Lanes(right.shape, 4)
        settings = {"C": 1, "H": 1, "W": size, "P": 1, "Q": right.shape[3], "mode": int(mode == "nearest-exact")}
        call(target, "resize_forward", 1, 1, {"x": a, "y": b}, **settings, factor_h=1.0, factor_w=1 / scale)
        numpy.testing.assert_array_equal(b.read(), right, err_msg=f"{size} x {scale}")


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("name", TARGETS)
def test_pixel_shuffle(name: str, factor: int) -> None:
    """Both ways, each the way back of the other."""
    target = on_target(name)
    x = random(18, 2 * factor**2, 3, 5, seed=1)
    source = leaf(x)
    right = functional.pixel_shuffle(source, factor)
    before = random(*x.shape, seed=4)
    a, b = Lanes(x.shape, target.lanes, GAP).write(x), Lanes(tuple(right.shape), target.lanes, GAP)
    settings = {"C": 2, "H": 3, "W": 5, "r": factor}
    call(target, "pixel_shuffle", a.groups, a.live, {"x": a, "y": b}, **settings)
    near(b.read(), right, 0.0)
    a.write(before)
    call(target, "pixel_unshuffle", a.groups, a.live, {"x": a, "y": b}, **settings, accumulate=1)
    near(a.read(), source + torch.tensor(before), 1e-7)
    call(target, "pixel_shuffle", a.groups, a.live, {"x": a, "y": b}, **settings, accumulate=1)
    near(b.read(), functional.pixel_shuffle(2 * source + torch.tensor(before), factor), 1e-6)
