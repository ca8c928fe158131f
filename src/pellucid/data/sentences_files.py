"""Texts with labels from files: CSV, a folder of text files for each class, a text file for each class."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pellucid.data.archive import is_archive, unpacked
from pellucid.data.sentences import Row
from pellucid.data.source import PICTURE_SUFFIXES, SPLIT_NAMES
from pellucid.data.text_decode import decode_text, marked_encoding
from pellucid.errors import DataError, UsageError

TEXT_NAMES = tuple(
    "text texts sentence sentences review comment content message document body phrase utterance headline tweet title "
    "文本 句子 内容 评论 正文 标题".split()
)
LABEL_NAMES = tuple(
    "label class category sentiment polarity target class_name topic y rating 标签 类别 分类 情感".split()
)
_SPLIT_COLUMNS = ("split", "set", "subset", "partition")
_PAIRS = {"source", "src", "from", "input", "question"}, {"target", "tgt", "trg", "to", "output", "answer"}
_TABLES = (".csv", ".tsv")
_OTHER = PICTURE_SUFFIXES | {".wav", ".flac", ".mp3", ".npy", ".npz"}
_BESIDE = re.compile(r"^(readme|licen[cs]e|copying|notice|classes|labels|about|changelog)\b", re.IGNORECASE)
_FITS = "a CSV file with columns text and label, a folder of .txt files for each class, or a .txt file for each class"
_HEAD = 4096  # bytes of a file that are looked at to recognise it
_LOOKED_AT = 2000  # files of a folder, likewise

Columns = tuple[int, int, int | None]


@dataclass
class _Reading:
    """What is being read: how files are decoded, and what to tell the user."""

    encoding: str | None
    notes: list[str] = field(default_factory=list)
    decoded: Counter[str] = field(default_factory=Counter)

    def text(self, file: Path, name: str) -> str:
        """The text of a file."""
        try:
            encoded = file.read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from None
        text, encoding = decode_text(encoded, name, self.encoding)
        self.decoded[encoding] += 1
        return text

    def say(self) -> list[str]:
        """The notes, with what was read as something else than UTF-8."""
        latin = self.decoded["cp1252"] if self.encoding is None else 0
        if latin:
            many = "file is" if latin == 1 else "files are"
            self.notes.append(f"{latin:,} {many} no UTF-8 and read as Windows-1252 (else: --set encoding=NAME)")
        return self.notes


def recognised(where: Path) -> bool:
    """Whether a path looks like texts with labels; raises nothing."""
    try:
        if where.is_dir():
            found = [file.relative_to(where).as_posix() for file in islice(where.rglob("*"), _LOOKED_AT)]
            return _is_listing([name for name in found if (where / name).is_file()], lambda name: _head(where / name))
        if where.suffix.lower() in _TABLES:
            return _is_header(_head(where))
        if where.suffix.lower() == ".zip":
            with zipfile.ZipFile(where) as packed:
                files = [info.filename for info in packed.infolist() if not info.is_dir()]
                return _is_listing(files, lambda name: packed.read(name)[:_HEAD])
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        pass
    return False


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_HEAD)


def _is_listing(names: Sequence[str], head: Callable[[str], bytes]) -> bool:
    """Whether these are files of texts: text files of two classes at least, or a table of texts."""
    if any(Path(name).suffix.lower() in _OTHER for name in names):
        return False
    shown = _unwrapped([name for name in names if not _hidden(name)])
    texts = [name for name in shown.values() if _is_text(name)]
    stems = {Path(name).stem.lower() for name in texts}
    if 2 * len(texts) >= max(1, len(shown)) and not (stems & _PAIRS[0] and stems & _PAIRS[1]):
        return len({row[1] for row in _placed(texts)[0]}) > 1
    tables = _tables(list(shown.values()))
    original = {inner: name for name, inner in shown.items()}
    return bool(tables) and all(_is_header(head(original[name])) for name in tables)


def _is_header(head: bytes) -> bool:
    lines = head.decode(marked_encoding(head) or "utf-8", "replace").splitlines()
    cells = next(csv.reader(lines[:1], delimiter=_delimiter(lines[0])), []) if lines else []
    return _columns([cell.strip().lower() for cell in cells], None, None) is not None


def read(where: Path, text: str | None, label: str | None, encoding: str | None) -> tuple[list[Row], list[str]]:
    """The texts of a path, and what the user should know; see ``load_sentences``.

    Raises:
        DataError: with file and line, for what cannot be read.
        UsageError: where there is no such path or column.
    """
    if not where.exists():
        raise UsageError(f"there is no file or folder {where}", fits=_FITS)
    reading = _Reading(encoding)
    place = unpacked(where) if where.is_file() and is_archive(where) else where
    if place.is_file():
        if place.suffix.lower() not in _TABLES:
            raise DataError(f"{where} is one file that ends in '{where.suffix}'", fits=_FITS)
        rows = _read_table(place, place.name, "", text, label, reading)
    else:
        rows = _read_folder(where, place, text, label, reading)
    if not rows:
        raise DataError(f"{where} holds no text", fits=_FITS)
    _all_or_none(where, rows)
    return rows, reading.say()


def _read_folder(where: Path, folder: Path, text: str | None, label: str | None, reading: _Reading) -> list[Row]:
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    shown = _unwrapped([name for name in files if not _hidden(name)])
    original = {inner: folder / name for name, inner in shown.items()}
    if texts := [name for name in shown.values() if _is_text(name)]:
        placed, passed_over = _placed(texts)
        others = [name for name in shown.values() if not _is_text(name)]
        if passed_over or others:
            listed = ", ".join([*passed_over, *others][:5])
            reading.notes.append(f"passed over {len(passed_over) + len(others):,} files that are no texts: {listed}")
        rows: list[Row] = []
        for name, called, split, by_line in placed:
            rows += _read_text(original[name], name, called, split, by_line, reading)
        return rows
    tables = _tables(list(shown.values()))
    if not tables:
        listed = ", ".join(list(shown.values())[:5]) or "nothing"
        raise DataError(f"there are no texts with labels in {where}", found=listed, fits=_FITS)
    several = len(tables) > 1
    return [
        row
        for name in tables
        for row in _read_table(
            original[name], name, SPLIT_NAMES[Path(name).stem.lower()] if several else "", text, label, reading
        )
    ]


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in Path(name).parts)


def _is_text(name: str) -> bool:
    return Path(name).suffix.lower() == ".txt" and not _BESIDE.match(Path(name).name)


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Names as they stand below the folders that hold everything: {name: name inside}."""
    inside = {name: name for name in names}
    while inside and len({inner.partition("/")[0] for inner in inside.values()}) == 1:
        if not all("/" in inner for inner in inside.values()):
            break
        if len({inner.split("/")[1] for inner in inside.values()}) < 2 and any(
            inner.count("/") < 2 for inner in inside.values()
        ):
            break  # one file in one folder: the folder is its class
        inside = {name: inner.partition("/")[2] for name, inner in inside.items()}
    return inside


