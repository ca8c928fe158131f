"""What a projection is: a picture of what moved one number, and of which number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph, Node, Size
from pellucid.look.walk import Inputs, first, record, tensors_of

Place = tuple[int, ...]
PerPicture = int | Sequence[int]
KEEPS = ("strongest", "map")


@dataclass(frozen=True)
class Projection:
    """What a method shows of pictures.

    method, paper: what was done, and who described it. node: whose numbers are explained. index: for each picture the
    place of its number, without the picture: (channel, y, x), (class,), or (channel,) of a whole map. value: float32
    (N,), the number, or the sum of the map. image: float32 (N, C, H, W), of the shape of the pictures, or with one
    channel where the method tells places alone. facts: what else the method has to say (see there).
    """

    method: str
    paper: str
    node: str
    index: tuple[Place, ...]
    value: NDArray[np.float32]
    image: NDArray[np.float32]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def map(self) -> NDArray[np.float32]:
        """How much each place matters, (N, H, W): the largest magnitude over the channels, as in Simonyan et al."""
        return np.asarray(np.abs(self.image).max(1))

    def __repr__(self) -> str:
        return f"Projection({self.method} of {self.node}, {len(self.image)} pictures)"


@dataclass(frozen=True)
class Aim:
    """The numbers that a projection is about: of ``node``, for each picture the one at ``index`` or the map there."""

    node: str
    index: tuple[Place, ...]

    def values(self, value: Tensor) -> Tensor:
        """The number of each picture, (N,): from the node's value (N, ...). A map counts as its sum."""
        return torch.stack([value[n][place].sum() for n, place in enumerate(self.index)])

    def kept(self, value: Tensor) -> Tensor:
        """The node's value (N, ...) with all else 0."""
        return torch.where(self._where(value), value, torch.zeros_like(value))

    def ones(self, value: Tensor) -> Tensor:
        """The gradient of the sum of ``values``: 1 at the numbers, 0 elsewhere."""
        return self._where(value).to(value.dtype)

    def _where(self, value: Tensor) -> Tensor:
        where = torch.zeros(value.shape, dtype=torch.bool, device=value.device)
        for n, place in enumerate(self.index):
            where[(n, *place)] = True
        return where


def named(graph: Graph, target: PerPicture | None, node: str | None, channel: PerPicture | None) -> tuple[str, Any]:
    """The node and the channel that a target means: a class is a channel of the output. Raises UsageError for both."""
    if target is not None and (node is not None or channel is not None):
        raise UsageError("a target is a class of the output; of another node, a channel is given", fits="node, channel")
    output = graph.outputs[0]
    if node is None and target is None and channel is not None:
        raise UsageError("a channel of which node?", fits=f"node='{output}'")
    return node or output, channel if target is None else target


def recorded(graph: Graph, inputs: Inputs, node: str, values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The record that was given, or that of a run up to the node."""
    return record(graph, inputs, node) if values is None else values


def aim(
    graph: Graph,
    values: Mapping[str, Any],
    inputs: Inputs,
    node: str,
    *,
    channel: PerPicture | None = None,
    index: Any = None,
    keep: str = "strongest",
) -> Aim:
    """Choose a number, or a map, of each picture.

    Args:
        channel: the entry of the node's dimension 1: the map or the feature; one for all pictures, or one for each.
        index: the place: (y, x) with a channel, or (channel, y, x); for all pictures, or a list of one for each.
        keep: ``strongest``: the number at ``index``, by default the largest of the channel, or of all; ``map``: the
            whole map in which that number lies.

    Raises:
        UsageError: for what the node has not.
    """
    if keep not in KEEPS:
        raise UsageError(f"there is no way to keep '{keep}'", fits=" or ".join(KEEPS))
    count = len(tensors_of(inputs)[0])
    value = first(values[node]) if node in values else _missing(graph, node)
    _check_batch(graph[node], value, count)
    channels = _each(channel, count, "channel", int)
    indices = _each(index, count, "index", tuple)
    places = [_place(node, value[n], channels[n], indices[n]) for n in range(count)]
    return Aim(node, tuple(place[:1] if keep == "map" else place for place in places))


def _missing(graph: Graph, node: str) -> Tensor:
    graph[node]
    raise UsageError(f"the value of '{node}' is not on the record", fits="graph.run(x, record=True)")


def _check_batch(node: Node, value: Tensor, count: int) -> None:
    first_is_batch = bool(node.dims) and isinstance(node.dims[0], Size) and node.dims[0].of(count) == count
    if not first_is_batch or value.ndim < 2 or len(value) != count:
        raise UsageError(
            f"the first dimension of '{node.name}' is not the batch, so that no number is that of one picture",
            found=f"shape {tuple(value.shape)} for {count} pictures",
        )


def _each(given: Any, count: int, what: str, kind: type) -> list[Any]:
    """One for each picture: of a number (for a channel) or a tuple (for an index) the same for all."""
    if given is None or isinstance(given, kind) or (kind is int and isinstance(given, np.integer)):
        return [given] * count
    listed = [part if kind is int else tuple(part) for part in given]
    if len(listed) != count:
        raise UsageError(f"{len(listed)} of '{what}' were given for {count} pictures", fits=f"one {what}, or {count}")
    return listed


def _place(node: str, value: Tensor, channel: int | None, index: Place | None) -> Place:
    """The place in the value of one picture."""
    shape = tuple(value.shape)
    if channel is not None and not 0 <= int(channel) < shape[0]:
        raise UsageError(f"'{node}' has no channel {channel}", fits=f"0 to {shape[0] - 1}")
    if index is not None:
        place = tuple(int(i) for i in (index if channel is None or len(index) == len(shape) else (channel, *index)))
        fits = len(place) == len(shape) and all(0 <= i < n for i, n in zip(place, shape, strict=True))
        if not fits or (channel is not None and place[0] != int(channel)):
            raise UsageError(f"'{node}' has no number at {tuple(index)}", fits=f"an index within {shape}")
        return place
    part = value if channel is None else value[int(channel)]
    flat = int(part.argmax())
    place = tuple(int(i) for i in np.unravel_index(flat, tuple(part.shape)))
    return place if channel is None else (int(channel), *place)
