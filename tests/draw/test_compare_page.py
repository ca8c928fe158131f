"""The page that sets runs side by side."""

from __future__ import annotations

import re
from pathlib import Path

from pellucid.draw import compare_page
from pellucid.train.log import append
from pellucid.train.runs import as_rows, compare, list_runs
from tests.draw.test_report import Outline
from tests.made_runs import PLAIN_CLASSES, measured, write_run


def made(root: Path) -> str:
    runs = list_runs(root)
    return compare_page(compare(runs), as_rows(runs))


def test_runs_their_differences_and_their_curves(tmp_path: Path) -> None:
    write_run(tmp_path / "slow", learning_rate=0.00001, result=measured(PLAIN_CLASSES, 100))
    write_run(tmp_path / "quick", learning_rate=0.5, done=3, end=None)
    html = made(tmp_path)
    text = Outline(html).text
    for part in ("slow", "quick", "8/8", "3/8", "finished", "interrupted", "learning_rate", "1e-05", "0.5", "2.0"):
        assert part in text
    assert "weight_decay" not in text
    assert len(re.findall("<polyline", html)) == 4  # two runs in each of two charts
    assert re.search(r'aria-label="Accuracy: (quick|slow) ends at', html)


def test_runs_that_differ_in_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    assert "They differ in none." in Outline(made(tmp_path)).text


def test_runs_without_values(tmp_path: Path) -> None:
    write_run(tmp_path / "a", done=0, end=None)
    diverged = write_run(tmp_path / "b", done=0, end=None)
    append(diverged, {"kind": "epoch", "epoch": 1, "step": 4, "test_loss": float("inf"), "test_accuracy": 0.1})
    text = Outline(made(tmp_path)).text
    assert "Loss: nothing was measured yet." in text


def test_a_run_that_was_measured_from_its_second_epoch_on(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", done=0, end=None)
    append(folder, {"kind": "epoch", "epoch": 1, "step": 4, "train_loss": 2.0})
    append(folder, {"kind": "epoch", "epoch": 2, "step": 8, "test_loss": 1.0, "test_accuracy": 0.5})
    assert "Accuracy: nothing" not in Outline(made(tmp_path)).text


def test_names_of_runs_stay_text(tmp_path: Path) -> None:
    write_run(tmp_path / "<img src=x onerror=window.hacked=1>", data="<script>window.hacked=1</script>")
    write_run(tmp_path / "b", net="'\"><b>")
    page = Outline(made(tmp_path))
    assert not page.all("img")
    assert not page.all("b") or all(not attributes for attributes in page.all("b"))
    assert "<script>window.hacked=1</script>" in page.text
