"""Steps made ready to run: the native form of what blocks emitted."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

from pellucid import native
from pellucid.lanes.build import Emitted, Host
from pellucid.lanes.frame import Frame
from pellucid.lanes.library import Library, Pointer, Run, Step
from pellucid.lanes.memory import Arena, distance
from pellucid.lanes.values import Base, Memory, Value

__all__ = ["Piece", "Program"]

_ALIGN = 16  # bytes between arguments


_BY_UNITS, _BY_GROUPS, _ALONE = 0, 1, 2  # PellucidOrder of native/lanes/step.h
_ALONE_FLOATS = 1 << 16  # that a step reads: fewer are done before a second thread is awake
_SMALL = ("sum_slots", "pack", "finish", "parameter_gradients")  # kernels that only go over their memory


class Piece:
    """Consecutive steps that the library runs in one call."""

    def __init__(self, library: Library, steps: Sequence[Emitted], arena: Arena, groups: int, slots: int) -> None:
        self.library, self.steps, self._arena = library, tuple(steps), arena
        places, size = [], 0
        for step in steps:
            places.append(size)
            size += -(-ctypes.sizeof(step.arguments) // _ALIGN) * _ALIGN
        block = bytearray(size)
        pointers: list[Pointer] = []
        for step, at in zip(steps, places, strict=True):
            for field, value in step.group_fields:
                ctypes.c_int64.from_buffer(step.arguments, field).value = distance(value)
            block[at : at + ctypes.sizeof(step.arguments)] = bytes(step.arguments)
            pointers += [self._pointer(at + field, target) for field, target in step.pointers]
        self._arguments = (ctypes.c_char * (size * arena.threads)).from_buffer_copy(bytes(block) * arena.threads)
        self._pointers = (Pointer * len(pointers))(*pointers)
        self._used = sorted({pointer.base for pointer in pointers})
        self._steps = (Step * len(steps))(
            *(
                Step(library.kernels[step.kernel], _order(step), step.units, at)
                for step, at in zip(steps, places, strict=True)
            )
        )
        self._run = Run(
            target=library.target.index,
            threads=arena.threads,
            parallel_for=native.parallel_for(),
            steps=ctypes.addressof(self._steps),
            step_count=len(steps),
            arguments=ctypes.addressof(self._arguments),
            arguments_bytes=size,
            groups=groups,
            slots=slots,
        )

    def _pointer(self, field: int, target: Value | Memory | Base) -> Pointer:
        if isinstance(target, Base):
            return Pointer(field, target.index, 0, 4 * target.offset)
        storage, inside = target.storage.root, target.storage.shift + target.offset
        first = self._arena.floats if storage.local else 0
        return Pointer(field, 0, int(storage.local), 4 * (first + storage.offset + inside))

    def __call__(self, frame: Frame) -> None:
        self.library.bind(self._run, self._pointers, frame.addresses(self._used), 4 * self._arena.local)
        if frame.seconds is None:
            self._run.seconds = None
            self.library.run(self._run)
            return
        times = (ctypes.c_double * (len(self.steps) * self._run.threads))()
        self._run.seconds = ctypes.addressof(times)
        self.library.run(self._run)
        for i, step in enumerate(self.steps):
            taken = sum(times[thread * len(self.steps) + i] for thread in range(self._run.threads))
            workers = 1 if _order(step) == _ALONE or step.units == 1 else self._run.threads
            frame.seconds[step] = frame.seconds.get(step, 0.0) + taken / workers


def _order(step: Emitted) -> int:
    """How a step is run: by groups, by units on all threads, or alone on the calling one."""
    if step.by_groups:
        return _BY_GROUPS
    memories = {target.storage: target.storage.floats for _, target in step.pointers if isinstance(target, Memory)}
    is_small = any(word in step.kernel for word in _SMALL) and sum(memories.values()) <= _ALONE_FLOATS
    return _ALONE if is_small else _BY_UNITS


class Program:
    """A pass: pieces that the library runs, and between them what Python does."""

    def __init__(
        self, library: Library, steps: Sequence[Emitted | Host], arena: Arena, groups: int, slots: int
    ) -> None:
        self.parts: list[Piece | Host] = []
        waiting: list[Emitted] = []
        for step in [*steps, None]:
            if isinstance(step, Emitted):
                waiting.append(step)
                continue
            if waiting:
                self.parts.append(Piece(library, waiting, arena, groups, slots))
                waiting = []
            if step is not None:
                self.parts.append(step)

    def __call__(self, frame: Frame) -> None:
        for part in self.parts:
            if isinstance(part, Piece):
                part(frame)
            else:
                began = time.perf_counter()
                part.call(frame)
                if frame.seconds is not None:
                    frame.seconds[part] = time.perf_counter() - began
