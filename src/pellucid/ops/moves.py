"""Operations that move numbers and compute none, opened: where a number of the result was read, and who read a number.

A number of the result is a copy of one number of an argument. The gradient of a number is the sum of the gradients of
its copies, of which there may be none (what a slice leaves out) or many (what an expansion repeats).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.ops.base import Op
from pellucid.ops.terms import OUTSIDE, Call, Group, Index, Places, Terms, flat, scaled, single


@dataclass(frozen=True)
class Along:
    """How one dimension of the source is read.

    axis: the dimension of the result that runs along it, None where none does. reads: for each index along ``axis``
    the index in the source, -1 outside of it; where there is no axis, the one index that is read.
    """

    axis: int | None
    reads: Places

    def index(self, at: Index) -> int:
        """The index in the source that a number of the result reads."""
        return int(self.reads[0 if self.axis is None else at[self.axis]])


@dataclass(frozen=True)
class Move(Op):
    """An operation whose numbers are copies. By default a copy of the whole, place by place.

    A subclass says with ``along`` how each dimension of the source is read, or, where dimensions do not go one by one,
    with ``source`` and ``readers`` which place is read and who reads a place.
    """

    def along(self, call: Call) -> Sequence[Along]:
        """How each dimension of the source is read."""
        return [Along(axis, np.arange(n)) for axis, n in enumerate(call.array(self.origin(call)).shape)]

    def origin(self, call: Call) -> str:
        """The slot of the tensor that is moved."""
        return call.slots()[0]

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        """The slot and the flat place in it that a number of the result reads; -1 where it reads none."""
        slot = self.origin(call)
        index = [along.index(at) for along in self.along(call)]
        return slot, int(flat(call.array(slot).shape, *index)[0])

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        """The gradients' slots and the flat places in them of all numbers that read number ``at`` of slot ``of``."""
        if of != self.origin(call):
            return []
        return [("gradient", readers(self.along(call), at, call.result.shape))]

    def terms(self, at: Index, call: Call) -> Terms:
        """One term: the number that was read."""
        return copied(call, *self.source(at, call))

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradients of all copies."""
        return gathered(call, self.readers(of, at, call))


def copied(call: Call, slot: str, place: int) -> Terms:
    """A number that was read at a flat place of a slot."""
    return Terms((single("copy", call, slot, place),), "a number of the input as it stands")


def gathered(call: Call, found: Sequence[tuple[str, Places]]) -> Terms:
    """The gradients at places of slots, summed."""
    groups = tuple(scaled("copy", call, slot, places, 1.0) for slot, places in found if len(places))
    formula = "sum of the gradients of its copies" if groups else "nothing read it, so that its gradient is 0"
    return Terms(groups, formula)


def computed(value: float, note: str) -> Terms:
    """A number that no tensor of the network gave."""
    return Terms((Group("constant", np.array([value], np.float64), note=note),), "a constant")


def readers(along: Sequence[Along], place: Index, out: Sequence[int]) -> Places:
    """Flat places in a result of shape ``out`` of all numbers that read one place. A dimension of the result that runs
    along none of the source's repeats it.

    >>> readers([Along(1, np.array([0, 0, 1]))], (0,), (2, 3))
    array([0, 1, 3, 4])
    """
    lists = [np.arange(n) for n in out]
    for own, index in zip(along, place, strict=True):
        if own.axis is None:
            if own.reads[0] != index:
                return np.zeros(0, np.int64)
        else:
            lists[own.axis] = np.flatnonzero(own.reads == index)
    return flat(out, *lists)


def reads_of_padding(inputs: int, before: int, after: int, mode: str) -> Places:
    """The index that each number of a padded dimension reads; -1 for a constant. A negative padding cuts off.

    >>> reads_of_padding(3, 2, 1, "reflect")
    array([2, 1, 0, 1, 2, 1])
    """
    index = np.arange(inputs + before + after) - before
    if mode == "reflect":
        index = np.abs(index)
        return np.where(index >= inputs, 2 * (inputs - 1) - index, index)
    if mode == "replicate":
        return np.clip(index, 0, inputs - 1)
    if mode == "circular":
        first, last = max(0, -before), inputs - max(0, -after)  # what is cut off does not come round again
        return first + (index - first) % max(1, last - first)
    return np.where((index < 0) | (index >= inputs), OUTSIDE, index)


def shuffled(at: Index, factor: int) -> Index:
    """The place (..., C r r, H, W) that number (..., C, r H, r W) of a pixel shuffle by r reads: channel
    c r r + (y mod r) r + (x mod r), y / r, x / r (Shi et al. 2016, eq. 4).

    >>> shuffled((0, 1, 5, 2), 2)
    (0, 6, 2, 1)
    """
    *lead, channel, y, x = at
    return (*lead, channel * factor**2 + y % factor * factor + x % factor, y // factor, x // factor)


def unshuffled(at: Index, factor: int) -> Index:
    """The way back: the place (..., C, r H, r W) of number (..., C r r, H, W).

    >>> unshuffled((0, 6, 2, 1), 2)
    (0, 1, 5, 2)
    """
    *lead, channel, y, x = at
    channel, inside = divmod(channel, factor**2)
    return (*lead, channel, y * factor + inside // factor, x * factor + inside % factor)
