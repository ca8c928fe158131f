"""The layers of an atlas: which of a network's nodes have channels, where these lie, and what a place in a map sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError, unknown
from pellucid.graph import Field, Graph, Node

Numbers = NDArray[np.int64]
_LARGEST_TILE = 64  # pixels a side: larger patches are kept smaller
_LARGEST_SHEET = 4096
_MOST_ROWS = 256
_KINDS = ("convolution", "linear")


@dataclass(frozen=True)
class Layer:
    """A node whose channels an atlas shows.

    name, operation: the node's. channels: how many. maps: the shape of a channel's map, () for one number a picture.
    axis: of the channels in the node's value. field: what a place sees, as words. extent: the height and width in
    pixels that a patch has; the picture's own where a place sees as much. tile: the same as kept on a sheet. rows:
    channels on a sheet. stem: what its files are called.
    """

    name: str
    operation: str
    channels: int
    maps: tuple[int, ...]
    axis: int
    field: str
    extent: tuple[int, int]
    tile: tuple[int, int]
    rows: int
    stem: str

    def of(self, value: Any) -> Tensor:
        """Its maps (N, C, ...) in the node's recorded value."""
        first: Tensor = value[0] if isinstance(value, tuple | list) else value
        return first.movedim(self.axis, 1)

    def kept(self, value: Any, at: Sequence[tuple[int, int]]) -> Tensor:
        """Of the node's recorded value only the number at (channel, flat place) of each picture; all others are 0."""
        maps = self.of(value)
        rows, (channels, places) = torch.arange(len(at)), torch.tensor(at).T
        signal = torch.zeros(len(at), self.channels, prod(self.maps), dtype=maps.dtype, device=maps.device)
        signal[rows, channels, places] = maps.reshape(signal.shape)[rows, channels, places]
        return signal.reshape(maps.shape).movedim(1, self.axis)

    def parts(self) -> list[range]:
        """The channels of each sheet."""
        return [range(i, min(i + self.rows, self.channels)) for i in range(0, self.channels, self.rows)]

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads."""
        return {key: list(item) if isinstance(item, tuple) else item for key, item in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        plain: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}
        return cls(**plain)


@dataclass(frozen=True, eq=False)
class Ranks:
    """What was found in a layer, rank by rank.

    values: float32 (C, k), falling. pictures: (C, k), -1 where there were too few. places: (C, k), in flattened maps.
    boxes: (C, k, 4), the pixels seen, see ``boxes``. nans: (C,), how many pictures' maps held a NaN.
    """

    values: NDArray[np.float32]
    pictures: Numbers
    places: Numbers
    boxes: Numbers
    nans: Numbers


@dataclass(frozen=True)
class Shown:
    """A picture of the atlas: its number in the split, what it is called, its label as number and as word."""

    picture: int
    name: str
    label: int | None
    word: str | None


def layers_of(graph: Graph, names: Sequence[str] | None, picture: tuple[int, int]) -> list[Layer]:
    """The layers of an atlas.

    Args:
        graph: the network. picture: its height and width in pixels.
        names: of nodes; None for all convolutions and dense layers. A layer is what it is called: a convolution's
            numbers come before the normalisation and the activation behind it, which have names of their own.

    Raises:
        UsageError: for a name that there is not, or a node without channels.
    """
    if names is None:
        nodes = [node for node in graph.shown if node.op.kind in _KINDS and _axis(node) is not None]
        if not nodes:
            raise UsageError("the network has no convolution and no dense layer", fits="layers=[...] names others")
    else:
        if not names:
            raise UsageError("no layer was named", fits=", ".join(node.name for node in graph.shown if _axis(node)))
        nodes = [_chosen(graph, name) for name in dict.fromkeys(names)]
    account = graph.account(1)
    return [_layer(i, node, account[node.name].field, picture) for i, node in enumerate(nodes)]


def boxes(field: Field | None, layer: Layer, places: Numbers, picture: tuple[int, int]) -> Numbers:
    """The pixels that places in a layer's map see: (..., 4) for flat places (...), as y, x of the first, and y, x
    behind the last; beyond the picture's edge where padding is seen. All zero for the place -1.

    Along an axis on which a place sees as much as the picture has, or everything, the box is the whole picture.
    """
    whole = np.array([0, 0, *picture], np.int64)
    known, where = np.unique(places, return_inverse=True)
    found = np.tile(whole, (len(known), 1))
    bounded = field is not None and not field.unbounded and len(field.size) == len(layer.maps) == 2
    for i, place in enumerate(known.tolist()):
        if place < 0:
            found[i] = 0
        elif bounded and field is not None:
            index = tuple(int(at) for at in np.unravel_index(place, layer.maps))
            for axis, (first, last) in enumerate(field.box(index)):
                if field.size[axis] < picture[axis]:
                    found[i, axis], found[i, axis + 2] = first, last + 1
    chosen: Numbers = found[where.reshape(places.shape)]
    return chosen


def _chosen(graph: Graph, name: str) -> Node:
    known = [node.name for node in graph.shown if _axis(node) is not None]
    if name in known:
        return graph[name]
    if name in {node.name for node in graph.nodes}:
        node = graph[name]
        raise UsageError(
            f"'{name}' ({node.op.describe()}) gives {node.shape(1)} for one picture: it has no channels",
            known=", ".join(known),
        )
    raise unknown("layer", name, known)


def _axis(node: Node) -> int | None:
    """Where a node's channels lie: behind the batch in maps, last where a dense layer or a token has places before."""
    shape = node.shape(2)
    if not 2 <= len(shape) <= 5 or shape[0] != 2 or node.shape(3)[0] != 3 or not node.itemsize:
        return None
    if node.op.kind == "linear" or (len(shape) == 3 and node.op.kind != "convolution"):
        return len(shape) - 1
    return 1


def _layer(number: int, node: Node, field: Field | None, picture: tuple[int, int]) -> Layer:
    shape, axis = list(node.shape(1)[1:]), _axis(node) or 1
    channels = shape.pop(axis - 1)
    extent = picture
    if field is not None and not field.unbounded and len(field.size) == len(shape) == 2:
        extent = (min(field.size[0], picture[0]), min(field.size[1], picture[1]))
    shrunk = min(1.0, _LARGEST_TILE / max(extent))
    tile = (max(1, round(extent[0] * shrunk)), max(1, round(extent[1] * shrunk)))
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in node.name)
    return Layer(
        name=node.name,
        operation=node.op.describe(),
        channels=channels,
        maps=tuple(shape),
        axis=axis,
        field="everything" if extent == picture else "x".join(map(str, extent)),
        extent=extent,
        tile=tile,
        rows=max(1, min(_MOST_ROWS, _LARGEST_SHEET // tile[0])),
        stem=f"{number:02d}-{safe[:80]}",
    )
