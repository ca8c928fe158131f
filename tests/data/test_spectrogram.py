"""Log-mel spectrograms against transformers, torch's Fourier transform and loops; the picture that is kept of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from pellucid.data.spectrogram import LogMel, hertz_of, mel_of
from pellucid.errors import UsageError
from tests.data.made_sounds import sine
from tests.oracles.spectrogram import log_mel

NOISE = np.random.default_rng(0).normal(0, 0.1, 4000)
SETTINGS: list[dict[str, Any]] = [
    {"rate": 8000},
    {"rate": 8000, "frame": 32.0, "hop": 16.0, "mels": 24, "low": 100.0, "high": 3000.0},
    {"rate": 16000, "mels": 64, "low": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_bands_are_those_of_transformers(settings: dict[str, Any]) -> None:
    one = LogMel(**settings)
    bins = one.transform // 2 + 1
    wished = mel_filter_bank(bins, one.mels, one.low, one.top, one.rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(one.bands, wished.T, atol=1e-9)


@pytest.mark.parametrize("settings", SETTINGS)
def test_decibels_are_those_of_transformers(settings: dict[str, Any]) -> None:
    one = LogMel(**settings)
    bins = one.transform // 2 + 1
    wished = spectrogram(
        NOISE,
        window_function(one.frame_samples, "hann"),
        one.frame_samples,
        one.hop_samples,
        fft_length=one.transform,
        power=2.0,
        center=False,
        mel_filters=mel_filter_bank(bins, one.mels, one.low, one.top, one.rate, norm=None, mel_scale="htk"),
        mel_floor=1e-10,
        log_mel="dB",
        dtype=np.float64,
    )
    assert one.frames(len(NOISE)) == wished.shape[1]
    np.testing.assert_allclose(one.decibels(NOISE), wished, atol=1e-5)


def test_power_is_that_of_torch() -> None:
    one = LogMel(8000)
    window = torch.hann_window(one.frame_samples, dtype=torch.float64)
    frames = torch.tensor(NOISE).unfold(0, one.frame_samples, one.hop_samples) * window
    power = torch.fft.rfft(frames, one.transform).abs().square().numpy()
    np.testing.assert_allclose(one.decibels(NOISE), 10 * np.log10(power @ one.bands.T).T, atol=1e-9)


def test_every_sum_by_itself() -> None:
    one = LogMel(800, frame=20.0, hop=10.0, mels=3, low=40.0)
    wave = NOISE[:64]
    wished = log_mel(wave.tolist(), 800, 16, 8, 16, 3, 40.0, 400.0)
    np.testing.assert_allclose(one.decibels(wave), wished, atol=1e-6)


def test_mel_and_back() -> None:
    hertz = np.array([0.0, 100.0, 700.0, 1000.0, 7999.0])
    np.testing.assert_allclose(hertz_of(mel_of(hertz)), hertz, atol=1e-9)
    assert mel_of(np.array([1000.0]))[0] == pytest.approx(1000, abs=0.2)  # what the scale is made for


@pytest.mark.parametrize("pitch", [250.0, 1000.0, 2800.0])
def test_a_sine_is_a_line_at_its_pitch_high_ones_on_top(pitch: float) -> None:
    one = LogMel(8000)
    picture = one.picture(sine(pitch, 0.5, 8000))
    assert picture.shape == (40, one.frames(4000), 1)
    row = int(picture[:, 10, 0].argmax())
    middles = [one.middle(band) for band in range(40)]
    nearest = int(np.abs(np.array(middles) - pitch).argmin())
    assert abs((39 - row) - nearest) <= 1


def test_levels_are_decibels_below_the_loudest_to_half_a_step() -> None:
    one = LogMel(8000)
    wave = NOISE * np.linspace(0, 1, len(NOISE)) ** 3
    decibels = one.decibels(wave)
    below = np.maximum(decibels - decibels.max(), -50)
    levels = one.picture(wave)[::-1, :, 0].astype(float)
    np.testing.assert_allclose(levels / 255 * 50 - 50, below, atol=50 / 255 / 2 + 1e-9)
    assert levels.max() == 255


def test_loudness_as_a_whole_changes_nothing() -> None:
    one = LogMel(8000)
    np.testing.assert_array_equal(one.picture(NOISE), one.picture(NOISE / 8))


def test_silence_is_black() -> None:
    assert not LogMel(8000).picture(np.zeros(1000)).any()


def test_a_wave_shorter_than_a_frame_is_one_frame() -> None:
    assert LogMel(8000).picture(NOISE[:50]).shape == (40, 1, 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low": 5000.0}, "mel bands from 5000 to 4000 hertz"),
        ({"high": 5000.0}, "mel bands from 20 to 5000 hertz"),
        ({"hop": 0.01}, "a frame of 25 ms every 0.01 ms is no sample"),
        ({"mels": 200}, "200 mel bands are too many for frames of 25 ms: band [0-9]+ holds no frequency"),
    ],
)
def test_what_makes_no_sense_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LogMel(8000, **settings)
