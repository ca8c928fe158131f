"""Batches of recordings: functions of (seed, epoch, step); moved in time, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pellucid.data import Augment
from pellucid.data.sounds_arrays import sounds_of
from pellucid.data.sounds_batches import SpectrogramBatches, WaveBatches, moved
from pellucid.data.sounds_preprocess import SpectrogramPreprocess, WavePreprocess
from pellucid.data.waves import encoded
from pellucid.errors import ShapeError, UsageError
from tests.data.made_sounds import RATE, sine

NOISE = np.random.default_rng(0).normal(0, 0.2, (40, 400))  # unlike itself a moment later
WAVES = [sine(200.0 + 40 * i, 0.1) + NOISE[i] for i in range(40)]
LABELS = [i % 2 for i in range(40)]
PICTURES = sounds_of(WAVES, LABELS, rate=RATE, validation=0)
SOUNDS = sounds_of(WAVES, LABELS, rate=RATE, validation=0, form="wave")
SEEN = SpectrogramPreprocess.of(PICTURES)  # type: ignore[arg-type]
HEARD = WavePreprocess.of(SOUNDS)  # type: ignore[arg-type]


def dealt(kind: str, **settings: object) -> WaveBatches | SpectrogramBatches:
    common = {"batch_size": 7, "seed": 3, "shuffle": True, **settings}
    if kind == "wave":
        return WaveBatches(SOUNDS.train, HEARD, **common)  # type: ignore[arg-type]
    return SpectrogramBatches(PICTURES.train, SEEN, **common)


@pytest.mark.parametrize("kind", ["wave", "spectrogram"])
def test_any_step_is_the_same_whatever_came_before(kind: str) -> None:
    batches = dealt(kind, shift=3)
    second = list(batches.epoch(2))
    again = list(dealt(kind, shift=3).epoch(2, start=3))
    assert len(second) == len(batches) == 6
    for one, other in zip(second[3:], again, strict=True):
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
        np.testing.assert_array_equal(one.indices, other.indices)


@pytest.mark.parametrize("kind", ["wave", "spectrogram"])
def test_two_epochs_at_once_do_not_disturb_each_other(kind: str) -> None:
    batches = dealt(kind, shift=3)
    alone = [batch.images for batch in batches.epoch(0)]
    mixed = []
    for one, _ in zip(batches.epoch(0), batches.epoch(1), strict=True):
        mixed.append(one.images)
    torch.testing.assert_close(mixed, alone, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["wave", "spectrogram"])
def test_moved_by_no_more_than_the_shift_and_by_all_of_it(kind: str) -> None:
    plain = {int(i): image for b in dealt(kind).epoch(0) for i, image in zip(b.indices, b.images, strict=True)}
    found = set()
    for epoch in range(3):
        for batch in dealt(kind, shift=2).epoch(epoch):
            for i, image in zip(batch.indices.tolist(), batch.images, strict=True):
                inner = image[..., 2:-2]
                width = image.shape[-1]
                same = [s for s in range(-2, 3) if torch.equal(inner, plain[i][..., 2 - s : width - 2 - s])]
                assert len(same) == 1
                found.add(same[0])
    assert found == {-2, -1, 0, 1, 2}


def test_shifts_and_augmentation_together_keep_each_pictures_own_numbers() -> None:
    one = next(dealt("spectrogram", shift=2, augment=Augment(crop=2)).epoch(0))
    all_at_once = next(dealt("spectrogram", shift=2, augment=Augment(crop=2), batch_size=32).epoch(0))
    torch.testing.assert_close(all_at_once.images[:7], one.images, rtol=0, atol=0)


def test_moves_leave_silence() -> None:
    waves = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.int16)
    np.testing.assert_array_equal(moved(waves, np.array([1, 0, -2])), [[0, 1, 2], [4, 5, 6], [9, 0, 0]])


def test_waves_have_mean_square_one() -> None:
    batches = WaveBatches(SOUNDS.train, HEARD, batch_size=100)  # type: ignore[arg-type]
    (batch,) = batches.epoch(0)
    assert float(batch.images.square().mean()) == pytest.approx(1, abs=1e-4)
    assert batch.images.shape == (len(SOUNDS.train), 1, 400)


def test_waves_of_another_length() -> None:
    other = sounds_of(WAVES, LABELS, rate=RATE, form="wave", seconds=0.2)
    with pytest.raises(ShapeError, match="waves have 800 samples, the network was made for 400"):
        WaveBatches(other.train, HEARD, batch_size=4)  # type: ignore[arg-type]


@pytest.mark.parametrize("prepared", [SEEN, HEARD])
def test_preparations_are_read_back(prepared: SpectrogramPreprocess | WavePreprocess) -> None:
    values = json.loads(json.dumps(prepared.to_json()))
    assert type(prepared).from_json(values) == prepared


@pytest.mark.parametrize("form", ["bytes", "samples", "pair", "picture"])
def test_a_recording_in_any_form_is_the_same_picture(form: str) -> None:
    wave = PICTURES.train.waves[0]  # type: ignore[union-attr]
    given = {"bytes": encoded(wave, RATE), "samples": wave, "pair": (wave, RATE), "picture": PICTURES.train.images[0]}
    np.testing.assert_array_equal(SEEN.picture(given[form]), PICTURES.train.images[0])  # type: ignore[union-attr]


def test_pictures_that_are_no_recordings() -> None:
    from pellucid.data import Data

    pictures = Data.from_arrays(np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1])
    with pytest.raises(UsageError, match="the data are pictures, and no recordings"):
        SpectrogramPreprocess.of(pictures)
