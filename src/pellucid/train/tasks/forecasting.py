"""Forecasting: what comes next in series of numbers, several steps ahead, with intervals, beside what is to beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from pellucid.data.series import Framing, Series, SeriesSplit, load_series, split_series
from pellucid.data.series_batches import SeriesBatches
from pellucid.data.series_dates import Step, find_step, read_date, written
from pellucid.data.series_scaling import Scaling, SeriesPreparation, Transform
from pellucid.data.series_table import Missing, Reading, looks_like_series, read_table
from pellucid.errors import DataError, PellucidError, ShapeError
from pellucid.train.execution import Execution
from pellucid.train.predictions import outputs_of
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked, DataLike, Task
from pellucid.train.tasks import forecasting_baselines as baselines
from pellucid.train.tasks.forecasting_measure import ForecastMeasured, measure

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord

EVALUATION_BATCH = 500
# The highest learning rate of the schedule at a batch of 32.
_RATES = {"sgd": 0.05, "momentum": 0.02, "adagrad": 0.01, "rmsprop": 0.001, "adam": 0.002, "adamw": 0.003, "muon": 0.01}


class ForecastingOptions(BaseModel):
    """What to forecast, from what, and how numbers are scaled. None is chosen from the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: int | None = Field(None, ge=1, description="rows that a forecast knows")
    horizon: int | None = Field(None, ge=1, description="rows ahead that it says")
    targets: tuple[str, ...] | None = Field(None, min_length=1, description="the series that it says; all by default")
    columns: tuple[str, ...] | None = Field(None, min_length=1, description="the series that it reads; all by default")
    date_column: str | None = Field(None, description="the column of dates")
    date_format: str | None = Field(None, description="how dates are written, such as DD.MM.YYYY")
    missing: Missing = Field("refuse", description="a number that is not there: refuse, previous (take it), drop (row)")
    test: float = Field(0.2, ge=0, lt=1, description="share of the rows, the last ones, that are measured at the end")
    validation_from: str | None = Field(None, description="the first date of validation, instead of a share")
    test_from: str | None = Field(None, description="the first date of the test part, instead of a share")
    season: int | None = Field(None, ge=1, description="steps after which a pattern comes again; 1 for none")
    scaling: Scaling = Field("last", description="departures from the window's last row (last), or standard scores")
    transform: Transform = Field("none", description="log takes logarithms first, for what grows by shares")
    calendar: bool | None = Field(None, description="whether the network sees the hour, weekday and time of year")
    quantiles: tuple[float, ...] = Field((0.1, 0.5, 0.9), description="the levels that it says, 0.5 among them")

    @field_validator("targets", "columns", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("validation_from", "test_from", "date_format", "date_column", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        return None if given is None else str(given)  # YAML makes dates of dates, and numbers of years

    @field_validator("quantiles")
    @classmethod
    def _levels(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        middle = given[len(given) // 2] if len(given) % 2 else None
        if middle != 0.5 or not all(0 < level < 1 for level in given) or list(given) != sorted(set(given)):
            raise ValueError("levels rise between 0 and 1, and the one in the middle is 0.5")
        return given


class PinballLoss(nn.Module):
    """max(q e, (q - 1) e) with e = target - output, for each level q (Koenker & Bassett 1978): its mean is smallest at
    the quantiles."""

    levels: Tensor

    def __init__(self, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, horizon, targets, quantiles), (N, horizon, targets) -> the mean over all"""
        error = targets[..., None] - outputs
        return torch.maximum(self.levels * error, (self.levels - 1) * error).mean()


class Forecasting(Task):
    """Series in time: from ``window`` rows to the next ``horizon``, as quantiles."""

    name: ClassVar[str] = "forecasting"
    things: ClassVar[str] = "series"
    reads: ClassVar[tuple[str, ...]] = ("series",)
    net: ClassVar[str] = "gru"
    score: ClassVar[str] = "mean_absolute_error"
    train_score: ClassVar[str] = "scaled_error"
    lower_is_better: ClassVar[bool] = True
    units: ClassVar[Mapping[str, str]] = {
        "loss": "pinball, in units of the scaling",
        "mean_absolute_error": "in the series' own unit",
        "scaled_error": "the same in units of the scaling",
    }
    Options: ClassVar[type[BaseModel]] = ForecastingOptions

    def recognises(self, where: str) -> bool:
        """A CSV file with a column of dates and a column of numbers."""
        return looks_like_series(Path(where))

    def load(self, where: str, settings: Settings) -> Series:
        """Series from a CSV file, framed and split by time."""
        options: ForecastingOptions = self.options(settings)
        reading = _reading(options)
        table = read_table(where, reading)
        shares = {"validation": 0.1 if settings.validation is None else settings.validation, "test": options.test}
        if shares["validation"] + shares["test"] >= 1:
            raise DataError(
                f"validation ({shares['validation']:g}) and test ({shares['test']:g}) leave nothing to learn from",
                fits="--validation 0.1 --set test=0.2",
            )
        dates = {
            name: None if given is None else read_date(given, name)
            for name, given in (("validation", options.validation_from), ("test", options.test_from))
        }
        framing = _framing(options, find_step(table.dates), len(table.dates))
        return split_series(
            table, framing, reading, shares=shares, dates=dates, limit=settings.limit, origin=str(where)
        )

    def load_again(self, where: str, preparation: SeriesPreparation, settings: Settings) -> Series:
        """The same series, cut at the same dates: what lay before the test part of training is never test."""
        return load_series(
            where,
            preparation.framing,
            _all_columns(preparation),
            validation=0.0,
            test=0.0,
            validation_from=_date(preparation.validation_from),
            test_from=_date(preparation.test_from),
            to_train=False,
        )

    def prepare(self, data: Series, settings: Settings) -> SeriesPreparation:
        """Scaling and the linear model to beat, learned on the training part alone."""
        options: ForecastingOptions = self.options(settings)
        calendar = options.calendar
        preparation = SeriesPreparation.of(
            data,
            scaling=options.scaling,
            transform=options.transform,
            calendar=data.step.unit in ("second", "month") if calendar is None else calendar,
            quantiles=options.quantiles,
            season=options.season or data.step.season,
        )
        return baselines.with_linear(preparation, data.splits["train"])

    def read_preparation(self, values: Mapping[str, Any]) -> SeriesPreparation:
        """What ``SeriesPreparation.to_json`` gave."""
        return SeriesPreparation.from_json(values)

    def facts(self, preparation: SeriesPreparation, classes: tuple[str, ...]) -> dict[str, Any]:
        """features, window, horizon, targets, quantiles."""
        return {
            "features": preparation.features,
            "window": preparation.framing.window,
            "horizon": preparation.framing.horizon,
            "targets": len(preparation.framing.targets),
            "quantiles": len(preparation.quantiles),
        }

    def resolve(self, settings: Settings, data: Series, net: nn.Module) -> Settings:
        """Good values for whatever is not set; window, horizon and season as they were chosen."""
        options: ForecastingOptions = self.options(settings)
        chosen = {
            "window": data.framing.window,
            "horizon": data.framing.horizon,
            "targets": list(data.framing.targets),
            "season": options.season or data.step.season,
        }
        train = len(data.splits["train"])
        size = min(settings.batch_size or (128 if train >= 20_000 else 32), train)
        good: dict[str, Any] = {
            "validation": 0.1,
            "learning_rate": float(f"{_RATES[settings.optimizer] * (size / 32) ** 0.5:.3g}"),
            "weight_decay": 0.01 if settings.optimizer in ("adamw", "muon") else 0.0,
            "label_smoothing": 0.0,
            "ema": 0.0,
            "clip_norm": 1.0,  # gradients through many steps can explode (Pascanu, Mikolov & Bengio 2013)
        }
        given = {name: value for name, value in settings.model_dump().items() if value is not None}
        own = {"batch_size": size, "task_settings": {**options.model_dump(mode="json"), **chosen}}
        return Settings.parse({**settings.model_dump(), **good, **given, **own})

    def batches(
        self,
        split: SeriesSplit,
        preparation: SeriesPreparation,
        settings: Settings,
        device: torch.device,
        *,
        training: bool,
    ) -> SeriesBatches:
        """In training shuffled, without the rest that fills no batch; else all in the order of time."""
        if not training:
            return SeriesBatches(split, preparation, batch_size=EVALUATION_BATCH, device=device)
        size = settings.batch_size or 32
        more = {"shuffle": True, "drop_last": len(split) >= size}
        return SeriesBatches(split, preparation, batch_size=size, seed=settings.seed, device=device, **more)

    def loss(self, settings: Settings, data: Series) -> nn.Module:
        """The pinball loss of the quantiles."""
        options: ForecastingOptions = self.options(settings)
        return PinballLoss(options.quantiles)

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The sum over windows of the middle quantile's mean absolute error, scaled."""
        return (outputs[..., outputs.shape[-1] // 2] - labels).abs().mean((1, 2)).sum()

    def check_outputs(self, outputs: Any, count: int, data: DataLike | None, classes: tuple[str, ...]) -> None:
        """Raises ShapeError unless the outputs are (N, horizon, targets, quantiles)."""
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        framing = getattr(data, "framing", None)
        wanted = (count, framing.horizon, len(framing.targets)) if framing is not None else (count,)
        if not isinstance(outputs, Tensor) or outputs.ndim != 4 or tuple(outputs.shape[: len(wanted)]) != wanted:
            fits = f"a tensor ({', '.join(map(str, wanted))}, quantiles)"
            raise ShapeError(f"for {count} windows the network gives {found}", fits=fits)

    def quick(
        self,
        net: nn.Module,
        split: SeriesSplit,
        preparation: SeriesPreparation,
        settings: Settings,
        execution: Execution,
    ) -> dict[str, float]:
        """Pinball loss, mean absolute error in the series' own unit, and scaled."""
        outputs = self._outputs(net, split, preparation, settings, execution)
        every = np.arange(len(split))
        known, truth = split.last(every), split.targets(every)
        middle = preparation.quantiles.index(0.5)
        said = preparation.forecasts(outputs, known)[..., middle]
        wanted = preparation.wanted(known, truth)
        return {
            "loss": _pinball(outputs, wanted, preparation.quantiles),
            "mean_absolute_error": float(np.abs(said - truth).mean()),
            "scaled_error": float(np.abs(outputs[..., middle].astype(np.float64) - wanted).mean()),
        }

    def _outputs(
        self,
        net: nn.Module,
        split: SeriesSplit,
        preparation: SeriesPreparation,
        settings: Settings,
        execution: Execution,
    ) -> NDArray[np.float32]:
        """(N, horizon, targets, quantiles), scaled, in the split's order."""
        batches = self.batches(split, preparation, settings, execution.device, training=False)
        return outputs_of(net, batches.epoch(0), execution)

    def _said(self, model: Model, split: SeriesSplit) -> NDArray[np.float32]:
        """The outputs of a trained model."""
        execution = model.execution()
        execution.place(model.net)
        return self._outputs(model.net, split, model.preprocess, model.settings, execution)

    def measure(self, model: Model, split: SeriesSplit) -> ForecastMeasured:
        """Errors for each step ahead beside those of the naive forecasts and a linear model, and intervals."""
        preparation: SeriesPreparation = model.preprocess
        outputs = self._said(model, split)
        every = np.arange(len(split))
        known = split.last(every)
        said = preparation.forecasts(outputs, known)
        wanted = preparation.wanted(known, split.targets(every))
        pinball = _pinball(outputs, wanted, preparation.quantiles)
        return measure(said, baselines.all_of(split, preparation), split, preparation, pinball)

    def read_measured(self, values: Mapping[str, Any]) -> ForecastMeasured:
        """What ``ForecastMeasured.to_json`` gave."""
        return ForecastMeasured.from_json(values)

    def report(self, folder: Path, record: RunRecord, model: Model, split: SeriesSplit) -> Body:
        """Errors beside what is to beat, forecasts over the split's span, intervals."""
        from pellucid.draw import forecast_report

        preparation: SeriesPreparation = model.preprocess
        said = preparation.forecasts(self._said(model, split), split.last(np.arange(len(split))))
        drawn = [
            forecast_report.Drawn(name, written_dates(split), split.own[:, column].tolist(), spans)
            for k, (name, column) in enumerate(zip(preparation.framing.targets, split.columns, strict=True))
            for spans in [_spans(split, said[:, :, k], preparation.quantiles)]
        ]
        forecast_report.save_figures(folder, record.measured, drawn)
        return forecast_report.body(record, drawn)

    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """The next rows of each file, with their dates and an interval."""
        for thing in asked.things:
            try:
                yield self._answer(model, thing, asked)
            except DataError as error:
                broken.append(error)

    def _answer(self, model: Model, thing: str, asked: Asked) -> Answer:
        preparation: SeriesPreparation = model.preprocess
        content = asked.standard_input() if thing == "-" else None
        table = read_table(thing, _all_columns(preparation), content=content)
        framing = preparation.framing
        if len(table.dates) < framing.window:
            raise DataError(f"{thing} has {len(table.dates)} rows, and the network reads {framing.window}")
        if preparation.transform == "log" and (table.values[-framing.window :] <= 0).any():
            raise DataError(f"{thing} holds numbers that are not above 0, and the network takes logarithms")
        known, dates = table.values[None, -framing.window :], table.dates[None, -framing.window :]
        execution = model.execution()
        execution.place(model.net)
        inputs = torch.from_numpy(preparation.inputs(known, dates)).to(execution.device)
        outputs = outputs_of(model.net, [_Known((inputs,))], execution)
        said = preparation.forecasts(outputs, known)[0]
        ahead = preparation.step.after(table.dates[-1], framing.horizon)
        return _answer(thing, [written(date) for date in ahead], said, preparation)

    def whole(self, data: Series) -> SeriesSplit:
        """All windows, whichever part their targets lie in."""
        return data.whole


class _Known:
    """Inputs without targets."""

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = inputs


def written_dates(split: SeriesSplit) -> list[str]:
    """The dates of a split's own span."""
    return [written(date) for date in split.dates[split.history :]]


def _pinball(outputs: NDArray[Any], wanted: NDArray[Any], levels: tuple[float, ...]) -> float:
    """The loss in double precision."""
    error = wanted[..., None].astype(np.float64) - outputs
    return float(np.maximum(np.array(levels) * error, (np.array(levels) - 1) * error).mean())


def _reading(options: ForecastingOptions) -> Reading:
    columns = options.columns
    if columns is not None and options.targets is not None:
        columns = (*columns, *(name for name in options.targets if name not in columns))
    return Reading(options.date_column, options.date_format, columns, options.missing)


def _all_columns(preparation: SeriesPreparation) -> Reading:
    """As in training, with the series by name."""
    own = preparation.reading
    return Reading(own.date_column, own.date_format, preparation.names, own.missing)


def _date(text: str | None) -> np.datetime64 | None:
    """Where a split began; far in the future where there was none."""
    return read_date(text if text is not None else "9999-12-31", "the date")


def _framing(options: ForecastingOptions, step: Step, rows: int) -> Framing:
    """Window and horizon as asked, else by the season: one season ahead, from two."""
    season = options.season or step.season
    horizon = options.horizon or (season if 1 < season <= 24 else 8)
    window = options.window or min(max(2 * season if season <= 64 else 104, 2 * horizon, 24), max(4, rows // 4))
    return Framing(window, horizon, options.targets or ())


def _spans(
    split: SeriesSplit, said: NDArray[np.float64], levels: tuple[float, ...]
) -> dict[str, list[tuple[int, list[float], list[float], list[float]]]]:
    """Forecasts (N, horizon, quantiles) of one target, drawn two ways: one step ahead, and all steps at once from
    origins one horizon apart. Each is (row of the first value, lowest, middle, highest)."""
    middle, first = levels.index(0.5), split.starts + split.window - split.history
    step = [(int(first[i]), said[i, :1]) for i in range(len(said))]
    ahead = [(int(first[i]), said[i]) for i in range(0, len(said), max(1, split.horizon))]

    def plain(parts: list[tuple[int, Any]]) -> list[tuple[int, list[float], list[float], list[float]]]:
        return [(row, q[:, 0].tolist(), q[:, middle].tolist(), q[:, -1].tolist()) for row, q in parts]

    return {"one step ahead": plain(step), f"{split.horizon} steps ahead": plain(ahead)}


def _answer(thing: str, dates: list[str], said: NDArray[np.float64], preparation: SeriesPreparation) -> Answer:
    """said: (horizon, targets, quantiles)."""
    targets, levels = preparation.framing.targets, preparation.quantiles
    middle = levels.index(0.5)
    rows, lines = [], []
    for date, row in zip(dates, said, strict=True):
        cells = {
            f"{name} {level:g}": f"{row[k, q]:.6g}" for k, name in enumerate(targets) for q, level in enumerate(levels)
        }
        rows.append({"date": date, **cells})
        shown = (f"{name} {row[k, middle]:.6g} ({row[k, 0]:.6g} to {row[k, -1]:.6g})" for k, name in enumerate(targets))
        lines.append(f"  {date}  {', '.join(shown)}")
    wanted = f"{levels[-1] - levels[0]:.0%}"
    text = f"the next {len(dates)} rows, in brackets the {wanted} interval\n" + "\n".join(lines)
    record = {
        "series": thing,
        "forecasts": [
            {
                "date": date,
                **{
                    name: {f"{level:g}": float(row[k, q]) for q, level in enumerate(levels)}
                    for k, name in enumerate(targets)
                },
            }
            for date, row in zip(dates, said, strict=True)
        ],
    }
    return Answer(thing, text, tuple(rows), record)
