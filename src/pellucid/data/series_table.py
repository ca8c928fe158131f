"""A CSV file of series: a column of dates, and columns of numbers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.data.series_dates import BadDate, Dates, is_date, lettered, parse_dates, written
from pellucid.errors import DataError, UsageError, unknown

Missing = Literal["refuse", "previous", "drop"]
_DATE_NAMES = ("date", "datetime", "timestamp", "time", "day", "ds", "month", "week", "quarter", "year", "period")
_NOTHING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "."})
_BEGINS = "a header such as date,close and a row a date below it"


@dataclass(frozen=True)
class Reading:
    """How to read a file.

    date_column: its name; None finds it. date_format: such as DD.MM.YYYY; None finds it. columns: the series to read;
    None is all that are numbers. missing: what to do about a number that is not there: refuse the file, take the
    previous one, or leave the row out.
    """

    date_column: str | None = None
    date_format: str | None = None
    columns: tuple[str, ...] | None = None
    missing: Missing = "refuse"


@dataclass(frozen=True, eq=False)
class Table:
    """Series side by side. dates: rising, (T,). values: finite, (T, S). names: of the S series."""

    dates: Dates
    values: NDArray[np.float64]
    names: tuple[str, ...]
    date_column: str
    date_format: str
    notes: tuple[str, ...] = ()


@dataclass
class _Rows:
    """The cells of a file and the lines that they came from."""

    name: str
    header: list[str]
    cells: list[list[str]]
    lines: list[int]
    decimal_comma: bool
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        at = self.header.index(name)
        return [row[at].strip() for row in self.cells]

    def keep(self, rows: Sequence[int]) -> None:
        self.cells = [self.cells[i] for i in rows]
        self.lines = [self.lines[i] for i in rows]


def read_table(file: str | Path, reading: Reading | None = None, *, content: bytes | None = None) -> Table:
    """Read a CSV (or TSV) file with a header: one column of dates, the others numbers; columns of words are passed
    over. Lines that begin with # are remarks.

    Args:
        content: the file's bytes, where they do not come from the file.

    Raises:
        DataError: with line and column, for what is no date or no number, dates that do not rise, a column that is not
            there, an empty file.
    """
    reading = reading or Reading()
    rows = _rows(file, content)
    for name in (reading.date_column, *(reading.columns or ())):
        if name is not None and name not in rows.header:
            missed = unknown(f"column of {rows.name}", name, rows.header)
            raise DataError(missed.message, **missed.facts)
    date_column = reading.date_column or _find_dates(rows)
    _leave_out_empty(rows, date_column)
    names = tuple(reading.columns or _numeric(rows, date_column))
    if date_column in names:
        raise UsageError(f"'{date_column}' of {rows.name} is the column of dates, not a series", fits="another column")
    values = _values(rows, names, reading)
    dates, form = _dates(rows, date_column, reading.date_format)
    dates, values = _rising(rows, dates, values)
    return Table(dates, values, names, date_column, form, tuple(rows.notes))


def looks_like_series(file: Path) -> bool:
    """Whether the first lines of a file hold a date and mostly numbers below a header. A cheap look, raises nothing."""
    if not file.is_file() or file.suffix.lower() not in (".csv", ".tsv"):
        return False
    try:
        with file.open("rb") as opened:
            head = opened.read(1 << 14)
        rows = _rows(file, head[: head.rfind(b"\n") + 1] or head)
        column = _find_dates(rows)
        numbers = [_share(rows, name) >= 0.5 for name in rows.header if name != column]
        return sum(numbers) * 2 > len(numbers)  # a table of sentences may have a date and a label too
    except (DataError, OSError):
        return False


def _rows(file: str | Path, content: bytes | None) -> _Rows:
    path = Path(file)
    try:
        raw = path.read_bytes() if content is None else content
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", fits="a CSV file with a column of dates") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start})", fits="save it as CSV UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path} is no text: it holds a byte 0", fits="save it as CSV UTF-8")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    cells: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row) and not row[0].startswith("#"):
                cells.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}", where=f"line {reader.line_num}") from None
    return _checked(path, cells, lines, delimiter)


def _checked(path: Path, cells: list[list[str]], lines: list[int], delimiter: str) -> _Rows:
    """Rows of one width below a header."""
    if not cells:
        raise DataError(f"{path} is empty", fits=_BEGINS)
    header = [cell.strip() for cell in cells[0]]
    if any(is_date(cell) and len(cell) > 4 for cell in header) or all(
        _number(cell, False) is not None for cell in header
    ):
        raise DataError(f"{path} has no header: it begins with '{delimiter.join(header)}'", fits=_BEGINS)
    double = next((name for name in header if header.count(name) > 1), None)
    if double is not None:
        raise DataError(f"{path} has two columns named '{double}'", fits="a name of its own for each column")
    if len(cells) == 1:
        raise DataError(f"{path} has a header and no rows", fits=_BEGINS)
    for row, line in zip(cells[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise DataError(f"line {line} of {path} has {len(row)} columns, the header {len(header)}")
    return _Rows(str(path), header, cells[1:], lines[1:], delimiter == ";")


def _find_dates(rows: _Rows) -> str:
    """The column of dates: by its name, else the first whose first cell is a date and no plain number."""
    named = [name for known in _DATE_NAMES for name in rows.header if name.lower() == known]
    if named:
        return named[0]
    for name in rows.header:
        cell = rows.column(name)[0]
        if is_date(cell) and _number(cell, rows.decimal_comma) is None:
            return name
    raise DataError(
        f"no column of {rows.name} holds dates", columns=", ".join(rows.header), fits="--set date_column=NAME"
    )


def _leave_out_empty(rows: _Rows, date_column: str) -> None:
    """Rows that hold nothing but their date say nothing."""
    others = [i for i, name in enumerate(rows.header) if name != date_column]
    kept = [i for i, row in enumerate(rows.cells) if any(row[at].strip().lower() not in _NOTHING for at in others)]
    if len(kept) < len(rows.cells) and len(others) > 1:
        rows.notes.append(f"{len(rows.cells) - len(kept)} rows hold a date and no number, and are left out")
        rows.keep(kept)
    if not rows.cells:
        raise DataError(f"{rows.name} holds dates and no numbers")


def _numeric(rows: _Rows, date_column: str) -> list[str]:
    """The columns of numbers. One that is mostly numbers is one of them: what is wrong in it is said later."""
    others = [name for name in rows.header if name != date_column]
    found = [name for name in others if _share(rows, name) >= 0.5]
    words = [name for name in others if name not in found]
    if words:
        rows.notes.append(f"no series, passed over: {', '.join(words)}")
    if not found:
        raise DataError(f"{rows.name} has no column of numbers", columns=", ".join(rows.header))
    return found


def _share(rows: _Rows, name: str) -> float:
    """How many of the cells that hold something hold a number."""
    cells = [cell for cell in rows.column(name) if cell.lower() not in _NOTHING]
    return sum(_number(cell, rows.decimal_comma) is not None for cell in cells) / len(cells) if cells else 0.0


def _values(rows: _Rows, names: Sequence[str], reading: Reading) -> NDArray[np.float64]:
    """The numbers, (T, S); what is missing is treated as the reading says."""
    values = np.empty((len(rows.cells), len(names)))
    for j, name in enumerate(names):
        for i, cell in enumerate(rows.column(name)):
            number = math.nan if cell.lower() in _NOTHING else _number(cell, rows.decimal_comma)
            where = f"line {rows.lines[i]} of {rows.name}: column '{name}'"
            if number is None:
                raise DataError(f"{where} holds '{cell}', which is no number", fits="columns=[...] without this column")
            if math.isnan(number) and reading.missing == "refuse":
                held = f"'{cell}'" if cell else "nothing"
                fits = "--set missing=previous (take the number before), or missing=drop (leave such rows out)"
                raise DataError(f"{where} holds {held}, not a number", fits=fits)
            values[i, j] = number
    return _without_gaps(rows, values, reading.missing)


def _without_gaps(rows: _Rows, values: NDArray[np.float64], missing: Missing) -> NDArray[np.float64]:
    gone = np.isnan(values)
    if not gone.any():
        return values
    if missing == "drop":
        kept = np.flatnonzero(~gone.any(axis=1))
        rows.notes.append(f"{len(values) - len(kept)} rows without all numbers are left out")
    else:
        last = np.maximum.accumulate(np.where(gone, -1, np.arange(len(values))[:, None]), axis=0)
        values = np.take_along_axis(values, np.maximum(last, 0), axis=0)
        kept = np.flatnonzero((last >= 0).all(axis=1))
        filled = int(gone[kept].sum())
        rows.notes.append(
            f"{filled} missing numbers are the ones before them; {len(values) - len(kept)} rows have none"
        )
    if not len(kept):
        raise DataError(f"{rows.name} has no row with a number in every series", fits="fewer columns: columns=[...]")
    rows.keep(kept.tolist())
    return values[kept]


def _number(cell: str, decimal_comma: bool) -> float | None:
    """A finite number, NaN for the word nan, None for anything else."""
    plain = cell.strip()
    if plain.lower() == "nan":
        return math.nan
    if decimal_comma and plain.count(",") == 1:
        plain = plain.replace(",", ".")
    try:
        found = float(plain)
    except ValueError:
        return None
    return found if math.isfinite(found) and "_" not in plain else None


def _dates(rows: _Rows, column: str, form: str | None) -> tuple[Dates, str]:
    texts = rows.column(column)
    try:
        return parse_dates(texts, form)
    except BadDate as bad:
        where = f"line {rows.lines[bad.row]} of {rows.name}: column '{column}'"
        if bad.others:
            readings = " or ".join(map(lettered, bad.others))
            message = f"{where} holds '{texts[bad.row]}', which two formats read as different dates"
            raise DataError(message, formats=readings, fits=f"--set date_format={lettered(bad.others[0])}") from None
        fits = (
            "a date in every row; or its form: --set date_format=DD.MM.YYYY"
            if form is None
            else "a date in this format"
        )
        wanted = f" in the format {form}" if form is not None else ""
        raise DataError(f"{where} holds '{texts[bad.row]}', which is no date{wanted}", fits=fits) from None


def _rising(rows: _Rows, dates: Dates, values: NDArray[np.float64]) -> tuple[Dates, NDArray[np.float64]]:
    """Dates from the first to the last, each once; a file that begins with the newest is turned round."""
    if len(dates) > 1 and (dates[1:] < dates[:-1]).all():
        rows.notes.append("the rows go back in time, and are read from the last to the first")
        return dates[::-1].copy(), values[::-1].copy()
    for i in np.flatnonzero(dates[1:] <= dates[:-1])[:1] + 1:
        now, before = written(dates[i]), written(dates[i - 1])
        if now == before:
            message = f"lines {rows.lines[i - 1]} and {rows.lines[i]} of {rows.name} have the same date {now}"
            raise DataError(message, fits="one row a date")
        raise DataError(f"line {rows.lines[i]} of {rows.name}: {now} comes after {before}", fits="rows sorted by date")
    return dates, values
