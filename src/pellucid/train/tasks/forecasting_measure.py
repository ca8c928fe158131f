"""What forecasts are worth: errors for each step ahead, intervals, and whether a difference is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from scipy import special

from pellucid.data.series import Floats, SeriesSplit
from pellucid.data.series_dates import written
from pellucid.data.series_scaling import SeriesPreparation

NETWORK = "network"
_WORDS = {
    "naive": "the naive forecast (tomorrow is today)",
    "seasonal naive": "the seasonal naive forecast (as a season ago)",
    "linear": "the linear model",
}
_DOUBT = 0.05


@dataclass(frozen=True)
class Errors:
    """Of one method. mae, rmse, mase: for each step ahead, means over the targets; by_target: of each over all steps.

    mae, rmse: in the series' own unit. mase: absolute error in units of the naive forecast's on the training part
    (Hyndman & Koehler 2006): below 1 is better than that.
    """

    method: str
    mae: tuple[float, ...]
    rmse: tuple[float, ...]
    mase: tuple[float, ...]
    by_target: Mapping[str, Mapping[str, float]]

    def mean(self, what: str) -> float:
        """Over all steps ahead."""
        return float(np.mean(getattr(self, what)))


@dataclass(frozen=True)
class Compared:
    """The network against another method on the same windows: mean difference of scaled absolute errors (below 0: the
    network is better), its 95% interval, and the p of no difference; NaN where there are too few windows."""

    against: str
    difference: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``no difference beyond chance``."""
        if math.isnan(self.p) or self.p >= _DOUBT:
            return "no difference beyond chance"
        return "better" if self.difference < 0 else "worse"


@dataclass(frozen=True)
class ForecastMeasured:
    """What a network's forecasts are worth on ``n`` windows.

    methods: the network first, then what it has to beat. coverage: for each step ahead, how many values lay between the
    lowest and the highest quantile, of which ``wanted`` should; width: how far those are from one another, in units of
    MASE. pinball: the loss, in scaled units.
    """

    n: int
    targets: tuple[str, ...]
    step: str
    season: int
    begins: str
    ends: str
    methods: tuple[Errors, ...]
    compared: tuple[Compared, ...]
    quantiles: tuple[float, ...]
    coverage: tuple[float, ...]
    wanted: float
    width: tuple[float, ...]
    pinball: float

    @property
    def score(self) -> float:
        """The network's mean absolute error, over steps and targets."""
        return self.methods[0].mean("mae")

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return len(self.methods[0].mae)

    def headline(self) -> str:
        """One line."""
        others = ", ".join(f"{one.method} {one.mean('mae'):.4g}" for one in self.methods[1:])
        return f"mean absolute error {self.score:.4g} on {self.n:,} windows ({others})"

    def verdicts(self) -> list[str]:
        """One plain sentence for each method that the network has to beat."""
        said = []
        for one in self.compared:
            other = next(errors for errors in self.methods if errors.method == one.against)
            share = self.methods[0].mean("mase") / max(other.mean("mase"), 1e-300) - 1
            amount = f"its scaled error is {abs(share):.1%} {'smaller' if share < 0 else 'larger'}"
            chance = "too few windows to tell" if math.isnan(one.p) else f"p {one.p:.2g}"
            name = _WORDS[one.against]
            if one.verdict == "better":
                said.append(f"The network beats {name}: {amount} ({chance}).")
            elif one.verdict == "worse":
                said.append(f"The network is worse than {name}: {amount} ({chance}).")
            else:
                said.append(f"The network does not beat {name}: {amount}, which may be chance ({chance}).")
        return said

    def text(self) -> str:
        """For a terminal."""
        lines = [
            f"{self.headline()}, targets from {self.begins} to {self.ends}, one per {self.step}",
            "",
            f"{'steps ahead':<16}" + "".join(f"{k:>9}" for k in self._shown()) + f"{'mean':>9}{'RMSE':>10}{'MASE':>8}",
        ]
        for one in self.methods:
            cells = "".join(f"{one.mae[k - 1]:>9.4g}" for k in self._shown())
            ends = f"{one.mean('mae'):>9.4g}{one.mean('rmse'):>10.4g}{one.mean('mase'):>8.3f}"
            lines.append(f"{one.method:<16}{cells}{ends}")
        inside = "".join(f"{self.coverage[k - 1]:>9.0%}" for k in self._shown())
        lines.append(f"{'in the interval':<16}{inside}{np.mean(self.coverage):>9.0%}   of {self.wanted:.0%}")
        return "\n".join([*lines, "", *self.verdicts()])

    def _shown(self) -> list[int]:
        """At most seven steps ahead, the first and the last among them."""
        return sorted({round(k) for k in np.linspace(1, self.horizon, min(7, self.horizon))})

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        found: dict[str, Any] = _plain(asdict(self))
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        own = {name: values[name] for name in cls.__dataclass_fields__}
        methods = [{**one, **{k: tuple(one[k]) for k in ("mae", "rmse", "mase")}} for one in own["methods"]]
        compared: list[dict[str, Any]] = [
            {k: math.nan if v is None else v for k, v in one.items()} for one in own["compared"]
        ]
        tuples = ("targets", "quantiles", "coverage", "width")
        return cls(
            **{
                **own,
                **{name: tuple(own[name]) for name in tuples},
                "methods": tuple(Errors(**one) for one in methods),
                "compared": tuple(Compared(**one) for one in compared),
            }
        )


