"""The task of sound: the form by the network, training, resuming to the bit, evaluation, prediction, the page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch import nn

from pellucid import nets
from pellucid.data.sounds import Spectrograms, Waves, load_sounds
from pellucid.errors import UsageError
from pellucid.train import Model, Settings, read_run, start, tasks
from pellucid.train.tasks.sound import Sound, form_of
from pellucid.train.tasks.sound_filters import filter_banks
from tests.data.made_sounds import write_sounds
from tests.train.test_resume import Stop, StopAt, assert_same

QUICK: dict[str, Any] = {"threads": 1, "batch_size": 8, "epochs": 2, "channels_last": False, "log_steps": 1}
BY_TAKE: dict[str, Any] = {"split_by": "take", "mels": 16, "seconds": 0.3}
NETS: dict[str, dict[str, Any]] = {"basic_cnn": {"channels": [4, 4]}, "m5": {"channels": 3}}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds") / "pitches", takes=5, seconds=0.3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def settings(net: str, **more: Any) -> Settings:
    return Settings.parse(
        {**QUICK, "net": net, "net_settings": NETS[net], "task_settings": BY_TAKE, "task": "sound", **more}
    )


def test_recordings_are_recognised(sounds: Path, tmp_path: Path) -> None:
    assert tasks.recognised(sounds).name == "sound"
    assert tasks.recognised(tmp_path).name == "classification"


@pytest.mark.parametrize(
    ("net", "form"),
    [("m5", "wave"), ("basic_cnn", "spectrogram"), ("vgg11_bn", "spectrogram"), ("auto", "spectrogram")],
)
def test_the_form_is_what_the_network_reads(net: str, form: str) -> None:
    assert form_of(net) == form


@pytest.mark.parametrize("net", NETS)
def test_a_run_is_trained_measured_and_used(net: str, sounds: Path, tmp_path: Path) -> None:
    done = start(sounds, settings(net), folder=tmp_path / "run")
    assert str(done).startswith("test accuracy ")
    assert "on 12 recordings" in str(done)
    again = Model.load(tmp_path / "run").evaluate(sounds)
    assert again.to_json() == read_run(tmp_path / "run").measured.to_json()
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "pictures were called" not in page
    assert '<h2 id="filters">' in page
    (file,) = Model.load(tmp_path / "run").answers(sounds / "low_s0_0.wav", top=2)
    assert file.name == str(sounds / "low_s0_0.wav")
    assert len(file.rows) == 2


@pytest.mark.parametrize("net", NETS)
def test_stopped_and_resumed_it_is_the_same_to_the_bit(net: str, sounds: Path, tmp_path: Path) -> None:
    more = {"crop": 1, "mixup": 0.3} if net == "basic_cnn" else {}

    def run(folder: Path, stop: int | None = None) -> None:
        model = Model(net, task="sound", **NETS[net])
        model.compile(**QUICK, **more, checkpoint_steps=2, task_settings=BY_TAKE)
        again = (folder / "config.yaml").exists()
        stops = [StopAt(stop)] if stop else []
        model.fit(str(sounds), folder=folder, resume=again, listeners=stops, progress=False)

    run(tmp_path / "alone")
    for stop in (3, 7):
        with pytest.raises(Stop):
            run(tmp_path / "failed", stop)
    run(tmp_path / "failed")
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_an_atlas_is_made_of_recordings_as_of_pictures(sounds: Path, tmp_path: Path) -> None:
    from pellucid import look

    finished = start(sounds, settings("basic_cnn"), folder=tmp_path / "run")
    found = look.atlas(finished.folder, str(sounds))
    assert found.about.pictures == finished.measured.n


def test_it_learns_pitches(sounds: Path) -> None:
    model = Model("basic_cnn", task="sound", channels=[8, 8]).compile(
        seed=0,
        threads=1,
        batch_size=8,
        epochs=10,
        channels_last=False,
        task_settings={**BY_TAKE, "split_by": "speaker"},
    )
    model.fit(str(sounds), progress=False)
    assert model.evaluate(str(sounds)).accuracy == 1.0


def test_a_network_of_waves_and_pictures_do_not_fit(sounds: Path) -> None:
    data = load_sounds(sounds)
    with pytest.raises(UsageError, match="the network reads waves, and the data are spectrograms") as error:
        Model("m5").compile(**QUICK).fit(data, progress=False)
    assert error.value.facts["fits"] == "form=wave"


def test_arrays_predict_as_files_do(sounds: Path, tmp_path: Path) -> None:
    start(sounds, settings("basic_cnn"), folder=tmp_path / "run")
    model = Model.load(tmp_path / "run")
    file = sounds / "high_s1_2.wav"
    _, samples = wavfile.read(file)
    one, other = model.predict([file]), model.predict([samples])
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert model.answers(file)[0].record["classes"][0]["probability"] == pytest.approx(float(one.probabilities.max()))


def test_augmentation_never_mirrors_nor_turns(sounds: Path) -> None:
    task = Sound()
    data = task.load(str(sounds), settings("basic_cnn"))
    chosen = task.resolve(settings("basic_cnn"), data, nets.make("basic_cnn", in_channels=1, image_size=(16, 28)))
    assert (chosen.flip, chosen.rotation, chosen.color) == (False, 0.0, 0.0)
    kept = task.resolve(settings("basic_cnn", crop=7), data, nets.make("basic_cnn", in_channels=1))
    assert kept.crop == 7


def test_the_loudest_place_of_a_filter_is_where_autograd_free_arithmetic_finds_it(sounds: Path) -> None:
    data = load_sounds(sounds, mels=16, seconds=0.3)
    assert isinstance(data, Spectrograms)
    task = Sound()
    net = nn.Sequential(nn.Conv2d(1, 2, (3, 5)), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    net(torch.zeros(2, 1, *data.image_size))
    prepared = task.prepare(data, Settings())
    batches = task.batches(data.test, prepared, Settings(), torch.device("cpu"), training=False)
    assert data.test is not None
    assert data.hearing is not None
    (bank,) = filter_banks(net, batches.epoch(0), data.test, data.classes, data.hearing)
    maps = net[0](prepared.tensor(np.asarray(data.test.images))).detach().numpy()
    for item in bank.filters:
        best = maps[:, item.channel].reshape(len(maps), -1).max(1)
        loudest = item.pieces[0]
        assert loudest.value == pytest.approx(float(best.max()), rel=1e-5)
        i = int(best.argmax())
        assert loudest.name == data.test.names[i]
        y, x = np.unravel_index(int(maps[i, item.channel].argmax()), maps.shape[2:])
        top, left, bottom, right = loudest.box
        assert (bottom - top, right - left) == (3, 5)
        assert loudest.pixels is not None
        seen = loudest.pixels[top:bottom, left:right]
        np.testing.assert_array_equal(seen, data.test.images[i, y : y + 3, x : x + 5, 0])
        assert loudest.seconds == pytest.approx((x * 0.01, (x + 5) * 0.01))


def test_pieces_of_waves(sounds: Path) -> None:
    data = load_sounds(sounds, form="wave", seconds=0.3)
    assert isinstance(data, Waves)
    task, net = Sound(), nets.make("m5", classes=3, channels=2)
    batches = task.batches(data.test, task.prepare(data, Settings()), Settings(), torch.device("cpu"), training=False)
    banks = filter_banks(net, batches.epoch(0), data.test, data.classes, data.hearing)
    assert [bank.name for bank in banks] == ["conv1", "conv2"]
    piece = banks[0].filters[0].pieces[0]
    assert piece.wave is not None
    assert data.test is not None
    whole = data.test.waves[list(data.test.names).index(piece.name)]
    first = round(piece.seconds[0] * 4000)
    np.testing.assert_array_equal(piece.wave, whole[first : first + len(piece.wave)])
    assert len(piece.wave) <= 80


def test_mistakes_can_be_heard(sounds: Path, tmp_path: Path) -> None:
    start(sounds, settings("basic_cnn", epochs=1, learning_rate=1e-9), folder=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    heard = re.findall(r'<audio controls preload="none" src="data:audio/wav;base64,([^"]+)">', page)
    mistakes = read_run(tmp_path / "run").measured.mistakes
    assert len(heard) == len(mistakes) > 0
    data = load_sounds(sounds, split_by="take", mels=16, seconds=0.3)
    for item, content in zip(mistakes, heard, strict=True):
        rate, samples = wavfile.read(io.BytesIO(base64.b64decode(content)))
        assert rate == 4000
        np.testing.assert_array_equal(samples, data.test.waves[item.index])  # type: ignore[union-attr]
