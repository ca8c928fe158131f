"""A grid runs, stops, goes on and grows; what cannot run is said before anything does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bench.reliability.kill import differences, remains

from pellucid.errors import CheckpointError, ShapeError, UsageError
from pellucid.train import Axis, Plan, Settings, plan_of, read_log, run_grid
from pellucid.train.grid_plan import read
from pellucid.train.grid_record import read_grid
from pellucid.train.runfolder import locked
from tests.docs.photos import write_photos

ROOT = Path(__file__).parents[2]
PLAIN: dict[str, Any] = {
    "task": "classification",
    "net": "mlp",
    "net_settings": {"hidden": [8]},
    "limit": 60,
    "epochs": 1,
    "batch_size": 20,
    "channels_last": False,
    "threads": 1,
    "schedule": "constant",
}
RATES = (0.01, 1e30)  # the second diverges


def plan(
    *rates: float, seeds: int = 1, data: str = "fashion-mnist-small", choose: tuple[str, ...] = (), **more: Any
) -> Plan:
    def place(values: Mapping[str, Any]) -> Settings:
        return Settings.parse({**PLAIN, **more, "optimizer": "sgd", **values})

    return plan_of(data, [Axis("learning_rate", rates or RATES)], seeds, place, choose)


def said(lines: list[str]) -> str:
    return "\n".join(lines)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of two rates, of which one diverges."""
    folder = tmp_path_factory.mktemp("grids") / "grid"
    lines: list[str] = []
    run_grid(folder, plan(), say=lines.append)
    assert "learning_rate=1e+30-seed=0 diverged: the loss became" in said(lines)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "grid"))


def test_every_cell_is_a_run_and_what_diverged_stops_nothing(finished: Path) -> None:
    grid = read_grid(finished)
    assert grid.cells == (("learning_rate=0.01-seed=0", "finished"), ("learning_rate=1e+30-seed=0", "diverged"))
    measured = json.loads((finished / "learning_rate=0.01-seed=0" / "metrics.json").read_text())
    assert grid.entries[0].scores == (measured["accuracy"],)
    assert (finished / "learning_rate=0.01-seed=0" / "report.html").is_file()
    assert grid.entries[0].parameters == 784 * 8 + 8 + 8 * 10 + 10
    page = (finished / "compare.html").read_text()
    assert "2 of 2 runs are over" in page
    assert "learning_rate=1e+30 (1 of 1)" in page


def test_a_finished_grid_is_left_alone(copy: Path) -> None:
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    lines: list[str] = []
    run_grid(copy, plan(), say=lines.append)
    run_grid(copy, say=lines.append)
    assert lines == ["all 2 cells are over"] * 2
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before


def test_a_cell_that_was_lost_is_run_again(copy: Path) -> None:
    lost = copy / "learning_rate=0.01-seed=0"
    before = remains(lost)
    shutil.rmtree(lost)
    run_grid(copy, say=lambda _: None)
    assert differences(before, remains(lost)) == []


def test_a_cell_that_was_not_measured_is_measured(copy: Path) -> None:
    cell = copy / "learning_rate=0.01-seed=0"
    before = remains(cell)
    (cell / "metrics.json").unlink()
    run_grid(copy, say=lambda _: None)
    assert differences(before, remains(cell)) == []


def test_it_grows_and_keeps_what_there_is(copy: Path) -> None:
    cell = copy / "learning_rate=0.01-seed=0"
    before = cell.stat().st_mtime_ns, (cell / "log.jsonl").read_bytes()
    lines: list[str] = []
    grid = run_grid(copy, plan(*RATES, 0.02), say=lines.append)
    assert lines == ["cell 3 of 3: learning_rate=0.02-seed=0"]
    assert (cell.stat().st_mtime_ns, (cell / "log.jsonl").read_bytes()) == before
    assert len(grid.entries) == 3
    assert [one.mean is None for one in grid.entries] == [False, True, False]


