"""Parts of a network that the engine has no kernels for: PyTorch runs them, and its autograd their way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.graph import Graph, Node, Ref
from pellucid.graph.ir import filled, references
from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.frame import Frame

__all__ = ["Island"]


class Island(Block):
    """Nodes in order, between tensors of the pass.

    takes: tensors of the pass that it reads, by node. gives: nodes whose results others read. why: node -> the reason.
    """

    def __init__(self, graph: Graph, nodes: Sequence[Node], takes: Mapping[str, str], gives: Sequence[str]) -> None:
        self.graph, self.members, self.takes, self.gives = graph, tuple(nodes), dict(takes), tuple(gives)
        self.name = next((node.name for node in nodes if not node.hidden), nodes[0].name)
        self.nodes = tuple(node.name for node in nodes)
        self.algorithm = "PyTorch"
        read = {ref.name for node in nodes for ref in references((node.arguments, node.options))}
        # A weight that two modules share goes by its first name: so the plan asks for its gradient.
        used = (graph.same.get(name, name) for name in graph.parameters if name in read)
        self.parameters = tuple(dict.fromkeys(used))
        self.tensors = tuple(name for name in graph.tensors if name in read)
        mutations = graph.mutations or {}
        self.changes = {buffer: name for buffer, name in mutations.items() if name in set(self.nodes)}
        self.needs_gradient = False

    def forward(self, build: Build) -> None:
        build.inner_slots.update(self.takes.values())
        self.wanted = tuple(name for name in self.parameters if build.wants(name))
        build.host(lambda frame: self._run(frame, build.batch, build.gradients and self.needs_gradient))

    def backward(self, build: Build) -> None:
        if self.needs_gradient:
            build.host(self._back)

    def _run(self, frame: Frame, batch: int, records: bool) -> None:
        taken = {slot: frame.tensors[slot].detach() for slot in self.takes.values()}
        for tensor in taken.values():
            tensor.requires_grad_(records and tensor.is_floating_point())
        values: dict[str, Any] = {name: frame.tensor_of(name) for name in self.tensors}
        values |= {name: values[name].clone() for name in self.changes if name in values}  # autograd keeps what it was
        values |= {name: taken[slot] for name, slot in self.takes.items()}
        values |= {node.name: filled(node.number, {}, batch) for node in self.graph.nodes if node.number is not None}
        with torch.set_grad_enabled(records):
            for node in self.members:
                arguments = filled(node.arguments, values, batch)
                values[node.name] = node.call(*arguments, **filled(dict(node.options), values, batch))
        for name in self.gives:
            frame.tensors[name] = values[name].detach()
        with torch.no_grad():
            for buffer, name in self.changes.items():
                frame.tensor_of(buffer).copy_(values[name])
        if records:
            frame.state[self] = taken, {name: values[name] for name in self.gives}

    def _back(self, frame: Frame) -> None:
        taken, given = frame.state[self]
        if not frame.keeps_graph:
            del frame.state[self]
        ends = [(given[name], frame.gradients[name]) for name in self.gives if name in frame.gradients]
        ends = [(value, gradient) for value, gradient in ends if value.requires_grad]
        if not ends:
            return
        starts = {slot: tensor for slot, tensor in taken.items() if tensor.requires_grad}
        of = [*starts.values(), *(frame.tensor_of(name) for name in self.wanted)]
        values, gradients = [value for value, _ in ends], [gradient for _, gradient in ends]
        found: Sequence[Tensor | None] = torch.autograd.grad(
            values, of, gradients, allow_unused=True, retain_graph=frame.keeps_graph
        )
        for slot, gradient in zip(starts, found, strict=False):
            if gradient is not None:
                frame.add_gradient(slot, gradient)
        for name, gradient in zip(self.wanted, found[len(starts) :], strict=True):
            if gradient is not None:
                frame.add_parameter_gradient(name, gradient)


def takes_of(node: Node) -> list[str]:
    """The names that a node's arguments refer to."""
    return [ref.name for ref in references((node.arguments, node.options)) if isinstance(ref, Ref)]
