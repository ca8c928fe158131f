"""Windows and splits of series: nothing crosses from what is learned from to what is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.series import Framing, Series, load_series, split_series
from pellucid.data.series_batches import SeriesBatches
from pellucid.data.series_scaling import SeriesPreparation
from pellucid.data.series_table import Reading, Table
from pellucid.errors import DataError, ShapeError, UsageError

SHARES = {"validation": 0.2, "test": 0.2}


def table_of(values: Any, *, step: str = "D") -> Table:
    """Rows one step apart from 2024-01-01 on; a list of numbers is one series."""
    array = np.asarray(values, np.float64)
    array = array[:, None] if array.ndim == 1 else array
    dates = (np.datetime64("2024-01-01T00", step) + np.arange(len(array))).astype("datetime64[s]")
    return Table(dates, array, tuple("abcdef"[: array.shape[1]]), "date", "%Y-%m-%d")


def cut(table: Table, window: int = 3, horizon: int = 2, **more: Any) -> Series:
    targets = more.pop("targets", ())
    shares = more.pop("shares", SHARES)
    return split_series(table, Framing(window, horizon, targets), Reading(), shares=shares, dates={}, **more)


def prepared(data: Series, **more: Any) -> SeriesPreparation:
    given = {"scaling": "last", "transform": "none", "calendar": False, "quantiles": (0.1, 0.5, 0.9), "season": 2}
    return SeriesPreparation.of(data, **{**given, **more})


def rows_of(split: Any) -> tuple[set[float], set[float]]:
    """The numbers that its windows know, and those that they are to say; of a series that counts its rows."""
    every = np.arange(len(split))
    return set(split.known(every).reshape(-1)), set(split.targets(every).reshape(-1))


def test_windows_of_a_series_that_counts_its_rows() -> None:
    data = cut(table_of(np.arange(20)))
    train = data.splits["train"]
    assert train.known(np.array([0, 7])).tolist() == [[[0], [1], [2]], [[7], [8], [9]]]
    assert train.targets(np.array([0, 7])).tolist() == [[[3], [4]], [[10], [11]]]
    assert [len(split) for split in data.splits.values()] == [8, 3, 3]
    assert list(train.names[:2]) == ["2024-01-03", "2024-01-04"]
    assert rows_of(data.splits["validation"]) == (set(range(9, 15)) - {14}, {12, 13, 14, 15})
    assert rows_of(data.splits["test"]) == (set(range(13, 19)) - {18}, {16, 17, 18, 19})


@given(
    rows=st.integers(50, 80),
    window=st.integers(1, 6),
    horizon=st.integers(1, 4),
    validation=st.floats(0.1, 0.3),
    test=st.floats(0.1, 0.3),
)
@settings(max_examples=60, deadline=None)
def test_targets_of_the_splits_never_meet(rows: int, window: int, horizon: int, validation: float, test: float) -> None:
    """And no window of training knows or says anything of the time of another split."""
    data = cut(table_of(np.arange(rows)), window, horizon, shares={"validation": validation, "test": test})
    seen = {name: rows_of(split) for name, split in data.splits.items()}
    assert not seen["train"][1] & seen["validation"][1]
    assert not seen["validation"][1] & seen["test"][1]
    assert max(seen["train"][0] | seen["train"][1]) < min(seen["validation"][1])
    assert max(seen["validation"][0] | seen["validation"][1]) < min(seen["test"][1])
    for name, (known, said) in seen.items():
        assert len(known | said) == len(data.splits[name].values)  # every row of a split is used, and no other


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_what_comes_after_the_split_changes_nothing_of_training(data: st.DataObject, seed: int) -> None:
    """Numbers after the training part, changed to anything: the same rows, scaling, linear model and batches."""
    from pellucid.train.tasks.forecasting_baselines import with_linear

    values = np.random.default_rng(seed).normal(size=(40, 2)).cumsum(0)
    changed = values.copy()
    row = data.draw(st.integers(24, 39))
    changed[row:, data.draw(st.integers(0, 1))] += data.draw(st.floats(-1e6, 1e6).filter(lambda by: abs(by) > 1e-3))
    scaling = data.draw(st.sampled_from(["last", "standard"]))
    found = []
    for one in (values, changed):
        made = cut(table_of(one))
        train = made.splits["train"]
        preparation = with_linear(prepared(made, scaling=scaling), train)
        batches = list(SeriesBatches(train, preparation, batch_size=4, seed=seed, shuffle=True).epoch(1))
        found.append((train, preparation, batches, made.fingerprint))
    (train, preparation, batches, mark), (other, same, dealt, other_mark) = found
    np.testing.assert_array_equal(train.values, other.values)
    assert preparation.to_json() == same.to_json()
    for one, two in zip(batches, dealt, strict=True):
        assert one.windows.equal(two.windows)
        assert one.targets.equal(two.targets)
    assert mark != other_mark


def test_a_split_holds_its_own_rows_alone() -> None:
    table = table_of(np.arange(20))
    data = cut(table)
    table.values[:] = -1
    assert data.splits["train"].values.max() == 11
    assert all(split.values.base is None or split.values.base is not table.values for split in data.splits.values())


def test_splits_by_dates() -> None:
    dates = {"validation": np.datetime64("2024-01-11"), "test": np.datetime64("2024-01-16")}
    data = split_series(table_of(np.arange(20)), Framing(3, 2, ()), Reading(), shares=SHARES, dates=dates)
    assert rows_of(data.splits["train"])[1] == set(range(3, 10))
    assert min(rows_of(data.splits["validation"])[1]) == 10
    assert min(rows_of(data.splits["test"])[1]) == 15
    assert data.begins("test") == np.datetime64("2024-01-16")


@pytest.mark.parametrize("name", ["validation", "test"])
def test_a_split_that_is_not_wanted(name: str) -> None:
    data = cut(table_of(np.arange(20)), shares={**SHARES, name: 0.0})
    assert name not in data.splits
    assert data.begins(name) is None


def test_the_whole_is_every_window_once() -> None:
    data = cut(table_of(np.arange(20)))
    assert rows_of(data.whole) == (set(range(18)), set(range(3, 20)))
    assert len(data.whole) == 16


def test_targets_are_the_series_that_are_asked_for() -> None:
    data = cut(table_of(np.arange(40).reshape(20, 2)), targets=("b",))
    assert data.splits["train"].targets(np.array([0])).tolist() == [[[7], [9]]]
    assert data.splits["train"].known(np.array([0])).shape == (1, 3, 2)
    with pytest.raises(UsageError, match="no series of arrays named 'c'"):
        cut(table_of(np.arange(20)), targets=("c",))


def test_no_window_reaches_across_a_gap() -> None:
    table = table_of(np.arange(30))
    kept = np.delete(np.arange(30), [5, 6])
    data = cut(Table(table.dates[kept], table.values[kept], ("a",), "date", ""), shares={"validation": 0, "test": 0})
    for i in range(len(data.splits["train"])):
        known, said = (part[0, :, 0] for part in (data.splits["train"].known([i]), data.splits["train"].targets([i])))
        np.testing.assert_array_equal(np.diff([*known, *said]), 1)
    assert len(data.splits["train"]) == 1 + 19
    assert any("2 rows are missing in 1 gaps" in note and "2024-01-05 and 2024-01-08" in note for note in data.notes)


def test_holidays_of_a_market_are_no_gap() -> None:
    days = np.arange("2024-01-01", "2024-04-01", dtype="datetime64[D]")
    business = np.delete(days[np.is_busday(days)], [7, 8])
    table = Table(business.astype("datetime64[s]"), np.arange(len(business))[:, None] * 1.0, ("a",), "date", "")
    data = cut(table, shares={"validation": 0, "test": 0})
    assert data.step.name == "business day"
    assert len(data.splits["train"]) == len(business) - 4
    assert data.notes[0] == "one row per business day"


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        (6, {}, "the training part of arrays is too short: it has 4 rows, and a window is 3 rows and 2 ahead"),
        (20, {"horizon": 5}, r"the validation part of arrays is too short: it has 4 rows \(and 3 before them\)"),
        (20, {"shares": {"validation": 0.5, "test": 0.5}}, "the training part of arrays is too short: it has 0 rows"),
    ],
)
def test_too_short_a_series(rows: int, more: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        cut(table_of(np.arange(rows)), **more)


def test_gaps_that_leave_no_window() -> None:
    table = table_of(np.arange(60))
    kept = np.arange(60)[np.arange(60) % 5 != 4]
    with pytest.raises(DataError, match="no window of 3 rows and 2 ahead fits between the gaps of the training part"):
        cut(Table(table.dates[kept], table.values[kept], ("a",), "date", ""))


def test_at_most_so_many_windows_the_last_ones() -> None:
    data = cut(table_of(np.arange(20)), limit=2)
    assert [len(split) for split in data.splits.values()] == [2, 2, 2]
    assert data.splits["train"].targets(np.array([1])).reshape(-1).tolist() == [10, 11]


def test_scaling_by_the_last_row_against_loops() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2)).cumsum(0) + 50
    data = cut(table_of(values), targets=("b",))
    preparation, train = prepared(data), data.splits["train"]
    squares = np.zeros((2, 0)).tolist()
    for start in range(18 - 3 - 2 + 1):
        for series in range(2):
            for ahead in range(2):
                squares[series].append((values[start + 3 + ahead, series] - values[start + 2, series]) ** 2)
    scale = [np.sqrt(np.mean(one)) for one in squares]
    np.testing.assert_allclose(preparation.scale, scale)
    known = train.known(np.array([4]))
    inputs = preparation.inputs(known, train.dates[train.known_rows(np.array([4]))])
    np.testing.assert_allclose(inputs[0], (values[4:7] - values[6]) / scale, atol=1e-6)
    wanted = preparation.wanted(known, train.targets(np.array([4])))
    np.testing.assert_allclose(wanted[0, :, 0], (values[7:9, 1] - values[6, 1]) / scale[1], atol=1e-6)


@pytest.mark.parametrize("transform", ["none", "log"])
@pytest.mark.parametrize("scaling", ["last", "standard"])
def test_what_is_wanted_reads_back_as_what_came(scaling: str, transform: str) -> None:
    values = np.exp(np.random.default_rng(1).normal(size=(40, 2)))
    data = cut(table_of(values))
    preparation, split = prepared(data, scaling=scaling, transform=transform), data.splits["test"]
    every = np.arange(len(split))
    known, truth = split.known(every), split.targets(every)
    outputs = np.repeat(preparation.wanted(known, truth)[..., None], 3, axis=3)
    np.testing.assert_allclose(preparation.forecasts(outputs, known)[..., 1], truth, rtol=1e-5)


def test_quantiles_that_cross_are_sorted() -> None:
    data = cut(table_of(np.random.default_rng(1).normal(size=40)))
    known = data.splits["train"].known(np.array([0]))
    said = prepared(data).forecasts(np.array([[[[0.5, -1.0, 0.1]], [[1, 2, 3]]]]), known)
    assert (np.diff(said, axis=-1) > 0).all()


def test_the_usual_error_is_that_of_the_seasonal_naive_forecast_in_training() -> None:
    values = np.random.default_rng(2).normal(size=(40, 1))
    found = prepared(cut(table_of(values)), season=7).usual_error
    wanted = np.mean([abs(values[t, 0] - values[t - 7, 0]) for t in range(7, 24)])
    assert found == pytest.approx((wanted,))


def test_calendar_features_come_beside_the_series() -> None:
    data = cut(table_of(np.arange(40) % 7))
    preparation = prepared(data, calendar=True)
    assert preparation.features == 1 + 4
    batch = next(iter(SeriesBatches(data.splits["train"], preparation, batch_size=2).epoch(0)))
    assert tuple(batch.windows.shape) == (2, 3, 5)
    assert float(batch.windows[0, 0, 1]) == pytest.approx(0.0, abs=1e-6)  # 2024-01-01 is a Monday


def test_a_preparation_reads_back_exactly() -> None:
    from pellucid.train.tasks.forecasting_baselines import with_linear

    data = cut(table_of(np.random.default_rng(3).normal(size=(40, 2))))
    preparation = with_linear(prepared(data), data.splits["train"])
    import json

    assert SeriesPreparation.from_json(json.loads(json.dumps(preparation.to_json()))) == preparation


@pytest.mark.parametrize("scaling", ["last", "standard"])
def test_a_series_that_never_changes(scaling: str) -> None:
    values = np.stack([np.arange(30), np.full(30, 0.1)], 1)
    with pytest.raises(DataError, match="the series b never changes in the training part"):
        prepared(cut(table_of(values)), scaling=scaling)


def test_no_logarithm_of_what_is_not_above_zero() -> None:
    with pytest.raises(DataError, match="transform=log takes logarithms, and a is 0 on 2024-01-01"):
        prepared(cut(table_of(np.arange(30))), transform="log")


def test_batches_are_a_function_of_seed_epoch_and_step() -> None:
    data = cut(table_of(np.random.default_rng(4).normal(size=60)))
    preparation = prepared(data)

    def batches(seed: int = 5) -> SeriesBatches:
        return SeriesBatches(data.splits["train"], preparation, batch_size=8, seed=seed, shuffle=True, drop_last=True)

    whole = list(batches().epoch(3))
    assert len(whole) == len(batches()) == len(data.splits["train"]) // 8
    later = list(batches().epoch(3, 2))
    for one, two in zip(whole[2:], later, strict=True):
        assert one.windows.equal(two.windows)
        np.testing.assert_array_equal(one.indices, two.indices)
    assert len({int(i) for batch in whole for i in batch.indices}) == 8 * len(whole)
    assert not whole[0].windows.equal(next(iter(batches().epoch(4))).windows)
    assert not whole[0].windows.equal(next(iter(batches(6).epoch(3))).windows)


def test_windows_of_another_network_are_refused() -> None:
    data = cut(table_of(np.arange(40) % 5))
    with pytest.raises(ShapeError, match="windows are 4 rows of 1 series and 2 ahead"):
        SeriesBatches(cut(table_of(np.arange(40)), window=4).splits["train"], prepared(data), batch_size=2)


def test_a_file_is_read_and_cut(tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    rows = [f"2024-01-{day:02d},{day}" for day in range(1, 31)]
    file.write_text("date,x\n" + "\n".join(rows) + "\n")
    data = load_series(file, Framing(3, 2, ()))
    assert [len(split) for split in data.splits.values()] == [17, 2, 5]
    assert data.origin == str(file)
    assert any(note.startswith("split by time: train 2024-01-01 to 2024-01-21 (17 windows)") for note in data.notes)
