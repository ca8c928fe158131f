"""Segmentation as a task: it learns, goes on after a kill, reports, and says what every pixel of any picture is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.reliability import kill
from PIL import Image
from torch import nn

from pellucid.data.masks import load_masks
from pellucid.draw.segmentation_overlay import colors, overlay
from pellucid.errors import DataError, DecodeError, ShapeError, UsageError
from pellucid.train import Model, Quiet, Settings, Step, resume, start, tasks
from pellucid.train.record import read_run
from tests.data.made_masks import scene, write

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "task": "segmentation",
    "net_settings": {"channels": 4, "depth": 1, "dropout": 0.1},
    "epochs": 3,
    "batch_size": 4,
    "channels_last": False,
    "threads": 1,
    "log_steps": 1,
}
EVERYTHING = {
    **SETTINGS,
    "epochs": 4,
    "accumulate": 2,
    "ema": 0.8,
    "clip_norm": 1.0,
    "crop": 2,
    "rotation": 10.0,
    "cutout": 3,
    "label_smoothing": 0.1,
    "checkpoint_steps": 2,
    "task_settings": {"weighting": "median_frequency"},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("masks") / "boxes", [("train", 16), ("val", 6), ("test", 6)])


@pytest.fixture(scope="module")
def finished(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned."""
    folder = tmp_path_factory.mktemp("runs") / "boxes"
    settings = {**SETTINGS, "epochs": 12, "batch_size": 2, "net_settings": {"channels": 8, "depth": 2}}
    start(places, Settings.parse({**settings, "color": 0.0}), folder=folder)
    return folder


def test_the_data_are_recognised(places: Path) -> None:
    assert tasks.recognised(places).name == "segmentation"
    assert tasks.of_data(load_masks(places)).name == "segmentation"


def test_it_learns_far_more_than_always_the_same(finished: Path) -> None:
    measured = read_run(finished).measured
    assert measured.always == "ground"
    assert measured.mean_iou > 0.6
    assert measured.baseline.mean_iou < 0.3
    assert measured.n == 6
    assert measured.pixels == 6 * 23 * 32


def test_what_is_measured_is_what_the_network_says(finished: Path, places: Path) -> None:
    """The measures again from predicted masks, by torchmetrics."""
    from torchmetrics.classification import MulticlassJaccardIndex

    model, data = Model.load(finished), load_masks(places)
    measured = model.evaluate(data)
    assert measured.to_json() == model.evaluate(str(places)).to_json()
    truth = torch.from_numpy(data.splits["test"].masks.astype(np.int64))
    with torch.no_grad():
        scores = model.net.eval()(model.preprocess.tensor(data.splits["test"].images))
    index = MulticlassJaccardIndex(num_classes=3, average="macro", ignore_index=255)
    assert measured.mean_iou == pytest.approx(index(scores.argmax(1), truth).item(), rel=1e-6)
    loss = nn.functional.cross_entropy(scores, truth, ignore_index=255).item()
    assert measured.loss == pytest.approx(loss, rel=1e-5)


def test_the_log_has_the_score_of_every_epoch(finished: Path) -> None:
    epochs = read_run(finished).epochs
    assert len(epochs) == 12
    last = epochs[-1]
    assert {"train_loss", "train_pixel_accuracy", "validation_loss", "validation_mean_iou"} <= set(last)
    assert last["train_pixel_accuracy"] <= 1
    assert last["train_loss"] < epochs[0]["train_loss"] / 2


def test_the_page_shows_pictures_classes_and_the_baseline(finished: Path) -> None:
    page = (finished / "report.html").read_text("utf-8")
    for said in ("The worst", "Calling every pixel <bdi>ground</bdi>", "frequency-weighted IoU", "Confusion", "legend"):
        assert said in page
    assert page.count('class="scene"') == 6
    assert page.count("data:image/") >= 24
    with Image.open(finished / "overlays.png") as picture:
        assert picture.size == (3 * 32, 6 * 24)


class Stop(Exception):
    """What a listener raises to end a run at a step, as a crash would."""


class StopAt(Quiet):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: Step) -> None:
        if step.step == self.step:
            raise Stop


