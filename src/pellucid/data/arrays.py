"""NumPy arrays: an ``.npz`` with pictures and labels, or a folder of ``.npy`` files. Nothing is ever unpickled."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.source import Entry, Source
from pellucid.errors import DataError

_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels"), ("x", "y")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels"), ("x_valid", "y_valid")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_DAMAGE = (  # whatever a damaged file makes NumPy and zipfile raise
    ValueError, OSError, EOFError, KeyError, MemoryError, NotImplementedError, OverflowError, RuntimeError, SyntaxError,
    TypeError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_FITS = "arrays named images and labels, or x_train, y_train, x_test, y_test"


def open_arrays(folder: Path) -> Source | None:
    """A folder that holds one ``.npz``, or ``.npy`` files of the known names; None where there are none."""
    packed = sorted(folder.glob("*.npz"))
    if len(packed) == 1:
        return open_file(packed[0])
    files = {file.stem.lower(): file for file in folder.glob("*.npy")}
    if not files:
        return None
    return _source(str(folder), {name: _load(file) for name, file in files.items()})


def open_file(file: Path) -> Source:
    """An ``.npz`` file, or the folder of an ``.npy`` file.

    Raises:
        DataError: where the file is damaged, holds Python objects, or its arrays do not fit together.
    """
    if file.suffix == ".npy":
        source = open_arrays(file.parent)
        if source is None:
            raise DataError(f"{file} is one array of several", fits=_FITS)
        return source
    loaded = _load(file)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise DataError(f"{file} holds one array, and no names", fits=_FITS)
    try:
        with loaded:
            arrays = {name.lower(): loaded[name] for name in loaded.files}
    except _DAMAGE as error:
        raise DataError(f"{file} cannot be read: {error}", fits=_FITS) from None
    return _source(str(file), arrays)


def _load(file: Path) -> Any:
    try:
        return np.load(file, allow_pickle=False)
    except _DAMAGE as error:
        raise DataError(f"{file} cannot be read: {error}", fits="arrays of numbers, saved by numpy.save") from None


def _source(origin: str, arrays: Mapping[str, NDArray[Any]]) -> Source:
    pixels: list[NDArray[np.uint8]] = []
    entries: list[Entry] = []
    splits = {}
    for split, pairs in _NAMES.items():
        pair = next((pair for pair in pairs if pair[0] in arrays and pair[1] in arrays), None)
        if pair:
            splits[split] = (arrays[pair[0]], arrays[pair[1]])
    if "train" not in splits:
        raise DataError(f"{origin} has no pictures with labels", found=", ".join(sorted(arrays)), fits=_FITS)
    alone = len(splits) == 1
    for split, (images, labels) in splits.items():
        pictures, numbers = to_pictures(images), to_labels(labels, len(images))
        pixels.append(pictures)
        entries += [Entry(f"{split}:{i}", int(label), None if alone else split) for i, label in enumerate(numbers)]
    if len({picture.shape[1:] for picture in pixels}) > 1:
        sizes = ", ".join(f"{split} {picture.shape[1:]}" for split, picture in zip(splits, pixels, strict=True))
        raise DataError(f"the splits of {origin} have pictures of different sizes", found=sizes)
    count = max(entry.label for entry in entries) + 1
    names = arrays.get("classes")
    classes = tuple(map(str, names)) if names is not None and len(names) >= count else tuple(map(str, range(count)))
    return Source(origin, "numpy", classes, entries, pixels=np.concatenate(pixels))


def to_pictures(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Pictures as uint8 (N, H, W, C) from (N, H, W), (N, H, W, C) or (N, C, H, W); floats are read as 0..1 or 0..255.

    Raises:
        DataError: where the shape or the values are neither.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise DataError(
            f"pictures have {images.ndim} dimensions: {images.shape}", fits="(N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if images.shape[3] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.shape[3] not in (1, 3):
        raise DataError(f"pictures of shape {images.shape} have neither 1 nor 3 channels")
    if images.dtype.kind not in "buif":
        raise DataError(f"pictures are {images.dtype}", fits="numbers: uint8 of 0 to 255, or floats of 0 to 1")
    if not images.size:
        raise DataError("there are no pictures")
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("pictures hold values that are not finite")
    if low < 0 or high > 255:
        raise DataError(f"pixels go from {low:g} to {high:g}", fits="0 to 255, or 0 to 1; undo a normalisation first")
    scale = 255.0 if high <= 1 and not np.issubdtype(images.dtype, np.integer) else 1.0
    return np.ascontiguousarray(np.rint(images * scale).astype(np.uint8))


def to_labels(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Labels as int64 (N,) from whole numbers (N,) or (N, 1), or from one-hot rows (N, K).

    Raises:
        DataError: where they are something else, or not as many as the pictures.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        labels = labels[:, 0] if labels.shape[1] == 1 else labels.argmax(1)
    if labels.ndim != 1 or len(labels) != count:
        raise DataError(f"{count} pictures, and labels of shape {labels.shape}", fits=f"labels of shape ({count},)")
    if not np.issubdtype(labels.dtype, np.number) or not np.array_equal(labels, np.floor(labels)) or labels.min() < 0:
        raise DataError(f"labels are no whole numbers from 0: {labels[:5]}")
    return labels.astype(np.int64)
