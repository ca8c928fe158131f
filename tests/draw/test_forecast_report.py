"""The report of forecasting: what it says, that it draws what came and what was said, and takes no name for HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.draw.forecast_chart import Chart, chart
from pellucid.draw.forecast_report import Drawn, body, save_figures
from pellucid.draw.report import report
from pellucid.train.record import RunRecord, read_run
from pellucid.train.tasks.forecasting_measure import Compared, Errors, ForecastMeasured
from tests.browser import Browser
from tests.draw.test_report import Outline
from tests.made_runs import HOSTILE_CLASSES, write_run

HOSTILE = HOSTILE_CLASSES[0]


def of(method: str, targets: tuple[str, ...], base: float) -> Errors:
    steps = tuple(base + 0.1 * k for k in range(3))
    return Errors(method, steps, steps, steps, {name: dict.fromkeys(("mae", "rmse", "mase"), base) for name in targets})


def measured(targets: tuple[str, ...] = ("close",), **changes: Any) -> ForecastMeasured:
    found = ForecastMeasured(
        n=40,
        targets=targets,
        step="business day",
        season=5,
        begins="2008-01-02",
        ends="2008-03-03",
        methods=tuple(
            of(name, targets, k + 1.0) for k, name in enumerate(["network", "naive", "seasonal naive", "linear"])
        ),
        compared=(
            Compared("naive", -0.5, -0.9, -0.1, 0.01),
            Compared("seasonal naive", 0.5, 0.1, 0.9, 0.01),
            Compared("linear", 0.1, float("nan"), float("nan"), float("nan")),
        ),
        quantiles=(0.1, 0.5, 0.9),
        coverage=(0.7, 0.8, 0.9),
        wanted=0.8,
        width=(1.0, 2.0, 3.0),
        pinball=0.3,
    )
    return replace(found, **changes)


def drawn(name: str = "close", rows: int = 30) -> Drawn:
    truth = [100.0 + (k * 7) % 5 for k in range(rows)]
    step = [(k, [truth[k] - 2], [truth[k] + 1], [truth[k] + 3]) for k in range(rows)]
    ahead = [(k, [99.0] * 3, [101.0] * 3, [104.0] * 3) for k in range(0, rows - 3, 3)]
    dates = [str(date) for date in np.datetime64("2008-01-01") + np.arange(rows)]
    return Drawn(name, dates, truth, {"one step ahead": step, "3 steps ahead": ahead})


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run of forecasting with what was measured put in."""
    folder = write_run(tmp_path / "run", task="forecasting", classes=(), data="prices.csv", net="gru")
    return replace(read_run(folder), split="test", measured=measured())


def page_of(record: RunRecord, *shown: Drawn) -> Outline:
    return Outline(report(record, body(record, shown or [drawn()])))


def test_it_says_plainly_what_the_network_beats_and_what_not(record: RunRecord) -> None:
    text = page_of(record).text
    assert (
        "The network does not beat the seasonal naive forecast or the linear model; it beats the naive forecast."
        in text
    )
    assert "The network is worse than the seasonal naive forecast (as a season ago)" in text
    assert "(too few windows to tell)" in text
    assert "They are no advice, on money or on anything else" in text


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ((-0.1, -0.1), "The network beats all that it was set beside."),
        ((0.1, 0.1), "The network does not beat the naive forecast or the linear model."),
    ],
)
def test_the_sentence_at_the_top(verdicts: tuple[float, float], said: str, record: RunRecord) -> None:
    compared = tuple(
        Compared(name, value, value - 0.01, value + 0.01, 0.001)
        for name, value in zip(("naive", "linear"), verdicts, strict=True)
    )
    assert said in page_of(replace(record, measured=measured(compared=compared))).text


def test_numbers_of_each_step_stand_in_tables(record: RunRecord) -> None:
    page = page_of(record)
    for number in ("1.0000", "1.1000", "1.2000", "2.2000", "4.2000", "0.7000"):
        assert number in page.text
    assert len(page.all("polyline")) > 10


def test_without_a_season_it_says_why_there_is_no_seasonal_forecast(record: RunRecord) -> None:
    fewer = measured(season=250)
    fewer = replace(
        fewer,
        methods=tuple(one for one in fewer.methods if one.method != "seasonal naive"),
        compared=tuple(one for one in fewer.compared if one.against != "seasonal naive"),
    )
    assert "a season of 250 steps is longer than the window" in page_of(replace(record, measured=fewer)).text


def test_names_of_series_are_text(record: RunRecord) -> None:
    page = page_of(replace(record, measured=measured((HOSTILE, "b"))), drawn(HOSTILE), drawn("b"))
    assert HOSTILE in page.text
    assert not any("hacked" in str(attributes) for _, attributes in page.elements if "onerror" in attributes)
    assert "Series by series" in page.text


def test_a_chart_draws_every_row_where_it_belongs() -> None:
    one = drawn(rows=4)
    svg = chart(
        Chart("x", one.dates, [100.0, 101.0, 102.0, 100.0], [(1, [100.0, 100.5], [101.0, 101.5], [102.0, 103.0])])
    )
    line = re.search(r'points="([^"]*)" fill="none" stroke="var\(--ink\)"', svg)
    assert line is not None
    points = [tuple(map(float, pair.split(","))) for pair in line[1].split()]
    assert [x for x, _ in points] == pytest.approx([64, 384.67, 705.33, 1026], abs=0.1)
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.11)
    band = re.search(r'<polygon points="([^"]*)"', svg)
    assert band is not None
    corners = [tuple(map(float, pair.split(","))) for pair in band[1].split()]
    assert len(corners) == 4
    assert corners[0][0] == points[1][0]  # the first corner stands at the forecast's first row, at its highest
    assert corners[0][1] == pytest.approx(points[2][1], abs=0.11)  # 102


def test_a_long_span_shows_its_end() -> None:
    one = drawn(rows=1000)
    made = Chart("x", one.dates, one.truth, one.spans["one step ahead"])
    assert made.first == 600
    assert min(row for row, *_ in made.shown) == 600
    assert "400 rows from" in chart(made)


def test_the_figure_is_written(record: RunRecord, tmp_path: Path) -> None:
    save_figures(tmp_path, record.measured, [drawn("价格")])
    with Image.open(tmp_path / "forecasts.png") as picture:
        assert picture.size == (1210, 715)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_quiet_and_fits(dark: bool, record: RunRecord, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(record, body(record, [drawn(HOSTILE)])), "utf-8")
    with browser.open(file, dark=dark, width=400) as page:
        page.assert_quiet()
        assert page.value("document.documentElement.scrollWidth") <= 400
        assert page.value("document.querySelectorAll('figure.forecast svg').length") == 2
