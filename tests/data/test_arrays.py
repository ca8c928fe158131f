"""NumPy arrays: shapes, names, values, and that nothing is ever unpickled."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.data.arrays import to_labels, to_pictures
from pellucid.data.source import open_source
from pellucid.errors import DataError
from tests.data.pictures import write

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("x", "y"), ("X_train", "y_train"), ("train_images", "train_labels")]
)
def test_one_file_without_splits(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "set.npz", **{names[0]: IMAGES, names[1]: LABELS})
    source = open_source(tmp_path / "set.npz")
    assert source.kind == "numpy"
    np.testing.assert_array_equal(source.pixels, IMAGES)
    np.testing.assert_array_equal(source.labels(), LABELS)
    assert {entry.split for entry in source.entries} == {None}
    assert source.classes == ("0", "1", "2")


def test_splits_and_names_of_classes(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"x_train": IMAGES, "y_train": LABELS, "x_val": IMAGES[:2], "y_val": LABELS[:2]}
    arrays |= {"x_test": IMAGES[2:5], "y_test": LABELS[2:5, None], "classes": np.array(["ant", "bee", "cow"])}
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    source = open_source(tmp_path)
    assert [entry.split for entry in source.entries] == ["train"] * 6 + ["validation"] * 2 + ["test"] * 3
    np.testing.assert_array_equal(source.pixels, np.concatenate([IMAGES, IMAGES[:2], IMAGES[2:5]]))
    assert source.classes == ("ant", "bee", "cow")


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_folder_of_npy_files(tmp_path: Path, given: str) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "labels.npy", LABELS)
    source = open_source(tmp_path if given == "folder" else tmp_path / "images.npy")
    np.testing.assert_array_equal(source.pixels, IMAGES)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (IMAGES, IMAGES),
        (IMAGES[..., 0], IMAGES[..., :1]),
        (IMAGES.transpose(0, 3, 1, 2), IMAGES),
        (IMAGES[..., :1].transpose(0, 3, 1, 2), IMAGES[..., :1]),
        (IMAGES / 255, IMAGES),
        (IMAGES.astype(np.float32) / 255, IMAGES),
        (IMAGES.astype(np.float64), IMAGES),
        (IMAGES.astype(np.int64), IMAGES),
        (IMAGES > 127, (IMAGES > 127).astype(np.uint8) * 255),
        ((IMAGES > 127).astype(np.int32), (IMAGES > 127).astype(np.uint8)),
    ],
    ids=["NHWC", "NHW", "NCHW", "N1HW", "0..1", "0..1 float32", "0..255", "whole", "bool", "whole 0 and 1"],
)
def test_forms_of_pictures(images: NDArray[Any], expected: NDArray[np.uint8]) -> None:
    found = to_pictures(images)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0, 0], "pictures have 2 dimensions"),
        (np.zeros((2, 5, 4, 2), np.uint8), "have neither 1 nor 3 channels"),
        (IMAGES / 255 * 2 - 1, r"pixels go from -1 to 1\n  fits  0 to 255"),
        (IMAGES.astype(np.uint16) * 257, "pixels go from .* to 65"),
        (np.full((1, 4, 4, 3), np.nan), "are not finite"),
        (np.zeros((0, 4, 4, 3)), "there are no pictures"),
        (np.zeros((0, 4, 4, 3), np.uint8), "there are no pictures"),
        (np.zeros((2, 4, 4, 3), "U3"), "pictures are <U3"),
        (np.zeros((2, 4, 4, 3), complex), "pictures are complex128"),
    ],
)
def test_pictures_that_are_refused(images: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_pictures(images)


@pytest.mark.parametrize(
    "labels", [LABELS, LABELS[:, None], LABELS.astype(np.float32), np.eye(3)[LABELS], LABELS.astype(np.uint8)]
)
def test_forms_of_labels(labels: NDArray[Any]) -> None:
    found = to_labels(labels, 6)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, LABELS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:5], r"6 pictures, and labels of shape \(5,\)"),
        (LABELS - 1, "labels are no whole numbers from 0"),
        (LABELS + 0.5, "labels are no whole numbers from 0"),
        (LABELS * np.nan, "labels are no whole numbers from 0"),
        (np.array(list("abcabc")), "labels are no whole numbers from 0"),
        (np.zeros((6, 2, 2)), r"labels of shape \(6, 2, 2\)"),
    ],
)
def test_labels_that_are_refused(labels: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_labels(labels, 6)


def test_arrays_of_other_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", pictures=IMAGES, truth=LABELS)
    with pytest.raises(DataError, match=r"has no pictures with labels\n  found  pictures, truth\n"):
        open_source(tmp_path / "set.npz")


def test_sizes_that_differ(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:, :4], y_test=LABELS)
    with pytest.raises(DataError, match="have pictures of different sizes"):
        open_source(tmp_path / "set.npz")


class Trap:
    """Would write a file if anybody unpickled it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
    objects = np.array([Trap(tmp_path / "sprung")] * 6, dtype=object)
    if suffix == ".npz":
        np.savez(tmp_path / "set.npz", images=objects, labels=LABELS)
        where = tmp_path / "set.npz"
    else:
        np.save(tmp_path / "images.npy", objects, allow_pickle=True)
        where = tmp_path / "images.npy"
    with pytest.raises(DataError, match="cannot be read: Object arrays cannot be loaded"):
        open_source(where)
    assert not (tmp_path / "sprung").exists()
    np.load(where, allow_pickle=True)["images" if suffix == ".npz" else ...]
    assert (tmp_path / "sprung").exists(), "the trap does not work, so nothing has been shown"


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((1, 2, 2, 3), np.uint8))
    whole = (tmp_path / "images.npy").read_bytes()
    write(tmp_path / "images.npy", whole.replace(b"(1, 2, 2, 3)", b"(999999999999, 9, 9)"[:20]))
    with pytest.raises(DataError, match=r"images.npy cannot be read"):
        open_source(tmp_path)


def test_rubbish(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set.npz cannot be read|set.npz holds one array"):
        open_source(write(tmp_path / "set.npz", b"rubbish"))


def test_one_array_without_names(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    (tmp_path / "images.npy").rename(tmp_path / "set.npz")
    with pytest.raises(DataError, match=r"set.npz holds one array, and no names"):
        open_source(tmp_path / "set.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_any_damage_is_told_or_harmless(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "set.npz", images=IMAGES[:, :2, :2], labels=LABELS)
    whole = (tmp_path / "set.npz").read_bytes()
    chance = random.Random(0)
    told = 0
    for _ in range(400):
        bad = bytearray(whole)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        try:
            open_source(write(tmp_path / "set.npz", bytes(bad)))
        except DataError:
            told += 1
    assert told > 150
