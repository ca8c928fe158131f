"""IDX files, plain or gzipped, as MNIST and Fashion-MNIST come (LeCun, The MNIST database, file formats)."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.source import Entry, Source
from pellucid.errors import DataError

_PARTS = {"train": "train", "test": "t10k"}
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def open_idx(folder: Path) -> Source | None:
    """The pictures of ``train-images-idx3-ubyte`` and its three companions; None where there are none.

    A file ``classes.txt`` beside them names the classes; a folder that is called after Fashion-MNIST has its names.

    Raises:
        DataError: where a companion is missing, or a file is damaged.
    """
    if not any(_find(folder, part, "images-idx3") for part in _PARTS.values()):
        return None
    pixels: list[NDArray[np.uint8]] = []
    entries: list[Entry] = []
    for split, part in _PARTS.items():
        images_file, labels_file = _find(folder, part, "images-idx3"), _find(folder, part, "labels-idx1")
        if images_file is None and labels_file is None:
            continue
        if images_file is None or labels_file is None:
            there = images_file or labels_file
            raise DataError(f"{there} is there without its companion", fits=f"{part}-images and {part}-labels")
        images, labels = read_idx(images_file, dimensions=3), read_idx(labels_file, dimensions=1)
        if len(images) != len(labels):
            raise DataError(f"{images_file} holds {len(images)} pictures and {labels_file} {len(labels)} labels")
        if not images.size:
            raise DataError(f"{images_file} holds no pictures")
        if pixels and pixels[0].shape[1:3] != images.shape[1:]:
            sizes = " and ".join(f"{height} x {width}" for height, width in (pixels[0].shape[1:3], images.shape[1:]))
            raise DataError(f"the training and test pictures in {folder} have different sizes: {sizes}")
        pixels.append(images[..., None])
        entries += [Entry(f"{split}:{i}", int(label), split) for i, label in enumerate(labels)]
    return Source(
        str(folder), "idx", _classes(folder, max(e.label for e in entries) + 1), entries, pixels=np.concatenate(pixels)
    )


def read_idx(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """The unsigned bytes of one IDX file.

    Raises:
        DataError: where the header or the length is not what the format asks for.
    """
    encoded = file.read_bytes()
    if encoded[:2] == b"\x1f\x8b":
        try:
            encoded = _unpacked(encoded, 4 + 4 * dimensions)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{file} is damaged: {error}", fits="fetch it again") from None
    if encoded[:3] != b"\0\0\x08" or len(encoded) < 4 + 4 * dimensions or encoded[3] != dimensions:
        raise DataError(
            f"{file} does not begin as an IDX file of unsigned bytes with {dimensions} dimensions",
            found=encoded[:4].hex(" "),
            fits=f"00 00 08 {dimensions:02x}",
        )
    shape = [int(size) for size in np.frombuffer(encoded, ">u4", dimensions, 4)]
    values = np.frombuffer(encoded, np.uint8, offset=4 + 4 * dimensions)
    if values.size != math.prod(shape):
        wanted = " x ".join(map(str, shape))
        raise DataError(f"{file} is cut off or too long: {wanted} bytes announced, {values.size} there")
    return values.reshape(shape)


def _unpacked(encoded: bytes, header_size: int) -> bytes:
    """What is gzipped, no more of it than the IDX header announces and one byte."""
    with gzip.GzipFile(fileobj=io.BytesIO(encoded)) as stream:
        header = stream.read(header_size)
        announced = math.prod(int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
        # Deflate packs at most 1032 to 1, so a header that announces more is not believed.
        return header + stream.read(min(announced, 1032 * len(encoded)) + 1)


def _find(folder: Path, part: str, what: str) -> Path | None:
    names = [f"{part}-{what}-ubyte", f"{part}-{what.replace('-idx', '.idx')}-ubyte"]
    files = [folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz")]
    return next((file for file in files if file.is_file()), None)


def _classes(folder: Path, count: int) -> tuple[str, ...]:
    named = folder / "classes.txt"
    if named.is_file():
        classes = tuple(line.strip() for line in named.read_text("utf-8").splitlines() if line.strip())
        if len(classes) < count:
            raise DataError(f"{named} names {len(classes)} classes; the labels go up to {count - 1}")
        return classes
    if "fashion" in folder.resolve().as_posix().lower() and count == len(FASHION_CLASSES):
        return FASHION_CLASSES
    return tuple(str(i) for i in range(count))
