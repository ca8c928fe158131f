"""A picture of any size through a network: whole where it fits, else in tiles that overlap and are blended."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.train.execution import Execution

WHOLE = 1 << 20  # pixels up to which a picture is taken whole, where nothing is said
TILE, OVERLAP = 512, 128
_GRID = 32  # tiles begin at multiples of it, so that the strides of networks fall on the same pixels


@torch.no_grad()
def probabilities(
    net: nn.Module, image: Tensor, execution: Execution, *, tile: int | None = None, overlap: int = OVERLAP
) -> NDArray[np.float32]:
    """softmax of the scores of every pixel, float32 (K, H, W), in evaluation mode.

    The outermost quarter of a tile's overlap counts nothing, for there it has seen its own border; from there its
    weight grows in a line over the next half. So where the network sees no further than that quarter, tiles give what
    the whole picture gives.

    Args:
        image: (1, C, H, W).
        tile: side of the tiles in pixels, rounded up to a multiple of 32; None takes a picture of up to ``WHOLE``
            pixels whole, else tiles of ``TILE``.
        overlap: of neighbours, likewise rounded up.

    Raises:
        UsageError: where the overlap is not less than the tile.
    """
    height, width = image.shape[2:]
    if tile is None:
        tile = max(height, width) if height * width <= WHOLE else TILE
    side, shared = (-(-size // _GRID) * _GRID for size in (tile, overlap))
    if shared >= side and max(height, width) > side:
        raise UsageError(f"tiles of {side} cannot overlap by {shared} pixels", fits="overlap less than tile")
    total: NDArray[np.float32] | None = None
    weights = np.zeros((height, width), np.float32)
    for top, bottom in _spans(height, side, shared):
        for left, right in _spans(width, side, shared):
            found = _scores(net, image[:, :, top:bottom, left:right], execution)
            rows = _weights(top, bottom, height, shared)
            weight = rows[:, None] * _weights(left, right, width, shared)
            if total is None:
                total = np.zeros((len(found), height, width), np.float32)
            total[:, top:bottom, left:right] += found * weight
            weights[top:bottom, left:right] += weight
    if total is None:
        raise UsageError("a picture without pixels has no mask")
    return total / weights


def _scores(net: nn.Module, image: Tensor, execution: Execution) -> NDArray[np.float32]:
    training = net.training
    net.eval()
    try:
        with execution.precision():
            scores = net(execution.images(image))
    finally:
        net.train(training)
    found: NDArray[np.float32] = scores[0].float().softmax(0).cpu().numpy()
    return found


def _spans(size: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along one axis: each but the last is ``tile`` long, neighbours share ``overlap``."""
    spans, first = [], 0
    while first + tile < size:
        spans.append((first, first + tile))
        first += tile - overlap
    return [*spans, (first, size)]


def _weights(first: int, last: int, size: int, overlap: int) -> NDArray[np.float32]:
    """What each pixel of a tile counts along one axis; whole at the borders of the picture."""
    margin = overlap // 4
    place = np.arange(last - first, dtype=np.float64) + 0.5
    ramp = max(1, overlap - 2 * margin)
    from_first = np.clip((place - margin) / ramp, 0, 1) if first else np.ones(last - first)
    from_last = np.clip((last - first - place - margin) / ramp, 0, 1) if last < size else np.ones(last - first)
    weights: NDArray[np.float32] = (from_first * from_last).astype(np.float32)
    return weights
