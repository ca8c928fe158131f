"""What the activations of a network are over a whole data set: channels that never answer, and such as are always at
their bounds. In one pass, in the memory of one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.draw.page import table
from pellucid.errors import UsageError
from pellucid.graph import Graph, Node, Row, Size, capture
from pellucid.look.atlas_source import source_of
from pellucid.look.subject import subject_of
from pellucid.look.walk import first, random_numbers_kept, tensors_of, up_to
from pellucid.ops import Op
from pellucid.train import Model

Floats = NDArray[np.float64]
NEAR = 0.01  # of the range between an activation's bounds: nearer to one than that counts as saturated
MOSTLY = 0.9  # a channel is saturated where so many of its numbers are
_BATCH_BYTES = 1 << 28
_LARGEST_BATCH = 500
_HEADS = ("node", "operation", "channels", "mean", "deviation", "least", "largest", "zeros", "at bounds", "dead")


@dataclass(frozen=True)
class NodeStatistics:
    """The numbers of one node, channel by channel, all (C,).

    channel: the dimension that counts as the channels. count: how many numbers each channel had. mean, deviation, low,
    high: of them. zeros: the share that is 0. saturated: the share within 1 % of the range from one of the activation's
    bounds (of a rectifier, whose 0 is rest, from the upper one); NaN for operations without two bounds. rectifies:
    whether a channel that is never above zero says nothing. not_finite: how many numbers were NaN or infinite.
    """

    node: str
    operation: str
    channel: int
    count: int
    mean: Floats
    deviation: Floats
    low: Floats
    high: Floats
    zeros: Floats
    saturated: Floats
    rectifies: bool
    not_finite: int

    @property
    def dead(self) -> tuple[int, ...]:
        """The channels of a rectifier that were above zero for no picture."""
        return tuple(int(i) for i in np.flatnonzero(self.high <= 0)) if self.rectifies else ()

    @property
    def stuck(self) -> tuple[int, ...]:
        """The channels of which nine numbers in ten lie at a bound."""
        return tuple(int(i) for i in np.flatnonzero(self.saturated >= MOSTLY))


@dataclass(frozen=True)
class ActivationStatistics:
    """The nodes in the order of computation; ``pictures``: how many were seen. ``str()`` is a table."""

    nodes: tuple[NodeStatistics, ...]
    pictures: int

    @property
    def dead(self) -> dict[str, tuple[int, ...]]:
        """Rectifiers' channels that were never above zero, by node."""
        return {own.node: own.dead for own in self.nodes if own.dead}

    @property
    def saturated(self) -> dict[str, tuple[int, ...]]:
        """Channels that are nearly always at a bound, by node."""
        return {own.node: own.stuck for own in self.nodes if own.stuck}

    def __getitem__(self, name: str) -> NodeStatistics:
        from pellucid.errors import unknown

        for own in self.nodes:
            if own.node == name:
                return own
        raise unknown("node", name, [own.node for own in self.nodes])

    def __str__(self) -> str:
        rows = [_HEADS, *(tuple(map(_cell, row)) for row in self._rows())]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
        lines = ["  ".join(_aligned(i, row[i], widths[i]) for i in range(len(_HEADS))).rstrip() for row in rows]
        return "\n".join([f"{self.pictures:,} pictures", lines[0], "-" * len(lines[0]), *lines[1:]])

    def _repr_html_(self) -> str:
        return table(list(_HEADS), self._rows(), caption=f"{self.pictures:,} pictures")

    def _rows(self) -> list[tuple[Any, ...]]:
        return [
            (
                *(own.node, own.operation, len(own.mean)),
                *(
                    float(own.mean.mean()),
                    float(np.sqrt((own.deviation**2 + own.mean**2).mean() - own.mean.mean() ** 2)),
                ),
                *(float(own.low.min()), float(own.high.max()), _percent(own.zeros), _percent(own.saturated)),
                f"{len(own.dead)} of {len(own.mean)}" if own.rectifies else "",
            )
            for own in self.nodes
        ]


