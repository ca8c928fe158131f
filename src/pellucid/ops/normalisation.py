"""Normalisation: over the batch, over layers, groups and single maps.

Local response normalisation is no operation of its own in PyTorch: it arrives as squares, an average pooling over
channels and a power, each described where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, product
from pellucid.ops.field import Reach
from pellucid.ops.moves import copied
from pellucid.ops.normalised import (
    Statistics,
    fixed_gradient_of_input,
    gradient_of_input,
    gradient_of_scale,
    gradient_of_shift,
    mean_terms,
    no_terms_of_deviation,
    normalised_lines,
    running_variance_terms,
    statistics_of,
    value_terms,
)
from pellucid.ops.terms import Call, Group, Index, Places, Terms, flat, one_place, scaled, taken


@dataclass(frozen=True)
class BatchNorm(Op):
    """y = (x - mean) / sqrt(variance + eps) * scale + shift, per channel (Ioffe & Szegedy 2015, algorithm 1).

    In training, mean and variance are those of the batch, which couples all pictures and places; the receptive field
    leaves that coupling out, as is usual.
    """

    targets: ClassVar[tuple[str, ...]] = (
        "aten.batch_norm.default",
        "aten._native_batch_norm_legit_functional.default",
        "aten._native_batch_norm_legit.no_stats",
        "aten._native_batch_norm_legit_no_training.default",
        "aten._batch_norm_with_update_functional.default",
        "aten._batch_norm_no_update.default",
        "aten.native_batch_norm.default",
    )
    kind: ClassVar[str] = "normalisation"
    training: bool = False
    eps: float = 1e-5

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        training = bool(arguments.get("training", "no_training" not in call and "no_update" not in call))
        return cls(training, float(arguments.get("eps", 1e-5)))

    @property
    def name(self) -> str:
        return "batch_norm"

    @property
    def couples_batch(self) -> bool:
        return self.training

    def describe(self) -> str:
        return "Batch normalisation" + (", by the batch" if self.training else "")

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0]

    def terms(self, at: Index, call: Call) -> Terms:
        """y = x scale / deviation - mean scale / deviation + shift; others are a mean and running statistics."""
        if not call.which:
            return value_terms(call, at, self._statistics(at[1], call), at[1])
        if call.which in (1, 2) and self.training:
            places = _places_of_channel(at[0], call)
            return mean_terms(call, places) if call.which == 1 else no_terms_of_deviation(self._statistics(at[0], call))
        running = {len(call.results) - 2: "running_mean", len(call.results) - 1: "running_var"}.get(call.which, "")
        if len(call.results) < 5 or not running:
            return Terms(missing="this result is what PyTorch keeps for its way back, no number of the network")
        return self._running_terms(at[0], running, call)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """In training the gradient of a number depends on all gradients of its channel, since it moved the mean and the
        variance that all of them were normalised by."""
        if of == "input" and self.training:
            places, statistics = _places_of_channel(at[1], call), self._statistics(at[1], call)
            return gradient_of_input(call, at, places, statistics, np.full(len(places), at[1]))
        if of == "input":
            return fixed_gradient_of_input(call, at, self._statistics(at[1], call), at[1])
        if of not in ("weight", "bias"):
            return Terms(formula="running statistics take no gradient")
        places = _places_of_channel(at[0], call)
        if of == "bias":
            return gradient_of_shift(call, places)
        statistics = self._statistics(at[0], call)
        normal = (taken(call, "input", places) - statistics.mean) * statistics.inverse
        return gradient_of_scale(call, places, normal)

    def _statistics(self, channel: int, call: Call) -> Statistics:
        if self.training:
            return statistics_of(call, _places_of_channel(channel, call), self.eps, "the batch")
        return _running_statistics(channel, self.eps, call)

    def _running_terms(self, channel: int, running: str, call: Call) -> Terms:
        """What the running mean or variance is after this batch."""
        if not self.training:
            return copied(call, running, channel)
        momentum, places = float(call.arguments["momentum"]), _places_of_channel(channel, call)
        before = scaled("before", call, running, np.array([channel]), 1 - momentum, "1 - momentum")
        if running == "running_mean":
            return mean_terms(call, places, momentum, before)
        return running_variance_terms(call, places, momentum, before)


def _places_of_channel(channel: int, call: Call) -> Places:
    """Of every number of a channel, in all pictures."""
    x = call.array("input").shape
    return flat(x, np.arange(x[0]), channel, *(np.arange(n) for n in x[2:]))


def _running_statistics(channel: int, eps: float, call: Call) -> Statistics:
    mean, variance = (float(call.array(name)[channel]) for name in ("running_mean", "running_var"))
    return Statistics(mean, variance, eps, "running statistics")


@dataclass(frozen=True)
class LayerNorm(Op):
    """The numbers of the last dimensions get mean 0 and variance 1, then scale and shift (Ba et al. 2016)."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.layer_norm.default",
        "aten.native_layer_norm.default",
        "aten.rms_norm.default",
    )
    kind: ClassVar[str] = "normalisation"
    over: int = 1  # how many of the last dimensions
    centred: bool = True  # False for the root mean square alone (Zhang & Sennrich 2019)

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(len(arguments["normalized_shape"]), call != "rms_norm")

    @property
    def name(self) -> str:
        return "layer_norm"

    def describe(self) -> str:
        what = "Layer normalisation" if self.centred else "Root mean square normalisation"
        return f"{what} over the last {self.over}" if self.over > 1 else what

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost(range(len(out) - self.over, len(out)))

    def terms(self, at: Index, call: Call) -> Terms:
        """y = x scale / deviation - mean scale / deviation + shift, with the statistics of its row."""
        places = self._row(at, call)
        statistics = statistics_of(call, places, self._eps(call), "the row", centred=self.centred)
        if call.which:
            return mean_terms(call, places) if call.which == 1 else no_terms_of_deviation(statistics)
        return value_terms(call, at, statistics, one_place(call.result.shape[-self.over :], at[-self.over :]))

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of a number depends on all gradients of its row."""
        if of == "input":
            places = self._row(at, call)
            statistics = statistics_of(call, places, self._eps(call), "the row", centred=self.centred)
            return gradient_of_input(call, at, places, statistics, np.arange(len(places)))
        x = call.array("input")
        row = product(x.shape[-self.over :])
        unit = one_place(x.shape[-self.over :], at)
        places = np.arange(unit, x.size, row)
        if of == "bias":
            return gradient_of_shift(call, places)
        normal = normalised_lines(x.reshape(-1, row), [unit], self._eps(call), centred=self.centred)
        return gradient_of_scale(call, places, normal)

    def _row(self, at: Index, call: Call) -> Places:
        x = call.array("input").shape
        return flat(x, *at[: len(x) - self.over], *(np.arange(n) for n in x[-self.over :]))

    def _eps(self, call: Call) -> float:
        """What is added to the variance; by default what PyTorch takes for the input's precision."""
        eps = call.arguments.get("eps", None if not self.centred else 1e-5)
        return float(np.finfo(call.array("input").dtype).eps if eps is None else eps)


