"""What forecasts are measured by, against loops; what is to beat, against its definition; the test of a difference."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.series import Framing, Series, split_series
from pellucid.data.series_scaling import SeriesPreparation
from pellucid.data.series_table import Reading, Table
from pellucid.train.tasks import forecasting_baselines as baselines
from pellucid.train.tasks.forecasting import PinballLoss
from pellucid.train.tasks.forecasting_measure import Compared, ForecastMeasured, compare, measure

WINDOW, HORIZON, SEASON = 8, 3, 4


def series(values: np.ndarray) -> Series:
    dates = (np.datetime64("2024-01-01") + np.arange(len(values))).astype("datetime64[s]")
    table = Table(dates, values, ("a", "b"), "date", "%Y-%m-%d")
    framing = Framing(WINDOW, HORIZON, ("b", "a"))
    return split_series(table, framing, Reading(), shares={"validation": 0.0, "test": 0.3}, dates={})


def prepared(data: Series, **more: object) -> SeriesPreparation:
    given_ = {"scaling": "last", "transform": "none", "calendar": False, "quantiles": (0.1, 0.5, 0.9), "season": SEASON}
    return SeriesPreparation.of(data, **{**given_, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data() -> Series:
    return series(np.random.default_rng(0).normal(size=(90, 2)).cumsum(0) + 30)


def test_tomorrow_is_today_and_as_a_season_ago(data: Series) -> None:
    split, preparation = data.splits["test"], prepared(data)
    known = split.known(np.arange(len(split)))
    naive, seasonal = baselines.naive(known, preparation), baselines.seasonal_naive(known, preparation)
    assert seasonal is not None
    for i in range(len(split)):
        for ahead in range(HORIZON):
            for k, column in enumerate((1, 0)):  # targets are b and a
                row = split.starts[i] + WINDOW + ahead
                assert naive[i, ahead, k] == split.values[split.starts[i] + WINDOW - 1, column]
                assert seasonal[i, ahead, k] == split.values[row - SEASON, column]


@pytest.mark.parametrize("season", [2, 1, WINDOW + 1])
def test_seasons_shorter_than_the_horizon_and_longer_than_the_window(data: Series, season: int) -> None:
    preparation = prepared(data, season=season)
    known = data.splits["test"].known(np.array([0]))
    found = baselines.seasonal_naive(known, preparation)
    if season == 2:
        assert found is not None
        assert found[0, :, 1].tolist() == [known[0, -2, 0], known[0, -1, 0], known[0, -2, 0]]
    else:
        assert found is None


def test_the_linear_model_is_ridge_regression(data: Series) -> None:
    """Its weights are those of least squares on rows to which the penalty is added."""
    split, preparation = data.splits["train"], baselines.with_linear(prepared(data), data.splits["train"])
    fitted = preparation.linear
    assert fitted is not None
    every = np.arange(len(split))
    known = split.known(every)
    x = ((known - known[:, -1:]) / np.array(preparation.scale)).astype(np.float32).reshape(len(every), -1).astype(float)
    y = preparation.wanted(known, split.targets(every)).reshape(len(every), -1).astype(float)
    centred = x - x.mean(0)
    penalty = fitted["strength"] * np.trace(centred.T @ centred) / x.shape[1]
    rows = np.concatenate([centred, np.sqrt(penalty) * np.eye(x.shape[1])])
    wanted, *_ = np.linalg.lstsq(rows, np.concatenate([y - y.mean(0), np.zeros((x.shape[1], y.shape[1]))]), rcond=None)
    np.testing.assert_allclose(fitted["weights"], wanted, atol=1e-8)
    said = baselines.linear(known, split.dates[split.known_rows(every)], preparation)
    assert said is not None
    scaled = (x - x.mean(0)) @ wanted + y.mean(0)
    unscaled = scaled.reshape(len(every), HORIZON, 2) * np.array(preparation.scale)[[1, 0]] + known[:, -1:, [1, 0]]
    np.testing.assert_allclose(said, unscaled, rtol=1e-8)


def test_a_series_that_follows_a_line_is_what_the_linear_model_says() -> None:
    t = np.arange(90.0)
    found = series(np.stack([3 * t, 5 - t], 1) + 0.01 * np.random.default_rng(0).normal(size=(90, 2)))
    split = found.splits["test"]
    preparation = baselines.with_linear(prepared(found), found.splits["train"])
    errors = np.abs(baselines.all_of(split, preparation)["linear"] - split.targets(np.arange(len(split))))
    assert errors.max() < 0.1


def test_measures_against_loops(data: Series) -> None:
    split, preparation = data.splits["test"], baselines.with_linear(prepared(data), data.splits["train"])
    truth = split.targets(np.arange(len(split)))
    random = np.random.default_rng(1)
    said = np.sort(truth[..., None] + random.normal(size=(*truth.shape, 3)), -1)
    others = baselines.all_of(split, preparation)
    found = measure(said, others, split, preparation, 0.25)
    assert [one.method for one in found.methods] == ["network", "naive", "seasonal naive", "linear"]
    usual = [np.mean(np.abs(np.diff(data.splits["train"].values[:, c], n=1))) for c in (1, 0)]
    values = data.splits["train"].values
    usual = [np.mean([abs(values[t, c] - values[t - SEASON, c]) for t in range(SEASON, len(values))]) for c in (1, 0)]
    for one, forecast in zip(found.methods, [said[..., 1], *others.values()], strict=True):
        for ahead in range(HORIZON):
            errors = [[abs(truth[i, ahead, k] - forecast[i, ahead, k]) for i in range(len(split))] for k in range(2)]
            assert one.mae[ahead] == pytest.approx(np.mean(errors))
            assert one.rmse[ahead] == pytest.approx(np.mean([np.sqrt(np.mean(np.square(e))) for e in errors]))
            assert one.mase[ahead] == pytest.approx(
                np.mean([np.mean(e) / u for e, u in zip(errors, usual, strict=True)])
            )
        whole = np.abs(truth[:, :, 0] - forecast[:, :, 0])
        assert one.by_target["b"]["mae"] == pytest.approx(whole.mean())
        assert one.by_target["b"]["mase"] == pytest.approx(whole.mean() / usual[0])
    inside = [(said[i, 1, k, 0] <= truth[i, 1, k] <= said[i, 1, k, 2]) for i in range(len(split)) for k in range(2)]
    assert found.coverage[1] == pytest.approx(np.mean(inside))
    assert found.wanted == pytest.approx(0.8)
    assert found.score == pytest.approx(np.mean(found.methods[0].mae))
    assert (found.begins, found.ends) == ("2024-03-04", "2024-03-30")


def test_a_record_reads_back_as_it_was(data: Series) -> None:
    split, preparation = data.splits["test"], prepared(data)
    truth = split.targets(np.arange(len(split)))
    said = np.repeat(truth[..., None], 3, -1) + np.array([-1.0, 0.1, 1.0])
    found = measure(said, baselines.all_of(split, preparation), split, preparation, 0.5)
    assert ForecastMeasured.from_json(json.loads(json.dumps(found.to_json()))) == found


def slow_diebold_mariano(differences: list[float], horizon: int) -> tuple[float, float]:
    """The statistic, and its standard error, by the formulas, term by term."""
    n = len(differences)
    mean = sum(differences) / n
    lags = max(horizon - 1, int(4 * (n / 100) ** (2 / 9)))
    variance = 0.0
    for lag in range(-lags, lags + 1):
        pairs = [(differences[t] - mean) * (differences[t - lag] - mean) for t in range(n) if 0 <= t - lag < n]
        variance += (1 - abs(lag) / (lags + 1)) * sum(pairs) / n
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    error = (variance / n / correction) ** 0.5
    return mean / error, error


@pytest.mark.parametrize("horizon", [1, 4, 9])
def test_the_test_of_a_difference_against_its_formulas(horizon: int) -> None:
    from scipy import stats

    differences = np.random.default_rng(2).normal(0.2, 1, 60)
    statistic, error = slow_diebold_mariano(differences.tolist(), horizon)
    found = compare("naive", differences, horizon)
    assert found.p == pytest.approx(2 * stats.t(59).sf(abs(statistic)))
    assert (found.low + found.high) / 2 == pytest.approx(found.difference)
    assert found.high - found.difference == pytest.approx(stats.t(59).ppf(0.975) * error)


def test_where_there_is_no_difference_it_seldom_finds_one() -> None:
    """Errors of forecasts four steps ahead depend on one another; still about 5% are called different."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(400):
        noise = random.normal(size=203)
        found.append(compare("naive", np.convolve(noise, np.ones(4), "valid"), 4).p < 0.05)
    assert 0.02 < np.mean(found) < 0.12


