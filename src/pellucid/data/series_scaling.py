"""How numbers of a series become a network's input, and how its output becomes forecasts: ``SeriesPreparation``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.data.series import Floats, Framing, Places, Series, SeriesSplit
from pellucid.data.series_dates import Dates, Step, calendar, calendar_names, written
from pellucid.data.series_table import Reading
from pellucid.errors import DataError

Scaling = Literal["last", "standard"]
Transform = Literal["none", "log"]
_TINY = 1e-12


@dataclass(frozen=True)
class SeriesPreparation:
    """What the training split teaches of inputs.

    scaling: ``last`` sees each window as departures from its last row, in units of the usual departure, so that a
    network that says nothing says "as today", and prices that leave the range of training stay readable; ``standard``
    takes mean and deviation of the training part. transform: ``log`` before it. center, scale: of each series, (S,).
    calendar: whether features of the dates come beside the series. quantiles: the levels that the network says.
    season: steps after which a pattern comes again. usual_error: of the naive forecast by that season on the training
    part, for each target: what the scaled error MASE is in units of (Hyndman & Koehler 2006).
    linear: of the linear model, by ``train/tasks/forecasting_baselines``; plain lists.
    validation_from, test_from: where the splits of training began, as ISO dates.
    """

    names: tuple[str, ...]
    framing: Framing
    step: Step
    reading: Reading
    scaling: Scaling
    transform: Transform
    calendar: bool
    quantiles: tuple[float, ...]
    season: int
    center: tuple[float, ...]
    scale: tuple[float, ...]
    usual_error: tuple[float, ...]
    validation_from: str | None
    test_from: str | None
    linear: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        data: Series,
        *,
        scaling: Scaling,
        transform: Transform,
        calendar: bool,
        quantiles: tuple[float, ...],
        season: int,
    ) -> Self:
        """Learned on the training split of the data, and on nothing else.

        Raises:
            DataError: for a logarithm of what is not above zero, or a series that never changes.
        """
        split = data.splits["train"]
        if transform == "log":
            _refuse_nonpositive(data)
        values = np.log(split.own) if transform == "log" else split.own
        center, scale = values.mean(0), values.std(0)
        if scaling == "last":
            scale = _departures(values, split)
        still = [data.names[i] for i in np.flatnonzero(~(scale > _TINY * (1 + np.abs(center))))]
        if still:
            raise DataError(
                f"the series {still[0]} never changes in the training part: there is nothing to learn",
                fits="columns=[...] without it",
            )
        begins = [data.begins(name) for name in ("validation", "test")]
        dates = [None if date is None else written(date) for date in begins]
        return cls(
            names=data.names,
            framing=data.framing,
            step=data.step,
            reading=data.reading,
            scaling=scaling,
            transform=transform,
            calendar=calendar,
            quantiles=quantiles,
            season=season,
            center=tuple(map(float, center)),
            scale=tuple(map(float, scale)),
            usual_error=_usual_error(split, season),
            validation_from=dates[0],
            test_from=dates[1],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "step": self.step.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        tuples = ("names", "quantiles", "center", "scale", "usual_error")
        framing, reading = dict(values["framing"]), dict(values["reading"])
        columns = reading.get("columns")
        return cls(
            **{
                **values,
                **{name: tuple(values[name]) for name in tuples},
                "framing": Framing(framing["window"], framing["horizon"], tuple(framing["targets"])),
                "reading": Reading(**{**reading, "columns": tuple(columns) if columns is not None else None}),
                "step": Step.from_json(values["step"]),
            }
        )

    @property
    def columns(self) -> list[int]:
        """Which of the series are targets."""
        return [self.names.index(name) for name in self.framing.targets]

    @property
    def features(self) -> int:
        """Numbers that the network sees at each step of the window."""
        return len(self.names) + (len(calendar_names(self.step)) if self.calendar else 0)

    def inputs(self, known: Floats, dates: Dates) -> NDArray[np.float32]:
        """What the network sees: (n, window, S) and dates (n, window) -> (n, window, features)."""
        values = self._transformed(known)
        scaled: Floats = (values - self._base(values)) / np.array(self.scale)
        if self.calendar:
            features = calendar(dates.reshape(-1), self.step).reshape(*dates.shape, -1)
            scaled = np.concatenate([scaled, features], axis=2)
        return scaled.astype(np.float32)

    def wanted(self, known: Floats, targets: Floats) -> NDArray[np.float32]:
        """What it should say: (n, window, S), of which the last row is enough, and (n, horizon, targets) ->
        (n, horizon, targets)."""
        base = self._base(self._transformed(known))[:, :, self.columns]
        scaled: Floats = (self._transformed(targets) - base) / np.array(self.scale)[self.columns]
        return scaled.astype(np.float32)

    def forecasts(self, outputs: NDArray[Any], known: Floats) -> Floats:
        """What it says in the series' own units: (n, horizon, targets, quantiles), the quantiles in rising order. Of
        ``known`` (n, window, S) the last row is enough.

        Where a network's quantiles cross they are sorted (Chernozhukov, Fernández-Val & Galichon 2010).
        """
        base = self._base(self._transformed(known))[:, :, self.columns, None]
        scale = np.array(self.scale)[self.columns][:, None]
        found: Floats = np.sort(np.asarray(outputs, np.float64), axis=-1) * scale + base
        return np.exp(found) if self.transform == "log" else found

    def _transformed(self, values: Floats) -> Floats:
        return np.log(values) if self.transform == "log" else values

    def _base(self, values: Floats) -> Floats:
        """(n, 1, S): what counts as zero."""
        if self.scaling == "last":
            return values[:, -1:]
        return np.broadcast_to(np.array(self.center), (len(values), 1, len(self.center)))


def _departures(values: Floats, split: SeriesSplit) -> Floats:
    """(S,): how far the rows ahead usually are from the last known one, as a root mean square."""
    every: Places = np.arange(len(split))
    last = values[split.starts + split.window - 1 - split.history]
    ahead = values[split.target_rows(every) - split.history]
    found: Floats = np.sqrt(((ahead - last[:, None]) ** 2).mean((0, 1)))
    return found


def _usual_error(split: SeriesSplit, season: int) -> tuple[float, ...]:
    """Of each target: mean absolute difference between rows a season apart; from one row to the next where the part is
    shorter than a season."""
    own = split.own[:, list(split.columns)]
    lag = season if 1 <= season < len(own) else 1
    return tuple(float(error) for error in np.abs(own[lag:] - own[:-lag]).mean(0))


def _refuse_nonpositive(data: Series) -> None:
    for split in data.splits.values():
        rows, columns = np.nonzero(split.values <= 0)
        if len(rows):
            name, date = data.names[columns[0]], written(split.dates[rows[0]])
            raise DataError(
                f"transform=log takes logarithms, and {name} is {split.values[rows[0], columns[0]]:g} on {date}",
                fits="transform=none, or series above zero",
            )