@dataclass(frozen=True)
class GroupNorm(Op):
    """Groups of channels of each picture get mean 0 and variance 1 (Wu & He 2018): every place sees the whole map."""

    targets: ClassVar[tuple[str, ...]] = ("aten.group_norm.default", "aten.native_group_norm.default")
    kind: ClassVar[str] = "normalisation"
    groups: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("num_groups", arguments.get("group", 1))))

    @property
    def name(self) -> str:
        return "group_norm"

    def describe(self) -> str:
        return f"Group normalisation, {self.groups} groups"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost()

    def terms(self, at: Index, call: Call) -> Terms:
        """y = x scale / deviation - mean scale / deviation + shift, with the statistics of its picture's group."""
        share = call.array("input").shape[1] // self.groups
        picture, group = at if call.which else (at[0], at[1] // share)
        places = _places_of_group(picture, group, share, call)
        statistics = statistics_of(call, places, _eps(call), "the group")
        if call.which:
            return mean_terms(call, places) if call.which == 1 else no_terms_of_deviation(statistics)
        return value_terms(call, at, statistics, at[1])

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of a number depends on all gradients of its group."""
        share = call.array("input").shape[1] // self.groups
        if of != "input":
            return _gradient_of_unit(of, at[0], share, call)
        group = at[1] // share
        places = _places_of_group(at[0], group, share, call)
        statistics = statistics_of(call, places, _eps(call), "the group")
        units = np.repeat(np.arange(group * share, (group + 1) * share), len(places) // share)
        found = gradient_of_input(call, at, places, statistics, units)
        return replace(found, groups=found.groups + self._through_statistics(at, places, statistics, call))

    def _through_statistics(self, at: Index, places: Places, statistics: Statistics, call: Call) -> tuple[Group, ...]:
        """What comes back through mean and 1 / deviation where they are results that somebody uses."""
        if len(call.gradients) < 3:
            return ()
        x, m = float(call.array("input")[at]), len(places)
        group = flat(call.results[1].shape, at[0], at[1] // (call.array("input").shape[1] // self.groups))
        slope = -(x - statistics.mean) * statistics.inverse**3 / m
        pairs = [("gradient[1]", 1 / m, "d mean / dx"), ("gradient[2]", slope, "d (1 / deviation) / dx")]
        used = [(slot, factor, note) for slot, factor, note in pairs if call.array(slot).any()]
        return tuple(scaled("statistics", call, slot, group, factor, note) for slot, factor, note in used)


def _eps(call: Call) -> float:
    return float(call.arguments.get("eps", 1e-5))


def _places_of_group(picture: int, group: int, share: int, call: Call) -> Places:
    """Of every number of a group of so many channels in one picture."""
    x = call.array("input").shape
    channels = np.arange(group * share, (group + 1) * share)
    return flat(x, picture, channels, *(np.arange(n) for n in x[2:]))


def _gradient_of_unit(of: str, channel: int, share: int, call: Call) -> Terms:
    """Of a channel's scale or shift: over all pictures, each with the statistics of the channel's group in it."""
    x = call.array("input")
    places = _places_of_channel(channel, call)
    if of == "bias":
        return gradient_of_shift(call, places)
    first = channel // share * share
    lines = x[:, first : first + share].reshape(len(x), -1)
    spot = product(x.shape[2:])
    inside = np.arange((channel - first) * spot, (channel - first + 1) * spot)
    return gradient_of_scale(call, places, normalised_lines(lines, inside, _eps(call)))


@dataclass(frozen=True)
class InstanceNorm(Op):
    """Each map of each picture gets mean 0 and variance 1 (Ulyanov et al. 2016): every place sees the whole map."""

    targets: ClassVar[tuple[str, ...]] = ("aten.instance_norm.default",)
    kind: ClassVar[str] = "normalisation"

    @property
    def name(self) -> str:
        return "instance_norm"

    def describe(self) -> str:
        return "Instance normalisation"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost()

    def terms(self, at: Index, call: Call) -> Terms:
        """y = x scale / deviation - mean scale / deviation + shift, with the statistics of its map."""
        return value_terms(call, at, self._statistics(at, call), at[1])

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of a number depends on all gradients of its map, unless running statistics are used."""
        of_maps = bool(call.arguments.get("use_input_stats", True))
        if of == "input" and of_maps:
            places = _places_of_group(at[0], at[1], 1, call)
            return gradient_of_input(call, at, places, self._statistics(at, call), np.full(len(places), at[1]))
        if of == "input":
            return fixed_gradient_of_input(call, at, self._statistics(at, call), at[1])
        if of not in ("weight", "bias"):
            return Terms(formula="running statistics take no gradient")
        if of_maps or of == "bias":
            return _gradient_of_unit(of, at[0], 1, call)
        places, statistics = _places_of_channel(at[0], call), _running_statistics(at[0], _eps(call), call)
        return gradient_of_scale(call, places, (taken(call, "input", places) - statistics.mean) * statistics.inverse)

    def _statistics(self, at: Index, call: Call) -> Statistics:
        if call.arguments.get("use_input_stats", True):
            return statistics_of(call, _places_of_group(at[0], at[1], 1, call), _eps(call), "the map")
        return _running_statistics(at[1], _eps(call), call)
