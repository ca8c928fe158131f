"""CSV files of series: what is read, and each thing that can be wrong with one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.series_dates import written
from pellucid.data.series_table import Reading, looks_like_series, read_table
from pellucid.errors import DataError, PellucidError

GOOD = "date,close,volume\n2004-08-19,100.34,22351900\n2004-08-20,108.31,11428600\n2004-08-23,109.40,9137200\n"


def file_of(folder: Path, text: str, name: str = "series.csv") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


def test_dates_and_numbers(tmp_path: Path) -> None:
    table = read_table(file_of(tmp_path, GOOD))
    assert table.names == ("close", "volume")
    assert table.date_column == "date"
    np.testing.assert_array_equal(table.dates, np.array(["2004-08-19", "2004-08-20", "2004-08-23"], "datetime64[s]"))
    np.testing.assert_array_equal(table.values, [[100.34, 22351900], [108.31, 11428600], [109.40, 9137200]])
    assert table.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "x,day\n1,2004-08-19\n2,2004-08-20\n",
        "when;x\n19.08.2004;1,0\n20.08.2004;2,0\n",
        "x\twhen\n1\t2004-08-19\n2\t2004-08-20\n",
        "# from somewhere\n\ndate,x\n2004-08-19,1\n\n2004-08-20,2\n",
        "\ufeffdate,x\r\n2004-08-19,1\r\n2004-08-20,2\r\n",
        "date,x,name\n2004-08-19,1,a\n2004-08-20,2,b\n",
        "date,x\n2004-08-20,2\n2004-08-19,1\n",
    ],
    ids=["date second", "semicolons and commas", "tabs", "remarks", "bytes before", "words beside", "newest first"],
)
def test_forms_of_one_table(text: str, tmp_path: Path) -> None:
    table = read_table(file_of(tmp_path, text))
    np.testing.assert_array_equal(table.values, [[1.0], [2.0]])
    np.testing.assert_array_equal(table.dates, np.array(["2004-08-19", "2004-08-20"], "datetime64[s]"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("date,x,name\n2004-08-19,1,a\n2004-08-20,2,b\n", "no series, passed over: name"),
        ("date,x\n2004-08-20,2\n2004-08-19,1\n", "the rows go back in time"),
        ("date,x,y\n2004-08-18,,\n2004-08-19,1,1\n2004-08-20,2,2\n", "1 rows hold a date and no number"),
    ],
)
def test_what_is_said_of_a_file(text: str, said: str, tmp_path: Path) -> None:
    assert any(said in note for note in read_table(file_of(tmp_path, text)).notes)


MISTAKES = {
    "empty": ("", "is empty"),
    "header alone": ("date,close\n", "has a header and no rows"),
    "no header": ("2004-08-19,100\n2004-08-20,101\n", "has no header: it begins with '2004-08-19,100'"),
    "numbers for a header": ("1,100\n2,101\n", "has no header: it begins with '1,100'"),
    "no date": ("name,close\nGOOG,100\nGOOG,101\n", "no column of .* holds dates\n.*columns  name, close"),
    "a date that is none": (
        "date,close\n2004-08-19,100\n2004-08-35,101\n",
        r"line 3 of .*series.csv: column 'date' holds '2004-08-35', which is no date",
    ),
    "an empty date": ("date,close\n2004-08-19,100\n,101\n", "line 3 of .*: column 'date' holds '', which is no date"),
    "day or month": (
        "date,close\n01/02/2004,100\n02/03/2004,101\n",
        "holds '01/02/2004', which two formats read as different dates\n.*DD/MM/YYYY or MM/DD/YYYY",
    ),
    "text in a series": (
        "date,close\n2004-08-19,100\n2004-08-20,up\n2004-08-21,101\n",
        "line 3 of .*: column 'close' holds 'up', which is no number",
    ),
    "NaN in a series": (
        "date,close\n2004-08-19,100\n2004-08-20,NaN\n",
        "line 3 of .*: column 'close' holds 'NaN', not a number\n.*missing=previous",
    ),
    "nothing in a series": ("date,x,y\n2004-08-19,1,2\n2004-08-20,,2\n", "line 3 of .*: column 'x' holds nothing"),
    "infinity": ("date,close\n2004-08-19,100\n2004-08-20,inf\n", "column 'close' holds 'inf', which is no number"),
    "out of order": (
        "date,close\n2004-08-19,100\n2004-08-23,101\n2004-08-20,102\n",
        "line 4 of .*: 2004-08-20 comes after 2004-08-23\n.*sorted",
    ),
    "doubled": (
        "date,close\n2004-08-19,100\n2004-08-20,101\n2004-08-20,102\n",
        "lines 3 and 4 of .* have the same date 2004-08-20",
    ),
    "two of one name": ("date,x,x\n2004-08-19,1,2\n", "has two columns named 'x'"),
    "a short line": ("date,x,y\n2004-08-19,1,2\n2004-08-20,1\n", "line 3 of .* has 2 columns, the header 3"),
    "words alone": ("date,x\n2004-08-19,a\n2004-08-20,b\n", "has no column of numbers"),
    "a byte 0": ("date,x\n2004-08-19,1\0\n", "holds a byte 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_with_its_place(name: str, tmp_path: Path) -> None:
    text, said = MISTAKES[name]
    with pytest.raises(DataError) as caught:
        read_table(file_of(tmp_path, text))
    assert re.search(said, str(caught.value)), str(caught.value)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file .*nothing.csv"):
        read_table(tmp_path / "nothing.csv")
    (tmp_path / "other.csv").write_bytes(b"date,x\n2004-08-19,\xff\n")
    with pytest.raises(DataError, match=r"is no UTF-8 text \(byte 18\)"):
        read_table(tmp_path / "other.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(columns=("clse",)), "no column of .* named 'clse'; did you mean 'close'"),
        (Reading(date_column="day"), "no column of .* named 'day'"),
        (Reading(columns=("date",)), "'date' of .* is the column of dates, not a series"),
        (Reading(date_format="DD.MM.YYYY"), "is no date in the format DD.MM.YYYY"),
    ],
)
def test_a_reading_that_does_not_fit(reading: Reading, said: str, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match=said):
        read_table(file_of(tmp_path, GOOD), reading)


def test_columns_by_name_are_in_the_order_asked_for(tmp_path: Path) -> None:
    table = read_table(file_of(tmp_path, GOOD), Reading(columns=("volume", "close")))
    assert table.names == ("volume", "close")
    assert table.values[0].tolist() == [22351900, 100.34]


HOLES = "date,x,y\n2024-01-01,,1\n2024-01-02,5,2\n2024-01-03,NA,3\n2024-01-04,7,\n2024-01-05,8,9\n"


def test_missing_numbers_are_taken_from_the_row_before(tmp_path: Path) -> None:
    table = read_table(file_of(tmp_path, HOLES), Reading(missing="previous"))
    np.testing.assert_array_equal(table.values, [[5, 2], [5, 3], [7, 3], [8, 9]])
    assert table.dates[0] == np.datetime64("2024-01-02")
    assert table.notes == ("2 missing numbers are the ones before them; 1 rows have none",)


def test_rows_without_all_numbers_are_left_out(tmp_path: Path) -> None:
    table = read_table(file_of(tmp_path, HOLES), Reading(missing="drop"))
    np.testing.assert_array_equal(table.values, [[5, 2], [8, 9]])
    assert table.notes == ("3 rows without all numbers are left out",)


def test_a_series_that_has_no_number_with_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no row with a number in every series"):
        read_table(file_of(tmp_path, "date,x,y\n2024-01-01,1,\n2024-01-02,,2\n"), Reading(missing="drop"))


def test_the_real_file_that_matplotlib_ships() -> None:
    from matplotlib import cbook

    file = Path(str(cbook.get_sample_data("Stocks.csv", asfileobj=False)))
    table = read_table(file, Reading(columns=("IBM", "AAPL"), missing="drop"))
    lines = [line.split(",") for line in file.read_text("utf-8").splitlines()[2:]]
    wanted = [(line[0], float(line[1]), float(line[2])) for line in lines if line[1] and line[2]]
    assert [written(date) for date in table.dates] == [date for date, _, _ in wanted]
    np.testing.assert_array_equal(table.values, [numbers for _, *numbers in wanted])
    with pytest.raises(DataError, match="line [0-9]+ of .*: column 'GOOGL' holds nothing"):
        read_table(file, Reading(columns=("GOOGL",)))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (GOOD, True),
        ("date,close\n2004-08-35,1\n", True),  # what is wrong with it is said when it is read
        ("path,label\na.png,cat\n", False),
        ("text,label\nvery good,1\nvery bad,0\n", False),
        ("date,text,label\n2004-08-19,very good,1\n", False),
        ("", False),
    ],
)
def test_what_looks_like_a_series(text: str, is_one: bool, tmp_path: Path) -> None:
    assert looks_like_series(file_of(tmp_path, text)) == is_one
    assert not looks_like_series(tmp_path / "nowhere.csv")
    assert not looks_like_series(tmp_path)


def test_a_known_column_that_is_asked_for_by_another_case(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'close'"):
        read_table(file_of(tmp_path, GOOD), Reading(columns=("Close",)))
