"""IDX files: what is read, and every way in which they can be wrong."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.idx import FASHION_CLASSES, read_idx
from pellucid.data.source import open_source
from pellucid.errors import DataError
from tests.data.pictures import idx, write, write_idx


@pytest.mark.parametrize("packed", [True, False])
def test_pixels_labels_and_splits(tmp_path: Path, packed: bool) -> None:
    written = write_idx(tmp_path, packed=packed)
    source = open_source(tmp_path)
    assert source.kind == "idx"
    assert source.pixels is not None
    images = np.concatenate([written["train-images-idx3-ubyte"], written["t10k-images-idx3-ubyte"]])
    labels = np.concatenate([written["train-labels-idx1-ubyte"], written["t10k-labels-idx1-ubyte"]])
    np.testing.assert_array_equal(source.pixels[..., 0], images)
    np.testing.assert_array_equal(source.labels(), labels)
    assert [entry.split for entry in source.entries] == ["train"] * 20 + ["test"] * 10
    assert source.entries[21].name == "test:1"
    assert source.classes == ("0", "1", "2")


def test_the_other_usual_file_name(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=False)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace("-idx", ".idx"))
    assert len(open_source(tmp_path).entries) == 30


def test_fashion_mnist_itself(fashion_mnist: Path) -> None:
    """Against Xiao, Rasul & Vollgraf (2017), table 2: 6,000 and 1,000 of each class, the first is an ankle boot."""
    source = open_source(fashion_mnist)
    assert source.pixels is not None
    assert source.pixels.shape == (70_000, 28, 28, 1)
    assert source.classes == FASHION_CLASSES
    assert source.classes[source.entries[0].label] == "Ankle boot"
    assert np.bincount(source.labels()[:60_000]).tolist() == [6000] * 10
    assert np.bincount(source.labels()[60_000:]).tolist() == [1000] * 10
    np.testing.assert_allclose(source.pixels[:60_000].mean() / 255, 0.2860, atol=5e-5)  # as is published


def test_names_of_classes(tmp_path: Path) -> None:
    write_idx(tmp_path)
    write(tmp_path / "classes.txt", b"ant\nbee\n\ncow\n")
    assert open_source(tmp_path).classes == ("ant", "bee", "cow")
    write(tmp_path / "classes.txt", b"ant\nbee\n")
    with pytest.raises(DataError, match="names 2 classes; the labels go up to 2"):
        open_source(tmp_path)


@pytest.mark.parametrize("missing", ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_a_missing_companion(tmp_path: Path, missing: str) -> None:
    write_idx(tmp_path)
    (tmp_path / f"{missing}.gz").unlink()
    with pytest.raises(DataError, match="is there without its companion"):
        open_source(tmp_path)


def test_counts_that_differ(tmp_path: Path) -> None:
    write_idx(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(9, np.uint8))))
    with pytest.raises(DataError, match="holds 10 pictures and .* 9 labels"):
        open_source(tmp_path)


def test_sizes_that_differ(tmp_path: Path) -> None:
    write_idx(tmp_path)
    write(tmp_path / "t10k-images-idx3-ubyte.gz", gzip.compress(idx(np.zeros((10, 6, 4), np.uint8))))
    with pytest.raises(DataError, match="have different sizes: 5 x 4 and 6 x 4"):
        open_source(tmp_path)


def test_no_pictures(tmp_path: Path) -> None:
    write_idx(tmp_path, train=0)
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz holds no pictures"):
        open_source(tmp_path)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin as an IDX file"),
        (b"\0\0\x08\x03\0\0", "does not begin as an IDX file"),
        (b"\0\0\x0d\x03" + GOOD[4:], "does not begin as an IDX file of unsigned bytes with 3 dimensions"),
        (idx(np.zeros(5, np.uint8)), "with 3 dimensions"),
        (GOOD[:-1], "is cut off or too long: 2 x 3 x 4 bytes announced, 23 there"),
        (GOOD + b"\0", "2 x 3 x 4 bytes announced, 25 there"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "4294967295 x 4294967295 x 4294967295 bytes announced, 0 there"),
        (gzip.compress(GOOD, mtime=0)[:-9], "is damaged"),
        (b"\x1f\x8b" + b"rubbish", "is damaged"),
        (gzip.compress(GOOD + bytes(50_000_000), mtime=0), "2 x 3 x 4 bytes announced, 25 there"),
        (gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12 + bytes(99), mtime=0), "is damaged|bytes announced, 99 there"),
    ],
)
def test_damage(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(write(tmp_path / "train-images-idx3-ubyte", content), dimensions=3)


@pytest.mark.parametrize("packed", [True, False])
def test_any_damage_is_told_or_harmless(tmp_path: Path, packed: bool) -> None:
    """Bits flipped and ends cut off at random: the right shape, or a DataError, and nothing else."""
    chance = random.Random(0)
    whole = gzip.compress(GOOD) if packed else GOOD
    told = 0
    for _ in range(300):
        bad = bytearray(whole)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        del bad[chance.choice([len(bad), chance.randrange(len(bad))]) :]
        try:
            assert read_idx(write(tmp_path / "images", bytes(bad)), dimensions=3).shape == (2, 3, 4)
        except DataError:
            told += 1
    assert told > 100
