"""A folder per class: splits, names, what is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.data.source import Source, open_source
from pellucid.errors import DataError
from tests.data.pictures import write


def reasons(source: Source) -> dict[str, str]:
    return {item.name: item.reason for item in source.skipped}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i, name in enumerate(["cat/a.png", "cat/b.png", "dog/a.png"]):
        write(tmp_path / "photos" / name, i)
    return tmp_path / "photos"


@pytest.mark.parametrize("held", ["val", "valid", "validation", "dev"])
def test_splits_by_their_usual_names(tmp_path: Path, held: str) -> None:
    for i, split in enumerate(["Train", held, "test"]):
        for label in ("cat", "dog"):
            write(tmp_path / split / label / "x.png", 2 * i + (label == "dog"))
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert {entry.name: entry.split for entry in source.entries} == {
        f"{split}/{label}/x.png": known
        for split, known in (("Train", "train"), (held, "validation"), ("test", "test"))
        for label in ("cat", "dog")
    }


def test_classes_are_matched_by_name_and_not_by_place(tmp_path: Path) -> None:
    for i, name in enumerate(["train/ant/1.png", "train/bee/1.png", "train/cow/1.png", "test/bee/1.png",
                              "test/cow/1.png"]):  # fmt: skip
        write(tmp_path / name, i)
    source = open_source(tmp_path)
    assert [(e.name, source.classes[e.label]) for e in source.entries if e.split == "test"] == [
        ("test/bee/1.png", "bee"),
        ("test/cow/1.png", "cow"),
    ]
    assert "the test split has no pictures of ant" in source.notes


def test_a_class_that_is_only_in_the_test(tmp_path: Path) -> None:
    for i, name in enumerate(["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/emu/1.png"]):
        write(tmp_path / name, i)
    with pytest.raises(DataError, match="the test split has a class that the training split has not: 'emu'"):
        open_source(tmp_path)


def test_a_test_folder_without_labels_is_passed_over(tmp_path: Path) -> None:
    for i, name in enumerate(["train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png"]):
        write(tmp_path / name, i)
    source = open_source(tmp_path)
    assert source.classes == ("cat", "dog")
    assert reasons(source) == {"test": "a split without folders of classes: it has no labels"}


def test_splits_without_a_training_split(tmp_path: Path) -> None:
    for i, name in enumerate(["val/cat/1.png", "val/dog/1.png", "test/cat/1.png"]):
        write(tmp_path / name, i)
    with pytest.raises(DataError, match="has no training pictures: its folders are test, val"):
        open_source(tmp_path)


def test_a_folder_beside_the_splits(tmp_path: Path) -> None:
    for i, name in enumerate(["train/cat/1.png", "train/dog/1.png", "extra/cat/1.png"]):
        write(tmp_path / name, i)
    source = open_source(tmp_path)
    assert len(source.entries) == 2
    assert reasons(source) == {"extra": "a folder beside the splits"}


def test_classes_that_are_called_like_splits(tmp_path: Path) -> None:
    """Pictures of exams and of trains: the folders hold pictures themselves, so they are classes."""
    write(tmp_path / "test" / "1.png", 1)
    write(tmp_path / "train" / "1.png", 2)
    source = open_source(tmp_path)
    assert source.classes == ("test", "train")
    assert {entry.split for entry in source.entries} == {None}


def test_what_is_no_picture_is_passed_over_and_said(photos: Path) -> None:
    write(photos / "README.md", b"text")
    write(photos / "cat" / "notes.txt", b"text")
    write(photos / "cat" / "Makefile", b"text")
    write(photos / "cat" / ".hidden.png", 1)
    write(photos / "dog" / ".thumbnails" / "a.png", 1)
    write(photos / ".git" / "x.png", 1)
    write(photos / "__MACOSX" / "cat" / "a.png", 1)
    (photos / "emu").mkdir()
    source = open_source(photos)
    assert [entry.name for entry in source.entries] == ["cat/a.png", "cat/b.png", "dog/a.png"]
    assert source.classes == ("cat", "dog")
    dotted = "its name begins with a dot or two underscores"
    assert reasons(source) == {
        ".git": dotted,
        "__MACOSX": dotted,
        "README.md": "a file beside the folders of the classes",
        "cat/notes.txt": "a file that ends in '.txt' is no picture",
        "cat/Makefile": "a file without an ending is no picture",
        "cat/.hidden.png": dotted,
        "dog/.thumbnails/a.png": dotted,
        "emu": "a folder without pictures",
    }
    assert f"passed over 4 in photos: {dotted}" in source.notes


def test_links_to_nothing_are_passed_over(photos: Path) -> None:
    (photos / "cat" / "c.png").symlink_to(photos / "gone.png")
    (photos / "cat" / "d.png").symlink_to(photos / "dog" / "a.png")
    source = open_source(photos)
    assert reasons(source) == {"cat/c.png": "a link to nothing, or no plain file"}
    assert "cat/d.png" in {entry.name for entry in source.entries}


def test_folders_inside_a_class_belong_to_it(photos: Path) -> None:
    write(photos / "cat" / "2024" / "may" / "z.JPG", 9)
    source = open_source(photos)
    assert source.classes == ("cat", "dog")
    assert ("cat/2024/may/z.JPG", 0) in {(entry.name, entry.label) for entry in source.entries}


def test_one_folder_around_it_all(tmp_path: Path, photos: Path) -> None:
    photos.rename(tmp_path / "around")
    (tmp_path / "outer").mkdir()
    (tmp_path / "around").rename(tmp_path / "outer" / "around")
    assert open_source(tmp_path / "outer").classes == ("cat", "dog")


def test_numbers_are_ordered_by_value(tmp_path: Path) -> None:
    for name in ("2", "10", "1"):
        write(tmp_path / name / "x.png", int(name))
    source = open_source(tmp_path)
    assert source.classes == ("1", "2", "10")
    assert {entry.name: source.classes[entry.label] for entry in source.entries} == {
        "1/x.png": "1",
        "10/x.png": "10",
        "2/x.png": "2",
    }


def test_nothing_of_the_users_is_written(photos: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in photos.rglob("*")}
    source = open_source(photos)
    assert source.read is not None
    source.read(0)
    assert {file: file.stat().st_mtime_ns for file in photos.rglob("*")} == before