@pytest.mark.parametrize(
    ("difference", "p", "verdict"),
    [(-0.1, 0.01, "better"), (0.1, 0.01, "worse"), (-0.1, 0.2, "no difference beyond chance")],
)
def test_a_verdict_needs_more_than_a_difference(difference: float, p: float, verdict: str) -> None:
    assert Compared("naive", difference, -1, 1, p).verdict == verdict


def test_too_few_windows_to_tell() -> None:
    found = compare("naive", np.array([0.1, 0.2, 0.3, 0.2]), 3)
    assert np.isnan(found.p)
    assert found.verdict == "no difference beyond chance"
    assert compare("naive", np.zeros(4), 3).p == 1.0


@given(st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_pinball_loss_against_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    levels = (0.1, 0.5, 0.9)
    outputs, targets = random.normal(size=(3, 2, 2, 3)), random.normal(size=(3, 2, 2))
    total = 0.0
    for at in np.ndindex(3, 2, 2):
        for k, level in enumerate(levels):
            error = targets[at] - outputs[(*at, k)]
            total += level * error if error > 0 else (level - 1) * error
    found = PinballLoss(levels).double()(torch.from_numpy(outputs), torch.from_numpy(targets))
    assert float(found) == pytest.approx(total / outputs.size)


def test_the_pinball_loss_is_least_at_the_quantiles() -> None:
    values = torch.from_numpy(np.random.default_rng(0).exponential(size=999))[:, None, None]
    grid = torch.linspace(0, 4, 801, dtype=torch.float64)
    for level in (0.1, 0.5, 0.9):
        loss = PinballLoss((level,)).double()
        losses = [float(loss(torch.full((999, 1, 1, 1), float(at)), values)) for at in grid]
        assert float(grid[int(np.argmin(losses))]) == pytest.approx(float(values.flatten().quantile(level)), abs=0.01)
