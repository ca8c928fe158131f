"""Small pictures and data sets on disk, as a user has them, for the tests of sources."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def a_picture(number: int, height: int = 12, width: int = 16, channels: int = 3) -> NDArray[np.uint8]:
    """Pixels that no other number has, uint8 (H, W, C); smooth, so that JPEG keeps them nearly."""
    chance = np.random.default_rng(number)
    rough = chance.integers(0, 256, (4, 4, channels), np.uint8)
    planes = [
        Image.fromarray(rough[:, :, i]).resize((width, height), Image.Resampling.BICUBIC) for i in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def encoded(pixels: NDArray[Any], form: str = "PNG", **options: Any) -> bytes:
    """The pixels as a picture file."""
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(out, form, **options)
    return out.getvalue()


def write(file: Path, content: bytes | NDArray[np.uint8] | int) -> Path:
    """A file of these bytes, or a PNG of these pixels, or of ``a_picture`` of this number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, int):
        content = a_picture(content)
    file.write_bytes(content if isinstance(content, bytes) else encoded(content))
    return file


def idx(values: NDArray[np.uint8]) -> bytes:
    """An IDX file by LeCun's description: two zeros, the type (8: unsigned byte), the number of dimensions, each size
    as a big-endian 32-bit number, the values."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def write_idx(folder: Path, train: int = 20, test: int = 10, packed: bool = True) -> dict[str, NDArray[np.uint8]]:
    """The four files of an MNIST in 5 x 4 pixels; what was written, by name."""
    chance = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, count in (("train", train), ("t10k", test)):
        written[f"{part}-images-idx3-ubyte"] = chance.integers(0, 256, (count, 5, 4), np.uint8)
        written[f"{part}-labels-idx1-ubyte"] = (np.arange(count) % 3).astype(np.uint8)
    for name, values in written.items():
        content = idx(values)
        (folder / f"{name}.gz" if packed else folder / name).write_bytes(gzip.compress(content) if packed else content)
    return written
