"""Pairs of texts from files: CSV, or two text files of which line n of one belongs to line n of the other."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from pellucid.data.archive import is_archive, unpacked
from pellucid.data.pairs import PairSplit
from pellucid.data.source import SPLIT_NAMES
from pellucid.data.subwords import normalised
from pellucid.errors import DataError, UsageError

SOURCE_NAMES = ("source", "src", "from", "input", "question")
TARGET_NAMES = ("target", "tgt", "trg", "to", "output", "answer", "translation")
_SPLIT_COLUMNS = ("split", "set", "subset", "partition")
_LANGUAGES = set(
    "ar bg bn cs da de el en es et fa fi fr ga he hi hr hu id is it ja ko la lt lv ms mt nl no pl pt ro ru sk sl sr sv "
    "sw ta th tr uk ur vi zh eng cmn fra deu jpn rus spa ita por english chinese french german japanese russian "
    "spanish italian portuguese korean arabic".split()
)
_TABLES = (".csv", ".tsv")
_FITS = "a CSV file with columns source and target, or files like train.en and train.zh, or source.txt and target.txt"
_HEAD = 4096  # bytes of a file that are looked at to recognise it

Row = tuple[str, str, str, str]
"""Source, target, split ('' where the file has none), name."""


def is_language(name: str) -> bool:
    """Whether a column or an ending is called like a language: en, zh-CN, German."""
    return re.split(r"[-_]", name.lower())[0] in _LANGUAGES


def recognised(where: Path) -> bool:
    """Whether a path looks like pairs of texts; raises nothing."""
    try:
        if where.is_dir():
            names = [item.name for item in where.iterdir() if item.is_file()]
            return bool(_parallel(names)) or any(_is_pair_header(_head(where / name)) for name in _one_table(names))
        if where.suffix.lower() in _TABLES:
            return _is_pair_header(_head(where))
        if where.suffix.lower() == ".zip":
            return _recognised_in_zip(where)
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        pass
    return False


def _recognised_in_zip(file: Path) -> bool:
    with zipfile.ZipFile(file) as packed:
        inside = [info for info in packed.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
        names = {PurePosixPath(info.filename).name: info for info in inside}
        if _parallel(list(names)):
            return True
        for name in _one_table(list(names)):
            with packed.open(names[name]) as stream:
                if _is_pair_header(_first_line(stream.read(_HEAD))):
                    return True
    return False


def _head(file: Path) -> str:
    with file.open("rb") as stream:
        return _first_line(stream.read(_HEAD))


def _first_line(head: bytes) -> str:
    lines = head.decode("utf-8-sig", "replace").splitlines()
    return lines[0] if lines else ""


def _is_pair_header(line: str) -> bool:
    found = next(csv.reader([line], delimiter=_delimiter(line)), [])
    return _columns([cell.strip().lower() for cell in found], None, None) is not None


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _one_table(names: Sequence[str]) -> list[str]:
    """The tables among names: one, or one for each split."""
    tables = [name for name in names if Path(name).suffix.lower() in _TABLES and not name.startswith(".")]
    if len(tables) <= 1 or all(Path(name).stem.lower() in SPLIT_NAMES for name in tables):
        return tables
    return []


def _parallel(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Parallel text files by split: {split: {ending or side: file}}; '' where their names tell no split."""
    shown = [name for name in names if not name.startswith(".")]
    sides = {Path(name).stem.lower(): name for name in shown if Path(name).suffix.lower() == ".txt"}
    source = next((sides[name] for name in SOURCE_NAMES if name in sides), None)
    target = next((sides[name] for name in TARGET_NAMES if name in sides), None)
    if source and target:
        return {"": {"source": source, "target": target}}
    groups: dict[str, dict[str, str]] = {}
    for name in sorted(shown):
        stem, _, ending = name.rpartition(".")
        if stem and is_language(ending):
            groups.setdefault(stem, {})[ending] = name
    pairs = {stem: files for stem, files in groups.items() if len(files) == 2}
    if pairs and all(stem.lower() in SPLIT_NAMES for stem in pairs):
        return {SPLIT_NAMES[stem.lower()]: files for stem, files in pairs.items()}
    return {"": next(iter(pairs.values()))} if len(pairs) == 1 else {}


