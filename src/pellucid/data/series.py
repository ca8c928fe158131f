"""Series in time as windows to learn from: what is known, and what came next.

Nothing leaks, because there is nothing to leak from: each split holds a copy of its own rows alone. The training split
ends where the validation split's targets begin, and that where the test split's begin; validation and test have, before
their own span, the ``window`` rows that a forecast at its beginning would have known, as inputs only. Whatever is
learned of the data (scaling, the linear model, the error to compare with) is learned on the training split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from pellucid.data.series_dates import Dates, Step, find_step, written
from pellucid.data.series_table import Reading, Table, read_table
from pellucid.errors import DataError, unknown

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
_HOLIDAYS = 5  # business days in a row that may be missing without the market having changed


@dataclass(frozen=True)
class Framing:
    """window: rows that a forecast knows. horizon: rows that it says. targets: the series that it says, by name."""

    window: int
    horizon: int
    targets: tuple[str, ...]


class Origins(Sequence[str]):
    """What to call each window: the date of its last known row."""

    def __init__(self, dates: Dates, rows: Places) -> None:
        self._dates, self._rows = dates, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [written(self._dates[row]) for row in self._rows[at]]
        return written(self._dates[self._rows[at]])


@dataclass(frozen=True, eq=False)
class SeriesSplit:
    """Windows over a stretch of time.

    dates: (R,); values: (R, S), of which the first ``history`` rows belong to the split before, and are never targets.
    starts: the first row of each of the N windows; a window is ``window`` rows that are known and ``horizon`` rows that
    are to be said. columns: which of the S series are said.
    """

    dates: Dates
    values: Floats
    history: int
    starts: Places
    window: int
    horizon: int
    columns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def names(self) -> Origins:
        """The date of the last known row of each window."""
        return Origins(self.dates, self.starts + self.window - 1)

    def known_rows(self, indices: Places) -> Places:
        """(n, window): the rows that windows know."""
        rows: Places = self.starts[indices][:, None] + np.arange(self.window)
        return rows

    def target_rows(self, indices: Places) -> Places:
        """(n, horizon): the rows that they are to say."""
        rows: Places = self.starts[indices][:, None] + self.window + np.arange(self.horizon)
        return rows

    def known(self, indices: Places) -> Floats:
        """(n, window, S)"""
        return self.values[self.known_rows(indices)]

    def last(self, indices: Places) -> Floats:
        """(n, 1, S): the last row that each window knows."""
        return self.values[self.starts[indices] + self.window - 1][:, None]

    def targets(self, indices: Places) -> Floats:
        """(n, horizon, targets)"""
        return self.values[self.target_rows(indices)][:, :, list(self.columns)]

    @property
    def own(self) -> Floats:
        """The rows of the split's own span, (R - history, S)."""
        return self.values[self.history :]


@dataclass(frozen=True, eq=False)
class Series:
    """Series, framed and split by time."""

    task: ClassVar[str] = "forecasting"
    classes: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...]
    framing: Framing
    step: Step
    reading: Reading
    splits: Mapping[str, SeriesSplit]
    origin: str = "arrays"
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over dates, numbers, names, framing and splits."""
        digest = hashlib.sha256(b"pellucid series 1\n")
        digest.update(repr((self.names, self.framing, self.step)).encode())
        for name, split in self.splits.items():
            digest.update(f"{name} {split.history} {split.values.shape}\n".encode())
            for array in (split.dates.astype(np.int64), split.values, split.starts):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def begins(self, split: str) -> np.datetime64 | None:
        """The first date of a split's own span; None where there is no such split."""
        found = self.splits.get(split)
        return None if found is None else found.dates[found.history]

    @property
    def whole(self) -> SeriesSplit:
        """All windows of all splits as one; targets may lie in any."""
        parts = list(self.splits.values())
        dates = np.concatenate([part.dates[part.history * (i > 0) :] for i, part in enumerate(parts)])
        values = np.concatenate([part.values[part.history * (i > 0) :] for i, part in enumerate(parts)])
        history = parts[0].history
        return _framed(dates, values, history, self.framing, self.step, parts[0].columns)


def load_series(
    where: str | Path,
    framing: Framing,
    reading: Reading | None = None,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    validation_from: np.datetime64 | None = None,
    test_from: np.datetime64 | None = None,
    limit: int | None = None,
    to_train: bool = True,
) -> Series:
    """Series from a CSV file; see ``split_series``."""
    reading = reading or Reading()
    table = read_table(where, reading)
    shares = {"validation": validation, "test": test}
    dates = {"validation": validation_from, "test": test_from}
    more: dict[str, Any] = {"limit": limit, "origin": str(where), "to_train": to_train}
    return split_series(table, framing, reading, shares=shares, dates=dates, **more)


