"""What a network has to beat: today again, a season ago again, and a linear model of the same window.

Each gives forecasts in the series' own units, (n, horizon, targets), from what a window knows and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pellucid.data.series import Floats, SeriesSplit
from pellucid.data.series_dates import Dates
from pellucid.data.series_scaling import SeriesPreparation

_STRENGTHS = 10.0 ** np.arange(-6, 4)  # of the ridge, in units of the mean eigenvalue
_MOST_COEFFICIENTS = 100_000  # more past rows are not looked at: they are saved as text
_CHUNK = 2048  # windows that are held at once


def naive(known: Floats, preparation: SeriesPreparation) -> Floats:
    """Tomorrow is today: the last known row, for every step ahead."""
    last = known[:, -1:, preparation.columns]
    return np.repeat(last, preparation.framing.horizon, axis=1)


def seasonal_naive(known: Floats, preparation: SeriesPreparation) -> Floats | None:
    """As a season ago: None where there is no season, or the window is shorter than it."""
    season, window = preparation.season, preparation.framing.window
    if not 1 < season <= window:
        return None
    ahead = np.arange(preparation.framing.horizon)
    return known[:, window - season + ahead % season][:, :, preparation.columns]


def with_linear(preparation: SeriesPreparation, split: SeriesSplit) -> SeriesPreparation:
    """The preparation with a linear model fitted on the training split: ridge regression (Hoerl & Kennard 1970) of all
    steps ahead on what the network sees of the window.

    Its strength is the one that does best on the last fifth of the training windows when fitted on the others.
    """
    every = np.arange(len(split))
    lags = _lags(preparation)
    x = np.concatenate([_features(preparation, known, dates, lags) for known, dates in _chunks(split)])
    y = preparation.wanted(split.last(every), split.targets(every)).reshape(len(every), -1).astype(np.float64)
    held = max(1, len(every) // 5)
    gap = preparation.framing.horizon  # windows whose targets overlap with those held out are of no use here
    early = len(every) - held - gap
    strength = float(_STRENGTHS[len(_STRENGTHS) // 2])
    if early >= 2:
        fits = [_ridge(x[:early], y[:early], one) for one in _STRENGTHS]
        errors = [np.abs(x[-held:] @ weights + bias - y[-held:]).mean() for weights, bias in fits]
        strength = float(_STRENGTHS[int(np.argmin(errors))])
    weights, bias = _ridge(x, y, strength)
    linear = {"lags": lags, "strength": strength, "weights": weights.tolist(), "bias": bias.tolist()}
    return replace(preparation, linear=linear)


def linear(known: Floats, dates: Dates, preparation: SeriesPreparation) -> Floats | None:
    """What the linear model says; None where none was fitted. dates: of the known rows, (n, window)."""
    fitted = preparation.linear
    if fitted is None:
        return None
    x = _features(preparation, known, dates, int(fitted["lags"]))
    framing = preparation.framing
    said = x @ np.array(fitted["weights"]) + np.array(fitted["bias"])
    outputs = said.reshape(len(known), framing.horizon, len(framing.targets), 1)
    return preparation.forecasts(outputs, known)[..., 0]


def all_of(split: SeriesSplit, preparation: SeriesPreparation) -> dict[str, Floats]:
    """The forecasts of each for all windows of a split, by name; those that there are."""
    parts: dict[str, list[Floats]] = {}
    for known, dates in _chunks(split):
        found = {
            "naive": naive(known, preparation),
            "seasonal naive": seasonal_naive(known, preparation),
            "linear": linear(known, dates, preparation),
        }
        for name, forecasts in found.items():
            if forecasts is not None:
                parts.setdefault(name, []).append(forecasts)
    return {name: np.concatenate(forecasts) for name, forecasts in parts.items()}


def _chunks(split: SeriesSplit) -> Iterator[tuple[Floats, Dates]]:
    """What windows know, (n, window, S), and its dates, some thousand windows at a time."""
    for first in range(0, len(split), _CHUNK):
        indices = np.arange(first, min(first + _CHUNK, len(split)))
        yield split.known(indices), split.dates[split.known_rows(indices)]


def _lags(preparation: SeriesPreparation) -> int:
    framing = preparation.framing
    outputs = framing.horizon * len(framing.targets)
    return max(1, min(framing.window, _MOST_COEFFICIENTS // (outputs * len(preparation.names))))


def _features(preparation: SeriesPreparation, known: Floats, dates: Dates, lags: int) -> Floats:
    """(n, lags * S + calendar): the scaled series of the last rows, and the last row's date."""
    inputs = preparation.inputs(known[:, -lags:], dates[:, -lags:]).astype(np.float64)
    series = len(preparation.names)
    return np.concatenate([inputs[:, :, :series].reshape(len(inputs), -1), inputs[:, -1, series:]], axis=1)


def _ridge(x: Floats, y: Floats, strength: float) -> tuple[Floats, Floats]:
    """Weights and bias that minimise |y - x w - b|^2 + strength * mean eigenvalue * |w|^2."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred = x - x_mean
    gram = centred.T @ centred
    penalty = strength * max(float(np.trace(gram)) / len(gram), 1e-12)
    weights: Floats = np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ (y - y_mean))
    bias: Floats = y_mean - x_mean @ weights
    return weights, bias
