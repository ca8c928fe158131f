"""How long one pass of one convolution takes by one algorithm: a program of its own, timed."""

from __future__ import annotations

from dataclasses import replace

import torch

from pellucid.lanes.blocks.convolution import ConvolutionBlock, Geometry, Pass
from pellucid.lanes.build import Build, Emitted
from pellucid.lanes.frame import ArenaMemory, Frame
from pellucid.lanes.library import Library
from pellucid.lanes.memory import place
from pellucid.lanes.program import Program

__all__ = ["Trial"]


class Trial:
    """One convolution alone, at the batch size and with the threads of a build."""

    def __init__(self, library: Library, geometry: Geometry, direction: Pass, algorithm: str, build: Build) -> None:
        wanted = frozenset({"weight"} if direction == "weight gradient" else ())
        own = Build(build.batch, library.lanes, build.threads, wanted, gradients=True)
        x = own.value("x", geometry.C, geometry.H, geometry.W)
        y = own.value("y", geometry.K, geometry.P, geometry.Q)
        source, output = (y, x) if geometry.transposed else (x, y)
        source = replace(source, needs_gradient=direction == "input gradient")
        block = ConvolutionBlock(geometry, source, output, "weight", None, {direction: algorithm})
        own.block = block
        own.direction("forward")
        block.forward(own)
        own.direction("backward")
        block.backward(own)
        self._steps = own.steps("forward" if direction == "forward" else "backward")
        arena = place([self._steps], own.groups, own.threads)
        self._program = Program(library, self._steps, arena, own.groups, own.slots)
        columns = geometry.C // geometry.groups
        weight = torch.full((geometry.K, columns, geometry.R, geometry.S), 0.01)
        self._frame = Frame(own.bases, {}, _zeroed(library, arena.bytes), lambda name: weight)

    def seconds(self) -> float:
        """Of one run; what prepares the gradient of the output is left out."""
        self._frame.seconds = {}
        self._program(self._frame)
        return sum(
            seconds
            for step, seconds in self._frame.seconds.items()
            if isinstance(step, Emitted) and step.kernel != "fill"
        )


def _zeroed(library: Library, size: int) -> ArenaMemory:
    import ctypes

    memory = ArenaMemory(library, size)
    ctypes.memset(memory.address, 0, memory.size)
    return memory
