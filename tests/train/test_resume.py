"""Resuming equals not stopping: killed, interrupted, failed or damaged, the result is the same to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.reliability import faults, kill
from torch.utils.data import DataLoader, TensorDataset

from pellucid.data import Data
from pellucid.errors import CheckpointError, UsageError
from pellucid.train import Model, Quiet, Settings, Step, read_log, resume, start
from tests.train.conftest import CLASSES, PLAIN, pictures, tiny

ROOT = Path(__file__).parents[2]
EVERYTHING: dict[str, Any] = {
    **PLAIN,
    "epochs": 4,
    "accumulate": 2,
    "ema": 0.8,
    "clip_norm": 1.0,
    "crop": 1,
    "rotation": 15.0,
    "cutout": 2,
    "mixup": 0.4,
    "label_smoothing": 0.1,
    "weight_decay": 0.01,
    "schedule": "one_cycle",
    "warmup": 0.3,
    "early_stop": 10,
    "class_weight": "balanced",
    "log_steps": 1,
}


class Stop(Exception):
    """What a listener raises to end a run at a step, as a crash would."""


class StopAt(Quiet):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: Step) -> None:
        if step.step == self.step:
            raise Stop


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    script = ROOT / "bench" / "reliability" / "kill.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, "--kills", "20", "--seed", "5", "--json", tmp_path / "result.json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["kills"] == 20
    assert result["runs_that_differ"] == {}
    assert result["moments"]["within an epoch"] >= 5
    assert len(result["compared"]) == 9


def run(folder: Path, data: Data, settings: dict[str, Any], *, stop: int | None = None, **more: Any) -> None:
    """A run from its beginning, or on from where it stands; ``stop``: it fails there."""
    listeners = [StopAt(stop)] if stop is not None else []
    model = Model(tiny(dropout=0.3)).compile(**settings)
    again = (folder / "config.yaml").exists()
    model.fit(data, folder=folder, resume=again, listeners=listeners, progress=False, **more)


def assert_same(one: Path, other: Path) -> None:
    def remains(folder: Path) -> dict[str, bytes]:
        if not (folder / "metrics.json").exists():  # a run by Model.fit measures nothing at the end
            (folder / "metrics.json").write_bytes(b"")
        return kill.remains(folder)

    assert kill.differences(remains(one), remains(other)) == []


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "muon"])
def test_failed_in_the_midst_of_an_epoch(name: str, data: Data, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "optimizer": name, "checkpoint_steps": 2}
    run(tmp_path / "alone", data, settings)
    for stop in (3, 4, 9, 11):
        with pytest.raises(Stop):
            run(tmp_path / "failed", data, settings, stop=stop)
    run(tmp_path / "failed", data, settings)
    assert_same(tmp_path / "alone", tmp_path / "failed")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_feature_maps_with_channels_last(precision: str, data: Data, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "channels_last": True, "precision": precision, "checkpoint_steps": 1}
    run(tmp_path / "alone", data, settings)
    with pytest.raises(Stop):
        run(tmp_path / "failed", data, settings, stop=5)
    run(tmp_path / "failed", data, settings)
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_the_cadence_of_checkpoints_changes_nothing(data: Data, tmp_path: Path) -> None:
    for name, cadence in {"often": {"checkpoint_steps": 1}, "seldom": {"checkpoint_seconds": 1000.0}}.items():
        run(tmp_path / name, data, {**EVERYTHING, **cadence})
    one, other = (_weights(tmp_path / name) for name in ("often", "seldom"))
    assert one == other


def _weights(folder: Path) -> bytes:
    return sorted((folder / "checkpoints").iterdir())[-1].joinpath("model.safetensors").read_bytes()


def test_without_a_checkpoint_it_begins_again(data: Data, tmp_path: Path) -> None:
    run(tmp_path / "alone", data, EVERYTHING)
    with pytest.raises(Stop):
        run(tmp_path / "failed", data, EVERYTHING, stop=2)
    assert not (tmp_path / "failed" / "checkpoints").exists()
    run(tmp_path / "failed", data, EVERYTHING)
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_a_damaged_checkpoint_is_passed_over(data: Data, tmp_path: Path) -> None:
    run(tmp_path / "alone", data, EVERYTHING)
    with pytest.raises(Stop):
        run(tmp_path / "failed", data, EVERYTHING, stop=8)
    newest = sorted((tmp_path / "failed" / "checkpoints").iterdir())[-1]
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    model = Model(tiny(dropout=0.3)).compile(**EVERYTHING)
    history = model.fit(data, folder=tmp_path / "failed", resume=True, progress=False)
    assert any("passed over a damaged checkpoint" in said and newest.name in said for said in history.messages)
    assert newest.with_name(f"{newest.name}.damaged").is_dir()
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_the_log_and_the_history_are_those_of_one_run(data: Data, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "checkpoint_steps": 2}
    with pytest.raises(Stop):
        run(tmp_path / "run", data, settings, stop=7)
    model = Model(tiny(dropout=0.3)).compile(**settings)
    history = model.fit(data, folder=tmp_path / "run", resume=True, progress=False)
    log = read_log(tmp_path / "run")
    assert [record["step"] for record in log if record["kind"] == "step"] == list(range(1, 13))
    assert [record["epoch"] for record in log if record["kind"] == "epoch"] == [1, 2, 3, 4]
    assert [record["epoch"] for record in history.epochs] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_with_a_checkpoint(name: str, data: Data, tmp_path: Path) -> None:
    class Signal(Quiet):
        def on_step(self, step: Step) -> None:
            if step.step == 5:
                os.kill(os.getpid(), getattr(signal, name))

    run(tmp_path / "alone", data, EVERYTHING)
    model = Model(tiny(dropout=0.3)).compile(**EVERYTHING)
    history = model.fit(data, folder=tmp_path / "signal", listeners=[Signal()], progress=False)
    assert history.reason == f"interrupted by {name}"
    assert (tmp_path / "signal" / "checkpoints" / "000005").is_dir()
    run(tmp_path / "signal", data, EVERYTHING)
    assert_same(tmp_path / "alone", tmp_path / "signal")


@pytest.mark.slow
def test_the_command_line_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    where = tmp_path / "run"
    words = ["train", "fashion-mnist-small", "--net", "lenet", "--epochs", "50", "--run", where, "--threads", "1"]
    command = [sys.executable, "-m", "pellucid", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 100
        while not any(record["kind"] == "step" for record in read_log(where)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=100)
    assert "Traceback" not in printed + said
    assert f"pellucid train --resume {where}" in printed
    assert len(list((where / "checkpoints").iterdir())) >= 1


def test_a_finished_run_says_so(data: Data, tmp_path: Path) -> None:
    model = Model(tiny()).compile(**PLAIN)
    model.fit(data, epochs=1, folder=tmp_path / "run", progress=False)
    before = _weights(tmp_path / "run")
    history = Model(tiny()).compile(**PLAIN).fit(data, epochs=1, folder=tmp_path / "run", resume=True, progress=False)
    assert any("has ended (finished): nothing is left to train" in said for said in history.messages)
    assert _weights(tmp_path / "run") == before


def test_other_data_are_refused(data: Data, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(tmp_path / "run", data, EVERYTHING, stop=5)
    images, labels = pictures(60, 1)
    images[7, 3, 3] ^= 1
    other = Data.from_arrays(images, labels, CLASSES, validation=pictures(30, 2), test=pictures(30, 3))
    with pytest.raises(CheckpointError, match="the data have changed since the run in .* began"):
        run(tmp_path / "run", other, EVERYTHING)


def test_two_processes_do_not_train_in_one_folder(data: Data, tmp_path: Path) -> None:
    class Second(Quiet):
        def on_step(self, step: Step) -> None:
            if step.step == 3:
                with pytest.raises(UsageError, match="another process is training in"):
                    run(tmp_path / "run", data, PLAIN)
                self.tried = True

    second = Second()
    Model(tiny()).compile(**PLAIN).fit(data, epochs=1, folder=tmp_path / "run", listeners=[second], progress=False)
    assert second.tried


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run folder"):
        resume(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is no run folder: it has no config.yaml"):
        resume(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        start("fashion-mnist-small", Settings(), folder=tmp_path)


def test_a_loader_goes_on_too(tmp_path: Path) -> None:
    images, labels = pictures(60, 1)
    tensors = TensorDataset(torch.from_numpy(images[:, None].astype(np.float32) / 255), torch.from_numpy(labels))
    settings = {**PLAIN, "optimizer": "momentum", "checkpoint_steps": 2}

    def fit(folder: Path, **more: Any) -> None:
        loader = DataLoader(tensors, batch_size=12, shuffle=True)
        model = Model(tiny(dropout=0.3), classes=CLASSES).compile(**settings)
        model.fit(loader, epochs=3, folder=folder, progress=False, **more)

    fit(tmp_path / "alone")
    with pytest.raises(Stop):
        fit(tmp_path / "failed", listeners=[StopAt(8)])
    torch.manual_seed(99)
    fit(tmp_path / "failed", resume=True)
    assert _weights(tmp_path / "alone") == _weights(tmp_path / "failed")


def test_a_disk_that_fills_up_costs_nothing_but_time(data: Data, tmp_path: Path) -> None:
    class Fills(Quiet):
        def on_step(self, step: Step) -> None:
            if step.step == 8:
                free = os.statvfs(disk)
                (disk / "filler").write_bytes(b"0" * (free.f_bavail - 1) * free.f_frsize)

    settings = {**EVERYTHING, "checkpoint_steps": 2}
    run(tmp_path / "alone", data, settings)
    with faults.small_disk(600) as disk:
        if disk is None:
            pytest.skip("this process may not mount a tmpfs")
        model = Model(tiny(dropout=0.3)).compile(**settings)
        with pytest.raises(CheckpointError, match="checkpoint of step 8 could not be written: No space left"):
            model.fit(data, folder=disk / "run", listeners=[Fills()], progress=False)
        (disk / "filler").unlink()
        run(disk / "run", data, settings)
        assert_same(tmp_path / "alone", disk / "run")
