"""CIFAR's binary files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.source import open_source
from pellucid.errors import DataError
from tests.data.pictures import a_picture, write

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def record(label: list[int], number: int) -> bytes:
    """One record by Krizhevsky's description: the label(s), 1024 red bytes row by row, 1024 green, 1024 blue."""
    pixels = a_picture(number, 32, 32)
    planes = b"".join(bytes(int(pixels[y, x, c]) for y in range(32) for x in range(32)) for c in range(3))
    return bytes(label) + planes


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-bin"
    for batch in range(1, 6):
        write(
            folder / f"data_batch_{batch}.bin", b"".join(record([(batch + i) % 10], 10 * batch + i) for i in range(2))
        )
    write(folder / "test_batch.bin", record([3], 99))
    write(folder / "batches.meta.txt", "\n".join([*NAMES, "", ""]).encode())
    return folder


@pytest.mark.parametrize("above", [False, True])
def test_cifar10(cifar10: Path, above: bool) -> None:
    source = open_source(cifar10.parent if above else cifar10)
    assert source.kind == "cifar"
    assert source.classes == NAMES
    assert source.pixels is not None
    assert source.pixels.shape == (11, 32, 32, 3)
    np.testing.assert_array_equal(source.pixels[3], a_picture(21, 32, 32))
    np.testing.assert_array_equal(source.pixels[10], a_picture(99, 32, 32))
    assert [entry.label for entry in source.entries] == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 3]
    assert [entry.split for entry in source.entries] == ["train"] * 10 + ["test"]
    assert source.entries[3].name == "data_batch_2:1"


def test_without_names(cifar10: Path) -> None:
    (cifar10 / "batches.meta.txt").unlink()
    assert open_source(cifar10).classes == tuple("0123456789")


def test_cifar100_has_the_fine_labels(tmp_path: Path) -> None:
    write(tmp_path / "train.bin", record([19, 11], 1) + record([4, 99], 2))
    write(tmp_path / "test.bin", record([0, 0], 3))
    source = open_source(tmp_path)
    assert [entry.label for entry in source.entries] == [11, 99, 0]
    assert len(source.classes) == 100
    assert source.pixels is not None
    np.testing.assert_array_equal(source.pixels[1], a_picture(2, 32, 32))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.bin", b"\0" * 3072, "has 3072 bytes, no whole number of records of 3073"),
        ("test_batch.bin", b"", "has 0 bytes, no whole number of records"),
        ("data_batch_1.bin", b"\x0a" + bytes(3072), "has the label 10; there are 10 classes"),
        ("batches.meta.txt", b"cat\ndog\n", "names 2 classes; there are 10"),
    ],
)
def test_damage(cifar10: Path, name: str, content: bytes, message: str) -> None:
    write(cifar10 / name, content)
    with pytest.raises(DataError, match=message):
        open_source(cifar10)


def test_a_part(cifar10: Path) -> None:
    (cifar10 / "test_batch.bin").unlink()
    with pytest.raises(DataError, match="holds only a part of CIFAR-10"):
        open_source(cifar10)


@pytest.mark.slow
def test_cifar10_itself(shared_data: Path, tmp_path: Path) -> None:
    unpack = shared_data / "cifar10" / "unpack.py"
    subprocess.run([sys.executable, str(unpack), str(tmp_path)], check=True, capture_output=True)
    source = open_source(tmp_path)
    assert source.pixels is not None
    assert source.pixels.shape == (60_000, 32, 32, 3)
    assert source.classes == NAMES
    assert np.bincount(source.labels()).tolist() == [6000] * 10
    mean = source.pixels[:50_000].reshape(-1, 3).mean(0) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=5e-5)  # the mean that everybody normalises by
