"""TensorBoard events, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.data import Data
from pellucid.errors import UsageError
from pellucid.train import Epoch, Start, Step, tensorboard
from pellucid.train.measure import measure
from pellucid.train.model import Model
from pellucid.train.runfolder import read_config
from pellucid.train.settings import Settings
from pellucid.train.start import finish, start
from pellucid.train.tensorboard import TensorBoardListener
from tests.train.conftest import PLAIN

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)


def events(folder: Path) -> Any:
    read = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return read.Reload()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def epoch(step: int, **measures: float) -> Epoch:
    return Epoch(step // 10, step, 0.1, 1.0, 100.0, measures)


def test_steps_and_epochs_become_scalars(tmp_path: Path) -> None:
    listener = TensorBoardListener(tmp_path)
    listener.on_start(Start(0, 0, 2, 2))
    for step in range(1, 5):
        listener.on_step(Step(step, 0, 1 / step, 0.1 * step))
    listener.on_epoch(epoch(2, train_loss=0.75, validation_accuracy=0.5))
    listener.on_epoch(epoch(4, train_loss=0.25, validation_accuracy=0.625))
    listener.on_end("finished")
    assert scalars(tmp_path, "step/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25)]
    assert scalars(tmp_path, "step/learning_rate")[3] == (4, pytest.approx(0.4))
    assert scalars(tmp_path, "epoch/train_loss") == [(2, 0.75), (4, 0.25)]
    assert scalars(tmp_path, "epoch/validation_accuracy") == [(2, 0.5), (4, 0.625)]


def test_a_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    killed = TensorBoardListener(tmp_path)
    killed.on_start(Start(0, 0, 1, 9))
    for step in range(1, 7):
        killed.on_step(Step(step, 0, 9.0, 0.1))
    killed._writer.flush()  # as a killed process leaves it: nothing is closed
    again = TensorBoardListener(tmp_path)
    again.on_start(Start(4, 0, 1, 9, resumed=True))
    for step in range(5, 8):
        again.on_step(Step(step, 0, 1.0, 0.1))
    again.on_end("finished")
    assert scalars(tmp_path, "step/loss") == [(s, 9.0) for s in range(1, 5)] + [(s, 1.0) for s in range(5, 8)]


def test_an_end_without_a_beginning_is_quiet(tmp_path: Path) -> None:
    TensorBoardListener(tmp_path).on_end("finished")
    assert not (tmp_path / "tensorboard").exists()


def test_what_was_measured_and_the_confusion_matrix_are_added(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(30 * 20 * 3, dtype=np.uint8).reshape(20, 30, 3))
    picture.save(tmp_path / "confusion.png")
    measured = measure(np.array([[0.75, 0.25], [0.75, 0.25]]), np.array([0, 1]), ["a.png", "b.png"], ["a", "b"])
    tensorboard.add_measured(tmp_path, "test", measured, 40)
    assert scalars(tmp_path, "test/accuracy") == [(40, 0.5)]
    [image] = events(tmp_path).Images("confusion")
    assert image.step == 40
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), np.asarray(picture))


def test_a_run_writes_them_when_asked(data: Data, tmp_path: Path) -> None:
    model = Model("mlp").compile(**{**PLAIN, "tensorboard": True})
    history = model.fit(data, epochs=2, folder=tmp_path / "run")
    assert read_config(tmp_path / "run")["settings"]["tensorboard"] is True
    finish(model, data, tmp_path / "run", history)
    assert [step for step, _ in scalars(tmp_path / "run", "epoch/validation_accuracy")] == [6, 12]
    assert len(scalars(tmp_path / "run", "test/accuracy")) == 1
    assert events(tmp_path / "run").Tags()["images"] == ["confusion"]


def test_without_tensorboard_one_sentence_says_so_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    says = r"tensorboard is not installed\n  fits  pip install 'pellucid\[tensorboard\]'"
    with pytest.raises(UsageError, match=says):
        TensorBoardListener(tmp_path)

    with pytest.raises(UsageError, match=says):
        start("fashion-mnist-small", Settings(net="lenet", tensorboard=True), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
