"""A CSV file: the path of a picture, its label, and optionally its split."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pellucid.data.source import SPLIT_NAMES, Listing, Source
from pellucid.errors import DataError

_PATH_NAMES = ("path", "file", "filename", "file_name", "image", "image_path", "picture", "name")
_LABEL_NAMES = ("label", "class", "target", "category", "class_name", "y")
_SPLIT_NAMES = ("split", "set", "subset", "partition", "fold")


def open_table(file: Path) -> Source:
    """The pictures that a CSV (or TSV) file lists; paths are relative to the file.

    The header names the columns: path (or file, image, ...), label (or class, ...), and optionally split. Without such
    a header the first two columns are path and label, the third, if any, the split.

    Raises:
        DataError: with the line's number, for a missing picture, an empty label or an unknown split.
    """
    rows = _rows(file)
    columns, first = _columns(file, rows[0])
    listing = Listing(file, "csv")
    for number, row in enumerate(rows[first:], start=first + 1):
        if not any(cell.strip() for cell in row):
            continue
        path_at, label_at, split_at = columns
        if len(row) <= max(path_at, label_at):
            raise DataError(f"line {number} of {file} has {len(row)} columns", fits="path,label on every line")
        name, label = row[path_at].strip(), row[label_at].strip()
        split = row[split_at].strip() if split_at is not None and len(row) > split_at else ""
        if not label:
            raise DataError(f"line {number} of {file} has no label for {name}")
        if split and split.lower() not in SPLIT_NAMES:
            raise DataError(f"line {number} of {file}: there is no split '{split}'", fits="train, validation or test")
        picture = file.parent / name
        if not picture.is_file():
            raise DataError(f"line {number} of {file}: there is no picture {picture}")
        listing.add(picture, name, label, SPLIT_NAMES[split.lower()] if split else None)
    _all_or_none(file, listing)
    return listing.source()


def open_table_of(folder: Path) -> Source | None:
    """The one CSV (or TSV) file of a folder that has no folders of classes; None elsewhere."""
    tables = [file for file in folder.iterdir() if file.suffix.lower() in (".csv", ".tsv") and file.name[0] != "."]
    folders = [item for item in folder.iterdir() if item.is_dir() and not item.name.startswith((".", "__"))]
    return open_table(tables[0]) if len(tables) == 1 and len(folders) < 2 else None


def _rows(file: Path) -> list[list[str]]:
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no UTF-8 text (byte {error.start})", fits="save it as CSV UTF-8") from None
    delimiter = "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{file} is no CSV file: {error}") from None
    if not any(any(row) for row in rows):
        raise DataError(f"{file} is empty", fits="path,label on every line")
    if not any(rows[0]):
        raise DataError(f"{file} begins with an empty line", fits="a header path,label or path,label,split")
    return rows


def _columns(file: Path, header: list[str]) -> tuple[tuple[int, int, int | None], int]:
    names = [cell.strip().lower() for cell in header]

    def find(known: tuple[str, ...]) -> int | None:
        return next((names.index(name) for name in known if name in names), None)

    path_at, label_at = find(_PATH_NAMES), find(_LABEL_NAMES)
    if path_at is not None and label_at is not None:
        return (path_at, label_at, find(_SPLIT_NAMES)), 1
    if len(header) < 2:
        raise DataError(f"{file} has one column: '{header[0]}'", fits="a header path,label or path,label,split")
    if (file.parent / header[0].strip()).is_file():
        return (0, 1, 2 if len(header) > 2 else None), 0
    raise DataError(
        f"{file} begins with '{','.join(header)}', which is neither a header nor a picture and its label",
        fits="a header path,label or path,label,split",
    )


def _all_or_none(file: Path, listing: Listing) -> None:
    without = [name for name, _, split in listing.names if split is None]
    if without and len(without) < len(listing.names):
        raise DataError(
            f"{len(without)} of {len(listing.names)} lines of {file} have no split, such as that of {without[0]}",
            fits="a split on every line, or on none",
        )
