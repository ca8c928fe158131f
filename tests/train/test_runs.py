"""Runs side by side: which are listed, in which order, what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.errors import UsageError
from pellucid.train.record import read_run
from pellucid.train.runs import as_rows, compare, list_runs
from tests.made_runs import PLAIN_CLASSES, measured, write_run


def began(folder: Path, when: str) -> None:
    file = folder / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "began": when}))


def test_runs_are_listed_oldest_first_and_the_rest_passed_over(tmp_path: Path) -> None:
    for name, when in (
        ("b", "2026-11-24T10:00:00+00:00"),
        ("a", "2026-11-24T11:00:00+00:00"),
        ("c", "2025-01-01T00:00"),
    ):
        began(write_run(tmp_path / name), when)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("of: another program")
    assert [run.name for run in list_runs(tmp_path)] == ["c", "b", "a"]
    assert [run.name for run in list_runs(str(tmp_path / "a"))] == ["a"]


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no run in .*\n  fits  pellucid train DATA makes one"):
        list_runs(tmp_path)
    with pytest.raises(UsageError, match="there is no folder .*nowhere"):
        list_runs(tmp_path / "nowhere")


def test_a_row_says_what_a_run_came_to(tmp_path: Path) -> None:
    result = measured(PLAIN_CLASSES, 400)
    write_run(tmp_path / "1", result=result, data="/home/me/animals")
    write_run(tmp_path / "2", done=2, end=None, net="basic_cnn")
    write_run(tmp_path / "3", done=0, end=None)
    rows = as_rows([read_run(tmp_path / name) for name in "123"])
    assert rows[0] == {
        "run": "1",
        "net": "lenet",
        "data": "animals",
        "epochs": "8/8",
        "state": "finished",
        "score": round(result.accuracy, 4),
        "of": "accuracy",
        "on": "test",
        "minutes": 2.0,
    }
    assert rows[1]["net"] == "basic_cnn"
    assert (rows[1]["epochs"], rows[1]["state"], rows[1]["on"]) == ("2/8", "interrupted", "validation")
    assert rows[1]["score"] == pytest.approx(0.9 - 0.5 * 2.718281828 ** (-0.8), abs=1e-4)
    assert (rows[2]["epochs"], rows[2]["score"], rows[2]["on"]) == ("0/8", None, None)
    json.dumps(rows, allow_nan=False)


def test_only_what_differs_is_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "1", learning_rate=0.1)
    write_run(tmp_path / "2", learning_rate=0.2, data="plants", net_settings={"activation": "relu"})
    write_run(tmp_path / "3", learning_rate=0.1, batch_size=32)
    found = list_runs(tmp_path)
    differ = compare(sorted(found, key=lambda run: run.name)).differ
    assert differ["learning_rate"] == (0.1, 0.2, 0.1)
    assert differ["data"] == ("animals", "plants", "animals")
    assert differ["net.activation"] == (None, "relu", None)
    assert differ["batch_size"][2] == 32
    assert set(differ) == {"learning_rate", "data", "net.activation", "batch_size"}
    assert compare(found[:1]).differ == {}
