"""log.jsonl: torn lines, resumes, numbers that are none; and what progress prints."""

from __future__ import annotations

import io
import json
from pathlib import Path

from pellucid.train import Epoch, Start, Step, read_log
from pellucid.train.listeners import Logger
from pellucid.train.log import append
from pellucid.train.progress import Progress


def test_a_resume_takes_back_later_steps_and_the_end(tmp_path: Path) -> None:
    for record in (
        {"kind": "start", "step": 0},
        {"kind": "step", "step": 10},
        {"kind": "epoch", "epoch": 1, "step": 12},
        {"kind": "step", "step": 20},
        {"kind": "end", "step": 20, "reason": "interrupted by SIGINT"},
        {"kind": "resume", "step": 12},
        {"kind": "step", "step": 20},
    ):
        append(tmp_path, record)
    assert [(record["kind"], record["step"]) for record in read_log(tmp_path)] == [
        ("start", 0),
        ("step", 10),
        ("epoch", 12),
        ("resume", 12),
        ("step", 20),
    ]
    append(tmp_path, {"kind": "start", "step": 0})
    assert len(read_log(tmp_path)) == 1


def test_a_torn_line_swallows_nothing(tmp_path: Path) -> None:
    append(tmp_path, {"kind": "start", "step": 0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    append(tmp_path, {"kind": "resume", "step": 0})
    assert [record["kind"] for record in read_log(tmp_path)] == ["start", "resume"]


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    append(tmp_path, {"kind": "epoch", "step": 1, "test_loss": float("nan")})
    line = (tmp_path / "log.jsonl").read_text()
    assert json.loads(line, parse_constant=lambda name: 1 / 0)["test_loss"] is None


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []


def test_the_logger_writes_what_it_is_told(tmp_path: Path) -> None:
    logger = Logger(tmp_path, every=2)
    logger.on_start(Start(0, 0, 1, 4))
    for step in range(1, 5):
        logger.on_step(Step(step, 0, 0.5 / step, 0.1))
    logger.on_epoch(Epoch(1, 4, 0.1, 2.0, 30.0, {"train_loss": 0.3, "train_accuracy": 0.9}, best=True))
    logger.on_end("finished")
    log = read_log(tmp_path)
    assert [record["step"] for record in log if record["kind"] == "step"] == [2, 4]
    epoch = next(record for record in log if record["kind"] == "epoch")
    assert epoch == {"kind": "epoch", "epoch": 1, "step": 4, "train_loss": 0.3, "train_accuracy": 0.9,
                     "learning_rate": 0.1, "seconds": 2.0, "samples_per_second": 30.0}  # fmt: skip
    assert log[-1] == {"kind": "end", "step": 4, "reason": "finished"}


def test_progress_is_one_line_an_epoch_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress.on_start(Start(0, 0, 2, 4))
    progress.on_step(Step(1, 0, 0.5, 0.1))
    measures = {"train_loss": 0.512, "train_accuracy": 0.81, "test_loss": 0.47, "test_accuracy": 0.83}
    progress.on_epoch(Epoch(1, 4, 0.1, 2.0, 3000.0, measures))
    progress.on_end("finished")
    assert out.getvalue() == (
        "epoch 1/2  train loss 0.512 accuracy 0.8100 | test loss 0.470 accuracy 0.8300 | 2.0 s, 3,000 samples/s\n"
    )


def test_progress_is_a_bar_in_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = Progress(out)
    progress.on_start(Start(0, 0, 1, 4))
    progress.on_step(Step(2, 0, 0.5, 0.1))
    progress.on_epoch(Epoch(1, 4, 0.1, 2.0, 3000.0, {"train_loss": 0.5, "train_accuracy": 0.8}))
    progress.on_end("finished")
    assert "epoch 1/1  train loss 0.500 accuracy 0.8000" in out.getvalue()