def test_a_changed_plan_is_refused(copy: Path) -> None:
    before = (copy / "grid.json").read_bytes()
    with pytest.raises(UsageError, match="batch_size is 20 in the grid in .*, and 30 in this plan"):
        run_grid(copy, plan(batch_size=30))
    assert (copy / "grid.json").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds letters.txt, and no grid"):
        run_grid(tmp_path, plan())
    with pytest.raises(CheckpointError, match="there is no grid in"):
        run_grid(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"letters.txt holds letters.txt, and no grid"):
        run_grid(tmp_path / "letters.txt", plan())
    assert [file.name for file in tmp_path.iterdir()] == ["letters.txt"]


def test_a_cell_of_something_else_is_left_alone(copy: Path) -> None:
    shutil.rmtree(copy / "learning_rate=0.01-seed=0")
    (copy / "learning_rate=0.01-seed=0").mkdir()
    (copy / "learning_rate=0.01-seed=0" / "letters.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"learning_rate=0.01-seed=0 holds letters.txt, and no run"):
        run_grid(copy)
    assert (copy / "learning_rate=0.01-seed=0" / "letters.txt").read_text() == "mine"


def test_what_a_killed_process_left_half_made_is_no_hindrance(copy: Path) -> None:
    cell = copy / "learning_rate=0.01-seed=0"
    before = remains(cell)
    shutil.rmtree(cell)
    cell.mkdir()
    (cell / ".config.yaml.tmp-1234").write_text("settin")
    (cell / ".lock").touch()
    run_grid(copy, say=lambda _: None)
    assert differences(before, remains(cell)) == []


def test_two_processes_do_not_run_one_grid(copy: Path) -> None:
    with locked(copy), pytest.raises(UsageError, match="another process is training in"):
        run_grid(copy)


def test_what_cannot_run_is_said_before_anything_does(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"lenet shrinks its pictures .*\n(.*\n)* *cell  *learning_rate=0.01-seed=0"):
        run_grid(tmp_path / "grid", plan(net="lenet", net_settings={}, image_size=8))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_chosen_without_a_validation_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learning_rate cannot be chosen: there is no validation split"):
        run_grid(tmp_path / "grid", plan(choose=("learning_rate",)))
    assert list(tmp_path.iterdir()) == []


def test_other_data_are_refused(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_photos(photos)
    more = {"data": str(photos), "image_size": 16, "limit": None, "batch_size": 40}
    run_grid(tmp_path / "grid", plan(0.01, **more), say=lambda _: None)
    sorted((photos / "bag").iterdir())[0].unlink()
    with pytest.raises(CheckpointError, match=r"the data have changed since the grid in .*grid began"):
        run_grid(tmp_path / "grid", plan(0.01, seeds=2, **more), say=lambda _: None)
    assert len(read(tmp_path / "grid").plan.cells) == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_it_with_a_checkpoint(name: str, tmp_path: Path) -> None:
    asked = plan(0.01, 0.02, epochs=150)
    first = tmp_path / "grid" / asked.cells[0].name
    lines: list[str] = []

    def interrupt() -> None:
        while not any(record["kind"] == "epoch" for record in read_log(first)):
            time.sleep(0.01)
        os.kill(os.getpid(), getattr(signal, name))

    thread = threading.Thread(target=interrupt)
    thread.start()
    grid = run_grid(tmp_path / "grid", asked, say=lines.append)
    thread.join()
    assert lines[-1] == f"interrupted; go on with: pellucid compare --folder {tmp_path / 'grid'}"
    assert [state for _, state in grid.cells] == ["interrupted", "to come"]
    assert read(tmp_path / "grid").ended == []
    assert len(list((first / "checkpoints").iterdir())) >= 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_killed_and_started_again_it_is_the_same(tmp_path: Path) -> None:
    script = ROOT / "bench" / "reliability" / "kill_grid.py"
    words = [sys.executable, script, "--kills", "3", "--seed", "2", "--json", tmp_path / "result.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=190)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["kills"] == 3
    assert result["grids_that_differ"] == {}
    assert len(result["compared"]) == 1 + 4 * 9 + 2 * 2
