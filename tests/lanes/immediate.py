"""A Build that runs each kernel as soon as a block emits it, over NumPy arrays: for the tests of blocks."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy

from pellucid.lanes.blocks.base import Block
from pellucid.lanes.build import Build
from pellucid.lanes.library import Library
from pellucid.lanes.values import Base, Memory, Storage, Value
from tests.lanes.lane_arrays import GUARD, Floats, aligned

NAN = float("nan")


class Immediate(Build):
    """Memory is full of NaN until a kernel writes it, and guarded behind each group.

    Args:
        parameters: name -> array, changed in place where a kernel writes a buffer.
        wanted: names of the parameters whose gradients are asked for; by default all.
        gap: vectors between groups.
    """

    def __init__(
        self,
        library: Library,
        batch: int,
        parameters: Mapping[str, Any] | None = None,
        wanted: Iterable[str] | None = None,
        gap: int = 0,
    ) -> None:
        self.arrays: dict[str, Any] = dict(parameters or {})
        names = self.arrays if wanted is None else wanted
        super().__init__(batch, library.lanes, 1, frozenset(names), True)
        self.library, self._gap = library, gap * library.lanes
        self._memories: dict[Storage, Floats] = {}
        self.gradients_of: dict[str, list[Floats]] = {}
        self.called: list[str] = []

    # -- memory

    def _of(self, storage: Storage) -> tuple[Floats, int]:
        """The array of a storage, and how far its groups are apart."""
        stride = storage.floats + self._gap
        if storage not in self._memories:
            memory = aligned(self.groups * stride if storage.per_group else storage.floats)
            if storage.per_group:
                memory.reshape(self.groups, stride)[:, : storage.floats] = NAN
            else:
                memory[:] = NAN
            self._memories[storage] = memory
        return self._memories[storage], stride

    def _rows(self, value: Value) -> Floats:
        memory, stride = self._of(value.storage)
        rows = memory.reshape(self.groups, stride)
        assert (rows[:, value.storage.floats :] == GUARD).all(), f"something wrote past a group of {value.name}"
        return rows[:, value.offset : value.offset + value.floats]

    def put(self, name: str, pictures: Floats, *, wants: bool = True, dead: float | None = None) -> Value:
        """A feature map of [N, C, H, W]. dead: what stands in the lanes past the end, by default the last picture."""
        value = replace(self.value(name, *pictures.shape[1:]), needs_gradient=wants)
        self.fill(value, pictures, dead)
        return value

    def fill(self, value: Value, pictures: Floats, dead: float | None = None) -> None:
        """Write a feature map."""
        whole = numpy.empty((self.groups * self.lanes, *pictures.shape[1:]), numpy.float32)
        whole[: self.batch] = pictures
        whole[self.batch :] = pictures[-1] if dead is None else dead
        split = numpy.moveaxis(whole.reshape(self.groups, self.lanes, -1), 1, -1)
        self._rows(value)[:] = split.reshape(self.groups, -1)

    def all_lanes(self, value: Value) -> Floats:
        """[G L, C, H, W], the lanes past the end with the others."""
        rows = self._rows(value).reshape(self.groups, -1, self.lanes)
        return numpy.moveaxis(rows, -1, 1).reshape(self.groups * self.lanes, *value.shape)

    def read(self, value: Value) -> Floats:
        """[N, C, H, W]."""
        return self.all_lanes(value)[: self.batch]

    def new(self, name: str, channels: int, height: int, width: int) -> Value:
        """A feature map for a block to write, whose gradient is asked for."""
        return replace(self.value(name, channels, height, width), needs_gradient=True)

    # -- running

    def _address(self, target: Value | Memory | Base) -> int:
        if isinstance(target, Base):
            kind, _, name = self.bases[target.index].partition(":")
            if kind == "parameter":
                return int(self.arrays[name].ctypes.data) + 4 * target.offset
            name = name.rpartition(":")[0]
            array = numpy.full(self.arrays[name].shape, NAN, numpy.float32)
            self.gradients_of.setdefault(name, []).append(array)
            return array.ctypes.data + 4 * target.offset
        return self._of(target.storage)[0].ctypes.data + 4 * target.offset

    def kernel(self, kernel: str, **fields: Any) -> None:
        super().kernel(kernel, **fields)
        emitted: Any = self._directions[self._now].all()[-1]
        start = ctypes.addressof(emitted.arguments)
        for place, target in emitted.pointers:
            ctypes.c_int64.from_address(start + place).value = self._address(target)
        for place, value in emitted.group_fields:
            ctypes.c_int64.from_address(start + place).value = self._of(value.storage)[1]
        self.called.append(kernel)
        self.library.call(
            kernel,
            emitted.arguments,
            groups=self.groups,
            slots=self.slots,
            units=emitted.units,
        )

    def back(self, blocks: Iterable[Block], output: Value, gradient: Floats) -> None:
        """The backward passes of the blocks, in reverse, from dL/d(output); lanes past the end have 0."""
        self.direction("backward")
        place, _ = self.adds_gradient(output)
        self.fill(place, gradient, dead=0.0)
        for block in reversed(list(blocks)):
            block.backward(self)