def statistics(
    of: Graph | Model | nn.Module | str | Path,
    data: Any,
    nodes: Sequence[str] | None = None,
    *,
    split: str = "test",
) -> ActivationStatistics:
    """Statistics of every channel of some nodes over all pictures of a data set.

    Args:
        of: a ``Model``, a run folder or a module, in evaluation, or a captured graph in the mode that it has.
        data: for a graph: tensors (N, C, H, W), one or an iterable of batches (each a tensor, a tuple of all the
            graph's inputs, or a ``Batch``). Else what ``look.atlas`` takes: a data set, its name or folder, pictures,
            or a tensor.
        nodes: their names; by default all that compute something.
        split: of a data set: test, validation, train or all.

    Raises:
        UsageError, DataError, ShapeError: for a node that there is not, and for data that do not fit or are none.
    """
    if isinstance(of, Graph):
        graph, batches = of, _batches(of, data, nodes)
    else:
        subject = subject_of(of)
        source = source_of(subject, data, split)
        example = next(iter(source.batches(0, 1)))
        graph = capture(subject.net, inputs=example, training=False)
        batches = source.batches(0, _batch_size(graph, _chosen(graph, nodes)))
    chosen = _chosen(graph, nodes)
    part = up_to(graph, *(row.name for row in chosen))
    rank = len(graph.inputs[0].dims)
    running = [_Running(row, graph[row.name].op, channel_dimension(graph[row.name], row, rank)) for row in chosen]
    pictures = 0
    with torch.no_grad():
        for given in batches:
            inputs = _inputs(graph, part, given)
            with random_numbers_kept(inputs[0]):
                _, values = part.run(*inputs, record=[row.name for row in chosen])
            pictures += len(inputs[0])
            for own in running:
                own.add(first(values.pop(own.row.name)))
    if not pictures:
        raise UsageError("there are no pictures to take statistics of")
    return ActivationStatistics(tuple(own.finished() for own in running), pictures)


def channel_dimension(node: Node, row: Row, rank: int) -> int:
    """Which dimension of a node's value tells its channels apart: 1, or for maps (N, H, W, C) and tokens (N, T, C) the
    last; never one that grows with the batch. 0 where there is none. ``rank``: of the picture."""
    spatial = set(row.field.reach.dims) if row.field is not None else set()
    fixed = [dim for dim in range(1, len(row.shape)) if not isinstance(node.dims[dim], Size)]
    free = [dim for dim in fixed if dim not in spatial] or fixed or [0]
    is_tokens = len(row.shape) == 3 and rank == 4 and not spatial
    return free[-1] if is_tokens else free[0]


