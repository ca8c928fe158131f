"""report.html while a run goes on: after epochs, after a failure, and never at the cost of the run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pellucid.data import Data
from pellucid.errors import DivergedError
from pellucid.train import Epoch, live
from pellucid.train.listeners import Quiet
from pellucid.train.live import LiveReport
from pellucid.train.model import Model
from tests.made_runs import write_run
from tests.train.conftest import PLAIN


def epoch(number: int) -> Epoch:
    return Epoch(number, number * 40, 0.1, 1.0, 100.0, {})


def test_the_page_is_there_after_the_first_epoch(data: Data, tmp_path: Path) -> None:
    seen: list[str] = []

    class Reader(Quiet):
        def on_epoch(self, epoch: Epoch) -> None:
            page = tmp_path / "run" / "report.html"
            seen.append(page.read_text("utf-8") if page.is_file() else "")

    Model("mlp").compile(**PLAIN).fit(data, epochs=3, folder=tmp_path / "run", listeners=[Reader()])
    # whoever listens first hears first: at the second epoch the page of the first is there
    assert "1 of 3 epochs" in seen[1]
    assert '<span class="badge">running when this page was written</span>' in seen[1]
    assert "3 of 3 epochs" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_a_run_that_failed_says_so(data: Data, tmp_path: Path) -> None:
    with pytest.raises(DivergedError):
        Model("mlp").compile(**{**PLAIN, "optimizer": "sgd", "learning_rate": 1e30}).fit(
            data, epochs=3, folder=tmp_path / "run"
        )
    assert "failed: DivergedError" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_writing_takes_a_hundredth_of_the_time_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "run", done=1, end=None)
    written = []
    monkeypatch.setattr(live, "write_page", lambda *_: (written.append(1), time.sleep(0.02)))
    listener = LiveReport(folder)
    for number in range(1, 20):
        listener.on_epoch(epoch(number))
    assert len(written) == 1  # 19 epochs in no time
    listener.on_end("finished")
    assert len(written) == 2


def test_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "run", done=1, end=None)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live, "write_page", full)
    LiveReport(folder).on_epoch(epoch(1))
    LiveReport(folder).on_end("finished")