def read(where: Path, source: str | None, target: str | None) -> tuple[dict[str, PairSplit], list[str]]:
    """The pairs of a path by split ('' where it has none), and what the user should know.

    Raises:
        DataError: with file and line, for what cannot be read.
        UsageError: where there is no such path.
    """
    if not where.exists():
        raise UsageError(f"there is no file or folder {where}", fits=f"{_FITS}; or one of the names dates, numbers")
    if where.is_file() and is_archive(where):
        where = _without_wrapper(unpacked(where))
    notes: list[str] = []
    if where.is_file():
        rows = _read_table(where, source, target, notes)
    else:
        names = [item.name for item in where.iterdir() if item.is_file()]
        if groups := _parallel(names):
            rows = _read_parallel(where, groups, source, target, notes)
        elif tables := _one_table(names):
            rows = [
                row for name in tables for row in _read_split_table(where / name, len(tables), source, target, notes)
            ]
        else:
            raise DataError(f"{where} holds no pairs of texts", fits=_FITS)
    if not rows:
        raise DataError(f"{where} is empty", fits=_FITS)
    return _by_split(where, rows), list(dict.fromkeys(notes))


def _without_wrapper(folder: Path) -> Path:
    """The one folder inside an archive's folder, where there is nothing else."""
    inside = [item for item in folder.iterdir() if item.name != "__MACOSX" and not item.name.startswith(".")]
    return _without_wrapper(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder


def _by_split(where: Path, rows: Sequence[Row]) -> dict[str, PairSplit]:
    without = [name for *_, split, name in rows if not split]
    if without and len(without) < len(rows):
        raise DataError(
            f"{len(without):,} of {len(rows):,} pairs of {where} have no split, such as {without[0]}",
            fits="a split on every line, or on none",
        )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[2], []).append(row)
    return {
        split: PairSplit(*(tuple(row[column] for row in group) for column in (0, 1, 3)))
        for split, group in found.items()
    }


def _text(file: Path) -> str:
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no UTF-8 text (byte {error.start})", fits="save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise DataError(f"{file} is no text: it holds zero bytes (byte {text.index(chr(0))})", fits=_FITS)
    return text


def _read_split_table(file: Path, tables: int, source: str | None, target: str | None, notes: list[str]) -> list[Row]:
    """A table of a folder; of several, each is the split that its name says."""
    rows = _read_table(file, source, target, notes)
    if tables == 1:
        return rows
    split = SPLIT_NAMES[file.stem.lower()]
    return [(before, after, split, name) for before, after, _, name in rows]


def _read_table(file: Path, source: str | None, target: str | None, notes: list[str]) -> list[Row]:
    text = _text(file)
    delimiter = _delimiter(text.partition("\n")[0])
    lines = io.StringIO(text, newline="")
    if delimiter == "\t":  # in lines of tabs a quote is a character like others
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    rows: list[Row] = []
    columns: tuple[int, int, int | None] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns, is_header = _choose_columns(file, cells, source, target, notes)
                if is_header:
                    continue
            rows.append(_row(f"{file.name}:{reader.line_num}", cells, columns))
    except csv.Error as error:
        raise DataError(f"{file} is no CSV file: {error} (line {reader.line_num})") from None
    if not rows:
        raise DataError(f"{file} is empty", fits="source,target on every line")
    return rows


