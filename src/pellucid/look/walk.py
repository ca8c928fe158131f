"""Back through a captured network, call by call: a signal at a node goes down to the picture.

Each call sends on the product of the signal with its own Jacobian, taken at the numbers on the record. A rule may send
something else: so a deconvnet and guided backpropagation differ from a gradient, and in nothing else. The walk reads a
graph in functional form, so that a ReLU is found whether it was a module, a function or a change in place.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph, Node, Ref, Size
from pellucid.ops.base import per_axis

Inputs = Tensor | Sequence[Tensor]
_MAKERS = ("empty", "new_", "zeros", "ones", "full", "rand", "bernoulli", "arange")
_CONVOLUTION = {"stride": 1, "padding": 0, "dilation": 1}


@dataclass(frozen=True)
class Step:
    """A call on the way down, as a rule sees it.

    node: the call. value: its recorded result, a tuple where there are several. signal: at its (first) result.
    product: a signal there -> the signal at the first argument on the road, by the vector-Jacobian product.
    argument: the call's argument of a name; None where it has none.
    """

    node: Node
    value: Any
    signal: Tensor
    product: Callable[[Tensor], Tensor]
    argument: Callable[[str], Any]


Rule = Callable[[Step], Tensor | None]


def gradient(step: Step) -> Tensor | None:
    """The rule of a gradient: nothing but the vector-Jacobian product."""
    return None


def back(
    graph: Graph,
    values: Mapping[str, Any],
    inputs: Inputs,
    signals: Mapping[str, Tensor],
    rule: Rule = gradient,
    *,
    to: str | None = None,
) -> Tensor:
    """Send signals down to the graph's first input, and return what arrives there, of its shape.

    Args:
        graph: the network.
        values: the record of a run, ``graph.run(x, record=True)``, at least of what lies on the road.
        inputs: what the run was given.
        signals: by node, of the shape of the node's (first) result, batch first. Nodes above them are passed over.
        rule: what to send down through a call instead of the vector-Jacobian product; None for the product.
        to: another input, or a node, at which to stop.

    Raises:
        UsageError: for a node that there is not, an input of whole numbers, or a call whose random numbers are not on
            the record.
    """
    walk = _Walk(graph, values, inputs, rule, to or graph.inputs[0].name)
    return walk.down(signals)


def up_to(graph: Graph, *names: str) -> Graph:
    """The part of a graph that some nodes depend on; they become its outputs. The first input is always kept."""
    needed = set(names)
    kept: list[Node] = []
    for name in names:
        graph[name]
    for node in reversed(graph.nodes):
        if node.name in needed:
            kept.append(node)
            needed |= set(node.inputs)
    inputs = tuple(own for i, own in enumerate(graph.inputs) if not i or own.name in needed)
    return replace(graph, nodes=tuple(reversed(kept)), inputs=inputs, outputs=names)


def record(graph: Graph, inputs: Inputs, node: str) -> dict[str, Any]:
    """The values on the roads to a node, by name; nothing above it is computed. Leaves random numbers as they were."""
    given = tensors_of(inputs)
    part = up_to(graph, node)
    by_name = dict(zip((own.name for own in graph.inputs), given, strict=False))
    missing = [own.name for own in part.inputs if own.name not in by_name]
    if missing:
        raise UsageError(f"the graph takes {len(graph.inputs)} inputs and was given {len(given)}", missing=missing[0])
    with torch.no_grad(), random_numbers_kept(given[0]):
        _, values = part.run(*(by_name[own.name] for own in part.inputs), record=True)
    kept: dict[str, Any] = values
    return kept


def first(value: Any) -> Tensor:
    """The (first) result of a recorded value."""
    found: Tensor = value[0] if isinstance(value, list | tuple) else value
    return found


def random_numbers_kept(tensor: Tensor) -> AbstractContextManager[object]:
    """Random numbers as they were before, on the CPU and where a tensor is."""
    return torch.random.fork_rng([tensor.device] if tensor.is_cuda else [])


def draws(node: Node) -> bool:
    """Whether a call may draw random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.call, "tags", ())


