"""Dates of series: what is read, the step that is found, the dates that come next."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data.series_dates import (
    BadDate,
    Step,
    calendar,
    calendar_names,
    find_step,
    is_date,
    lettered,
    parse_dates,
    strptime_format,
    written,
)


def days(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[s]")


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["2004-08-19", "2004-08-20"], "2004-08-19"),
        (["2004/08/19", "2004/08/20"], "2004-08-19"),
        (["19.08.2004", "20.08.2004"], "2004-08-19"),
        (["08/19/2004", "08/20/2004"], "2004-08-19"),
        (["19/08/2004", "20/08/2004"], "2004-08-19"),
        (["01/02/2004", "19/02/2004"], "2004-02-01"),  # the second row says that days come first
        (["20040819", "20040820"], "2004-08-19"),
        (["19-Aug-04", "20-Aug-04"], "2004-08-19"),
        (["Aug 19, 2004", "Aug 20, 2004"], "2004-08-19"),
        (["2004-08", "2004-09"], "2004-08-01"),
        (["2004Q3", "2004Q4"], "2004-07-01"),
        (["2004", "2005"], "2004-01-01"),
        (["2004-08-19 13:45", "2004-08-19 14:45"], "2004-08-19T13:45"),
        (["2004-08-19T13:45:10.250Z", "2004-08-19T13:45:11.250Z"], "2004-08-19T13:45:10"),
        (["2004-08-19 01:45:00+00:00", "2004-08-19 02:45:00+00:00"], "2004-08-19T01:45"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_dates_of_usual_forms(texts: list[str], first: str) -> None:
    assert parse_dates(texts)[0][0] == np.datetime64(first)


def test_the_first_text_that_is_no_date_is_named() -> None:
    with pytest.raises(BadDate) as caught:
        parse_dates(["2004-08-19", "2004-08-20", "2004-08-32", "x"])
    assert caught.value.row == 2


def test_dates_that_two_formats_read_differently() -> None:
    with pytest.raises(BadDate) as caught:
        parse_dates(["01/02/2004", "03/04/2004"])
    assert caught.value.others == ("%d/%m/%Y", "%m/%d/%Y")
    assert parse_dates(["01/02/2004"], "MM/DD/YYYY")[0][0] == np.datetime64("2004-01-02")
    assert parse_dates(["01/02/2004"], "%d/%m/%Y")[0][0] == np.datetime64("2004-02-01")


@pytest.mark.parametrize("letters", ["YYYY-MM-DD", "DD.MM.YYYY hh:mm:ss", "DD-MMM-YY", "MM/YYYY"])
def test_formats_in_letters_are_those_of_python(letters: str) -> None:
    moment = datetime(2004, 8, 19, 13, 45, 10)
    plain = {"YYYY": "2004", "MMM": "Aug", "MM": "08", "DD": "19", "hh": "13", "mm": "45", "ss": "10", "YY": "04"}
    expected = letters
    for key, value in plain.items():
        expected = expected.replace(key, value)
    assert moment.strftime(strptime_format(letters)) == expected
    assert lettered(strptime_format(letters)) == letters


@pytest.mark.parametrize("text", ["12.5", "IBM", "", "1", "2004-13-01", "31/31/2004"])
def test_what_is_no_date(text: str) -> None:
    assert not is_date(text)


def stretch(first: datetime, step: timedelta, count: int) -> np.ndarray:
    return np.array([first + k * step for k in range(count)], "datetime64[s]")


BUSINESS = np.array([d for d in stretch(datetime(2024, 1, 1), timedelta(1), 40) if d.astype(object).weekday() < 5])


@pytest.mark.parametrize(
    ("dates", "name", "season"),
    [
        (stretch(datetime(2024, 1, 1), timedelta(days=1), 20), "day", 7),
        (BUSINESS, "business day", 5),
        (np.delete(BUSINESS, [3, 11]), "business day", 5),  # holidays
        (stretch(datetime(2024, 1, 1), timedelta(weeks=1), 20), "week", 52),
        (stretch(datetime(2024, 1, 1), timedelta(hours=1), 50), "hour", 24),
        (stretch(datetime(2024, 1, 1), timedelta(minutes=15), 50), "15 minutes", 96),
        (stretch(datetime(2024, 1, 1), timedelta(seconds=7), 50), "7 seconds", 1),
        (days(*(f"2023-{m:02d}-01" for m in range(1, 13))), "month", 12),
        (days("2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31"), "month", 12),
        (days("2021-01", "2021-04", "2021-07", "2021-10", "2022-01"), "quarter", 4),
        (days("2018", "2019", "2020", "2021"), "year", 1),
        (np.delete(stretch(datetime(2024, 1, 1), timedelta(days=1), 60), [7, 8, 30]), "day", 7),
        (days("2024-01-01", "2024-01-03", "2024-01-10", "2024-02-20", "2024-06-01"), "row", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_step_that_most_rows_have(dates: np.ndarray, name: str, season: int) -> None:
    step = find_step(dates)
    assert step.name == name
    assert step.season == season
    assert Step.from_json(step.to_json()) == step


@pytest.mark.parametrize(
    ("step", "last", "next_dates"),
    [
        (Step("second", 86_400, 7), "2024-02-28", ["2024-02-29", "2024-03-01"]),
        (Step("second", 3600, 24), "2024-02-28T23:00", ["2024-02-29T00:00", "2024-02-29T01:00"]),
        (Step("business", 1, 5), "2024-03-01", ["2024-03-04", "2024-03-05"]),  # a Friday
        (Step("business", 1, 5), "2024-03-02", ["2024-03-04", "2024-03-05"]),  # a Saturday
        (Step("month", 1, 12), "2024-01-30", ["2024-02-29", "2024-03-30"]),
        (Step("month", 1, 12), "2024-01-31", ["2024-02-29", "2024-03-31"]),
        (Step("month", 1, 12), "2023-02-28", ["2023-03-31", "2023-04-30"]),
        (Step("month", 3, 4), "2024-10-01", ["2025-01-01", "2025-04-01"]),
        (Step("month", 12, 1), "2024-06-15", ["2025-06-15", "2026-06-15"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_dates_that_come_next(step: Step, last: str, next_dates: list[str]) -> None:
    np.testing.assert_array_equal(step.after(np.datetime64(last, "s"), 2), days(*next_dates))


@given(
    st.sampled_from([Step("second", 86_400, 7), Step("second", 900, 96), Step("business", 1, 5), Step("month", 3, 4)]),
    st.dates(date(1950, 1, 1), date(2050, 1, 1)),
)
def test_no_row_is_missing_between_the_dates_that_come_next(step: Step, last: date) -> None:
    dates = step.after(np.datetime64(last, "s"), 12)
    assert (np.diff(dates).astype(int) > 0).all()
    assert not step.missing(dates).any()
    assert step.missing(np.delete(dates, 4)).sum() == 1


@given(st.datetimes(datetime(1950, 1, 1), datetime(2050, 1, 1)))
def test_calendar_features_are_those_of_the_date(moment: datetime) -> None:
    """Against Python's datetime."""
    step = Step("second", 3600, 24)
    found = dict(zip(calendar_names(step), calendar(np.array([moment], "datetime64[s]"), step)[0], strict=True))
    moment = moment.replace(microsecond=0)
    midnight = moment.replace(hour=0, minute=0, second=0)
    of_day = (moment - midnight).total_seconds() / 86_400
    of_week = (moment.weekday() + of_day) / 7
    of_year = (moment - datetime(moment.year, 1, 1)).total_seconds() / 86_400 / 365.25
    for circle, turn in (("hour of day", of_day), ("day of week", of_week), ("day of year", of_year)):
        assert found[f"sin({circle})"] == pytest.approx(np.sin(2 * np.pi * turn), abs=1e-9)
        assert found[f"cos({circle})"] == pytest.approx(np.cos(2 * np.pi * turn), abs=1e-9)


def test_a_date_as_it_is_written() -> None:
    assert written(np.datetime64("2008-10-15", "s")) == "2008-10-15"
    assert written(np.datetime64("2008-10-15T13:30", "s")) == "2008-10-15 13:30"
    assert written(np.datetime64("2008-10-15T13:30:05", "s")) == "2008-10-15 13:30:05"
