"""A run folder read back: finished, running, interrupted, killed in the midst of a line, damaged."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from pellucid.errors import CheckpointError
from pellucid.train.log import append
from pellucid.train.record import read_run
from tests.made_runs import PLAIN_CLASSES, measured, write_run


def test_a_finished_run(tmp_path: Path) -> None:
    result = measured(PLAIN_CLASSES, 500)
    run = read_run(write_run(tmp_path / "first", result=result, learning_rate=0.05, notes=["2 files were skipped"]))
    assert (run.name, run.state, run.data, run.split) == ("first", "finished", "animals", "test")
    assert run.classes == PLAIN_CLASSES
    assert run.settings["learning_rate"] == 0.05
    assert run.measured == result
    assert run.score == result.accuracy
    assert [epoch["epoch"] for epoch in run.epochs] == list(range(1, 9))
    assert [step["step"] for step in run.steps][:5] == [1, 11, 21, 31, 41]
    assert run.seconds == 8 * 15.0
    assert run.environment["data_notes"] == ["2 files were skipped"]


def test_a_killed_run_with_half_a_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=3, end=None)
    with (folder / "log.jsonl").open("ab") as file:
        file.write('{"kind": "epoch", "epoch": 4, "train_loss": 0.5, "note": "é'.encode()[:-1])
    run = read_run(folder)
    assert run.state == "interrupted"
    assert len(run.epochs) == 3
    assert run.measured is None
    assert run.split == ""
    assert run.score == run.epochs[-1]["validation_accuracy"]


def test_a_run_under_way_is_seen_by_its_lock(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=2, end=None)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "interrupted"


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("finished", "finished"),
        ("stopped early", "stopped early"),
        ("interrupted by SIGTERM", "interrupted"),
        ("failed: DivergedError", "failed: DivergedError"),
    ],
)
def test_how_a_run_ended(tmp_path: Path, reason: str, state: str) -> None:
    assert read_run(write_run(tmp_path / "run", end=reason)).state == state


def test_a_run_that_goes_on_has_not_ended(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=3, end="interrupted by SIGINT")
    append(folder, {"kind": "resume", "step": 80})
    run = read_run(folder)
    assert run.state == "interrupted"  # nobody holds the lock
    assert [epoch["epoch"] for epoch in run.epochs] == [1, 2]
    assert max(step["step"] for step in run.steps) <= 80


def test_before_the_first_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=0, end=None)
    (folder / "log.jsonl").unlink()
    (folder / "environment.json").unlink()
    run = read_run(folder)
    assert (run.state, run.score, run.seconds, run.environment) == ("began", None, 0.0, {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"split": "test"}', '{"split": "test", "n": 3}', "null"])
def test_damaged_metrics_are_none(tmp_path: Path, text: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "metrics.json").write_text(text)
    assert read_run(folder).measured is None


def test_numbers_that_were_not_finite_are_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=1, end=None)
    append(folder, {"kind": "epoch", "epoch": 2, "step": 80, "validation_accuracy": float("nan"), "seconds": None})
    run = read_run(folder)
    assert run.score is None
    assert run.seconds == 15.0


def test_lines_of_something_else_are_passed_over(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=2)
    with (folder / "log.jsonl").open("a") as file:
        file.write("7\nnull\n" + json.dumps({"kind": "a later version's"}) + "\n\x00\x00\n")
    assert len(read_run(folder).epochs) == 2


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run folder .*nowhere"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is no run folder: it has no config.yaml"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("- a\n- list\n")
    with pytest.raises(CheckpointError, match="config.yaml is not the configuration of a run"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("settings: 7\n")
    with pytest.raises(CheckpointError, match="config.yaml is not the configuration of a run"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [1\n")
    with pytest.raises(CheckpointError, match="config.yaml cannot be read"):
        read_run(tmp_path)
