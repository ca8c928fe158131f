"""The binary files of CIFAR-10 and CIFAR-100 (Krizhevsky, Learning multiple layers of features, 2009)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.source import Entry, Source
from pellucid.errors import DataError

_PIXELS = 3 * 32 * 32
_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary")


def open_cifar(folder: Path) -> Source | None:
    """The pictures of ``data_batch_*.bin`` and ``test_batch.bin``, or of CIFAR-100; None where there are none.

    Raises:
        DataError: where a file's length is no whole number of records, or a label is out of range.
    """
    for name in _FOLDERS:
        if (folder / name).is_dir():
            return open_cifar(folder / name)
    train, test = sorted(folder.glob("data_batch_*.bin")), folder / "test_batch.bin"
    if train and test.is_file():
        return _source(folder, [(file, "train") for file in train] + [(test, "test")], 0, "batches.meta.txt", 10)
    if (folder / "train.bin").is_file() and (folder / "test.bin").is_file():
        files = [(folder / "train.bin", "train"), (folder / "test.bin", "test")]
        return _source(folder, files, 1, "fine_label_names.txt", 100)
    if train or test.is_file():
        raise DataError(f"{folder} holds only a part of CIFAR-10", fits="data_batch_1.bin to _5.bin and test_batch.bin")
    return None


def _source(folder: Path, files: list[tuple[Path, str]], label_at: int, names: str, count: int) -> Source:
    pixels, entries = [], []
    for file, split in files:
        labels, pictures = _read(file, label_at, count)
        pixels.append(pictures)
        entries += [Entry(f"{file.stem}:{i}", int(label), split) for i, label in enumerate(labels)]
    classes = tuple(str(i) for i in range(count))
    if (folder / names).is_file():
        classes = tuple(line.strip() for line in (folder / names).read_text("utf-8").splitlines() if line.strip())
    if len(classes) != count:
        raise DataError(f"{folder / names} names {len(classes)} classes; there are {count}", fits="fetch it again")
    return Source(str(folder), "cifar", classes, entries, pixels=np.concatenate(pixels))


def _read(file: Path, label_at: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    record = label_at + 1 + _PIXELS
    values = np.fromfile(file, np.uint8)
    if values.size == 0 or values.size % record:
        raise DataError(
            f"{file} has {values.size} bytes, no whole number of records of {record}", fits="fetch it again"
        )
    rows = values.reshape(-1, record)
    labels = rows[:, label_at]
    if labels.max() >= count:
        raise DataError(f"{file} has the label {labels.max()}; there are {count} classes", fits="fetch it again")
    pictures = rows[:, label_at + 1 :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return labels, np.ascontiguousarray(pictures)
