"""``pellucid`` on series: train, evaluate, predict as a user types them, and one clear message for each mistake."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pellucid.cli import main
from tests.cli.conftest import Run

Typed = Callable[..., "Done"]


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Runs ``pellucid`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run


def rows(count: int = 60, changed: dict[int, str] | None = None) -> str:
    """A CSV file: a header, and a row a day from 2024-01-01 on; some lines (from 1) may be others."""
    random = np.random.default_rng(0)
    dates = np.datetime64("2024-01-01") + np.arange(count)
    lines = [
        "date,close",
        *(f"{date},{100 + value:.3f}" for date, value in zip(dates, random.normal(size=count), strict=True)),
    ]
    for number, line in (changed or {}).items():
        lines[number - 1] = line
    return "\n".join(lines) + "\n"


MISTAKES: dict[str, tuple[str, list[str], str]] = {
    "no date": (rows(changed={9: "2024-01-99,100"}), [], "line 9 of series.csv: column 'date' holds '2024-01-99'"),
    "first no date": (rows(changed={2: "soon,100"}), [], "line 2 of series.csv: column 'date' holds 'soon'"),
    "NaN": (rows(changed={7: "2024-01-06,NaN"}), [], "line 7 of series.csv: column 'close' holds 'NaN', not a number"),
    "empty cell": (rows(changed={7: "2024-01-06,"}), [], "line 7 of series.csv: column 'close' holds nothing"),
    "text": (rows(changed={7: "2024-01-06,high"}), [], "line 7 of series.csv: column 'close' holds 'high'"),
    "out of order": (
        rows(changed={7: "2024-01-02,100"}),
        [],
        "line 7 of series.csv: 2024-01-02 comes after 2024-01-05",
    ),
    "doubled": (rows(changed={7: "2024-01-05,100"}), [], "lines 6 and 7 of series.csv have the same date 2024-01-05"),
    "too short": (rows(10), ["--set", "window=8"], "the training part of series.csv is too short: it has 7 rows"),
    "missing target": (rows(), ["--set", "targets=open"], "there is no series of series.csv named 'open'"),
    "missing column": (rows(), ["--set", "columns=[close, open]"], "there is no column of series.csv named 'open'"),
    "missing date column": (rows(), ["--set", "date_column=day"], "there is no column of series.csv named 'day'"),
    "empty": ("", [], "series.csv is empty"),
    "header alone": ("date,close\n", [], "series.csv has a header and no rows"),
    "wrong option": (rows(), ["--set", "horizn=3"], "there is no setting named 'horizn'; did you mean 'horizon'?"),
    "bad option": (rows(), ["--set", "horizon=0"], "horizon cannot be 0"),
    "no file": ("", ["--config", "no.yaml"], "there is no settings file no.yaml"),
    "another network": (rows(200), ["--net", "lenet"], "the network refuses series of 24 x 5"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message(name: str, typed: Typed, tmp_path: Path) -> None:
    text, words, message = MISTAKES[name]
    (tmp_path / "series.csv").write_text(text)
    done = typed("train", "series.csv", "--task", "forecasting", "--epochs", 1, *words)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert [item.name for item in tmp_path.iterdir() if item.name != "runs"] == ["series.csv"]
    assert (tmp_path / "series.csv").read_text() == text


def test_train_evaluate_and_predict(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "series.csv").write_text(rows(90))
    words = ["--set", "window=7", "--set", "horizon=2", "--set", "test_from=2024-03-01", "--set", "hidden=4"]
    done = typed("train", "series.csv", *words, "--epochs", 2, "--threads", 1, "--run", "run")
    assert done.code == 0, done.err
    assert "test mean absolute error" in done.out
    assert "one row per day" in done.err
    assert "test 2024-03-01 to 2024-03-30 (29 windows)" in done.err

    measured = typed("evaluate", "run", "series.csv")
    assert "one per day" in measured.out
    assert measured.out.count("(p ") + measured.out.count("to tell)") == 3

    said = typed("predict", "run", "series.csv", "--format", "csv")
    table = list(csv.DictReader(io.StringIO(said.out)))
    assert [row["date"] for row in table] == ["2024-03-31", "2024-04-01"]
    assert float(table[0]["close 0.1"]) < float(table[0]["close 0.5"]) < float(table[0]["close 0.9"])

    again = typed("runs", ".")
    assert "mean absolute error" in again.out


def test_what_cannot_be_forecast_is_said_and_the_rest_is(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "series.csv").write_text(rows(60))
    (tmp_path / "short.csv").write_text(rows(3))
    words = ["--set", "window=7", "--set", "horizon=2", "--set", "hidden=4", "--threads", 1]
    assert typed("train", "series.csv", *words, "--epochs", 1, "--run", "run").code == 0
    done = typed("predict", "run", "short.csv", "series.csv")
    assert done.code == 1
    assert done.err == "short.csv has 3 rows, and the network reads 7\n"
    assert "series.csv: the next 2 rows" in done.out


def test_in_a_process_of_its_own(pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "series.csv").write_text(rows(changed={9: "2024-01-99,100"}))
    done = pellucid("train", "series.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "line 9 of series.csv: column 'date' holds '2024-01-99', which is no date" in done.stderr
