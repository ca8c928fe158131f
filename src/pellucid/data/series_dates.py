"""Dates of a series: texts to dates, the regular step between them, the dates that come next, and calendar features."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError

Dates = NDArray[Any]  # datetime64[s], (T,)
_DAY = 86_400
_DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%m/%d/%y",
    "%d/%m/%y",
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p")
_ALONE = ("%Y-%m", "%Y/%m", "%m/%Y", "%b %Y", "%b-%Y", "%B %Y")
FORMATS = (*("".join(pair) for pair in product(_DAYS, _CLOCKS)), *_ALONE)


class BadDate(Exception):
    """The first text that is no date in the format that reads farthest; ``others``: formats that read all texts."""

    def __init__(self, row: int, others: tuple[str, ...] = ()) -> None:
        super().__init__(row, others)
        self.row, self.others = row, others


def parse_dates(texts: Sequence[str], form: str | None = None) -> tuple[Dates, str]:
    """Texts as dates, all in one format, and the format.

    Args:
        form: as ``DD.MM.YYYY hh:mm``, or as of ``datetime.strptime``; None tries the usual ones.

    Raises:
        BadDate: where a text is no date, or where two formats read all texts, but as different dates.
    """
    plain = [_plain(text) for text in texts]
    form = None if form is None else strptime_format(form)
    candidates = [form] if form is not None else [f for f in (*FORMATS, "%Y%m%d", "%Y") if _reads(plain[0], f)]
    found: dict[str, Dates] = {}
    farthest = 0
    for candidate in candidates:
        dates = [_date(text, candidate) for text in plain]
        bad = next((i for i, date in enumerate(dates) if date is None), None)
        if bad is None:
            found[candidate] = np.array(dates, "datetime64[s]")
        else:
            farthest = max(farthest, bad)
    if not found:
        raise BadDate(farthest)
    first = next(iter(found))
    others = [other for other, dates in found.items() if (dates != found[first]).any()]
    if others:
        raise BadDate(0, (first, *others))
    return found[first], first


_LETTERS = {"YYYY": "%Y", "YY": "%y", "MMM": "%b", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}


def strptime_format(form: str) -> str:
    """``DD.MM.YYYY hh:mm`` as ``%d.%m.%Y %H:%M``; what has a % already stays as it is."""
    if "%" in form:
        return form
    return re.sub("|".join(_LETTERS), lambda found: _LETTERS[found[0]], form)


def lettered(form: str) -> str:
    """``%d.%m.%Y`` as ``DD.MM.YYYY``, which needs no quotes on a command line."""
    for letters, code in _LETTERS.items():
        form = form.replace(code, letters)
    return form


def is_date(text: str) -> bool:
    """Whether a text is a date in one of the usual formats (a bare year or eight digits too)."""
    return any(_reads(_plain(text), form) for form in (*FORMATS, "%Y%m%d", "%Y"))


def _plain(text: str) -> str:
    """Without what is said twice: the T of ISO 8601, a Z or +00:00 at the end, fractions of seconds; a quarter as its
    first month."""
    plain = re.sub(r"(?<=\d)T(?=\d)", " ", text.strip())
    plain = re.sub(r"(?<=:\d\d)\.\d+", "", plain)
    plain = re.sub(r"(?<=:\d\d)\s*(Z|\+00:?00)$", "", plain)
    quarter = re.fullmatch(r"(\d{4})[- ]?Q([1-4])", plain)
    return f"{quarter[1]}-{3 * int(quarter[2]) - 2:02d}" if quarter else plain


def _reads(text: str, form: str) -> bool:
    return _date(text, form) is not None


def _date(text: str, form: str) -> datetime | None:
    if (form == "%Y%m%d" and len(text) != 8) or (form == "%Y" and len(text) != 4):
        return None  # strptime would read 20011 too
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


@dataclass(frozen=True)
class Step:
    """How far one row is from the next: ``count`` seconds, months, business days (Monday to Friday), or rows where
    there is no regular step. ``season``: after how many steps a pattern usually comes again; 1 for none."""

    unit: str
    count: int
    season: int

    @property
    def name(self) -> str:
        """``day``, ``business day``, ``15 minutes``, ``quarter``."""
        if self.unit == "row":
            return "row"
        if self.unit == "business":
            return "business day"
        if self.unit == "month":
            named = {1: "month", 3: "quarter", 12: "year"}
            return named.get(self.count, f"{self.count} months")
        for seconds, word in ((7 * _DAY, "week"), (_DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
            if self.count % seconds == 0:
                many = self.count // seconds
                return word if many == 1 else f"{many} {word}s"
        return f"{self.count} seconds"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"unit": self.unit, "count": self.count, "season": self.season}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Step:
        """What ``to_json`` gave."""
        return cls(str(values["unit"]), int(values["count"]), int(values["season"]))

    def after(self, last: np.datetime64, steps: int) -> Dates:
        """The next dates. Where there is no regular step they are ``count`` seconds apart: the usual distance."""
        ahead = np.arange(1, steps + 1)
        if self.unit == "business":
            day = last.astype("datetime64[D]")
            clock = last - day.astype("datetime64[s]")
            # from a day at the weekend, the first business day after it is the next one
            begin = np.busday_offset(day, 0, "backward")
            found: Dates = np.busday_offset(begin, ahead).astype("datetime64[s]") + clock
            return found
        if self.unit == "month":
            return _months_after(last, ahead * self.count)
        return (last + ahead * np.timedelta64(self.count, "s")).astype("datetime64[s]")

    def missing(self, dates: Dates) -> NDArray[np.int64]:
        """How many rows are missing before each row but the first, (T - 1,)."""
        if self.unit == "row":
            return np.zeros(max(0, len(dates) - 1), np.int64)
        if self.unit == "business":
            days = dates.astype("datetime64[D]")
            return np.maximum(np.busday_count(days[:-1], days[1:]) - 1, 0).astype(np.int64)
        if self.unit == "month":
            months: NDArray[np.int64] = np.maximum(np.diff(_month_numbers(dates)) // self.count - 1, 0)
            return months
        return np.maximum(np.diff(dates).astype(np.int64) // self.count - 1, 0)


def find_step(dates: Dates) -> Step:
    """The step between rising dates: that of most rows; by rows where none is that of half of them."""
    if len(dates) < 3:
        return Step("row", _DAY, 1)
    months = _month_step(dates)
    if months:
        return Step("month", months, max(1, 12 // months))
    differences = np.diff(dates).astype(np.int64)
    lengths, counts = np.unique(differences, return_counts=True)
    usual = int(lengths[counts.argmax()])
    weekday = (dates.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    if usual == _DAY and (weekday < 5).all() and (differences == 3 * _DAY).sum() * 2 >= max(1, len(dates) // 5):
        return Step("business", 1, 5)
    if counts.max() * 2 < len(differences):
        return Step("row", int(np.median(differences)), 1)
    return Step("second", usual, _season(usual))


def _season(seconds: int) -> int:
    if seconds < _DAY:
        return _DAY // seconds if _DAY % seconds == 0 else 1
    return {_DAY: 7, 7 * _DAY: 52}.get(seconds, 1)


def _month_step(dates: Dates) -> int:
    """Months from one row to the next, where the rows stand on one day of the month, or on its last; else 0."""
    days = dates.astype("datetime64[D]")
    of_month = (days - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    is_last = (days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")
    _, counts = np.unique(of_month, return_counts=True)
    if max(int(counts.max()), int(is_last.sum())) < 0.95 * len(dates):
        return 0
    lengths, counts = np.unique(np.diff(_month_numbers(dates)), return_counts=True)
    usual = int(lengths[counts.argmax()])
    return usual if counts.max() * 2 >= len(dates) - 1 and usual > 0 else 0


def _month_numbers(dates: Dates) -> NDArray[np.int64]:
    return dates.astype("datetime64[M]").astype(np.int64)


def _months_after(last: np.datetime64, months: NDArray[np.int64]) -> Dates:
    """The same day of later months, or their last where they have no such day; from a last day to last days."""
    month = last.astype("datetime64[M]")
    first = month.astype("datetime64[s]")
    into = last - first
    was_last = (last.astype("datetime64[D]") + 1).astype("datetime64[M]") != month
    clock = last - last.astype("datetime64[D]").astype("datetime64[s]")
    starts = (month + months).astype("datetime64[s]")
    ends = ((month + months + 1).astype("datetime64[D]") - 1).astype("datetime64[s]") + clock
    found: Dates = np.where(was_last, ends, np.minimum(starts + into, ends)).astype("datetime64[s]")
    return found


def calendar_names(step: Step) -> tuple[str, ...]:
    """What ``calendar`` gives for this step."""
    circles = []
    if step.unit == "second" and step.count < _DAY:
        circles.append("hour of day")
    if step.unit == "business" or (step.unit == "second" and step.count <= _DAY):
        circles.append("day of week")
    circles.append("day of year")
    return tuple(f"{wave}({circle})" for circle in circles for wave in ("sin", "cos"))


def calendar(dates: Dates, step: Step) -> NDArray[np.float64]:
    """Where each date stands in its day, week and year, as points on circles: (T, features), from -1 to 1."""
    days = dates.astype("datetime64[D]")
    of_day = (dates - days.astype("datetime64[s]")).astype(np.int64) / _DAY
    of_week = ((days.astype(np.int64) + 3) % 7 + of_day) / 7
    of_year = (dates - dates.astype("datetime64[Y]").astype("datetime64[s]")).astype(np.int64) / (365.25 * _DAY)
    turns = {"hour of day": of_day, "day of week": of_week, "day of year": of_year}
    waves = {"sin": np.sin, "cos": np.cos}
    columns = []
    for name in calendar_names(step):
        wave, _, circle = name.rstrip(")").partition("(")
        columns.append(waves[wave](2 * np.pi * turns[circle]))
    return np.stack(columns, axis=1)


def written(date: np.datetime64) -> str:
    """``2008-10-15``, or with the time where it is not midnight."""
    day, clock = np.datetime_as_string(date, unit="s").split("T")
    return day if clock == "00:00:00" else f"{day} {clock.removesuffix(':00')}"


def read_date(text: str, option: str) -> np.datetime64:
    """A date that a user gave as an option.

    Raises:
        DataError: where it is none.
    """
    try:
        found: np.datetime64 = np.datetime64(_plain(text).replace(" ", "T")).astype("datetime64[s]")
    except ValueError:
        raise DataError(f"{option} is '{text}', which is no date", fits=f"{option}=2007-01-01") from None
    return found
