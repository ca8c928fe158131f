"""From a captured graph to blocks: node by node, fusing what can be computed in one go.

What number by number operations give is not computed at once: it waits as an expression, which the next operation of
the kind extends, and becomes a feature map when something else needs it (a convolution, a second reader, the end).
What no rule takes goes to PyTorch, with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pellucid.graph import Graph, Node, Ref
from pellucid.graph.ir import references
from pellucid.lanes.blocks.base import Block
from pellucid.lanes.blocks.border import Enter, Leave
from pellucid.lanes.blocks.expression import Expression
from pellucid.lanes.blocks.island import Island
from pellucid.lanes.blocks.local_response_norm import LocalResponse, local_response_norms
from pellucid.lanes.blocks.map import MapBlock, Pooling
from pellucid.lanes.build import Build
from pellucid.lanes.values import Value

__all__ = ["AXES", "Lowered", "Lowering", "Outside", "Refused", "Results", "Seen"]

AXES = {1: ("C",), 2: ("C", "W"), 3: ("C", "H", "W")}  # of a tensor behind the batch, by how many there are
Choose = Callable[..., str]


class Refused(Exception):
    """A node that the engine does not run; the message says why."""


@dataclass(frozen=True)
class Seen:
    """A result inside the engine. axes: which axis of the feature map each dimension behind the batch is."""

    content: Value | Expression
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Outside:
    """A result that is a tensor of PyTorch, by its slot."""

    slot: str


@dataclass(frozen=True)
class Results:
    """Several results of one node; None for what nobody can ask for."""

    parts: tuple[Seen | Outside | None, ...]


Entry = Seen | Outside | Results


@dataclass(frozen=True)
class Lowered:
    """The blocks of a network, in order. reasons: for each node that PyTorch runs, why. counters: buffers that grow by
    1 at each pass. outputs: the slots of what the network returns."""

    blocks: tuple[Block, ...]
    reasons: Mapping[str, str]
    counters: tuple[str, ...]
    outputs: tuple[str, ...]


class Lowering:
    """One graph at one batch size."""

    def __init__(
        self, graph: Graph, build: Build, inputs: Mapping[str, bool], choose: Choose, rules: Mapping[type, Any]
    ) -> None:
        """inputs: the graph's inputs, each with whether its gradient is wanted. choose: names an algorithm."""
        self.graph, self.build, self.choose, self._rules = graph, build, choose, rules
        self.blocks: list[Block] = []
        self.reasons: dict[str, str] = {}
        self.counters: list[str] = []
        self._entries: dict[str, Entry] = {name: Outside(name) for name in inputs}
        self._slot_needs = dict(inputs)
        self._entered: dict[str, Seen] = {}
        self._left: dict[str, str] = {}
        self._open: list[Node] = []
        self._picked: set[str] = set()
        self._streams = 0
        self._nodes = {node.name: node for node in graph.nodes}
        self._responses = local_response_norms(graph)  # by the last node of each
        self._inside = {name for last, found in self._responses.items() for name in found.nodes if name != last}
        self._shapes = {own.name: own.shape(build.batch) for own in graph.inputs}
        self.readers = Counter(ref.name for node in graph.nodes for ref in references((node.arguments, node.options)))
        self.readers.update(graph.outputs)

    def run(self) -> Lowered:
        """Lower every node."""
        for node in self.graph.nodes:
            done = node.name in self._inside or node.name in self._picked
            if node.number is not None or done or self._is_counter(node):
                continue
            try:
                self._entries[node.name] = self._lowered(node)
            except Refused as refused:
                for part in self._parts(node):
                    self._leave_to_pytorch(part, str(refused))
                for pick in self._picks(node):  # with the node itself: several results cannot leave a part together
                    self._picked.add(pick.name)
                    self._leave_to_pytorch(pick, str(refused))
        outputs = tuple(self.outside(name) for name in self.graph.outputs)
        self._close()
        return Lowered(tuple(self.blocks), self.reasons, tuple(self.counters), outputs)

    def _is_counter(self, node: Node) -> bool:
        """The count of batches that a batch norm keeps: it needs no node of its own."""
        for buffer, name in (self.graph.mutations or {}).items():
            if name == node.name and node.target == "aten.add.Tensor" and node.arguments == (Ref(buffer), 1):
                self.counters.append(buffer)
                return True
        return False

    def _picks(self, node: Node) -> list[Node]:
        """The nodes that take one of several results of a node."""
        return [one for one in self.graph.nodes if one.target == "getitem" and one.arguments[0] == Ref(node.name)]

    def _parts(self, node: Node) -> list[Node]:
        """The nodes that a node stands for: itself, and before it the others of its local response norm."""
        found = self._responses.get(node.name)
        return [node] if found is None else [part for part in self.graph.nodes if part.name in found.nodes]

    def _lowered(self, node: Node) -> Entry:
        if node.name in self._responses:
            made: Entry = self._rules[LocalResponse](self, node, self._responses[node.name])
            return made
        rule = self._rules.get(type(node.op))
        if rule is None:
            raise Refused(f"there is no kernel for {node.target}")
        entry: Entry = rule(self, node)
        if isinstance(entry, Seen) and isinstance(entry.content, Expression) and self.count_readers(node) > 1:
            return replace(entry, content=self.materialise(entry.content, node))
        return entry

    def count_readers(self, node: Node) -> int:
        """How often a node's result is read; of several results, how often the first is."""
        return self.readers[node.name]

    # -- operands

    def is_parameter(self, given: Any) -> bool:
        """Whether an argument is a parameter, buffer or constant of the module."""
        return isinstance(given, Ref) and given.name in self.graph.tensors

    def parameter(self, given: Any) -> str:
        """The name of a parameter or buffer. Raises Refused for anything else."""
        if not self.is_parameter(given):
            raise Refused("a weight is computed by the network itself")
        tensor = self.graph.tensors[given.name]
        if str(tensor.dtype) != "torch.float32" or tensor.device.type != "cpu":
            raise Refused(f"{given.name} is {tensor.dtype} on {tensor.device}")
        return str(self.graph.same.get(given.name, given.name))

    def parameter_shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter."""
        return tuple(self.graph.tensors[name].shape)

    def seen(self, given: Any) -> Seen:
        """An operand inside the engine; a tensor outside enters. Raises Refused where it cannot."""
        if not isinstance(given, Ref):
            raise Refused("an operand is no tensor")
        if self.is_parameter(given):
            raise Refused(f"{given.name} is a parameter, where a feature map is wanted")
        entry = self._entry(given.name)
        if isinstance(entry, Results):
            raise Refused("an operand has several results")
        return self._enter(given.name, entry.slot) if isinstance(entry, Outside) else entry

    def value(self, given: Any, axes: Sequence[str] | None = None) -> Value:
        """An operand as a feature map, its dimensions in the usual order unless ``axes`` says otherwise."""
        seen = self.seen(given)
        if tuple(axes or AXES[len(seen.axes)]) != seen.axes:
            raise Refused(f"its operand's dimensions are in the order {' '.join(seen.axes)}")
        if isinstance(seen.content, Value):
            return seen.content
        made = self.materialise(seen.content, self._nodes.get(given.name))
        self._entries[given.name] = Seen(made, seen.axes)
        return made

    def expression(self, given: Any) -> tuple[Expression, tuple[str, ...]]:
        """An operand as an expression, and its axes."""
        seen = self.seen(given)
        content = seen.content
        return (Expression.of(content) if isinstance(content, Value) else content), seen.axes

    def results(self, given: Ref) -> Results:
        """The several results of a node inside the engine."""
        entry = self._entry(given.name)
        if not isinstance(entry, Results):
            raise Refused("PyTorch computes its operand")
        return entry

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            if any(node.name == name for node in self._open):
                self._close()
            if name not in self._entries:
                raise Refused("an operand has no numbers of its own")
        return self._entries[name]

    def shape(self, given: Ref) -> tuple[int, ...]:
        """The shape of an operand, with the batch."""
        node = self._nodes.get(given.name)
        return node.shape(self.build.batch) if node is not None else self._shapes[given.name]

    def _enter(self, name: str, slot: str) -> Seen:
        if slot in self._entered:
            return self._entered[slot]
        shape = self.shape(Ref(name))
        node = self._nodes.get(name)
        itemsize = node.itemsize if node else next(own.itemsize for own in self.graph.inputs if own.name == name)
        if not shape or shape[0] != self.build.batch or not 2 <= len(shape) <= 4 or itemsize != 4:
            raise Refused(f"its operand of shape {shape} is no batch of feature maps")
        axes = AXES[len(shape) - 1]
        sizes = dict(zip(axes, shape[1:], strict=True))
        value = self.build.value(name, sizes["C"], sizes.get("H", 1), sizes.get("W", 1))
        value = replace(value, needs_gradient=self.build.gradients and self._slot_needs.get(slot, False))
        self.add(Enter(slot, value))
        self._entered[slot] = Seen(value, axes)
        return self._entered[slot]

    # -- results

    def add(self, block: Block, node: Node | None = None) -> None:
        """One more block, which computes a node."""
        if node is not None:
            block.name = block.name or node.name
            block.nodes = (*block.nodes, node.name)
        self.blocks.append(block)

    def output(self, node: Node, inputs: Sequence[Value], parameters: Sequence[str | None], axes: Any = None) -> Value:
        """A new feature map for a node's result."""
        shape = node.shape(self.build.batch)[1:]
        sizes = dict(zip(axes or AXES[len(shape)], shape, strict=True))
        value = self.build.value(node.name, sizes["C"], sizes.get("H", 1), sizes.get("W", 1))
        return replace(value, needs_gradient=self.needs_gradient(inputs, parameters))

    def output_of(self, node: Node, shape: Sequence[int], inputs: Sequence[Value]) -> Value:
        """A new feature map of a shape (C, H, W) for a node's result."""
        value = self.build.value(node.name, *shape)
        return replace(value, needs_gradient=self.needs_gradient(inputs, ()))

    def needs_gradient(self, inputs: Sequence[Value], parameters: Sequence[str | None]) -> bool:
        """Whether a result of such inputs and parameters has a gradient to pass on."""
        wants = any(self.build.wants(name) for name in parameters if name)
        return wants or any(value.needs_gradient for value in inputs)

    def materialise(self, expression: Expression, node: Node | None) -> Value:
        """An expression as a feature map of its own; one that is a feature map stays as it is."""
        if expression.value is not None:
            return expression.value
        return self.pooled(expression, node, None, expression.shape)

    def pooled(
        self, expression: Expression, node: Node | None, pooling: Pooling | None, shape: tuple[int, int, int]
    ) -> Value:
        """An expression, pooled or not, as a feature map of its own."""
        value = self.build.value(node.name if node else "map", *shape)
        values = [leaf.value for leaf in expression.leaves if leaf.value is not None]
        norms = [name for leaf in expression.leaves if leaf.norm is not None for name in leaf.norm.parameters]
        names = [name for leaf in expression.leaves for name in (leaf.parameter, leaf.scale, leaf.shift)]
        value = replace(value, needs_gradient=self.needs_gradient(values, [*names, *norms]))
        self.add(MapBlock(expression, value, pooling, name=node.name if node else ""), node)
        return value

    def producer(self, value: Value) -> Block | None:
        """The block that writes a whole feature map, and no part of it."""
        return next((block for block in reversed(self.blocks) if value in block.outputs), None)

    def stream(self) -> int:
        """A number of its own for each dropout."""
        self._streams += 1
        return self._streams

    def outside(self, name: str) -> str:
        """A result as a tensor of PyTorch; returns its slot."""
        entry = self._entry(name)
        if isinstance(entry, Outside):
            return entry.slot
        if isinstance(entry, Results):
            raise Refused("several results leave the engine together")
        if name in self._left:
            return self._left[name]
        value = entry.content
        if isinstance(value, Expression):
            value = self.materialise(value, self._nodes.get(name))
            self._entries[name] = Seen(value, entry.axes)
        usual = AXES[len(entry.axes)]
        slot = name if entry.axes == usual else f"{name}~lanes"
        sizes = dict(zip(entry.axes, self.shape(Ref(name))[1:], strict=True))
        self.add(Leave(value, slot, (self.build.batch, *(sizes[axis] for axis in usual))))
        self._slot_needs[slot] = value.needs_gradient
        if slot != name:
            self._turn(name, slot, [0, *(1 + usual.index(axis) for axis in entry.axes)])
        self._left[name] = name
        return name

    def _turn(self, name: str, slot: str, order: list[int]) -> None:
        """A tensor whose dimensions stand in another order than those of feature maps."""
        call = torch.ops.aten.permute.default
        node = replace(self._nodes[name], target="aten.permute.default", call=call, arguments=(Ref(slot), order))
        turned = Island(self.graph, [replace(node, options={}, hidden=True)], {slot: slot}, [name])
        turned.needs_gradient = self._slot_needs[name] = self._slot_needs[slot]
        self.blocks.append(turned)

    # -- what PyTorch runs

    def _leave_to_pytorch(self, node: Node, reason: str) -> None:
        if not node.hidden:
            self.reasons[node.name] = reason
        own = {member.name for member in self._open}
        for ref in references((node.arguments, node.options)):
            if ref.name in own or ref.name in self.graph.tensors:
                continue
            entry = self._entries.get(ref.name)
            if isinstance(entry, Seen | Outside):
                self.outside(ref.name)
            elif isinstance(entry, Results):
                raise Refused(f"{node.target} reads several results of {ref.name}")
        self._open.append(node)

    def _close(self) -> None:
        """The nodes that wait for PyTorch become a part of their own."""
        if not self._open:
            return
        nodes, self._open = self._open, []
        own = {node.name for node in nodes}
        inside = Counter(ref.name for node in nodes for ref in references((node.arguments, node.options)))
        mutated = set((self.graph.mutations or {}).values())
        gives = [n.name for n in nodes if self.readers[n.name] > inside[n.name] and n.name not in mutated and n.dims]
        takes = {name: self.outside(name) for name in inside if isinstance(self._entries.get(name), Seen | Outside)}
        island = Island(self.graph, nodes, takes, gives)
        wants = any(self.build.wants(name) for name in island.parameters)
        island.needs_gradient = wants or any(self._slot_needs.get(slot, False) for slot in takes.values())
        self.blocks.append(island)
        for name in own:
            self._entries[name] = Outside(name)
            self._slot_needs[name] = island.needs_gradient