def _row(name: str, cells: Sequence[str], columns: tuple[int, int, int | None]) -> Row:
    source_at, target_at, split_at = columns
    if len(cells) <= max(source_at, target_at):
        count = f"{len(cells)} column{'s' if len(cells) > 1 else ''}"
        raise DataError(f"{name} has {count}: '{_short(','.join(cells))}'", fits="a source and a target on every line")
    pair = _pair(name, cells[source_at], cells[target_at])
    split = cells[split_at].strip() if split_at is not None and len(cells) > split_at else ""
    if split and split.lower() not in SPLIT_NAMES:
        raise DataError(f"{name}: there is no split '{split}'", fits="train, validation or test")
    return (*pair, SPLIT_NAMES[split.lower()] if split else "", name)


def _pair(name: str, source: str, target: str) -> tuple[str, str]:
    pair = normalised(source), normalised(target)
    for text, which, other in zip(pair, ("source", "target"), reversed(pair), strict=True):
        if not text:
            raise DataError(f"{name} has an empty {which}, beside '{_short(other)}'", fits="a text on both sides")
    return pair


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _choose_columns(
    file: Path, header: Sequence[str], source: str | None, target: str | None, notes: list[str]
) -> tuple[tuple[int, int, int | None], bool]:
    """Where source, target and split stand, and whether the line is a header."""
    names = [cell.strip().lower() for cell in header]
    found = _columns(names, source, target)
    if found is not None:
        return found, True
    for wanted in (source, target):
        if wanted is not None and wanted.lower() not in names:
            raise UsageError(f"{file} has no column '{wanted}'", found=", ".join(header))
    if len(header) < 2:
        raise DataError(f"{file} has one column: '{_short(header[0])}'", fits="columns source,target")
    notes.append(f"{file.name} has no header: its first column is the source, its second the target")
    return (0, 1, None), False


def _columns(names: Sequence[str], source: str | None, target: str | None) -> tuple[int, int, int | None] | None:
    """The columns of a header; None where it tells none."""

    def find(known: Iterable[str]) -> int | None:
        return next((names.index(name) for name in known if name in names), None)

    languages = [i for i, name in enumerate(names) if is_language(name)]
    source_at = find([source.lower()] if source else SOURCE_NAMES)
    target_at = find([target.lower()] if target else TARGET_NAMES)
    if len(languages) == 2:  # the one that is not named is the other
        first, second = languages
        if source_at is None and not source:
            source_at = second if target_at == first else first
        if target_at is None and not target:
            target_at = first if source_at == second else second
    if source_at is None or target_at is None or source_at == target_at:
        return None
    return source_at, target_at, find(_SPLIT_COLUMNS)


def _read_parallel(
    folder: Path, groups: Mapping[str, Mapping[str, str]], source: str | None, target: str | None, notes: list[str]
) -> list[Row]:
    rows: list[Row] = []
    for split, files in groups.items():
        first, second = _sides(folder, list(files), source, target)
        if {first, second} != {"source", "target"}:
            notes.append(f"{first} is the source and {second} the target (the other way: --set source={second})")
        before, after = folder / files[first], folder / files[second]
        sources, targets = _lines(before), _lines(after)
        if len(sources) != len(targets):
            raise DataError(
                f"{before} has {len(sources):,} lines, {after} {len(targets):,}",
                fits="line n of one belongs to line n of the other",
            )
        for number, (one, other) in enumerate(zip(sources, targets, strict=True), start=1):
            if one.strip() or other.strip():
                name = f"{before.name}:{number}"
                rows.append((*_pair(name, one, other), split, name))
    return rows


def _sides(folder: Path, endings: list[str], source: str | None, target: str | None) -> tuple[str, str]:
    """Which ending is the source and which the target; else in the order of the alphabet."""
    first, second = endings
    for wanted in (source, target):
        if wanted is not None and wanted not in endings:
            raise UsageError(f"{folder} has no texts in '{wanted}'", found=", ".join(endings))
    if source is not None and source == target:
        raise UsageError(f"'{source}' cannot be source and target", found=", ".join(endings))
    return (second, first) if source == second or target == first else (first, second)


def _lines(file: Path) -> list[str]:
    text = _text(file)
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
