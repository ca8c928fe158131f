"""Every number of one run of a network: values, gradients, and which call made and which calls use each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph import Graph, Node, Ref, Size
from pellucid.ops import Bookkeeping
from pellucid.ops.terms import Array, Call

_SAME = ("aten.alias", "aten.clone", "aten.contiguous", "aten.lift_fresh_copy")


@dataclass(frozen=True)
class Tied:
    """A tensor of the run: the ``which``-th result of a node, or an input, parameter or buffer (0)."""

    name: str
    which: int = 0


class Recording:
    """A graph run once with every value kept.

    The run has parameters of its own, which share the memory of the module's: its gradients, mode, buffers and random
    numbers stay as they are. Dropout draws from ``seed``.

    Args:
        graph: captured, with or without a loss at its end. inputs: its inputs, floating ones become leaves.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Tensor], seed: int = 0) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        first = {
            name: _leaf(tensor) if name in graph.parameters else tensor.detach()
            for name, tensor in graph.tensors.items()
        }
        self.leaves: dict[str, Tensor] = {name: first[graph.same.get(name, name)] for name in first}
        given = [_leaf(tensor) for tensor in inputs]
        self.leaves |= {own.name: tensor for own, tensor in zip(graph.inputs, given, strict=True)}
        self._versions = {name: tensor._version for name, tensor in graph.tensors.items()}
        devices = [torch.cuda.current_device()] if any(t.is_cuda for t in given) else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(seed)
            self.output, self.values = graph.run(*given, record=True, tensors=self.leaves)
        self._arrays: dict[Tied, Array] = {}
        self._gradients: dict[Tied, Array] | None = None
        self._users: dict[Tied, list[tuple[Node, str]]] | None = None

    def tied(self, name: str) -> Tied:
        """The tensor behind a name, past what only passes it on: parts of a result, aliases and copies."""
        node = self.nodes.get(name)
        if node is None:
            return Tied(self.graph.same.get(name, name))  # a weight that several modules share
        if not isinstance(node.op, Bookkeeping) or not node.inputs:
            return Tied(name)
        source = node.inputs[0]
        if node.target == "getitem" and isinstance(node.arguments[1], int):
            return Tied(self.tied(source).name, node.arguments[1])
        return self.tied(source) if node.target.startswith(_SAME) else Tied(name)

    def tensor(self, tied: Tied) -> Tensor:
        """Its values, as autograd knows them."""
        value = self.values.get(tied.name, self.leaves.get(tied.name))
        if value is None:
            value = self._inner(tied.name)
        if isinstance(value, tuple | list):
            value = value[tied.which]
        if not isinstance(value, Tensor):
            raise UsageError(f"{tied.name} holds no tensor", fits="scene.nodes lists those that do")
        return value

    def inner_of(self, name: str) -> tuple[Node, str] | None:
        """The call and the inner number that a name such as ``attention~weights`` means."""
        outer, mark, inner = name.rpartition("~")
        node = self.nodes.get(outer)
        return (node, inner) if mark and node is not None and inner in node.op.inside else None

    def _inner(self, name: str) -> Tensor | None:
        """Numbers that a call made on its way, made again; kept like those that it returned."""
        found = self.inner_of(name)
        if found is None:
            return None
        node, inner = found
        self.values[name] = torch.from_numpy(node.op.inside_array(inner, self.call(node)))
        made: Tensor = self.values[name]
        return made

    def array(self, tied: Tied) -> Array:
        """Its numbers.

        Raises:
            UsageError: where a weight was changed after the run: its numbers are no longer those of the run.
        """
        self._check_unchanged([tied.name])
        if tied not in self._arrays:
            self._arrays[tied] = _array(self.tensor(tied))
        return self._arrays[tied]

    def gradient(self, tied: Tied) -> Array:
        """dL/d(it), as large as it; zeros where the loss does not depend on it.

        Raises:
            UsageError: where the graph ends in no loss.
        """
        if self._gradients is None:
            self._gradients = self._differentiated()
        if tied not in self._gradients:
            self._gradients[tied] = np.zeros(tuple(self.tensor(tied).shape), np.float32)
        return self._gradients[tied]

    def call(self, node: Node, which: int = 0, *, gradients: bool = False) -> Call:
        """A node's call with its numbers."""
        results = self.results(node)
        return Call(
            {name: self._argument(value) for name, value in node.by_name().items()},
            tuple(self.array(Tied(node.name, k)) if _is_tensor(self._raw(node.name, k)) else _NONE for k in results),
            tuple(self.gradient(Tied(node.name, k)) for k in results) if gradients else (),
            which,
        )

    def results(self, node: Node) -> range:
        """The numbers of a node's results."""
        value = self.values[node.name]
        return range(len(value)) if isinstance(value, tuple | list) else range(1)

    def behind(self, node: Node, slot: str) -> Tied:
        """The tensor in a slot of a node's call (``input``, ``tensors[1]``)."""
        name, bracket, rest = slot.partition("[")
        if name.startswith("~"):  # made by the call on its way
            return Tied(f"{node.name}{name}")
        value = node.by_name()[name]
        if bracket and isinstance(value, list | tuple):
            value = value[int(rest[:-1])]
        elif bracket:
            return Tied(self.tied(value.name).name, int(rest[:-1]))
        return self.tied(value.name)

    def users(self, tied: Tied) -> list[tuple[Node, str]]:
        """The calls that use a tensor, each with the slot in which it stands there."""
        if self._users is None:
            self._users = {}
            for node in self.graph.nodes:
                if self.tied(node.name) != Tied(node.name):
                    continue  # it only passes on
                if not any(_is_tensor(self._raw(node.name, k)) for k in self.results(node)):
                    continue  # it asks for a size
                for slot, ref in _slots(node.by_name()):
                    self._users.setdefault(self.tied(ref.name), []).append((node, slot))
        return self._users.get(tied, [])

    def _check_unchanged(self, names: Iterable[str]) -> None:
        for name in names:
            version = self._versions.get(name)
            if version is not None and self.graph.tensors[name]._version != version:
                raise UsageError(
                    f"{name} was changed after the picture was opened, so the numbers no longer belong together",
                    fits="open the picture again",
                )

    def _raw(self, name: str, which: int) -> Any:
        value = self.values[name]
        return value[which] if isinstance(value, tuple | list) else value

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Ref):
            held = self.values.get(value.name, self.leaves.get(value.name))
            if isinstance(held, tuple | list):
                source = self.tied(value.name).name
                return [self.array(Tied(source, k)) for k, item in enumerate(held) if isinstance(item, Tensor)]
            return self.array(self.tied(value.name)) if isinstance(held, Tensor) else held
        if isinstance(value, Size):
            first = self.leaves[self.graph.inputs[0].name]
            return value.of(int(first.shape[0]))
        return [self._argument(item) for item in value] if isinstance(value, list | tuple) else value

    def _differentiated(self) -> dict[Tied, Array]:
        loss = self.output
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise UsageError("a gradient is that of a loss, and none was given", fits='open(..., label="cat")')
        self._check_unchanged(self._versions)
        places = {
            Tied(name, k): tensor
            for name, value in [*self.leaves.items(), *self.values.items()]
            for k, tensor in enumerate(value if isinstance(value, tuple | list) else (value,))
            if isinstance(tensor, Tensor) and tensor.requires_grad
        }
        found = torch.autograd.grad(loss, list(places.values()), allow_unused=True, retain_graph=True)
        return {tied: _array(g) for tied, g in zip(places, found, strict=True) if g is not None}


_NONE: Array = np.zeros(0, np.float32)  # stands for a result that is no tensor


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _leaf(tensor: Tensor) -> Tensor:
    held = tensor.detach()
    return held.requires_grad_() if held.is_floating_point() else held


def _array(tensor: Tensor) -> Array:
    held = tensor.detach()
    if held.is_floating_point() and held.dtype not in (torch.float32, torch.float64):
        held = held.float()
    found: Array = held.cpu().contiguous().numpy()
    return found


def _slots(by_name: Mapping[str, Any]) -> Iterator[tuple[str, Ref]]:
    for name, value in by_name.items():
        if isinstance(value, Ref):
            yield name, value
        elif isinstance(value, list | tuple):
            yield from ((f"{name}[{i}]", item) for i, item in enumerate(value) if isinstance(item, Ref))