def _tables(names: Sequence[str]) -> list[str]:
    """The tables among names: one, or one for each split."""
    tables = [name for name in names if Path(name).suffix.lower() in _TABLES]
    if len(tables) <= 1 or all(Path(name).stem.lower() in SPLIT_NAMES for name in tables):
        return tables
    return []


def _placed(names: Sequence[str]) -> tuple[list[tuple[str, str, str, bool]], list[str]]:
    """Of each text file its name, class, split, and whether it holds a text a line; and what is passed over."""
    tops = {name.split("/")[0].lower() for name in names if "/" in name}
    by_split = bool(tops) and tops <= set(SPLIT_NAMES) and "train" in {SPLIT_NAMES[top] for top in tops}
    parted = [(name, *_without_split(name, by_split)) for name in names]
    deep = [item for item in parted if "/" in item[2]]
    if deep:  # a folder for each class; files beside them are something else
        return (
            [(name, inner.split("/")[0], split, False) for name, split, inner in deep],
            [name for name, _, inner in parted if "/" not in inner],
        )
    return _by_file_name(parted), []


def _without_split(name: str, by_split: bool) -> tuple[str, str]:
    top, _, rest = name.partition("/")
    return (SPLIT_NAMES[top.lower()], rest) if by_split and rest else ("", name)