def _takes_the_size_alone(node: Node) -> bool:
    """Whether the result has nothing of its argument but the shape: constants and random numbers."""
    return node.target.removeprefix("aten.").startswith(_MAKERS)


def tensors_of(inputs: Inputs) -> tuple[Tensor, ...]:
    """One tensor or several, without their place in autograd's graph."""
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    return tuple(tensor.detach() for tensor in given)


class _Walk:
    """One way down. Signals wait at nodes, by the number of the result that they belong to, until all have come."""

    def __init__(self, graph: Graph, values: Mapping[str, Any], inputs: Inputs, rule: Rule, end: str) -> None:
        self.graph, self.rule, self.end = graph, rule, end
        given = tensors_of(inputs)
        self.batch = len(given[0])
        named = dict(zip((own.name for own in graph.inputs), given, strict=False))
        self.values: Mapping[str, Any] = {**named, **values}
        if end not in self.values:
            graph[end]
        if not first(self._value(end)).is_floating_point():
            raise UsageError(f"'{end}' is whole numbers, and no signal goes down to those", fits="float tensors")
        self.waiting: dict[str, dict[int, Tensor]] = {}

    def down(self, signals: Mapping[str, Tensor]) -> Tensor:
        for name, signal in signals.items():
            if name != self.end:
                self.graph[name]
            self._send(name, 0, signal.detach())
        on_road = self._on_road()
        for node in reversed(self.graph.nodes):
            if node.name != self.end and node.name in self.waiting:
                arrived = self.waiting.pop(node.name)
                if node.name in on_road:
                    self._through(node, arrived, on_road)
        found = self.waiting.pop(self.end, {}).get(0)
        return torch.zeros_like(first(self._value(self.end))) if found is None else found

    def _on_road(self) -> set[str]:
        """The end, and what depends on it."""
        reached = {self.end}
        for node in self.graph.nodes:
            if not reached.isdisjoint(node.inputs) and not _takes_the_size_alone(node):
                reached.add(node.name)
        return reached

    def _through(self, node: Node, arrived: dict[int, Tensor], on_road: set[str]) -> None:
        if node.call is operator.getitem and isinstance(self._value(node.inputs[0]), list | tuple):
            self._send(node.inputs[0], int(node.arguments[1]), arrived[0])
            return
        call = _Call(node, self._value, self.batch, on_road)
        if not call.leaves:
            return
        road = next(iter(call.leaves))
        if 0 in arrived:
            step = Step(node, call.recorded, arrived[0], lambda signal: call.product({0: signal})[road], call.argument)
            sent = self.rule(step)
            if sent is not None:
                self._send(road, 0, sent)
                return
        for name, signal in call.product(arrived).items():
            self._send(name, 0, signal)

    def _send(self, name: str, result: int, signal: Tensor) -> None:
        waiting = self.waiting.setdefault(name, {})
        waiting[result] = waiting[result] + signal if result in waiting else signal

    def _value(self, name: str) -> Any:
        if name in self.values:
            return self.values[name]
        if name in self.graph.tensors:
            return self.graph.tensors[name]
        raise UsageError(f"the value of '{name}' is not on the record", fits="graph.run(x, record=True)")