def test_a_resumed_run_is_the_same_to_the_bit(places: Path, tmp_path: Path) -> None:
    settings = Settings.parse(EVERYTHING)
    start(places, settings, folder=tmp_path / "alone")
    with pytest.raises(Stop):
        start(places, settings, folder=tmp_path / "failed", listeners=[StopAt(3)])
    with pytest.raises(Stop):
        resume(tmp_path / "failed", listeners=[StopAt(6)])
    resume(tmp_path / "failed")
    one, other = (kill.remains(tmp_path / name) for name in ("alone", "failed"))
    assert kill.differences(one, other) == []


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_run_killed_at_random_moments_is_the_same_to_the_bit(places: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({**EVERYTHING, "epochs": 12}))
    script = [sys.executable, ROOT / "bench" / "reliability" / "kill.py", "--kills", "8", "--seed", "3"]
    done = subprocess.run(
        [*script, "--data", places, "--settings", tmp_path / "settings.json", "--json", tmp_path / "result.json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["kills"] == 8
    assert result["runs_that_differ"] == {}


def picture(folder: Path, seed: int, height: int, width: int) -> Path:
    Image.fromarray(scene(seed, height, width)[0]).save(folder / f"{seed}.png")
    return folder / f"{seed}.png"


def test_a_picture_of_another_size_has_a_mask_of_its_own_size(finished: Path, tmp_path: Path) -> None:
    file = picture(tmp_path, 40, 31, 57)
    (answer,) = Model.load(finished).answers(file, out=str(tmp_path / "out"))
    with Image.open(tmp_path / "out" / "40.mask.png") as mask:
        assert mask.mode == "P"
        assert mask.size == (57, 31)
        found = np.asarray(mask)
    truth = scene(40, 31, 57)[1]
    assert (found == truth)[1:].mean() > 0.8
    shares = {item["class"]: item["share"] for item in answer.record["shares"]}
    assert shares == {
        name: pytest.approx((found == i).mean())
        for i, name in enumerate(("ground", "red", "green"))
        if (found == i).any()
    }
    assert answer.text.startswith("ground 0.")
    assert "(of 31 x 57 pixels)" in answer.text
    with Image.open(tmp_path / "out" / "40.overlay.png") as shown:
        np.testing.assert_array_equal(np.asarray(shown), overlay(scene(40, 31, 57)[0], found, 3))


def test_tiled_is_nearly_whole(finished: Path, tmp_path: Path) -> None:
    file, model = picture(tmp_path, 41, 90, 140), Model.load(finished)
    masks = []
    for name, options in {"whole": {}, "tiled": {"tile": 64, "overlap": 32}}.items():
        model.answers(file, out=str(tmp_path / name), **options)
        with Image.open(tmp_path / name / "41.mask.png") as mask:
            masks.append(np.asarray(mask))
    assert (masks[0] == masks[1]).mean() > 0.97


def test_nothing_is_written_over(finished: Path, tmp_path: Path) -> None:
    file, model, out = picture(tmp_path, 42, 24, 32), Model.load(finished), tmp_path / "out"
    out.mkdir()
    (out / "42.overlay.png").write_text("mine")
    with pytest.raises(UsageError, match=r"42.overlay.png is there already; nothing is written over it"):
        model.answers(file, out=str(out))
    assert [item.name for item in out.iterdir()] == ["42.overlay.png"]
    assert (out / "42.overlay.png").read_text() == "mine"
    (tmp_path / "more").mkdir()
    with pytest.raises(UsageError, match="two pictures would both become 42.mask.png"):
        model.answers(file, picture(tmp_path / "more", 42, 24, 32), out=str(tmp_path / "new"))
    with pytest.raises(UsageError, match="is a file"):
        model.answers(file, out=str(file))


def test_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    from pellucid.train.tasks.segmentation import _write

    (tmp_path / "a.mask.png").write_text("mine")
    scene_and_mask = scene(1)[0], np.zeros((24, 32), np.uint8)
    with pytest.raises(UsageError, match="a.mask.png is there already; nothing is written over it"):
        _write((tmp_path / "a.mask.png", tmp_path / "a.overlay.png"), *scene_and_mask, 3)
    assert (tmp_path / "a.mask.png").read_text() == "mine"


def test_what_cannot_be_decoded_is_named(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(DecodeError, match="broken.png cannot be decoded"):
        Model.load(finished).answers(tmp_path / "broken.png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tile": 5}, "tile cannot be 5: input should be greater than or equal to 32"),
        ({"tiles": 64}, "there is no option of segmentation named 'tiles'; did you mean 'tile'"),
    ],
    ids=["value", "name"],
)
def test_wrong_options_of_predict(options: dict[str, Any], said: str, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        Model.load(finished).answers(picture(tmp_path, 43, 24, 32), **options)


def test_a_scaled_training_set_scales_what_it_predicts(places: Path, tmp_path: Path) -> None:
    settings = Settings.parse({**SETTINGS, "epochs": 1, "image_size": (12, 16)})
    start(places, settings, folder=tmp_path / "run")
    model = Model.load(tmp_path / "run")
    assert model.preprocess.scale == 0.5
    seen: list[tuple[int, ...]] = []
    model.net.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    (answer,) = model.answers(picture(tmp_path, 44, 50, 30))
    assert seen == [(1, 3, 25, 15)]
    assert (answer.record["height"], answer.record["width"]) == (50, 30)


def test_a_classifier_does_not_fit(places: Path) -> None:
    model = Model(nn.Sequential(nn.Flatten(), nn.Linear(24 * 32 * 3, 3)), task="segmentation")
    with pytest.raises(ShapeError, match=r"for 2 pictures of 24 x 32 in 3 classes the network gives \(2, 3\)"):
        model.fit(load_masks(places), epochs=1, progress=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mixup": 0.2}, "mixup blends labels, and a mask has one for each pixel"),
        ({"loss": "focal"}, "segmentation learns by cross_entropy, not by focal"),
        ({"task_settings": {"weighting": "heavy"}}, "weighting cannot be 'heavy'"),
    ],
    ids=["mixup", "loss", "weighting"],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], said: str, places: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        start(places, Settings.parse({**SETTINGS, **settings}), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_with_other_classes_are_refused(finished: Path, tmp_path: Path) -> None:
    write(tmp_path, classes=("sea", "red", "green"))
    with pytest.raises(UsageError, match="the data have other classes than the network"):
        Model.load(finished).evaluate(str(tmp_path))


def test_all_splits_together(finished: Path, places: Path) -> None:
    assert Model.load(finished).evaluate(str(places), split="all").n == 28


def test_colours_are_told_apart() -> None:
    found = colors(40).astype(int)
    assert found.shape == (40, 3)
    distances = np.abs(found[:, None] - found[None]).sum(2) + 1000 * np.eye(40, dtype=int)
    assert distances.min() > 10
    assert distances[:12, :12].min() > 60


def _spoil(name: str) -> Callable[[Path], object]:
    return {
        "an image without a mask": lambda root: (root / "train/masks/p02.png").unlink(),
        "a mask without an image": lambda root: (root / "train/images/p02.png").unlink(),
        "sizes that differ": lambda root: Image.new("L", (9, 9)).save(root / "train/masks/p02.png"),
        "a label that is not in the list": lambda root: Image.new("L", (32, 24), 7).save(root / "train/masks/p02.png"),
        "a photo": lambda root: Image.effect_noise((32, 24), 90).save(root / "train/masks/p02.png"),
        "empty": lambda root: [file.unlink() for file in root.rglob("*.png")],
        "damaged": lambda root: [file.write_bytes(file.read_bytes()[:60]) for file in root.glob("train/masks/*")],
    }[name]


SAID = {
    "an image without a mask": "the image train/images/p02.png has no mask",
    "a mask without an image": "the mask train/masks/p02.png has no image",
    "sizes that differ": "the image train/images/p02.png is 24 x 32 and its mask 9 x 9",
    "a label that is not in the list": "the mask train/masks/p02.png has a label that is not in the list: 7",
    "a photo": "the mask train/masks/p02.png looks like a photo",
    "empty": "there is no picture in",
    "damaged": "pictures in boxes cannot be decoded",
}


@pytest.mark.parametrize("name", SAID)
def test_a_mistake_is_one_sentence_on_the_command_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.cli import main

    monkeypatch.chdir(tmp_path)
    _spoil(name)(write(tmp_path / "boxes"))
    monkeypatch.setattr(sys, "argv", ["pellucid", "train", "boxes"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert SAID[name] in said.splitlines()[0]
    assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_a_data_error_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="there is no picture in"):
        start(tmp_path, Settings(), folder=tmp_path / "run")
