"""Sheets: many tiles on one picture, so that an atlas is some files and not some thousand."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = PATCHES, PROJECTIONS, PICTURES = "patches", "projections", "pictures"
PICTURE_COLUMNS = 32  # on a sheet of whole pictures
_HIGHEST = 4096  # pixels, at most, of a sheet of whole pictures


def sheet_bytes(tiles: NDArray[np.uint8], columns: int | None = None) -> bytes:
    """Tiles (rows, columns, h, w, 4), or (n, h, w, 4) in so many columns, side by side as a PNG."""
    if columns is not None:
        missing = -len(tiles) % columns
        tiles = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.uint8)])
        tiles = tiles.reshape(-1, columns, *tiles.shape[1:])
    rows, across, height, width, _ = tiles.shape
    pixels = np.ascontiguousarray(tiles.transpose(0, 2, 1, 3, 4)).reshape(rows * height, across * width, 4)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=6)
    return out.getvalue()


def tiles_of(sheet: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The tiles (rows, columns, h, w, 4) of a sheet."""
    with Image.open(io.BytesIO(sheet), formats=("PNG",)) as image:
        pixels = np.asarray(image.convert("RGBA"))
    rows, across = pixels.shape[0] // height, pixels.shape[1] // width
    return pixels.reshape(rows, height, across, width, 4).transpose(0, 2, 1, 3, 4)


def pictures_a_sheet(height: int) -> int:
    """How many whole pictures a sheet holds."""
    return PICTURE_COLUMNS * max(1, _HIGHEST // height)