class _Running:
    """The statistics of one node so far. Means and squared deviations of batches are joined as in Chan, Golub & LeVeque
    (1979, equations 2.1): no sum of squares is ever taken, which would lose what is small beside the mean."""

    def __init__(self, row: Row, op: Op, channel: int) -> None:
        self.row, self.op, self.channel = row, op, channel
        self.count = self.not_finite = 0
        channels = row.shape[channel]
        self.mean, self.squares, self.zeros, self.near = (np.zeros(channels) for _ in range(4))
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)

    def add(self, value: Tensor) -> None:
        """The numbers of a batch, (N, ...). Summed within each picture in their own precision, else in float64."""
        numbers = value.detach()
        if numbers.dtype not in (torch.float32, torch.float64):
            numbers = numbers.float()
        count = numbers.numel() // numbers.shape[self.channel]
        total = self.count + count
        shape = [-1 if dim == self.channel else 1 for dim in range(numbers.ndim)]
        about = torch.from_numpy(self._sums(numbers) / count).to(numbers.device, numbers.dtype)
        apart = numbers - about.view(shape)  # sums of what is left lose less in float32
        left = self._sums(apart) / count
        mean = about.double().cpu().numpy() + left
        squares = self._sums(apart.square_()) - count * left**2
        step = mean - self.mean
        self.squares += np.maximum(squares, 0) + step**2 * self.count * count / total
        self.mean += step * count / total
        others = tuple(dim for dim in range(numbers.ndim) if dim != self.channel)
        self.low = np.minimum(self.low, numbers.amin(others).double().cpu().numpy())
        self.high = np.maximum(self.high, numbers.amax(others).double().cpu().numpy())
        self.zeros += self._sums(torch.eq(numbers, 0, out=torch.empty_like(numbers)))
        self.near += self._at_bounds(numbers)
        if not np.isfinite(mean).all():
            self.not_finite += int((~numbers.isfinite()).sum())
        self.count = total

    def _sums(self, numbers: Tensor) -> Floats:
        """Over all dimensions but the channels."""
        inner = tuple(dim for dim in range(1, numbers.ndim) if dim != self.channel)
        sums: Floats = (numbers.sum(inner) if inner else numbers).double().sum(0).cpu().numpy()
        return sums

    def _at_bounds(self, numbers: Tensor) -> Floats:
        low, high = self.op.bounds
        if low is None or high is None:
            return np.full(numbers.shape[self.channel], nan)
        room = NEAR * (high - low)
        near = numbers >= high - room
        if not self.op.rectifies:
            near |= numbers <= low + room
        return self._sums(near.to(numbers.dtype))

    def finished(self) -> NodeStatistics:
        return NodeStatistics(
            node=self.row.name,
            operation=self.row.operation,
            channel=self.channel,
            count=self.count,
            mean=self.mean,
            deviation=np.sqrt(self.squares / self.count),
            low=self.low,
            high=self.high,
            zeros=self.zeros / self.count,
            saturated=self.near / self.count,
            rectifies=self.op.rectifies,
            not_finite=self.not_finite,
        )


def _chosen(graph: Graph, nodes: Sequence[str] | None) -> list[Row]:
    """The rows of the nodes that are meant. Raises UsageError for one that there is not or that has no channels."""
    account, rank = graph.account(), len(graph.inputs[0].dims)
    known = {node.name: node for node in graph.shown if channel_dimension(node, account[node.name], rank)}
    if nodes is None:
        return [account[name] for name, node in known.items() if not node.op.is_view]
    for name in nodes:
        if graph[name].name not in known:
            raise UsageError(f"'{name}' has no channels", found=f"shape {graph[name].shape(1)}")
    return [account[name] for name in dict.fromkeys(nodes)]


def _batch_size(graph: Graph, rows: Sequence[Row]) -> int:
    """How many pictures at a time, so that what is kept of them takes no more than some hundred megabytes."""
    sizes = [prod(row.shape) * graph[row.name].itemsize for row in rows]
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // max(1, sum(sizes) + 2 * max(sizes, default=0))))


def _batches(graph: Graph, data: Any, nodes: Sequence[str] | None) -> Iterable[Any]:
    """The batches of what was given for a graph: a tensor in parts, anything else as it comes."""
    if not isinstance(data, Tensor):
        if not isinstance(data, Iterable) or isinstance(data, str | bytes | Mapping):
            raise UsageError(f"a {type(data).__name__} is no pictures for a graph", fits="a tensor, or batches of them")
        return data
    return _split(data, _batch_size(graph, _chosen(graph, nodes)))


def _split(data: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _inputs(graph: Graph, part: Graph, given: Any) -> tuple[Tensor, ...]:
    """The inputs of one batch that the part takes."""
    tensors = tensors_of(getattr(given, "images", given))
    by_name = dict(zip((own.name for own in graph.inputs), tensors, strict=False))
    missing = [own.name for own in part.inputs if own.name not in by_name]
    if missing:
        raise UsageError(f"the graph takes {len(graph.inputs)} inputs and was given {len(tensors)}", missing=missing[0])
    return tuple(by_name[own.name] for own in part.inputs)


def _percent(shares: Floats) -> str:
    mean = float(shares.mean())
    return "" if np.isnan(mean) else f"{mean:.1%}"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)
