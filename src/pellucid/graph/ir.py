"""A captured network: nodes in the order in which they are computed, and what it takes to run them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.ops import Op

if TYPE_CHECKING:
    from pellucid.graph.account import Account

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Ref:
    """A place in a call's arguments that another value fills: a node, an input, a parameter or a buffer, by name."""

    name: str


@dataclass(frozen=True)
class Size:
    """A whole number that depends on the batch: what ``of(batch)`` gives."""

    of: Callable[[int], int] = field(repr=False)


@dataclass(frozen=True)
class Node:
    """One call.

    name: unique; the module's path for its main operation (``features.3``), else path and operation (``layer1.0.add``).
    op: what it is. target: the operator of PyTorch, such as ``aten.conv2d.default``. path: of the module whose code
    calls it. source: the line of the user's code, ``net.py:41``. dims: the shape, with ``Size`` where the batch counts.
    hidden: bookkeeping that no author wrote; it runs, but is not drawn. number: what it computes, where that is a size.
    """

    name: str
    op: Op
    target: str
    call: Callable[..., Any] = field(repr=False)
    arguments: tuple[Any, ...] = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    path: str
    source: str
    dims: tuple[int | Size, ...]
    itemsize: int
    schema: tuple[str, ...] = field(repr=False)
    hidden: bool = False
    number: int | Size | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names that its arguments refer to, in order."""
        return tuple(ref.name for ref in references((self.arguments, self.options)))

    def shape(self, batch: int = 1) -> Shape:
        """Of its (first) result."""
        return tuple(dim.of(batch) if isinstance(dim, Size) else dim for dim in self.dims)

    def by_name(self) -> dict[str, Any]:
        """The arguments by the names of the operator's schema."""
        return {**dict(zip(self.schema, self.arguments, strict=False)), **self.options}


@dataclass(frozen=True)
class Input:
    """What the graph is given: its name and shape, the batch as ``Size``."""

    name: str
    dims: tuple[int | Size, ...]
    itemsize: int

    def shape(self, batch: int = 1) -> Shape:
        """Its shape for a batch."""
        return tuple(dim.of(batch) if isinstance(dim, Size) else dim for dim in self.dims)


@dataclass(frozen=True)
class Graph:
    """A network as the calls that it makes.

    nodes: in order. inputs: what it is given. outputs: the names of what it returns. tensors: parameters, buffers and
    constants by name, shared with the module (a change of the weights is seen here). owners: parameters that have
    another name first. training: the mode. specialized: whether the road depends on values, so that it is that of the
    example alone. mutations: buffers that a pass of the module changes, each with the node that computes what it
    becomes; None where the capture could not tell.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor] = field(repr=False)
    parameters: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict, repr=False)
    training: bool = False
    specialized: bool = False
    mutations: Mapping[str, str] | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Node:
        """The node of a name. Raises UsageError with the nearest where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        from pellucid.errors import unknown

        raise unknown("node", name, [node.name for node in self.nodes if not node.hidden])

    @property
    def shown(self) -> tuple[Node, ...]:
        """The nodes that an author wrote."""
        return tuple(node for node in self.nodes if not node.hidden)

    @property
    def opaque(self) -> tuple[Node, ...]:
        """The nodes that nobody has described."""
        return tuple(node for node in self.shown if not node.op.described)

    def account(self, batch: int = 1) -> Account:
        """Shapes, parameters, multiply-accumulates, memory and receptive fields of every node (see ``Account``)."""
        from pellucid.graph.account import account

        return account(self, batch)

    def run(
        self,
        *inputs: Tensor,
        record: bool | Sequence[str] = False,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Compute the graph with PyTorch's own operations; the module's buffers are not changed.

        Args:
            inputs: one tensor for each of ``self.inputs``.
            record: True for every node's value, or the names of those to keep. Values keep their place in autograd's
                graph: ``retain_grad`` on them works.
            tensors: parameters or buffers to use instead of the module's, by name.

        Returns:
            The output (a tuple of tensors where there are several); with ``record`` also a dict of values by node name.
            The value of an operation with several results is their tuple: batch normalisation in training gives
            (result, mean, 1 / deviation, ...), dropout (result, mask).
        """
        if len(inputs) != len(self.inputs):
            raise UsageError(f"the graph takes {len(self.inputs)} inputs and was given {len(inputs)}")
        wanted = self._recorded(record)
        values: dict[str, Any] = {**self.tensors, **(tensors or {})}
        for given, own in zip(inputs, self.inputs, strict=True):
            values[own.name] = given
        kept = {own.name: given for own, given in zip(self.inputs, inputs, strict=True)}
        batch = int(inputs[0].shape[0]) if inputs and inputs[0].ndim else 1
        last = self._last_uses()
        for i, node in enumerate(self.nodes):
            arguments = filled(node.arguments, values, batch)
            options = filled(dict(node.options), values, batch)
            values[node.name] = node.call(*arguments, **options)
            if node.name in wanted:
                kept[node.name] = values[node.name]
            for name in last.get(i, ()):
                del values[name]
        results = tuple(values[name] for name in self.outputs)
        out = results[0] if len(results) == 1 else results
        return (out, kept) if record else out

    def _recorded(self, record: bool | Sequence[str]) -> set[str]:
        """The names to keep. Raises UsageError for one that is no node's."""
        nodes = {node.name for node in self.nodes}
        if isinstance(record, bool):
            return nodes if record else set()
        names = {record} if isinstance(record, str) else set(record)
        for name in sorted(names - nodes - {own.name for own in self.inputs}):
            self[name]
        return names

    def _last_uses(self) -> dict[int, list[str]]:
        """After which node each value is no longer needed."""
        last: dict[str, int] = {}
        own = {node.name for node in self.nodes}
        for i, node in enumerate(self.nodes):
            last[node.name] = i
            for name in node.inputs:
                if name in own:
                    last[name] = i
        gone: dict[int, list[str]] = {}
        for name, i in last.items():
            if name not in self.outputs:
                gone.setdefault(i, []).append(name)
        return gone


def references(value: Any) -> Iterator[Ref]:
    """All references in nested arguments, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def filled(value: Any, values: Mapping[str, Any], batch: int) -> Any:
    """Arguments with their references and sizes replaced by what they stand for."""
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, Size):
        return value.of(batch)
    if isinstance(value, dict):
        return {key: filled(item, values, batch) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(filled(item, values, batch) for item in value)
    return value


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name that they have."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def first_names(module: nn.Module) -> dict[str, str]:
    """For each parameter's name the first name of the same tensor: shared weights are counted once."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(tensor), name) for name, tensor in module.named_parameters(remove_duplicate=False)
    }
