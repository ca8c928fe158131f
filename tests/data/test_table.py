"""A CSV file of pictures, labels and splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.data.source import Source, open_source
from pellucid.errors import DataError
from tests.data.pictures import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        write(tmp_path / "images" / f"{i}.png", i)
    return tmp_path


def rows(source: Source) -> list[tuple[str, str, str | None]]:
    return [(entry.name, source.classes[entry.label], entry.split) for entry in source.entries]


PLAIN = [("images/0.png", "cat", None), ("images/1.png", "dog", None)]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nimages/0.png,cat\nimages/1.png,dog\n",
        "images/0.png,cat\nimages/1.png,dog\n",
        "label,filename\ncat,images/0.png\ndog,images/1.png\n",
        "id,Image , CLASS\n7,images/0.png,cat\n8, images/1.png , dog\n",
        "path;label\r\nimages/0.png;cat\r\nimages/1.png;dog\r\n",
        '"path","label"\n"images/0.png","cat"\n"images/1.png","dog"',
        "\ufeffpath,label\nimages/0.png,cat\n\nimages/1.png,dog\n\n",
    ],
    ids=["header", "none", "other order", "other columns", "semicolons", "quoted", "BOM and empty lines"],
)
def test_columns_are_found(folder: Path, text: str) -> None:
    assert rows(open_source(write(folder / "labels.csv", text.encode()))) == PLAIN


def test_tabs(folder: Path) -> None:
    table = write(folder / "labels.tsv", b"path\tlabel\nimages/0.png\tcat, wild\nimages/1.png\tdog\n")
    assert rows(open_source(table)) == [("images/0.png", "cat, wild", None), ("images/1.png", "dog", None)]


def test_splits(folder: Path) -> None:
    text = "path,label,split\nimages/0.png,a,train\nimages/1.png,b,Train\nimages/2.png,a,val\nimages/3.png,b,test\n"
    source = open_source(write(folder / "labels.csv", text.encode()))
    assert [entry.split for entry in source.entries] == ["train", "train", "validation", "test"]
    assert source.read is not None
    assert source.read(2) == (folder / "images" / "2.png").read_bytes()


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    source = open_source(write(folder / "tables" / "l.csv", b"path,label\n../images/0.png,a\n../images/1.png,b\n"))
    assert source.read is not None
    assert source.read(1) == (folder / "images" / "1.png").read_bytes()


def test_the_one_table_of_a_folder(folder: Path) -> None:
    write(folder / "labels.csv", b"path,label\nimages/0.png,cat\nimages/1.png,dog\n")
    assert rows(open_source(folder)) == PLAIN


def test_folders_of_classes_come_before_a_table(folder: Path) -> None:
    write(folder / "more" / "5.png", 5)
    write(folder / "labels.csv", b"path,label\nimages/0.png,cat\nimages/1.png,dog\n")
    assert open_source(folder).kind == "folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nimages/0.png,cat\nimages/9.png,dog\n", r"line 3 of .*labels.csv: there is no picture .*9.png"),
        ("path,label\nimages/0.png,\n", r"line 2 of .*labels.csv has no label for images/0.png"),
        ("path,label\nimages/0.png\n", r"line 2 of .*labels.csv has 1 columns"),
        ("path,label,split\nimages/0.png,cat,holdout\n", r"line 2 of .*: there is no split 'holdout'"),
        ("path,label,split\nimages/0.png,a,train\nimages/1.png,b,\n", r"1 of 2 lines of .* have no split"),
        ("path,label\nimages/0.png,cat\nimages/1.png,cat\n", r"has one class, 'cat'"),
        ("path,label\n", r"there is no picture in .*labels.csv"),
        ("", r"labels.csv is empty"),
        ("\n\n", r"labels.csv is empty"),
        ("\npath,label\n", r"labels.csv begins with an empty line"),
        ("paths\nimages/0.png\n", r"labels.csv has one column: 'paths'"),
        ("a,b\nimages/0.png,cat\n", r"begins with 'a,b', which is neither a header nor a picture and its label"),
        ("path,label\nimages/\0.png,cat\n", r"line 2 of .*there is no picture|is no CSV file"),
    ],
)
def test_mistakes_are_named_with_their_line(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(write(folder / "labels.csv", text.encode()))


def test_another_encoding(folder: Path) -> None:
    with pytest.raises(DataError, match=r"labels.csv is no UTF-8 text \(byte 25\)"):
        open_source(write(folder / "labels.csv", "path,label\nimages/0.png,Kätzchen\n".encode("latin-1")))
