"""A network planned for one batch size: blocks, programs of both passes, and the arena's size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.graph import Graph
from pellucid.lanes.build import Build
from pellucid.lanes.choose import Chooser
from pellucid.lanes.frame import Frame, Pool
from pellucid.lanes.library import Library
from pellucid.lanes.lowering import Lowered, Lowering
from pellucid.lanes.memory import place
from pellucid.lanes.program import Program
from pellucid.lanes.rules import RULES

__all__ = ["Need", "Plan"]


@dataclass(frozen=True)
class Need:
    """What a plan is for. batch: pictures. inputs: whether the gradient of each input is wanted. parameters: those
    whose gradients are wanted. gradients: whether there will be a way back at all."""

    batch: int
    threads: int
    inputs: tuple[bool, ...]
    parameters: frozenset[str]
    gradients: bool


class Plan:
    """The steps of a network at one batch size, ready to run, again and again."""

    def __init__(self, graph: Graph, need: Need, library: Library, chooser: Chooser) -> None:
        self.graph, self.need, self.library = graph, need, library
        build = Build(need.batch, library.lanes, need.threads, need.parameters, need.gradients)
        wanted = dict(zip((own.name for own in graph.inputs), need.inputs, strict=True))
        self.lowered: Lowered = Lowering(graph, build, wanted, chooser.choose, RULES).run()
        build.emit(self.lowered.blocks)
        self.build = build
        forward, backward = build.steps("forward"), build.steps("backward")
        self.steps = {"forward": forward, "backward": backward}
        self.arena = place([forward, backward], build.groups, need.threads)
        self._forward = Program(library, forward, self.arena, build.groups, build.slots)
        self._backward = Program(library, backward, self.arena, build.groups, build.slots)
        self.parameters = tuple(sorted(need.parameters))
        uses = [build.gradient_uses.get(name, ()) for name in self.parameters]
        self._gradients = [(*own, name) for own, name in zip(uses, self.parameters, strict=True)]  # in a frame
        self._inputs = [own.name for own in graph.inputs]
        self._lock = threading.Lock()  # steps and their arguments are the plan's: one pass at a time

    def forward(
        self, inputs: Sequence[Tensor], pool: Pool, tensor_of: Callable[[str], Tensor], seconds: bool = False
    ) -> Frame:
        """One pass; the frame holds what it gave and what its way back needs. Autograd must not be recording."""
        frame = Frame(self.build.bases, self.build.slot_shapes, pool.take(self.arena.bytes), tensor_of)
        frame.seconds = {} if seconds else None
        frame.tensors = {name: tensor.detach() for name, tensor in zip(self._inputs, inputs, strict=True)}
        with self._lock:
            self._forward(frame)
            if self.lowered.counters:
                torch._foreach_add_([tensor_of(name) for name in self.lowered.counters], 1)
        return frame

    def outputs(self, frame: Frame) -> tuple[Tensor, ...]:
        """What the network returns."""
        return tuple(frame.tensors[slot] for slot in self.lowered.outputs)

    def backward(self, frame: Frame, gradients: Sequence[Tensor | None]) -> None:
        """The way back of a pass: fills the frame's gradients."""
        for slot, gradient in zip(self.lowered.outputs, gradients, strict=True):
            if gradient is not None:
                frame.add_gradient(slot, gradient.detach().contiguous())
        for slot in self.lowered.outputs:
            frame.complete_gradient(slot)
        with self._lock:
            self._backward(frame)

    def input_gradients(self, frame: Frame) -> list[Tensor | None]:
        """dL/d(input) for every input; None where it is not wanted."""
        wanted = zip(self._inputs, self.need.inputs, strict=True)
        return [frame.gradients.get(name) if asked else None for name, asked in wanted]

    def parameter_gradients(self, frame: Frame) -> list[Tensor | None]:
        """dL/d(parameter) for every one of ``parameters``; None for one that the network does not use."""
        found = frame.parameter_gradients
        parts = [[found[base] for base in bases if base in found] for bases in self._gradients]
        return [(own[0] if len(own) == 1 else torch.stack(own).sum(0)) if own else None for own in parts]
