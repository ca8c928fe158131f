"""Interpolation along one axis: which input samples an output sample is a mean of, and with which shares.

The places are computed in the precision in which PyTorch computes them (that of the map), since a place that falls
between two samples by a rounding error falls to one side or the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from pellucid.ops.terms import Array, Floats, Places


@dataclass(frozen=True)
class Shares:
    """places: (outputs, taps), the input samples that each output reads. weights: (outputs, taps), their shares, which
    sum to 1. A sample may stand twice, at the border."""

    places: Places
    weights: Floats

    def of_output(self, output: int) -> tuple[Places, Floats]:
        """The samples that one output reads, rising, each once, and their shares; those with no share left out."""
        samples, inverse = np.unique(self.places[output], return_inverse=True)
        weights = np.bincount(inverse.reshape(-1), self.weights[output], len(samples))
        return samples[weights != 0], weights[weights != 0]

    def of_input(self, sample: int) -> tuple[Places, Floats]:
        """The outputs that read one sample, and the share that it has in each."""
        weights = np.where(self.places == sample, self.weights, 0.0).sum(1)
        outputs = np.flatnonzero(weights)
        return outputs, weights[outputs]


def shares(
    mode: str,
    inputs: int,
    outputs: int,
    scale: float | None,
    *,
    corners: bool = False,
    smooths: bool = False,
    precision: type[np.floating] = np.float64,
) -> Shares:
    """The shares along one axis.

    Args:
        mode: ``nearest``, ``nearest_exact``, a linear one (``linear``, ``bilinear``, ``trilinear``) or ``bicubic``.
        scale: that was asked for, outputs / inputs where it is None. corners: whether the first and the last samples
            of both lie over one another. smooths: antialiasing, by a wider window where the map is made smaller.
        precision: of the map.
    """
    if corners and not mode.startswith("nearest"):
        factor = precision((inputs - 1) / (outputs - 1)) if outputs > 1 else precision(0)
    else:
        factor = precision(1 / scale if scale else inputs / outputs)
    index = np.arange(outputs).astype(precision)
    if mode.startswith("nearest"):
        return _nearest(index, factor, inputs, exact=mode == "nearest_exact")
    if smooths:
        return _smooth(index, precision(1) if inputs == outputs else factor, inputs, cubic=mode == "bicubic")
    # PyTorch multiplies and subtracts with one rounding.
    between = np.float64(factor) * (np.arange(outputs) + 0.5) - 0.5
    middle = index * factor if corners else between.astype(precision)
    if mode == "bicubic":
        return _cubic(middle, inputs)
    if inputs == outputs:
        middle = index
    return _linear(np.maximum(middle, 0), inputs)


def _nearest(index: Array, factor: np.floating, inputs: int, *, exact: bool) -> Shares:
    """Output i reads floor(f i), exactly floor(f (i + 1/2))."""
    half = index.dtype.type(0.5)
    middle = factor * (index + half) - half + half if exact else index * factor
    places = np.minimum(np.floor(middle.astype(np.float32)).astype(np.int64), inputs - 1)
    return Shares(places[:, None], np.ones((len(index), 1)))


def _linear(middle: Array, inputs: int) -> Shares:
    """Between two samples, each with 1 minus its distance."""
    first = np.minimum(np.floor(middle).astype(np.int64), inputs - 1)
    second = np.minimum(first + 1, inputs - 1)
    share = np.clip(middle - first.astype(middle.dtype), 0, 1)
    return _stacked([first, second], [1 - share, share])


def _cubic(middle: Array, inputs: int) -> Shares:
    """Four samples by Keys' cubic convolution with a = -0.75 (Keys 1981, eq. 15), the border repeated."""
    first = np.minimum(np.floor(middle).astype(np.int64), inputs - 1)
    t = np.clip(middle - first.astype(middle.dtype), 0, 1).astype(np.float64)
    places = [np.clip(first + tap - 1, 0, inputs - 1) for tap in range(4)]
    return _stacked(places, [keys(t - (tap - 1), -0.75) for tap in range(4)])


def _smooth(index: Array, factor: np.floating, inputs: int, *, cubic: bool) -> Shares:
    """A triangle or a cubic (with a = -0.5, as in Pillow) as wide as the samples of the smaller map lie apart; shares
    are made to sum to 1."""
    half = index.dtype.type(0.5)
    wide = max(float(factor), 1.0)
    reach = index.dtype.type((2 if cubic else 1) * wide)
    middle = factor * (index + half)
    first = np.maximum((middle - reach + half).astype(np.int64), 0)
    last = np.minimum((middle + reach + half).astype(np.int64), inputs)
    places = first[:, None] + np.arange(ceil(float(reach)) * 2 + 1)
    distance = (places - middle[:, None] + half).astype(np.float64) / wide
    shape = keys(distance, -0.5) if cubic else np.maximum(0.0, 1.0 - np.abs(distance))
    shape = np.where(places < last[:, None], shape, 0.0)
    return Shares(np.minimum(places, inputs - 1), shape / shape.sum(1, keepdims=True))


def keys(distance: Floats, a: float) -> Floats:
    """Keys' cubic convolution kernel (1981, eq. 15): 1 at 0, 0 at every other whole number, 0 from 2 on.

    >>> keys(np.array([0.0, 0.5, 1.0, 2.5]), -0.5)
    array([1.    , 0.5625, 0.    , 0.    ])
    """
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    found: Floats = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return found


def _stacked(places: list[Places], weights: list[Array]) -> Shares:
    return Shares(np.stack(places, 1), np.stack(weights, 1).astype(np.float64))