def split_series(
    table: Table,
    framing: Framing,
    reading: Reading,
    *,
    shares: Mapping[str, float],
    dates: Mapping[str, np.datetime64 | None],
    limit: int | None = None,
    origin: str = "arrays",
    to_train: bool = True,
) -> Series:
    """Cut a table in time: training first, then validation, then test.

    Args:
        framing: with ``targets`` empty for all series.
        shares: of the rows, for validation and test; 0 for none.
        dates: from which date on a split goes, instead of its share.
        limit: at most so many windows of each split, the last ones.
        to_train: whether there must be a training part.

    Raises:
        DataError: where a part is too short for one window.
    """
    targets = framing.targets or table.names
    for name in targets:
        if name not in table.names:
            raise unknown(f"series of {origin}", name, table.names)
    framing = Framing(framing.window, framing.horizon, tuple(targets))
    step = find_step(table.dates)
    bounds = _bounds(table, shares, dates)
    columns = tuple(table.names.index(name) for name in targets)
    splits: dict[str, SeriesSplit] = {}
    for name, (first, end) in bounds.items():
        if first == end and not (name == "train" and to_train):
            continue
        history = min(first, framing.window) if name != "train" else 0
        part = slice(first - history, end)
        split = _framed(table.dates[part].copy(), table.values[part].copy(), history, framing, step, columns)
        if not len(split):
            raise _too_short(origin, name, end - first, history, framing, step)
        splits[name] = split if limit is None else _limited(split, limit)
    notes = (*table.notes, *_notes(table, step, splits))
    return Series(table.names, framing, step, reading, splits, origin, notes)


def _framed(
    dates: Dates, values: Floats, history: int, framing: Framing, step: Step, columns: tuple[int, ...]
) -> SeriesSplit:
    """All windows whose targets lie behind the history, and across which no row is missing."""
    length = framing.window + framing.horizon
    starts = np.arange(max(0, history - framing.window), len(values) - length + 1)
    broken = np.concatenate([[0], np.cumsum(_gaps(dates, step) > 0)])
    starts = starts[broken[starts + length - 1] == broken[starts]] if len(starts) else starts
    return SeriesSplit(dates, values, history, starts, framing.window, framing.horizon, columns)


def _gaps(dates: Dates, step: Step) -> Places:
    """Rows that are missing before each row but the first; a market's holidays are none."""
    missing = step.missing(dates)
    found: Places = np.where(missing > _HOLIDAYS, missing, 0) if step.unit == "business" else missing
    return found


def _limited(split: SeriesSplit, limit: int) -> SeriesSplit:
    return SeriesSplit(
        split.dates,
        split.values,
        split.history,
        split.starts[-limit:],
        split.window,
        split.horizon,
        split.columns,
    )


def _bounds(
    table: Table, shares: Mapping[str, float], dates: Mapping[str, np.datetime64 | None]
) -> dict[str, tuple[int, int]]:
    """The first row and the end of each split."""
    rows = len(table.dates)

    def first(name: str, end: int) -> int:
        date = dates.get(name)
        if date is not None:
            return min(end, int(np.searchsorted(table.dates, date)))
        return end - round(rows * shares[name])

    test = first("test", rows)
    validation = first("validation", test)
    return {"train": (0, max(0, validation)), "validation": (max(0, validation), test), "test": (test, rows)}


def _too_short(origin: str, name: str, rows: int, history: int, framing: Framing, step: Step) -> DataError:
    part = {"train": "training"}.get(name, name)
    known = f"{framing.window} rows and {framing.horizon} ahead"
    if rows + history >= framing.window + framing.horizon:
        return DataError(
            f"no window of {known} fits between the gaps of the {part} part of {origin}",
            step=step.name,
            fits="a smaller window or horizon, or the missing rows filled in",
        )
    before = f" (and {history} before them)" if history else ""
    return DataError(
        f"the {part} part of {origin} is too short: it has {rows} rows{before}, and a window is {known}",
        fits="a longer series, or a smaller window or horizon: --set window=8 --set horizon=2",
    )


def _notes(table: Table, step: Step, splits: Mapping[str, SeriesSplit]) -> list[str]:
    """What was found, for the user: step, gaps, spans."""
    said = []
    if step.unit == "row":
        said.append("the dates have no regular step: a step is from one row to the next")
    else:
        said.append(f"one row per {step.name}")
    gaps = _gaps(table.dates, step)
    if gaps.any():
        at = int(gaps.argmax())
        between = f"{written(table.dates[at])} and {written(table.dates[at + 1])}"
        said.append(
            f"{int(gaps.sum())} rows are missing in {int((gaps > 0).sum())} gaps, most of them between {between}; "
            "no window reaches across a gap"
        )
    spans = [
        f"{name} {written(split.dates[split.history])} to {written(split.dates[-1])} ({len(split)} windows)"
        for name, split in splits.items()
    ]
    return [*said, f"split by time: {', '.join(spans)}"]