class _Call:
    """One call again, with its recorded arguments; those on the road are leaves of a small graph of autograd's."""

    def __init__(self, node: Node, value: Callable[[str], Any], batch: int, on_road: set[str]) -> None:
        self.node, self.value, self.batch, self.on_road = node, value, batch, on_road
        self.leaves: dict[str, Tensor] = {}
        self.arguments = self._filled(node.arguments)
        self.options = self._filled(dict(node.options))

    @property
    def recorded(self) -> Any:
        return self.value(self.node.name)

    def product(self, signals: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Signals at results -> at the arguments on the road: the sum of each times its Jacobian."""
        mask = self._recorded_mask()
        if mask is not None:
            kept = torch.ops.aten.native_dropout_backward(signals[0], mask, self._growth())
            return dict.fromkeys(self.leaves, kept)
        if self._is_plain_convolution:
            return dict.fromkeys(self.leaves, self._transposed(signals[0]))
        with torch.enable_grad(), self._random_numbers_kept():
            value = self.node.call(*self.arguments, **self.options)
        results = tuple(value) if isinstance(value, list | tuple) else (value,)
        pairs = [(results[i], signal) for i, signal in signals.items() if results[i].requires_grad]
        if not pairs:
            return {name: torch.zeros_like(leaf) for name, leaf in self.leaves.items()}
        products = self._derived([result for result, _ in pairs], [signal for _, signal in pairs])
        self._check_draws(value, products)
        return products

    def _derived(self, results: list[Tensor], signals: list[Tensor]) -> dict[str, Tensor]:
        leaves = list(self.leaves.values())
        signals = [signal.to(result.dtype) for signal, result in zip(signals, results, strict=True)]
        try:
            found = torch.autograd.grad(results, leaves, signals, allow_unused=True)
        except RuntimeError as error:
            if "derivative" not in str(error):
                raise
            raise UsageError(f"PyTorch has no derivative of {self.node.target}", node=self.node.name) from error
        return {
            name: torch.zeros_like(leaf) if product is None else product
            for (name, leaf), product in zip(self.leaves.items(), found, strict=True)
        }

    @property
    def _is_plain_convolution(self) -> bool:
        """Of maps with kernels that do not themselves depend on the picture."""
        if self.node.call is not torch.ops.aten.conv2d.default:
            return False
        maps = self.argument("input")
        return len(self.leaves) == 1 and bool(maps.requires_grad) and maps.ndim == 4

    def _transposed(self, signal: Tensor) -> Tensor:
        """Of a convolution: its transpose, which needs no convolution first, as autograd would."""
        settings = [per_axis(self.argument(name, default), 2) for name, default in _CONVOLUTION.items()]
        sent: Tensor = torch.ops.aten.convolution_backward(
            signal,
            self.argument("input").detach(),
            self.argument("weight"),
            None,
            *settings,
            False,
            (0, 0),
            self.argument("groups", 1),
            (True, False, False),
        )[0]
        return sent

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument by its name in the operator's schema."""
        return {**dict(zip(self.node.schema, self.arguments, strict=False)), **self.options}.get(name, default)

    def _recorded_mask(self) -> Tensor | None:
        """Of dropout: a second call would draw another."""
        if self.node.call is not torch.ops.aten.native_dropout.default:
            return None
        mask: Tensor = self.recorded[1]
        return mask

    def _growth(self) -> float:
        """What dropout multiplies the numbers with that stay."""
        share = 1 - float(self.argument("p"))
        return 1.0 if self.argument("train") is False else 1 / share if share else 0.0

    def _random_numbers_kept(self) -> AbstractContextManager[object]:
        """What a call draws is drawn from a copy of the random state."""
        return random_numbers_kept(next(iter(self.leaves.values()))) if draws(self.node) else nullcontext()

    def _check_draws(self, value: Any, products: Mapping[str, Tensor]) -> None:
        """The derivative of a call that drew random numbers holds for those alone that are on the record."""
        if not draws(self.node):
            return
        if not torch.equal(first(value), first(self.recorded)) and any(bool(p.any()) for p in products.values()):
            raise UsageError(
                f"{self.node.target} draws random numbers that are not on the record",
                node=self.node.name,
                fits="the network captured in evaluation",
            )

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self._leaf(value.name)
        if isinstance(value, Size):
            return value.of(self.batch)
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._filled(item) for item in value)
        return value

    def _leaf(self, name: str) -> Any:
        if name in self.leaves:
            return self.leaves[name]
        value = self.value(name)
        if not isinstance(value, Tensor):
            return value
        value = value.detach()
        if name in self.on_road and value.is_floating_point():
            value = self.leaves[name] = value.requires_grad_()
        return value
