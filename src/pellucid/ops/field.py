"""Receptive fields: which input pixels an output number can see, axis by axis.

Through a window of kernel k, stride s, padding p and dilation d, output i reads inputs s i - p to s i - p + d (k - 1)
(Dumoulin & Visin 2016, relationship 6; Araujo, Norris & Sim 2019). Composed, an output sees pixels from step * i + low
to step * i + high; through a transposed convolution ``step`` is a fraction and the ends are rounded inwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel that slides along one axis; ``before`` and ``after`` are the padding."""

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def span(self) -> int:
        """Samples from the first to the last that one output reads, holes included: d (k - 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    def outputs(self, size: int, *, ceil_mode: bool = False) -> int:
        """How many outputs: floor((n + p - span) / s) + 1; with ``ceil_mode`` the last window may overhang, but must
        begin inside the input or the padding before it.

        >>> Window(3, stride=2, before=1, after=1).outputs(32)
        16
        """
        room = size + self.before + self.after - self.span
        if not ceil_mode:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        return count - 1 if (count - 1) * self.stride >= size + self.before else count

    def readers(self, place: int, outputs: int) -> tuple[list[int], list[int]]:
        """The outputs (of so many) that read an input place, rising, and by which tap each does.

        >>> Window(3, stride=2, before=1).readers(1, outputs=4)
        ([0, 1], [2, 0])
        """
        pairs = [divmod(place + self.before - self.dilation * tap, self.stride) for tap in range(self.kernel)]
        found = [(p, tap) for tap, (p, rest) in enumerate(pairs) if not rest and 0 <= p < outputs]
        return [p for p, _ in sorted(found)], [tap for _, tap in sorted(found)]


@dataclass(frozen=True, slots=True)
class Axis:
    """Along one dimension of a tensor: index i sees pixels step * i + low to step * i + high of input axis ``of``."""

    of: int
    step: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def through(self, window: Window) -> Axis:
        """After a sliding window."""
        return Axis(
            self.of,
            self.step * window.stride,
            self.low - self.step * window.before,
            self.high + self.step * (window.span - 1 - window.before),
        )

    def spread(self, window: Window) -> Axis:
        """After a transposed convolution: output i reads inputs (i + p - d (k - 1)) / s to (i + p) / s."""
        step = self.step / window.stride
        low, high = window.before - (window.span - 1), window.before
        return Axis(self.of, step, self.low + step * low, self.high + step * high)

    def placed(self, factor: Fraction, low: Fraction, high: Fraction) -> Axis:
        """After reading inputs factor * i + low to factor * i + high."""
        return Axis(self.of, self.step * factor, self.low + self.step * low, self.high + self.step * high)

    def box(self, index: int) -> tuple[int, int]:
        """The first and the last pixel that output ``index`` sees; outside the picture is padding."""
        return ceil(self.step * index + self.low), floor(self.step * index + self.high)


@dataclass(frozen=True)
class Reach:
    """What a tensor's entries see: ``dims`` maps its dimensions to axes of the input; ``unbounded`` are input axes of
    which every entry may see everything."""

    dims: Mapping[int, Axis] = field(default_factory=dict)
    unbounded: frozenset[int] = frozenset()

    @classmethod
    def of_input(cls, rank: int) -> Reach:
        """Of a graph's input (N, C, *spatial): each entry sees itself."""
        return cls({dim: Axis(dim - 2) for dim in range(2, rank)})

    def lost(self, dims: Sequence[int] | None = None) -> Reach:
        """With some dimensions (all by default) seen whole from everywhere."""
        gone = [dim for dim in self.dims if dims is None or dim in dims]
        kept = {dim: axis for dim, axis in self.dims.items() if dim not in gone}
        return Reach(kept, self.unbounded | {self.dims[dim].of for dim in gone})

    def aligned(self, missing: int) -> Reach:
        """With ``missing`` dimensions put before the others."""
        return Reach({dim + missing: axis for dim, axis in self.dims.items()}, self.unbounded)

    def renamed(self, where: Mapping[int, int]) -> Reach:
        """With dimensions moved (old -> new); those that are not named are lost."""
        kept = {where[dim]: axis for dim, axis in self.dims.items() if dim in where}
        return Reach(kept, self.lost([dim for dim in self.dims if dim not in where]).unbounded)

    def read(self, dim: int, factor: Fraction, low: Fraction, high: Fraction) -> Reach:
        """After a step whose output i reads, along a dimension, inputs factor * i + low to factor * i + high."""
        if dim not in self.dims:
            return self
        return Reach({**self.dims, dim: self.dims[dim].placed(factor, low, high)}, self.unbounded)

    def windowed(self, windows: Sequence[Window], *, first: int, transposed: bool = False) -> Reach:
        """After one window for each dimension from ``first`` on."""
        dims = dict(self.dims)
        for dim, window in enumerate(windows, start=first):
            if dim in dims:
                dims[dim] = dims[dim].spread(window) if transposed else dims[dim].through(window)
        return Reach(dims, self.unbounded)


def joined(reaches: Sequence[Reach]) -> Reach:
    """What is seen by either: the hull where both go with the same step, everything where they do not."""
    dims: dict[int, Axis] = {}
    unbounded: set[int] = set()
    for reach in reaches:
        unbounded |= reach.unbounded
        for dim, axis in reach.dims.items():
            other = dims.get(dim)
            if other is None:
                dims[dim] = axis
            elif other.of == axis.of and other.step == axis.step:
                dims[dim] = Axis(axis.of, axis.step, min(other.low, axis.low), max(other.high, axis.high))
            else:
                unbounded |= {axis.of, other.of}
    seen_twice = {axis.of for axis in dims.values() if [a.of for a in dims.values()].count(axis.of) > 1}
    gone = unbounded | seen_twice
    return Reach({dim: axis for dim, axis in dims.items() if axis.of not in gone}, frozenset(gone))
