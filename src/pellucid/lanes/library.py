"""The engine's part of the native library: its instruction sets, its kernels, and running steps."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass

from pellucid import native
from pellucid.errors import UsageError, unknown
from pellucid.lanes.arguments import structure_of

__all__ = ["ENVIRONMENT", "Library", "Pointer", "Run", "Step", "Target", "library", "targets", "why_not"]

ENVIRONMENT = "PELLUCID_LANES"


class Step(ctypes.Structure):
    """``PellucidStep`` of native/lanes/step.h."""

    _fields_ = (
        ("kernel", ctypes.c_int32),
        ("order", ctypes.c_int32),
        ("units", ctypes.c_int64),
        ("arguments", ctypes.c_int64),
    )


class Pointer(ctypes.Structure):
    """``PellucidPointer`` of native/lanes/step.h."""

    _fields_ = (
        ("field", ctypes.c_int64),
        ("base", ctypes.c_int32),
        ("local", ctypes.c_int32),
        ("offset", ctypes.c_int64),
    )


class Run(ctypes.Structure):
    """``PellucidRun`` of native/lanes/step.h."""

    _fields_ = (
        ("target", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parallel_for", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("step_count", ctypes.c_int64),
        ("arguments", ctypes.c_void_p),
        ("arguments_bytes", ctypes.c_int64),
        ("groups", ctypes.c_int32),
        ("slots", ctypes.c_int32),
        ("seconds", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Target:
    """An instruction set that the library was built for. lanes: pictures in a vector. usable: on this machine."""

    index: int
    name: str
    lanes: int
    usable: bool


class Library:
    """The functions of native/lanes/step.h for one target."""

    def __init__(self, handle: ctypes.CDLL, target: Target) -> None:
        self.handle, self.target = handle, target
        self.lanes = target.lanes
        names = (handle.pellucid_lanes_kernel_name(i).decode() for i in range(handle.pellucid_lanes_kernels()))
        self.kernels: Mapping[str, int] = {name: i for i, name in enumerate(names)}
        for name, i in self.kernels.items():
            here, there = ctypes.sizeof(structure_of(name)), handle.pellucid_lanes_kernel_arguments(i)
            if here != there:
                raise OSError(f"{name} takes {there} bytes of arguments, and its header says {here}: build it again")

    def bind(self, run: Run, pointers: ctypes.Array[Pointer], bases: ctypes.Array[ctypes.c_void_p], local: int) -> None:
        """Fill in the pointers of all arguments."""
        self.handle.pellucid_lanes_bind(ctypes.byref(run), pointers, len(pointers), bases, local)

    def run(self, run: Run) -> None:
        """Run all steps. The interpreter's lock is released meanwhile."""
        self.handle.pellucid_lanes_run(ctypes.byref(run))

    def allocate(self, size: int) -> int:
        """The address of so many bytes.

        Raises:
            MemoryError: where there are none.
        """
        address = self.handle.pellucid_lanes_allocate(size)
        if not address:
            raise MemoryError(f"there are no {size} bytes for feature maps")
        return int(address)

    def release(self, address: int, size: int) -> None:
        """Give such memory back."""
        self.handle.pellucid_lanes_release(address, size)

    def call(
        self, kernel: str, arguments: ctypes.Structure, *, groups: int = 1, slots: int = 1, units: int = 0
    ) -> None:
        """Run one kernel on this thread: by groups, or over so many units."""
        step = Step(self.kernels[kernel], int(not units), units, 0)
        run = Run(
            target=self.target.index,
            threads=1,
            steps=ctypes.addressof(step),
            step_count=1,
            arguments=ctypes.addressof(arguments),
            groups=groups,
            slots=slots,
        )
        self.run(run)


@functools.cache
def _handle() -> ctypes.CDLL | None:
    loaded = native.load()
    if loaded is None:
        return None
    handle = ctypes.CDLL(str(loaded.file))
    for name in ("target_name", "kernel_name"):
        getattr(handle, f"pellucid_lanes_{name}").restype = ctypes.c_char_p
    handle.pellucid_lanes_kernel_arguments.restype = ctypes.c_int64
    handle.pellucid_lanes_allocate.restype = ctypes.c_void_p
    handle.pellucid_lanes_allocate.argtypes = (ctypes.c_int64,)
    handle.pellucid_lanes_release.argtypes = (ctypes.c_void_p, ctypes.c_int64)
    handle.pellucid_lanes_run.argtypes = (ctypes.c_void_p,)
    handle.pellucid_lanes_bind.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_int64,
    )
    return handle


def targets() -> tuple[Target, ...]:
    """The instruction sets of the library, best first; none where there is no library."""
    handle = _handle()
    if handle is None:
        return ()
    name, lanes = handle.pellucid_lanes_target_name, handle.pellucid_lanes_target_lanes
    usable = handle.pellucid_lanes_target_usable
    count = handle.pellucid_lanes_targets()
    return tuple(Target(i, name(i).decode(), lanes(i), bool(usable(i))) for i in range(count))


def why_not() -> str:
    """Why the engine cannot run here; empty where it can."""
    if _handle() is None:
        return "the native library was not built (a C++ compiler is needed when Pellucid is installed)"
    return ""


def library(name: str | None = None) -> Library:
    """The library for the best target that this machine has, or for a named one.

    Args:
        name: of a target; by default what the environment variable PELLUCID_LANES says, else the best.

    Raises:
        UsageError: where there is no library, or the target is unknown or not on this machine.
    """
    if reason := why_not():
        raise UsageError(f"the engine lanes cannot run: {reason}", fits="engine='torch'")
    return _library(name or os.environ.get(ENVIRONMENT) or "")


@functools.cache
def _library(name: str) -> Library:
    handle, known = _handle(), targets()
    if handle is None:
        raise UsageError("the engine lanes has no library")
    if not name:
        return Library(handle, next(target for target in known if target.usable))
    for target in known:
        if target.name == name:
            if not target.usable:
                raise UsageError(f"this processor cannot run {name}", fits=[t.name for t in known if t.usable])
            return Library(handle, target)
    raise unknown("instruction set", name, [target.name for target in known])
