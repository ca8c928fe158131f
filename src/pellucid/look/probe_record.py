"""What ``probe`` finds out: records, and sentences on them. Without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ProbedLayer:
    """A layer whose features were compared. shape: of its value for one picture. field: its receptive field in pixels,
    as text. step: how far that moves from one feature to the next, for each axis; empty where it is no map. between:
    mean relative change from one picture to another one, the yardstick for all changes; NaN for a single picture."""

    name: str
    operation: str
    kind: str
    shape: tuple[int, ...]
    field: str
    step: tuple[float, ...]
    between: float

    def is_whole(self, shift: float) -> bool:
        """Whether a shift by so many pixels moves features to the places of others."""
        return all(shift % step == 0 for step in self.step)


@dataclass(frozen=True)
class Curve:
    """One change of the pictures, by its sizes (in order; ``neutral`` among them).

    accuracy: share of right answers. probability: mean probability of the right class. same: share of pictures that
    are called as without the change. features: for each layer and size the mean of ||f(T x) - f(x)|| / ||f(x)||.
    equivariance: for each layer and size the mean of ||f(T x) - T' f(x)|| / ||f(T x)|| over the features that see only
    the picture; None where there are none, for layers that are no maps, and for changes that move nothing.
    """

    change: str
    unit: str
    what: str
    neutral: float
    sizes: tuple[float, ...]
    accuracy: tuple[float, ...]
    probability: tuple[float, ...]
    same: tuple[float, ...]
    features: tuple[tuple[float | None, ...], ...]
    equivariance: tuple[tuple[float | None, ...], ...]

    @property
    def moves(self) -> bool:
        """Whether the same can be done to a map of features, and was compared."""
        return any(value is not None for row in self.equivariance for value in row)

    def half_lost(self) -> tuple[float | None, float | None]:
        """The sizes below and above ``neutral`` at which the accuracy first falls to half of what it is there, on
        straight lines between the measured sizes; None where it does not."""
        return self._crossing(-1), self._crossing(1)

    def where_half_lost(self) -> str:
        """Where half of the accuracy is lost, and what is left of it at an end until which it is not: ``at -44 and
        42.4 degrees``, ``nowhere; the accuracy is 0.532 at 8 pixels``."""
        lost = [size for size in self.half_lost() if size is not None]
        where = "nowhere"
        if lost:
            where = "at " + " and ".join([*(f"{size:.3g}" for size in lost[:-1]), sized(lost[-1], self.unit)])
        held = [
            end for end in (self.sizes[0], self.sizes[-1]) if end != self.neutral and not self._is_beyond(end, lost)
        ]
        left = [f"{self.accuracy[self.sizes.index(end)]:.3f} at {sized(end, self.unit)}" for end in held]
        return f"{where}{'; the accuracy is ' + ' and '.join(left) if left else ''}"

    def _is_beyond(self, end: float, lost: Sequence[float]) -> bool:
        return any((end > self.neutral) == (size > self.neutral) for size in lost)

    def _crossing(self, direction: int) -> float | None:
        at = self.sizes.index(self.neutral)
        half = self.accuracy[at] / 2
        while 0 <= at + direction < len(self.sizes) and half > 0:
            before, after = self.accuracy[at], self.accuracy[at + direction]
            if after <= half:
                share = (before - half) / (before - after)
                return self.sizes[at] + share * (self.sizes[at + direction] - self.sizes[at])
            at += direction
        return None


@dataclass(frozen=True)
class Sample:
    """One picture, changed. number: its place among the probed pictures. pictures: for each change one uint8 (H, W, C)
    a size. answers: for each change the best class and its probability, one a size."""

    number: int
    name: str
    truth: str
    pictures: Mapping[str, tuple[Pixels, ...]]
    answers: Mapping[str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True)
class Probe:
    """How far a network tolerates changes of its pictures.

    name: what the network is called. data, split: what it was measured on; pictures: how many of ``total``.
    accuracy, interval (Wilson's, 95%), probability: without any change. left_out: layers beyond the most that are
    compared.
    """

    name: str
    data: str
    split: str
    pictures: int
    total: int
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    accuracy: float
    interval: tuple[float, float]
    probability: float
    layers: tuple[ProbedLayer, ...]
    left_out: int
    curves: tuple[Curve, ...]
    samples: tuple[Sample, ...]

    def curve(self, change: str) -> Curve | None:
        """Of a change, if it was measured."""
        return next((curve for curve in self.curves if curve.change == change), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the pictures; NaN becomes None."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def findings(self) -> list[str]:
        """What the numbers say, a sentence each."""
        return [
            *(
                f"{curve.change.capitalize()}: half of the accuracy is lost {curve.where_half_lost()}."
                for curve in self.curves
                if len(curve.sizes) > 1
            ),
            *self.layer_findings(),
        ]

    def layer_findings(self) -> list[str]:
        """What the features of the layers do, a sentence each."""
        return [*_following(self), *_stepping(self), *_pooling(self)]

    def text(self) -> str:
        """For a terminal."""
        low, high = self.interval
        head = (
            f"{self.name} on {self.pictures:,} of {self.total:,} pictures of the {self.split} split of {self.data}: "
            f"accuracy {self.accuracy:.4f} (95%: {low:.4f} to {high:.4f})"
        )
        return "\n".join([head, *(f"  {sentence}" for sentence in self.findings())])


def sized(size: float, unit: str) -> str:
    """A size with its unit: ``1 pixel``, ``30 degrees``, ``1.5 times``.

    >>> sized(1.0, "pixels"), sized(0.75, "times")
    ('1 pixel', '0.75 times')
    """
    return f"{size:.3g} {unit[:-1] if size in (1, -1) and unit != 'times' else unit}"


def _following(probe: Probe) -> list[str]:
    """What the first convolution that can be compared follows, and what it does not."""
    at = next((i for i, layer in enumerate(probe.layers) if layer.kind == "convolution" and layer.step), None)
    if at is None:
        return []
    layer, said = probe.layers[at], []
    for change, typical in (("shift", 0.0), ("rotation", 90.0), ("scale", 2.0)):
        curve = probe.curve(change)
        known = _known(curve, at, layer.is_whole if change == "shift" else lambda size: True) if curve else []
        if curve is not None and known:
            size, error = min(known, key=lambda pair: abs(pair[0] - typical))
            said.append(f"{error:.3f} for a {change} of {sized(size, curve.unit)}")
    told = f"{layer.name} ({layer.operation}) follows with an error of {', '.join(said)} (0: exactly)."
    return [told] if said else []


def _stepping(probe: Probe) -> list[str]:
    """What becomes of shifts between the steps of the first layer that has steps of more than a pixel."""
    shift = probe.curve("shift")
    at = next((i for i, layer in enumerate(probe.layers) if layer.step and max(layer.step) > 1), None)
    if shift is None or at is None:
        return []
    layer = probe.layers[at]
    whole, parts = _known(shift, at, layer.is_whole), _known(shift, at, lambda size: not layer.is_whole(size))
    if not whole or not parts:
        return []
    said = (
        f"{layer.name} ({layer.operation}) has a feature every {sized(max(layer.step), 'pixels')}: it follows a shift "
        f"by {sized(whole[0][0], shift.unit)} with an error of {whole[0][1]:.3f}, one by "
        f"{sized(parts[0][0], shift.unit)} with {parts[0][1]:.3f}."
    )
    return [said]


def _known(curve: Curve, layer: int, fits: Callable[[float], bool]) -> list[tuple[float, float]]:
    """The sizes that fit, the neutral one left out, with the error of following where there is one."""
    pairs = zip(curve.sizes, curve.equivariance[layer], strict=True)
    return [(size, error) for size, error in pairs if size != curve.neutral and error is not None and fits(size)]


def _pooling(probe: Probe) -> list[str]:
    """What the first pooling behind a convolution does to the change of features under the least shift."""
    shift = probe.curve("shift")
    if shift is None or len(shift.sizes) < 2:
        return []
    size = next(k for k in shift.sizes if k)
    index = shift.sizes.index(size)
    for i, (before, after) in enumerate(zip(probe.layers, probe.layers[1:], strict=False)):
        values = shift.features[i][index], shift.features[i + 1][index]
        if (before.kind, after.kind) == ("convolution", "pooling") and None not in values:
            known = not math.isnan(before.between) and not math.isnan(after.between)
            usual = f" (from one picture to another: {before.between:.3f} and {after.between:.3f})" if known else ""
            said = (
                f"A shift by {sized(size, shift.unit)} changes the features of {before.name} by {values[0]:.3f} of "
                f"their length and those of the pooling {after.name} behind it by {values[1]:.3f}{usual}."
            )
            return [said]
    return []


def _plain(value: Any) -> Any:
    if isinstance(value, Probe | Curve | ProbedLayer | Sample):
        named = {item.name: getattr(value, item.name) for item in fields(value) if item.name != "pictures"}
        if isinstance(value, Probe):
            named["pictures"] = value.pictures
        return _plain(named)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
