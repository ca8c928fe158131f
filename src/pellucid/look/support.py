"""Which pixels a number may see, one by one: a walk back through what each operation reads.

A receptive field is a box around these pixels; dilated kernels, strides and transposed convolutions leave holes in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.graph.account import read_arguments
from pellucid.graph.ir import Graph, Node
from pellucid.look.walk import up_to
from pellucid.ops import Axis, Convolution, Pooling, Reach, TransposedConvolution

Mask = NDArray[np.bool_]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Marks:
    """Some places of a value: ``mask`` has all its dimensions but the batch's. Along ``dims`` it tells places apart;
    along the others (channels, and what an operation sees whole) it has one entry for all."""

    mask: Mask
    dims: frozenset[int]

    def __or__(self, other: Marks) -> Marks:
        return Marks(self.mask | other.mask, self.dims | other.dims)


def seen(graph: Graph, node: str, place: Sequence[int], dims: Iterable[int], picture: Shape) -> Mask:
    """The pixels of the first input that the number of a node at ``place`` (without the picture) may see.

    No pixel that is seen is left out; resizing and padding by copies, which read by rules that vary from place to
    place, may add neighbours.

    Args:
        dims: of the node's value, that lie over the picture's axes.
        picture: (H, W).
    """
    part = up_to(graph, node)
    shapes: dict[str, Shape | int] = {name: tuple(tensor.shape) for name, tensor in graph.tensors.items()}
    shapes |= {own.name: own.shape(1) for own in part.inputs}
    for call in part.nodes:
        number = call.number if isinstance(call.number, int) or call.number is None else call.number.of(1)
        shapes[call.name] = call.shape(1) if number is None else number
    marked = {node: _single(graph[node].shape(1), place, frozenset(dims))}
    for call in reversed(part.nodes):
        if call.name in marked:
            for name, marks in _below(call, marked.pop(call.name), shapes):
                if name not in graph.tensors:
                    marked[name] = marked[name] | marks if name in marked else marks
    found = marked.get(part.inputs[0].name)
    if found is None:
        return np.zeros(picture, np.bool_)
    return np.broadcast_to(found.mask.any(0), picture).copy()


def _single(shape: Shape, place: Sequence[int], dims: frozenset[int]) -> Marks:
    """One place along some dimensions."""
    mask = np.zeros([n if dim in dims else 1 for dim, n in enumerate(shape) if dim], np.bool_)
    mask[tuple(i if dim in dims else 0 for dim, i in enumerate(place, start=1))] = True
    return Marks(mask, dims)


def _below(node: Node, marks: Marks, shapes: dict[str, Shape | int]) -> Iterable[tuple[str, Marks]]:
    """What a call reads of each of its arguments for the marked results."""
    out = node.shape(1)
    arguments = read_arguments(node.by_name(), shapes, 1)
    names = [name for name in node.inputs if not isinstance(shapes[name], int)]
    for i, name in enumerate(names):
        shape = shapes[name]
        if isinstance(shape, int) or not shape:
            continue
        own = Reach({dim: Axis(dim) for dim in range(1, len(shape))})
        reaches = [own if j == i else Reach() for j in range(len(names))]
        try:
            reach = node.op.field(reaches, out, arguments)
        except (IndexError, KeyError, ValueError):
            reach = own.lost()
        yield name, _read(node, marks, reach, shape)


def _read(node: Node, marks: Marks, reach: Reach, shape: Shape) -> Marks:
    """The places of an argument that the marked results read, axis by axis; ``reach`` tells the results' dimensions by
    those of the argument."""
    mask = marks.mask
    mapped = sorted((axis.of, dim) for dim, axis in reach.dims.items() if dim in marks.dims)
    for of, dim in mapped:
        if _moves(node, dim, reach.dims[dim], mask.shape[dim - 1], shape[of]):
            table = _table(node, dim, reach.dims[dim], mask, shape[of])
            mask = np.moveaxis(np.tensordot(table, mask, (1, dim - 1)), 0, dim - 1)
    kept = sorted(dim for _, dim in mapped)
    mask = np.asarray(np.any(mask, axis=tuple(i for i in range(mask.ndim) if i + 1 not in kept)))
    mask = mask.transpose([kept.index(dim) for _, dim in mapped])
    sizes = dict(zip((of for of, _ in mapped), mask.shape, strict=True))
    return Marks(mask.reshape([sizes.get(dim, 1) for dim in range(1, len(shape))]), frozenset(sizes))


def _moves(node: Node, dim: int, axis: Axis, results: int, size: int) -> bool:
    """Whether results read anything but the number in their own place."""
    return _has_window(node, dim) or (axis, results) != (Axis(axis.of), size)


def _table(node: Node, dim: int, axis: Axis, mask: Mask, size: int) -> Mask:
    """Which of ``size`` places along an axis each result along a dimension reads; of the results in the mask alone."""
    table = np.zeros((size, mask.shape[dim - 1]), np.bool_)
    for i in np.flatnonzero(np.any(mask, axis=tuple(other for other in range(mask.ndim) if other != dim - 1))):
        table[[place for place in _taps(node, dim, axis, int(i)) if 0 <= place < size], i] = True
    return table


def _has_window(node: Node, dim: int) -> bool:
    op = node.op
    if not isinstance(op, Convolution | Pooling | TransposedConvolution):
        return False
    return dim >= len(node.dims) - len(op.windows)


def _taps(node: Node, dim: int, axis: Axis, index: int) -> Iterable[int]:
    """The places along an axis that a result reads: the taps of a window, else all from the first to the last."""
    op = node.op
    if not isinstance(op, Convolution | Pooling | TransposedConvolution) or not _has_window(node, dim):
        low, high = axis.box(index)
        return range(low, high + 1)
    window = op.windows[dim - len(node.dims) + len(op.windows)]
    offsets = [tap * window.dilation for tap in range(window.kernel)]
    if isinstance(op, TransposedConvolution):
        starts = [index + window.before - offset for offset in offsets]
        return [start // window.stride for start in starts if start % window.stride == 0]
    return [index * window.stride - window.before + offset for offset in offsets]
