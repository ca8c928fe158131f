"""A network planned for one batch size: blocks, programs of both passes, and the arena's size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
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
        self._lock = threading.Lock()  # steps and their arguments are the plan's: one pass at a time

    def forward(
        self, inputs: Sequence[Tensor], pool: Pool, tensor_of: Callable[[str], Tensor], seconds: bool = False
    ) -> Frame:
        """One pass; the frame holds what it gave and what its way back needs."""
        frame = Frame(self.build.bases, self.build.slot_shapes, pool.take(self.arena.bytes), tensor_of)
        frame.seconds = {} if seconds else None
        names = (own.name for own in self.graph.inputs)
        frame.tensors = {name: tensor.detach() for name, tensor in zip(names, inputs, strict=True)}
        with self._lock, torch.no_grad():
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
        with self._lock, torch.no_grad():
            self._backward(frame)

    def parameter_gradients(self, frame: Frame) -> Mapping[str, Tensor]:
        """dL/d(parameter) for every parameter that is wanted and that the network uses."""
        found: dict[str, Tensor] = {}
        for name in self.need.parameters:
            parts = [frame.parameter_gradients.get(base) for base in self.build.gradient_uses.get(name, ())]
            parts.append(frame.parameter_gradients.get(name))
            given = [part for part in parts if part is not None]
            if given:
                found[name] = given[0] if len(given) == 1 else torch.stack(given).sum(0)
        return found