def measure(
    said: Floats, others: Mapping[str, Floats], split: SeriesSplit, preparation: SeriesPreparation, pinball: float
) -> ForecastMeasured:
    """Measure forecasts on a split.

    Args:
        said: of the network, (N, horizon, targets, quantiles), in the series' own unit.
        others: (N, horizon, targets) of each other method.
        pinball: the loss.
    """
    every = np.arange(len(split))
    truth, unit = split.targets(every), np.array(preparation.usual_error)
    middle = said[..., preparation.quantiles.index(0.5)]
    forecasts = {NETWORK: middle, **others}
    scaled = {name: np.abs(truth - one) / unit for name, one in forecasts.items()}
    low, high = said[..., 0], said[..., -1]
    inside = (low <= truth) & (truth <= high)
    rows = split.target_rows(every)
    return ForecastMeasured(
        n=len(split),
        targets=preparation.framing.targets,
        step=preparation.step.name,
        season=preparation.season,
        begins=written(split.dates[rows.min()]),
        ends=written(split.dates[rows.max()]),
        methods=tuple(errors(name, truth, one, unit, preparation.framing.targets) for name, one in forecasts.items()),
        compared=tuple(compare(name, (scaled[NETWORK] - scaled[name]).mean((1, 2)), split.horizon) for name in others),
        quantiles=preparation.quantiles,
        coverage=tuple(map(float, inside.mean((0, 2)))),
        wanted=preparation.quantiles[-1] - preparation.quantiles[0],
        width=tuple(map(float, ((high - low) / unit).mean((0, 2)))),
        pinball=pinball,
    )


def errors(method: str, truth: Floats, said: Floats, unit: Floats, targets: Sequence[str]) -> Errors:
    """truth, said: (N, horizon, targets). unit: (targets,), of the scaled error."""
    absolute = np.abs(truth - said)
    squared = np.sqrt((absolute**2).mean(0))  # (horizon, targets)
    return Errors(
        method,
        mae=tuple(map(float, absolute.mean((0, 2)))),
        rmse=tuple(map(float, squared.mean(1))),
        mase=tuple(map(float, (absolute / unit).mean((0, 2)))),
        by_target={
            name: {
                "mae": float(absolute[:, :, k].mean()),
                "rmse": float(np.sqrt((absolute[:, :, k] ** 2).mean())),
                "mase": float((absolute[:, :, k] / unit[k]).mean()),
            }
            for k, name in enumerate(targets)
        },
    )


def compare(against: str, differences: Floats, horizon: int) -> Compared:
    """The test of Diebold & Mariano (1995) with the correction of Harvey, Leybourne & Newbold (1997).

    differences: (N,), of the two methods' errors at each origin, in the order of time. Those of neighbours depend on
    one another, for their targets overlap: the variance of their mean counts covariances up to ``horizon - 1`` origins
    apart, and a few more, with falling weights (Newey & West 1987).
    """
    n, mean = len(differences), float(differences.mean())
    lags = max(horizon - 1, math.floor(4 * (n / 100) ** (2 / 9)))
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    centred = differences - mean
    variance = float(centred @ centred) / n
    for lag in range(1, min(lags, n - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag]) / n
    if n < 2 * horizon + 2 or variance <= 0 or correction <= 0:
        p = 1.0 if n and not differences.any() else math.nan
        return Compared(against, mean, math.nan, math.nan, p)
    deviation = math.sqrt(variance / n / correction)
    reach = float(special.stdtrit(n - 1, 1 - _DOUBT / 2)) * deviation
    p = 2 * float(special.stdtr(n - 1, -abs(mean) / deviation))
    return Compared(against, mean, mean - reach, mean + reach, p)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
