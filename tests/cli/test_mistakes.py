"""What a user can do wrong: one clear message, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

MISTAKES = {
    "no data": (["train"], "there is nothing to train on"),
    "missing folder": (["train", "photo"], "there is no data set or folder named 'photo'"),
    "missing path": (["train", "my/photos"], "there is no file or folder my/photos"),
    "wrong net": (["train", "PHOTOS", "--net", "lenett"], "did you mean 'lenet'?"),
    "wrong setting": (
        ["train", "PHOTOS", "--set", "epoch=3"],
        "there is no setting named 'epoch'; did you mean 'epochs'?",
    ),
    "set without value": (["train", "PHOTOS", "--set", "epochs"], "--set takes name=value; this is 'epochs'"),
    "bad value": (["train", "PHOTOS", "--batch-size", "0"], "batch_size cannot be 0"),
    "no number": (["train", "PHOTOS", "--epochs", "many"], "Invalid value for '--epochs'"),
    "wrong optimizer": (["train", "PHOTOS", "--optimizer", "adm"], "optimizer cannot be 'adm'"),
    "missing config": (["train", "PHOTOS", "--config", "no.yaml"], "there is no settings file no.yaml"),
    "missing weights": (["train", "PHOTOS", "--weights", "no.safetensors"], "there is no weights file no.safetensors"),
    "no such device": (["train", "PHOTOS", "--device", "cuda:7"], "there is no device 'cuda:7' here"),
    "run folder taken": (["train", "PHOTOS", "--run", "RUN"], "is there already"),
    "resume of nothing": (["train", "--resume", "nowhere"], "there is no run folder nowhere"),
    "resume of no run": (["train", "--resume", "PHOTOS"], "is no run folder: it has no config.yaml"),
    "resume with data": (["train", "PHOTOS", "--resume", "RUN"], "a resumed run keeps its data and settings"),
    "resume with settings": (
        ["train", "--resume", "RUN", "--epochs", "9"],
        "a resumed run keeps its data and settings",
    ),
    "evaluate no run": (["evaluate", "PHOTOS", "PHOTOS"], "there is no trained network in"),
    "evaluate no split": (["evaluate", "RUN", "PHOTOS", "--split", "exam"], "has no exam split"),
    "predict missing": (["predict", "RUN", "no.png"], "there is no file or folder no.png"),
    "predict form": (["predict", "RUN", "PHOTOS", "--format", "xml"], "there is no format 'xml'"),
    "bad size": (["summary", "lenet", "--input", "1x28x"], "'1x28x' is no size"),
    "small picture": (["summary", "lenet", "--input", "1x8x8"], "until nothing is left of 8 x 8"),
    "plan of a wrong net": (["plan", "resnet81"], "there is no network named 'resnet81'"),
    "plan of a bad size": (["plan", "lenet", "--input", "28x"], "'28x' is no size"),
    "plan of a small picture": (["plan", "lenet", "--input", "1x8x8"], "nothing is left of 8 x 8"),
    "plan into no folder": (["plan", "lenet", "--svg", "no/plan.svg"], "there is no folder no for the drawing"),
    "wrong import": (["summary", "no_package:net"], "there is no module 'no_package'"),
    "check nothing": (["check", "my/photos"], "there is no file or folder my/photos"),
    "fetch unknown": (["fetch", "imagenet"], "there is no data set to fetch named 'imagenet'"),
    "runs nowhere": (["runs", "nowhere"], "there is no folder nowhere"),
    "unknown run": (["runs", "RUNS", "--run", "frist"], "there is no run named 'frist'; did you mean 'first'?"),
    "unknown command": (["frobnicate"], "No such command 'frobnicate'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message(name: str, photos: Path, trained: Path, pellucid: Run, tmp_path: Path) -> None:
    arguments, message = MISTAKES[name]
    places = {"PHOTOS": photos, "RUN": trained, "RUNS": trained.parent}
    done = pellucid(*(places.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_class_is_nothing_to_learn(photos: Path, pellucid: Run, tmp_path: Path) -> None:
    shutil.copytree(photos / "bag", tmp_path / "data" / "bag")
    done = pellucid("train", "data", cwd=tmp_path)
    assert done.returncode == 2
    assert "data has one class, 'bag': there is nothing to tell apart" in done.stderr


def test_a_checkpoint_of_another_network_is_refused(photos: Path, trained: Path, pellucid: Run, tmp_path: Path) -> None:
    weights = trained / "best" / "model.safetensors"
    done = pellucid("train", photos, "--net", "basic_cnn", "--weights", weights, "--run", "made", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds the weights of another network" in done.stderr


def test_a_damaged_result_is_refused(photos: Path, trained: Path, pellucid: Run, tmp_path: Path) -> None:
    shutil.copytree(trained / "best", tmp_path / "best")
    file = tmp_path / "best" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 16
    file.write_bytes(content)
    done = pellucid("evaluate", tmp_path / "best", photos, cwd=tmp_path)
    assert done.returncode == 2
    assert "is damaged" in done.stderr


def test_an_unwritable_run_folder_is_named(photos: Path, pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = pellucid("train", photos, "--run", "file/run", "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert "file/run cannot be written" in done.stderr


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_enough_is_no_mistake(buffered: bool, photos: Path, trained: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-m", "pellucid", "predict", trained, photos, "--format", "csv"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_output_that_cannot_be_written_is_said(photos: Path, trained: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "pellucid", "predict", trained, photos]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "pellucid: the system refused: No space left on device\n")


def test_training_goes_on_when_nobody_reads_its_progress(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pellucid", "train", photos, "--net", "lenet", "--epochs", "2", "--run", "made"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stderr.close()
        assert "accuracy" in running.stdout.read().decode()
    assert running.returncode == 0
    assert len((tmp_path / "made" / "log.jsonl").read_text().splitlines()) > 2


def test_training_names_the_broken_files_that_it_skips(photos: Path, pellucid: Run, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    whole = sorted((tmp_path / "data" / "bag").iterdir())[0].read_bytes()
    (tmp_path / "data" / "bag" / "cut.png").write_bytes(whole[:100])
    done = pellucid("train", "data", "--net", "lenet", "--epochs", 1, "--run", "made", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 broken file was skipped: bag/cut.png (" in done.stderr
    assert "bag/cut.png" in (tmp_path / "made" / "environment.json").read_text()
