"""A tensor as a sheet of pictures: which number stands in which cell, and all of them in 8 bits."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIDDLE, _STEPS = 128, 127  # 0 stands at 128, the largest magnitude at 1 and 255; 0 is what is no finite number


@dataclass(frozen=True)
class Tiles:
    """How a tensor's numbers lie in pictures: ``channels`` pictures, each of ``tiles`` of ``rows`` x ``columns`` cells.

    Maps (N, C, H, W) are C pictures of one tile; features (N, C) one picture of C tiles of one cell; tokens (N, L, D)
    one tile of L x D; kernels (O, I, R, S) O pictures of I tiles; a dense layer's weights (O, I) O pictures of I cells.
    Cells follow one another as the tensor's numbers do, those of picture 0 of the batch first.
    """

    channels: int
    tiles: int
    rows: int
    columns: int

    @classmethod
    def of(cls, shape: Sequence[int], *, has_batch: bool) -> Tiles:
        """The cells of a tensor, of its first picture where it has a batch."""
        inner = tuple(int(n) for n in (shape[1:] if has_batch else shape))
        if has_batch:
            window = (1, 1, *inner[-2:])[-2:] if len(inner) > 1 else (1, 1)
            outer = inner[:-2] if len(inner) > 1 else inner
            return cls(1, prod(outer), *window) if len(inner) < 2 else cls(prod(outer), 1, *window)
        if len(inner) < 2:
            return cls(1, prod(inner), 1, 1)
        window = (1, 1, *inner[2:])[-2:]
        return cls(inner[0], prod(inner[1:]) // prod(window), *window)

    @property
    def cells(self) -> int:
        """Of one picture."""
        return self.tiles * self.rows * self.columns


def sheet(values: NDArray[Any], *, has_batch: bool, channels: Sequence[int] | None = None) -> dict[str, Any]:
    """Pictures of a tensor as plain values.

    Args:
        values: the tensor; has_batch: whether its first dimension is the batch, of which the first picture is taken.
        channels: which of the pictures; all by default.

    tiles: see ``Tiles``. shape: of the tensor. shown: the channels. largest: the largest magnitude of each; strongest:
    the cell of its largest number. data: a byte a cell, 128 + 127 x value / largest, 0 for what is not finite,
    compressed by zlib, in base64.
    """
    tiles = Tiles.of(values.shape, has_batch=has_batch)
    flat = (values[0] if has_batch else values).reshape(tiles.channels, tiles.cells)
    shown = list(range(tiles.channels)) if channels is None else [int(c) for c in channels]
    chosen = flat[shown].astype(np.float32)
    finite = np.isfinite(chosen)
    chosen = np.where(finite, chosen, 0)
    largest = np.abs(chosen).max(1, initial=0)
    scale = _STEPS / np.where(largest > 0, largest, 1)
    codes = np.where(finite, np.rint(chosen * scale[:, None]) + _MIDDLE, 0).astype(np.uint8)
    return {
        "tiles": asdict(tiles),
        "shape": [int(n) for n in values.shape],
        "batch": has_batch,
        "shown": shown,
        "largest": [float(f"{v:.6g}") for v in largest],
        "strongest": chosen.argmax(1).tolist() if tiles.cells else [],
        "data": packed(codes),
    }


def packed(codes: NDArray[np.uint8]) -> str:
    """Bytes as a page takes them."""
    return base64.b64encode(zlib.compress(codes.tobytes(), 3)).decode()


def strongest_channels(values: NDArray[Any], count: int, *, has_batch: bool) -> list[int]:
    """The pictures whose largest number is the largest, in their own order; for weights by magnitude."""
    tiles = Tiles.of(values.shape, has_batch=has_batch)
    flat = np.nan_to_num((values[0] if has_batch else values).reshape(tiles.channels, tiles.cells))
    strength = flat.max(1) if has_batch else np.abs(flat).max(1)
    return sorted(np.argsort(-strength, kind="stable")[:count].tolist())
