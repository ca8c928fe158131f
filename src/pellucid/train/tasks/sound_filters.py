"""Where the filters of the first convolutions answer most: the loudest patches of spectrograms, or pieces of waves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pellucid.data.sounds import Hearing, WaveSplit
from pellucid.draw.sound_report import Filter, FilterBank, Piece
from pellucid.errors import CaptureError, ShapeError
from pellucid.graph import Graph, Node, capture

if TYPE_CHECKING:
    from pellucid.graph import Field

LAYERS, FILTERS, PIECES = 2, 16, 5
_CONTEXT = 20  # pixels: so much of a spectrogram is shown at least, however little a filter sees

Indices = NDArray[np.int64]


def filter_banks(
    net: nn.Module, batches: Iterable[Any], split: Any, classes: tuple[str, ...], hearing: Hearing
) -> tuple[FilterBank, ...]:
    """The first convolutions of a network, and for each of their first filters the recordings that excite it most.

    Args:
        net: in any mode; it is looked at as it predicts.
        batches: the split's recordings in their order. split: their pixels or waves.
        classes: names of the labels. hearing: how recordings became input.

    Returns:
        Nothing for a network that cannot be captured, or that has no convolution.
    """
    listed = list(batches)
    if not listed:
        return ()
    try:
        graph = capture(net, inputs=listed[0].inputs[0][:2].cpu())
    except (CaptureError, ShapeError):
        return ()
    nodes = [node for node in graph.shown if node.op.kind == "convolution"][:LAYERS]
    if not nodes:
        return ()
    values, places = _loudest(graph, [node.name for node in nodes], listed)
    account = graph.account(1)
    return tuple(
        _bank(node, account[node.name].field, values[node.name], places[node.name], split, classes, hearing)
        for node in nodes
    )


def _loudest(
    graph: Graph, names: list[str], batches: list[Any]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Indices]]:
    """The highest number of each map of each recording, (N, C), and its place in the flattened map."""
    values: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    places: dict[str, list[Indices]] = {name: [] for name in names}
    device = next((tensor.device for tensor in graph.tensors.values()), torch.device("cpu"))
    with torch.no_grad():
        for batch in batches:
            _, kept = graph.run(batch.inputs[0].to(device), record=names)
            for name in names:
                best, at = kept[name][:, :FILTERS].float().flatten(2).max(2)
                values[name].append(best.cpu().numpy())
                places[name].append(at.cpu().numpy())
    return (
        {name: np.concatenate(parts) for name, parts in values.items()},
        {name: np.concatenate(parts) for name, parts in places.items()},
    )


def _bank(
    node: Node,
    field: Field | None,
    values: NDArray[np.float32],
    places: Indices,
    split: Any,
    classes: tuple[str, ...],
    hearing: Hearing,
) -> FilterBank:
    shape = node.shape(1)
    filters = []
    for channel in range(values.shape[1]):
        order = np.argsort(-values[:, channel], kind="stable")[:PIECES]
        pieces = []
        for i in order.tolist():
            index = tuple(int(n) for n in np.unravel_index(places[i, channel], shape[2:]))
            name, label = str(split.names[i]), classes[int(split.labels[i])]
            pieces.append(_piece(split, i, name, label, float(values[i, channel]), field, index, hearing))
        filters.append(Filter(channel, tuple(pieces)))
    return FilterBank(node.name, node.op.describe(), int(shape[1]), tuple(filters))


def _piece(
    split: Any,
    i: int,
    name: str,
    label: str,
    value: float,
    field: Field | None,
    index: tuple[int, ...],
    hearing: Hearing,
) -> Piece:
    bounded = field is not None and not field.unbounded and len(field.size) == len(index)
    box = field.box(index) if field is not None and bounded else ()
    if isinstance(split, WaveSplit):
        first, last = box[0] if box else (0, hearing.length - 1)
        span = (max(0, first), min(hearing.length, last + 1))
        return Piece(
            name,
            label,
            value,
            (span[0] / hearing.rate, span[1] / hearing.rate),
            wave=np.asarray(split.waves[i, span[0] : span[1]]),
        )
    picture = np.asarray(split.images[i, :, :, 0])
    ((top, bottom), (left, right)) = box or tuple((0, side - 1) for side in picture.shape)
    y, height = _window(top, bottom)
    x, width = _window(left, right)
    padded = np.pad(picture, ((height, height), (width, width)))
    hop = hearing.mel.hop_samples / hearing.rate
    seconds = (max(0, left) * hop, min(picture.shape[1], right + 1) * hop)
    pixels = padded[y + height : y + 2 * height, x + width : x + 2 * width]
    return Piece(name, label, value, seconds, pixels, (top - y, left - x, bottom + 1 - y, right + 1 - x))


def _window(first: int, last: int) -> tuple[int, int]:
    """Where what is shown begins, and how long it is, so that first..last is in its middle."""
    size = last - first + 1
    shown = max(size, _CONTEXT)
    return first - (shown - size) // 2, shown
