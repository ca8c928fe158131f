"""Arrays in the layout of lanes for the tests of kernels: to it, from it, and aligned memory that guards its edges."""

from __future__ import annotations

import numpy
import pytest

from pellucid.lanes.library import Library, library, targets

GUARD = 12345.0  # stands between groups and behind the last one: a kernel must leave it alone

Floats = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.float32]]


def on_target(name: str) -> Library:
    """The library for a target; the test is skipped where the machine or the build lacks it."""
    known = {target.name: target for target in targets()}
    if name not in known:
        pytest.skip(f"the native library was not built for {name}")
    if not known[name].usable:
        pytest.skip(f"this processor has no {name}")
    return library(name)


def aligned(floats: int) -> Floats:
    """Memory on a boundary of 64 bytes, full of the guard's number."""
    memory = numpy.full(floats + 16, GUARD, numpy.float32)
    begin = -memory.ctypes.data // 4 % 16
    return memory[begin : begin + floats]


class Lanes:
    """Pictures [N, ...] as groups [G][...][L], ``gap`` vectors between; lanes past the end repeat the last.

    Args:
        shape: of the pictures, with their number N in front.
        lanes: of a vector.
        gap: vectors behind each group.
    """

    def __init__(self, shape: tuple[int, ...], lanes: int, gap: int = 0) -> None:
        self.shape, self.lanes, self.gap = shape, lanes, gap * lanes
        self.groups = -(-shape[0] // lanes)
        self.live = shape[0] - (self.groups - 1) * lanes
        self.inside = int(numpy.prod(shape[1:])) * lanes
        self.stride = self.inside + self.gap
        self.memory = aligned(self.groups * self.stride)

    @property
    def address(self) -> int:
        """Of the first float."""
        return self.memory.ctypes.data

    @property
    def pictures(self) -> Floats:
        """All lanes' pictures [G L, ...], the repeated ones with them."""
        rows = self.memory.reshape(self.groups, self.stride)[:, : self.inside]
        whole = rows.reshape(self.groups, *self.shape[1:], self.lanes)
        return numpy.moveaxis(whole, -1, 1).reshape(self.groups * self.lanes, *self.shape[1:])

    def write(self, pictures: Floats, dead: float | None = None) -> Lanes:
        """Fill from [N, ...]. dead: what stands in the lanes past the end, by default the last picture."""
        padded = numpy.empty((self.groups * self.lanes, *self.shape[1:]), numpy.float32)
        padded[: self.shape[0]] = pictures
        padded[self.shape[0] :] = pictures[-1] if dead is None else dead
        split = padded.reshape(self.groups, self.lanes, *self.shape[1:])
        rows = numpy.moveaxis(split, 1, -1).reshape(self.groups, self.inside)
        self.memory.reshape(self.groups, self.stride)[:, : self.inside] = rows
        return self

    def read(self) -> Floats:
        """[N, ...], after a look at the guards."""
        assert (self.memory.reshape(self.groups, self.stride)[:, self.inside :] == GUARD).all(), "wrote past a group"
        return self.pictures[: self.shape[0]]


def random(*shape: int, seed: int, small: bool = False) -> Floats:
    """Normal numbers, or whole ones from -3 to 3 whose sums are exact."""
    generator = numpy.random.default_rng(seed)
    if small:
        return generator.integers(-3, 4, shape).astype(numpy.float32)
    return generator.standard_normal(shape).astype(numpy.float32)
