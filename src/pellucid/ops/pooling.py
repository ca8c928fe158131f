"""Pooling: maximum, average and sum over windows, adaptive and global."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, first_shape, per_axis, times
from pellucid.ops.choosing import Mask, first_largest, idle, winner_and_losers
from pellucid.ops.field import Reach, Window
from pellucid.ops.terms import Call, Floats, Group, Index, Places, Terms, flat, one_place, scaled


@dataclass(frozen=True)
class Pooling(Op):
    """A window that slides over each feature map by itself: (N, C, H, W) -> (N, C, P, Q)."""

    kind: ClassVar[str] = "pooling"
    word: ClassVar[str] = "Pooling"
    kernel: tuple[int, ...] = (2, 2)
    stride: tuple[int, ...] = (2, 2)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    ceil_mode: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(**_window_settings(arguments))

    @property
    def windows(self) -> tuple[Window, ...]:
        """One for each spatial axis."""
        rows = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(Window(k, s, p, p, d) for k, s, p, d in rows)

    def describe(self) -> str:
        parts = [f"{self.word} {times(self.kernel)}"]
        if self.stride != self.kernel:
            parts.append(f"stride {self.stride[0]}")
        if any(self.padding):
            parts.append(f"padding {self.padding[0]}")
        if any(d != 1 for d in self.dilation):
            parts.append(f"dilation {self.dilation[0]}")
        if self.ceil_mode:
            parts.append("ceil mode")
        return ", ".join(parts)

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        axes = len(self.kernel)
        sizes = (w.outputs(n, ceil_mode=self.ceil_mode) for w, n in zip(self.windows, x[-axes:], strict=True))
        return (*x[:-axes], *sizes)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].windowed(self.windows, first=len(out) - len(self.kernel))


@dataclass(frozen=True)
class MaxPooling(Pooling):
    """The largest number of each window. Minimum pooling is -max(-x), as two more nodes say."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.max_pool1d.default",
        "aten.max_pool2d.default",
        "aten.max_pool3d.default",
        "aten.max_pool1d_with_indices.default",
        "aten.max_pool2d_with_indices.default",
        "aten.max_pool3d_with_indices.default",
    )
    word: ClassVar[str] = "Max pooling"

    @property
    def name(self) -> str:
        return "max_pool"

    def terms(self, at: Index, call: Call) -> Terms:
        """The winner's number: the first of the largest in the window, row by row. The padding takes no part."""
        axes = len(self.kernel)
        places = self._reads([np.array([p]) for p in at[-axes:]], call)[0]
        inside = places[places >= 0]
        lead, plane = at[:-axes], _plane(call, axes)
        first = one_place(call.array("self").shape[: len(lead)], lead) * prod(plane)
        if len(call.results) > 1:
            won = inside == int(call.results[1][at])
        else:
            values = call.array("self").reshape(-1)[first + inside]
            won = np.arange(len(inside)) == first_largest(values[None], np.zeros((1, len(inside)), bool))[0]
        return _of_winner(call, first, inside, won, f"the largest of {len(inside)}")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient goes to the winner: that of each window over this place, where it won there."""
        axes = len(self.kernel)
        lead, out, plane = at[:-axes], call.result.shape, _plane(call, axes)
        rows = zip(self.windows, at[-axes:], out[-axes:], strict=True)
        readers = [np.array(w.readers(y, n)[0], np.int64) for w, y, n in rows]
        gradients = flat(out, *lead, *readers)
        own = one_place(plane, at[-axes:])
        if len(call.results) > 1:
            winners = call.results[1].reshape(-1)[gradients]
        elif len(gradients):
            places = self._reads(readers, call)
            first = one_place(call.array("self").shape[: len(lead)], lead) * prod(plane)
            values = call.array("self").reshape(-1)[first + np.maximum(places, 0)]
            winners = places[np.arange(len(places)), first_largest(values, places < 0)]
        else:
            winners = gradients
        return _to_winner(call, gradients, winners == own)

    def _reads(self, outputs: Sequence[Places], call: Call) -> Places:
        """What the windows at all combinations of places read: (windows, taps), flat in a map, -1 in the padding."""
        axes = len(self.kernel)
        place, outside = np.zeros([1] * 2 * axes, np.int64), np.zeros([1] * 2 * axes, bool)
        for axis, (w, own, n) in enumerate(zip(self.windows, outputs, _plane(call, axes), strict=True)):
            read = own[:, None] * w.stride - w.before + w.dilation * np.arange(w.kernel)
            sizes = [1] * 2 * axes
            sizes[axis], sizes[axes + axis] = read.shape
            part = read.reshape(sizes)
            place, outside = place * n + part, outside | (part < 0) | (part >= n)
        windows = prod(len(own) for own in outputs)
        return np.where(outside, -1, place).reshape(windows, -1)


@dataclass(frozen=True)
class AveragePooling(Pooling):
    """The mean of each window; with ``include_pad`` the padding counts as zeros, with ``divisor`` the sum is divided by
    that (1 gives sum pooling)."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.avg_pool1d.default",
        "aten.avg_pool2d.default",
        "aten.avg_pool3d.default",
    )
    word: ClassVar[str] = "Average pooling"
    include_pad: bool = True
    divisor: int | None = None

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        divisor = arguments.get("divisor_override")
        include = bool(arguments.get("count_include_pad", True))
        return cls(**_window_settings(arguments), include_pad=include, divisor=divisor)

    @property
    def name(self) -> str:
        return "avg_pool"

    def describe(self) -> str:
        text = super().describe()
        if self.divisor == 1:
            return text.replace("Average", "Sum", 1)
        return text + (", without padding in the mean" if any(self.padding) and not self.include_pad else "")

    def terms(self, at: Index, call: Call) -> Terms:
        """Each number of the window over their count; the padding counts as zeros, or not at all."""
        axes = len(self.kernel)
        bounds = [
            self._bounds(w, np.array([p]), n)
            for w, p, n in zip(self.windows, at[-axes:], _plane(call, axes), strict=True)
        ]
        reads = [np.arange(start[0], stop[0]) for start, stop in bounds]
        divisor = self.divisor or prod(map(len, reads))
        if self.divisor is None and not divisor:
            return Terms(formula="an empty window")
        places = flat(call.array("self").shape, *at[:-axes], *reads)
        note = "" if divisor == 1 else f"1/{divisor}"
        group = scaled("product", call, "self", places, 1 / divisor, note)
        shape = (1, *map(len, reads))
        return Terms((replace(group, shape=shape),), "sum of the window" + (f" / {divisor}" if divisor != 1 else ""))

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient is spread: each window over this place gives it its share."""
        axes = len(self.kernel)
        out = call.result.shape
        readers, counts = [], np.ones((), np.int64)
        for w, y, n, m in zip(self.windows, at[-axes:], _plane(call, axes), out[-axes:], strict=True):
            own = np.array(w.readers(y, m)[0], np.int64)
            start, stop = self._bounds(w, own, n)
            readers.append(own)
            counts = np.multiply.outer(counts, stop - start)
        shares = 1 / (counts.reshape(-1) if self.divisor is None else np.full(counts.size, self.divisor))
        return _spread(call, flat(out, *at[:-axes], *readers), shares)

    def _bounds(self, w: Window, outputs: Places, size: int) -> tuple[Places, Places]:
        """The first input that each window counts, and the one after the last. What overhangs the padding (ceil mode)
        never counts."""
        start = outputs * w.stride - w.before
        stop = np.minimum(start + w.kernel, size + w.after)
        if self.include_pad or self.divisor is not None:
            return start, stop
        return np.maximum(start, 0), np.maximum(np.minimum(stop, size), np.maximum(start, 0))


@dataclass(frozen=True)
class AdaptivePooling(Op):
    """Windows that divide each map into P x Q parts: output i is over floor(i H / P) to ceil((i + 1) H / P) - 1."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.adaptive_avg_pool1d.default",
        "aten.adaptive_avg_pool2d.default",
        "aten.adaptive_avg_pool3d.default",
        "aten._adaptive_avg_pool2d.default",
        "aten._adaptive_avg_pool3d.default",
        "aten.adaptive_max_pool1d.default",
        "aten.adaptive_max_pool2d.default",
        "aten.adaptive_max_pool3d.default",
    )
    kind: ClassVar[str] = "pooling"
    size: tuple[int, ...] = (1, 1)
    largest: bool = False  # of each window, instead of the mean

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        size = arguments["output_size"]
        return cls(tuple(size) if not isinstance(size, int) else (size,), "max" in call)

    @property
    def name(self) -> str:
        return "adaptive_pool"

    def describe(self) -> str:
        return "Global pooling" if set(self.size) == {1} else f"Adaptive pooling to {times(self.size)}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        return (*x[: len(x) - len(self.size)], *self.size)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        x = first_shape(arguments)
        first = len(x) - len(self.size)
        reach = reaches[0]
        for dim, (n, p) in enumerate(zip(x[first:], self.size, strict=True), start=first):
            if dim not in reach.dims:
                continue
            if p == 1 and n > 1:
                reach = reach.lost([dim])
            elif p != n:
                factor = Fraction(n, p)
                # floor(i n/p) >= i n/p - (p-1)/p and ceil((i+1) n/p) - 1 <= i n/p + n/p - 1/p
                low, high = (Fraction(0), factor - 1) if n % p == 0 else (Fraction(1 - p, p), factor - Fraction(1, p))
                reach = Reach({**reach.dims, dim: reach.dims[dim].placed(factor, low, high)}, reach.unbounded)
        return reach

    def terms(self, at: Index, call: Call) -> Terms:
        """Each number of the window over their count; or the winner's alone."""
        axes = len(self.size)
        lead, plane = at[:-axes], _plane(call, axes)
        bounds = [
            _part(np.array([p]), n, m) for p, n, m in zip(at[-axes:], plane, call.result.shape[-axes:], strict=True)
        ]
        reads = [np.arange(start[0], stop[0]) for start, stop in bounds]
        if self.largest:
            inside = flat(plane, *reads)
            first = one_place(call.array("self").shape[: len(lead)], lead) * prod(plane)
            return _of_winner(call, first, inside, inside == int(call.results[1][at]), f"the largest of {len(inside)}")
        count = prod(map(len, reads))
        group = scaled("product", call, "self", flat(call.array("self").shape, *lead, *reads), 1 / count, f"1/{count}")
        return Terms((replace(group, shape=(1, *map(len, reads))),), f"mean of {count}")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient is spread over the window, or goes to its winner."""
        axes = len(self.size)
        plane, out = _plane(call, axes), call.result.shape
        readers, counts = [], np.ones((), np.int64)
        for y, n, m in zip(at[-axes:], plane, out[-axes:], strict=True):
            start, stop = _part(np.arange(m), n, m)
            own = np.flatnonzero((start <= y) & (y < stop))
            readers.append(own)
            counts = np.multiply.outer(counts, (stop - start)[own])
        gradients = flat(out, *at[:-axes], *readers)
        if self.largest:
            winners = call.results[1].reshape(-1)[gradients]
            return _to_winner(call, gradients, winners == one_place(plane, at[-axes:]))
        return _spread(call, gradients, 1 / counts.reshape(-1))


def _window_settings(arguments: Arguments) -> dict[str, Any]:
    kernel = tuple(arguments["kernel_size"]) if not isinstance(arguments["kernel_size"], int) else None
    axes = len(kernel) if kernel and len(kernel) > 1 else len(first_shape(arguments)) - 2
    sizes = per_axis(arguments["kernel_size"], max(1, axes))
    axes = len(sizes)
    return {
        "kernel": sizes,
        "stride": per_axis(arguments.get("stride") or sizes, axes),
        "padding": per_axis(arguments.get("padding", 0), axes),
        "dilation": per_axis(arguments.get("dilation", 1), axes),
        "ceil_mode": bool(arguments.get("ceil_mode", False)),
    }


def _plane(call: Call, axes: int) -> Shape:
    """The size of a map."""
    return call.array("self").shape[-axes:]


def _part(outputs: Places, inputs: int, parts: int) -> tuple[Places, Places]:
    """The first input of each of so many parts, and the one after the last."""
    return outputs * inputs // parts, -((-(outputs + 1) * inputs) // parts)


def _of_winner(call: Call, first: int, inside: Places, won: Mask, formula: str) -> Terms:
    """The numbers of a window, at flat places in the map that begins at ``first``; of the indices, which is a second
    result, the winner's own place."""
    if call.which:
        index = Group(
            "winner", inside[won].astype(np.float64), "self", first + inside[won], note="its place in the map"
        )
        return Terms((index, idle("loser", "self", first + inside[~won])), f"the place of {formula}")
    return Terms(winner_and_losers(call, "self", first + inside, won), formula)


def _to_winner(call: Call, gradients: Places, won: Mask) -> Terms:
    """The gradients of windows, as they stand where a number won, nothing where it lost."""
    groups = (scaled("winner", call, "gradient", gradients[won], 1.0), idle("loser", "gradient", gradients[~won]))
    return Terms(tuple(group for group in groups if len(group)), "the gradient of the windows that it won")


def _spread(call: Call, gradients: Places, shares: Floats) -> Terms:
    """The gradients of windows, each by its share."""
    counts = {round(1 / share) for share in shares}
    note = f"1/{counts.pop()}" if len(counts) == 1 else "1 / count"
    return Terms(
        (scaled("product", call, "gradient", gradients, shares, note),), "sum of the windows' gradients x share"
    )
