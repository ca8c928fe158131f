"""What a network costs and what its numbers see, node by node and in total. Records without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from pellucid.ops import Reach, TensorShape

if TYPE_CHECKING:
    from pellucid.graph.ir import Graph, Node

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """A receptive field, one number for each spatial axis: how many input pixels an output number sees (``size``), how
    far it moves from one output to the next (``step``), and where that of output 0 begins (``start``; negative in the
    padding). ``unbounded``: it may see everything."""

    size: tuple[int, ...] = ()
    step: tuple[float, ...] = ()
    start: tuple[float, ...] = ()
    unbounded: bool = False
    reach: Reach = Reach()

    def box(self, index: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """The pixels that the output at ``index`` (one number a spatial axis) sees: (first, last) for each input axis,
        the picture's own bounds aside. Empty where the field is unbounded."""
        if self.unbounded:
            return ()
        axes = sorted(self.reach.dims.items(), key=lambda item: item[1].of)
        places = sorted(self.reach.dims)
        return tuple(axis.box(index[places.index(dim)]) for dim, axis in axes)

    def __str__(self) -> str:
        if self.unbounded:
            return "everything"
        return "x".join(map(str, self.size)) if len(set(self.size)) > 1 else str(self.size[0]) if self.size else ""


@dataclass(frozen=True)
class Row:
    """One node of a network.

    shape: of its output, with the batch. parameters: learned numbers that first appear here. macs: multiply-accumulates
    for the batch; None where unknown. macs_per_parameter: for one picture; for a convolution its output's height times
    width. activation_bytes: of its output, 0 where it shares its input's memory. field: None where nothing spatial is
    left to speak of. status: complete, or partial or unavailable with ``missing``.
    """

    name: str
    path: str
    operation: str
    kind: str
    inputs: tuple[str, ...]
    shape: Shape
    parameters: int
    macs: int | None
    macs_per_parameter: float | None
    activation_bytes: int
    field: Field | None
    status: str
    missing: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Account:
    """A network: its rows in the order of computation (the inputs first), and the totals."""

    rows: tuple[Row, ...]
    batch: int
    parameters: int
    trainable_parameters: int
    macs: int
    activation_bytes: int
    parameter_bytes: int
    status: str
    missing: tuple[str, ...] = ()
    training: bool = False
    specialized: bool = False

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The shapes of what it is given."""
        return tuple(row.shape for row in self.rows if row.kind == "input")

    def __getitem__(self, name: str) -> Row:
        """The row of a name."""
        from pellucid.errors import unknown

        for row in self.rows:
            if row.name == name:
                return row
        raise unknown("row", name, [row.name for row in self.rows])


def account(graph: Graph, batch: int) -> Account:
    """Count a graph for a batch; see ``Graph.account``."""
    counter = _Counter(graph, batch)
    rows = [
        *(counter.of_input(own.name, own.shape(batch), own.itemsize) for own in graph.inputs),
        *(row for node in graph.nodes if (row := counter.of_node(node)) is not None),
    ]
    tensors = {graph.same.get(name, name): graph.tensors[name] for name in graph.parameters}
    missing = tuple(f"{row.name}: {', '.join(row.missing)}" for row in rows if row.missing)
    return Account(
        rows=tuple(rows),
        batch=batch,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        trainable_parameters=sum(tensor.numel() for tensor in tensors.values() if tensor.requires_grad),
        macs=sum(row.macs or 0 for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows if row.kind != "input"),
        parameter_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        status="partial" if missing else "complete",
        missing=missing,
        training=graph.training,
        specialized=graph.specialized,
    )


class _Counter:
    """Goes through a graph once, in order."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self.graph, self.batch = graph, batch
        self.shapes: dict[str, Shape | int] = {name: tuple(tensor.shape) for name, tensor in graph.tensors.items()}
        self.reaches: dict[str, Reach] = {name: Reach() for name in graph.tensors}
        self.shown: dict[str, tuple[str, ...]] = dict.fromkeys(graph.tensors, ())
        self.counted: set[str] = set()

    def of_input(self, name: str, shape: Shape, itemsize: int) -> Row:
        self.shapes[name] = shape
        self.reaches[name] = Reach.of_input(len(shape))
        self.shown[name] = (name,)
        field = _field(self.reaches[name])
        return Row(name, "", "Input", "input", (), shape, 0, 0, None, prod(shape) * itemsize, field, "complete")

    def of_node(self, node: Node) -> Row | None:
        from pellucid.graph.ir import Size

        shape = node.shape(self.batch)
        arguments = read_arguments(node.by_name(), self.shapes, self.batch)
        number = node.number.of(self.batch) if isinstance(node.number, Size) else node.number
        self.shapes[node.name] = shape if number is None else number
        refs = list(node.inputs)
        reaches = [self.reaches[name] for name in refs if not isinstance(self.shapes[name], int)]
        try:
            self.reaches[node.name] = node.op.field(reaches, shape, arguments)
        except (IndexError, KeyError, ValueError):
            self.reaches[node.name] = _lost(reaches)
        sources = tuple(dict.fromkeys(name for ref in refs for name in self.shown[ref]))
        if node.hidden:
            self.shown[node.name] = sources if node.itemsize else ()  # a size is no road that numbers take
            return None
        self.shown[node.name] = (node.name,)
        parameters = self._parameters(refs)
        macs = node.op.macs(shape, arguments)
        missing = () if macs is not None else (f"nobody has described {node.target}",)
        learned = [self.graph.tensors[name] for name in refs if name in self.graph.parameters]
        weights = sum(tensor.numel() for tensor in learned if tensor.ndim > 1)
        return Row(
            name=node.name,
            path=node.path,
            operation=node.op.describe(),
            kind=node.op.kind,
            inputs=sources,
            shape=shape,
            parameters=parameters,
            macs=macs,
            macs_per_parameter=macs / self.batch / weights if macs and weights else None,
            activation_bytes=0 if node.op.is_view else prod(shape) * node.itemsize,
            field=_field(self.reaches[node.name]),
            status="complete" if macs is not None else "unavailable",
            missing=missing,
            source=node.source,
        )

    def _parameters(self, refs: list[str]) -> int:
        new = {self.graph.same.get(name, name) for name in refs if name in self.graph.parameters} - self.counted
        self.counted |= new
        return sum(self.graph.tensors[name].numel() for name in new)


def read_arguments(by_name: Mapping[str, Any], shapes: Mapping[str, Shape | int], batch: int) -> dict[str, Any]:
    """A node's arguments as operations read them: tensors as ``TensorShape``, sizes (in ``shapes`` too) as numbers."""
    from pellucid.graph.ir import Ref, Size

    def plain(value: Any) -> Any:
        if isinstance(value, Ref):
            known = shapes.get(value.name, ())
            return known if isinstance(known, int) else TensorShape(known)
        if isinstance(value, Size):
            return value.of(batch)
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return {name: plain(value) for name, value in by_name.items()}


def _lost(reaches: list[Reach]) -> Reach:
    from pellucid.ops.field import joined

    return joined(reaches).lost()


def _field(reach: Reach) -> Field | None:
    if reach.unbounded:
        return Field(unbounded=True, reach=reach)
    axes = sorted(reach.dims.values(), key=lambda axis: axis.of)
    if not axes:
        return None
    size = tuple(int(axis.high - axis.low) + 1 for axis in axes)
    plain = [(float(axis.step), float(axis.low)) for axis in axes]
    return Field(size, tuple(step for step, _ in plain), tuple(low for _, low in plain), reach=reach)