def _by_file_name(parted: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str, bool]]:
    """Classes by the parts of names that differ: ``rt-polarity.neg.txt`` and ``rt-polarity.pos.txt`` are neg and pos;
    ``train.neg.txt`` says its split as well."""
    words = [re.split(r"[._\s]+", Path(inner).stem) for _, _, inner in parted]
    splits = [split for _, split, _ in parted]
    if not any(splits) and all(any(word.lower() in SPLIT_NAMES for word in own) for own in words):
        for i, own in enumerate(words):
            at = next(j for j, word in enumerate(own) if word.lower() in SPLIT_NAMES)
            splits[i] = SPLIT_NAMES[own.pop(at).lower()]
    while len({own[0] for own in words if own}) == 1 and all(len(own) > 1 for own in words):
        words = [own[1:] for own in words]
    while len({own[-1] for own in words if own}) == 1 and all(len(own) > 1 for own in words):
        words = [own[:-1] for own in words]
    return [
        (name, ".".join(own) or Path(inner).stem, split, True)
        for (name, _, inner), own, split in zip(parted, words, splits, strict=True)
    ]


def _read_text(file: Path, name: str, label: str, split: str, by_line: bool, reading: _Reading) -> list[Row]:
    text = reading.text(file, name)
    if not text.strip():
        raise DataError(f"{name} is an empty text", fits="a text with something in it, or no such file")
    if not by_line:
        return [Row(text, label, split, name)]
    lines = re.split(r"\r\n|\n|\r", text)
    rows = [Row(line, label, split, f"{name}:{i}") for i, line in enumerate(lines, start=1) if line.strip()]
    empty = sum(not line.strip() for line in lines[:-1])
    if empty:
        reading.notes.append(f"passed over {empty:,} empty lines of {name}")
    return rows


def _read_table(file: Path, name: str, split: str, text: str | None, label: str | None, reading: _Reading) -> list[Row]:
    """The rows of a CSV or TSV file; all of them in ``split``, where it is given."""
    content = reading.text(file, name)
    delimiter = _delimiter(content.partition("\n")[0])
    lines = io.StringIO(content, newline="")
    if delimiter == "\t":  # in lines of tabs a quote is a character like others
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    rows: list[Row] = []
    columns: Columns | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _choose_columns(name, cells, text, label)
                continue
            rows.append(_row(f"{name}:{reader.line_num}", cells, columns, split))
    except csv.Error as error:
        raise DataError(f"{name} is no CSV file: {error} (line {reader.line_num})") from None
    if not rows:
        raise DataError(f"{name} is empty", fits="a header text,label and a text on each line")
    return rows


def _row(name: str, cells: Sequence[str], columns: Columns, split: str) -> Row:
    text_at, label_at, split_at = columns
    text, label = (cells[at].strip() if at < len(cells) else "" for at in (text_at, label_at))
    if not text:
        raise DataError(f"{name} has an empty text" + (f", labelled '{label}'" if label else ""))
    if not label:
        raise DataError(f"{name} has no label: '{_short(text)}'", fits="a text and a label on every line")
    own = cells[split_at].strip() if split_at is not None and split_at < len(cells) else ""
    if own and own.lower() not in SPLIT_NAMES:
        raise DataError(f"{name}: there is no split '{own}'", fits="train, validation or test")
    return Row(text, label, split or (SPLIT_NAMES[own.lower()] if own else ""), name)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _choose_columns(file: str, header: Sequence[str], text: str | None, label: str | None) -> Columns:
    names = [cell.strip().lower() for cell in header]
    for wanted in (text, label):
        if wanted is not None and wanted.lower() not in names:
            raise UsageError(f"{file} has no column '{wanted}'", found=", ".join(header))
    found = _columns(names, text, label)
    if found is None:
        lacks = "texts" if _find(names, TEXT_NAMES, text) is None else "labels"
        raise DataError(
            f"{file} has no column of {lacks}",
            found=_short(", ".join(header)),
            fits="columns text and label; or name yours: --set text=NAME --set label=NAME",
        )
    return found


def _columns(names: Sequence[str], text: str | None, label: str | None) -> Columns | None:
    """The columns of a header; None where it tells none."""
    text_at, label_at = _find(names, TEXT_NAMES, text), _find(names, LABEL_NAMES, label)
    if text_at is None or label_at is None or text_at == label_at:
        return None
    return text_at, label_at, _find(names, _SPLIT_COLUMNS, None)


def _find(names: Sequence[str], known: Iterable[str], asked: str | None) -> int | None:
    return next((names.index(name) for name in ([asked.lower()] if asked else known) if name in names), None)


def _all_or_none(where: Path, rows: Sequence[Row]) -> None:
    without = [row.name for row in rows if not row.split]
    if without and len(without) < len(rows):
        raise DataError(
            f"{len(without):,} of {len(rows):,} texts of {where} have no split, such as {without[0]}",
            fits="a split for every text, or for none",
        )
