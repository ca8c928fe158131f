"""`open_source`: what it recognises, and what it says of what it does not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.source import (
    Entry,
    Skipped,
    find_pictures,
    natural_order,
    open_source,
    refuse_if_too_many_broken,
)
from pellucid.errors import DataError
from tests.data.pictures import write, write_idx


def two_classes(root: Path, each: int = 2) -> Path:
    for label in ("cat", "dog"):
        for i in range(each):
            write(root / label / f"{i}.png", 10 * (label == "dog") + i)
    return root


def test_a_missing_folder_names_the_nearest(tmp_path: Path) -> None:
    two_classes(tmp_path / "photos")
    with pytest.raises(DataError, match=r"there is no file or folder .*/photo; did you mean .*/photos\?"):
        open_source(tmp_path / "photo")


def test_a_missing_folder_without_a_neighbour(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*/nowhere/photos$"):
        open_source(tmp_path / "nowhere" / "photos")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is empty\n  fits  a folder per class"):
        open_source(tmp_path)


def test_a_folder_of_other_files_lists_them(tmp_path: Path) -> None:
    for name in ("a.doc", "b.xls"):
        write(tmp_path / name, b"something")
    with pytest.raises(DataError, match=r"there is no data set in .*\n  found  a.doc, b.xls\n  fits   a folder per"):
        open_source(tmp_path)


def test_pictures_without_classes(tmp_path: Path) -> None:
    write(tmp_path / "a.png", 1)
    write(tmp_path / "b.jpg", 2)
    with pytest.raises(DataError, match="holds 2 pictures and no folders: their classes are unknown"):
        open_source(tmp_path)


def test_one_class(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.png", 1)
    with pytest.raises(DataError, match="has one class, 'cat': there is nothing to tell apart"):
        open_source(tmp_path)


def test_folders_without_pictures(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.txt", b"text")
    write(tmp_path / "dog" / "b.txt", b"text")
    with pytest.raises(DataError, match="there is no picture in"):
        open_source(tmp_path)


def test_a_file_that_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"notes.doc is no data set\n  found  a file that ends in '.doc'"):
        open_source(write(tmp_path / "notes.doc", b"text"))


def test_one_file_of_several(tmp_path: Path) -> None:
    write_idx(tmp_path)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is one file of several\n  fits  give the folder"):
        open_source(tmp_path / "train-images-idx3-ubyte.gz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    two_classes(tmp_path / "photos")
    (tmp_path / "photos").chmod(0)
    try:
        with pytest.raises(DataError, match="photos cannot be read: Permission denied"):
            open_source(tmp_path / "photos")
    finally:
        (tmp_path / "photos").chmod(0o755)


def test_an_error_of_the_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_classes(tmp_path)

    def refused(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read: Permission denied"):
        open_source(tmp_path)


def test_labels_and_entries(tmp_path: Path) -> None:
    source = open_source(two_classes(tmp_path))
    assert source.classes == ("cat", "dog")
    assert list(source.entries) == [Entry("cat/0.png", 0), Entry("cat/1.png", 0), Entry("dog/0.png", 1),
                                    Entry("dog/1.png", 1)]  # fmt: skip
    np.testing.assert_array_equal(source.labels(), [0, 0, 1, 1])
    assert source.read is not None
    assert source.pixels is None
    assert source.read(2) == (tmp_path / "dog" / "0.png").read_bytes()


def test_the_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    two_classes(tmp_path / "photos")
    assert open_source("~/photos").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        ({"10", "9", "1"}, ("1", "9", "10")),
        ({"b", "a", "10"}, ("10", "a", "b")),
        ({"01", "1", "001"}, ("001", "01", "1")),
    ],
)
def test_names_in_their_natural_order(names: set[str], ordered: tuple[str, ...]) -> None:
    assert natural_order(names) == ordered


@pytest.mark.parametrize(("broken", "tried", "stops"), [(0, 10, False), (1, 10, False), (2, 10, True), (1, 9, True)])
def test_more_than_a_tenth_broken_stops(broken: int, tried: int, stops: bool) -> None:
    items = [Skipped(f"{i}.jpg", "it is cut short") for i in range(broken)]
    if stops:
        with pytest.raises(DataError, match=f"{broken} of {tried} pictures in photos cannot be decoded") as caught:
            refuse_if_too_many_broken("photos", items, tried)
        assert "0.jpg (it is cut short)" in str(caught.value)
    else:
        refuse_if_too_many_broken("photos", items, tried)


def test_a_long_list_of_broken_files_is_cut() -> None:
    with pytest.raises(DataError) as caught:
        refuse_if_too_many_broken("photos", [Skipped(f"{i}.jpg", "bad") for i in range(30)], 40)
    assert "9.jpg (bad); and 20 more" in str(caught.value)
    assert "10.jpg" not in str(caught.value)


def test_find_pictures(tmp_path: Path) -> None:
    one, two = write(tmp_path / "b" / "one.PNG", 1), write(tmp_path / "a.jpg", 2)
    write(tmp_path / "notes.txt", b"text")
    assert find_pictures(tmp_path) == [two, one]
    assert find_pictures(two) == [two]
    with pytest.raises(DataError, match=r"there is no file or folder .*/b.jpg; did you mean .*/a.jpg\?"):
        find_pictures(tmp_path / "b.jpg")
