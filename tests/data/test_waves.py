"""Reading WAV files, against scipy's reader and files written by hand; what is broken is named."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from pellucid.data.waves import encoded, full_scale, read_header, read_wave, resampled
from pellucid.errors import DataError
from tests.data.made_sounds import riff, sine


def written(samples: np.ndarray, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    wavfile.write(out, rate, samples)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "middle", "scale"),
    [(np.uint8, 128, 128), (np.int16, 0, 2**15), (np.int32, 0, 2**31), (np.float32, 0, 1), (np.float64, 0, 1)],
)
def test_what_scipy_wrote_is_read(kind: Any, middle: int, scale: float) -> None:
    wave = sine(440)
    samples = (wave * scale + middle).astype(kind)
    found, rate = read_wave(written(samples, 11025))
    assert rate == 11025
    np.testing.assert_allclose(found, (samples.astype(np.float64) - middle) / scale, atol=1e-7)
    np.testing.assert_allclose(found, wave, atol=1.01 / min(scale, 2**24) if scale > 1 else 1e-6)


def test_24_bit_by_hand_and_by_scipy() -> None:
    whole = np.array([0, 1, -1, 2**23 - 1, -(2**23), 123456], np.int32)
    packed = b"".join(int(value).to_bytes(3, "little", signed=True) for value in whole)
    content = riff(1, 24, packed)
    found, _ = read_wave(content)
    np.testing.assert_array_equal(found, (whole / 2**23).astype(np.float32))
    np.testing.assert_array_equal(found, (wavfile.read(io.BytesIO(content))[1] / 2.0**31).astype(np.float32))


def test_channels_become_their_mean() -> None:
    left, right = sine(300), sine(900)
    found, _ = read_wave(written(np.stack([left, right], 1).astype(np.float32)))
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-6)


def test_the_extensible_form_says_its_own_form_later() -> None:
    samples = np.array([1, -2, 3], "<i2").tobytes()
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4)
    form += struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    found, _ = read_wave(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    np.testing.assert_array_equal(found * 2**15, [1, -2, 3])


def test_a_file_from_a_pipe_goes_on_to_its_end() -> None:
    found, _ = read_wave(riff(1, 16, np.array([5, 6], "<i2").tobytes(), data_size=0xFFFFFFFF))
    np.testing.assert_array_equal(found * 2**15, [5, 6])


GOOD = riff(1, 16, np.arange(100, dtype="<i2").tobytes())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x.wav is empty"),
        (b"ID3\x03 a song", "x.wav is no WAV file"),
        (b"RIFX" + GOOD[4:], "x.wav is no WAV file"),
        (GOOD[:-30], "x.wav is truncated: 170 of 200 bytes of samples are there"),
        (GOOD[:40], "x.wav is truncated: it ends before its samples"),
        (GOOD[:30], "x.wav is truncated: it ends in its header"),
        (riff(1, 16, b""), "x.wav holds no samples"),
        (riff(17, 4, b"abcd"), r"x.wav is compressed \(IMA ADPCM\)"),
        (riff(7, 8, b"abcd"), r"x.wav is compressed \(µ-law\)"),
        (riff(85, 16, b"abcd"), r"x.wav is compressed \(MP3\)"),
        (riff(3, 16, b"abcd"), "x.wav has 16-bit samples and 1 channels"),
        (riff(1, 16, b"abcd", channels=0), "x.wav has 0-bit samples and 0 channels"),
        (riff(1, 16, b"abcd", rate=0), "x.wav says that it has 0 samples a second"),
        (riff(3, 32, np.array([0, np.nan], "<f4").tobytes()), r"x.wav holds samples that are no numbers"),
    ],
)
def test_what_is_broken_is_named(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_wave(content, "x.wav")


def test_a_compressed_file_is_told_how_to_be_read() -> None:
    with pytest.raises(DataError, match="ffmpeg -i IN -c:a pcm_s16le OUT.wav"):
        read_wave(riff(17, 4, b"abcd"))


def test_every_cut_of_a_file_is_an_error_of_ours() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(DataError, match="is"):
            read_wave(GOOD[:length])


@pytest.mark.parametrize(
    ("rate", "wanted"), [(8000, 16000), (44100, 8000), (11025, 8000), (48000, 16000), (8000, 8000)]
)
@pytest.mark.parametrize("pitch", [440.0, 1234.0])
def test_resampling_keeps_pitch_loudness_and_length(rate: int, wanted: int, pitch: float) -> None:
    found = resampled(sine(pitch, 1.0, rate).astype(np.float32), rate, wanted)
    assert len(found) == wanted
    wished = sine(pitch, 1.0, wanted)
    inside = slice(wanted // 10, -wanted // 10)  # at its ends the filter sees silence
    np.testing.assert_allclose(found[inside], wished[inside], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    found = resampled(sine(6000, 1.0, 16000).astype(np.float32), 16000, 8000)
    assert np.abs(found[800:-800]).max() < 0.005


@pytest.mark.parametrize(
    ("length", "wished"), [(7, [0, 0, 8192, 32767, -16384, 0, 0]), (3, [8192, 32767, -16384]), (1, [32767])]
)
def test_brought_to_a_length_from_its_middle(length: int, wished: list[int]) -> None:
    np.testing.assert_array_equal(full_scale(np.float32([0.05, 0.2, -0.1]), length), wished)


def test_silence_stays_silence() -> None:
    np.testing.assert_array_equal(full_scale(np.zeros(4, np.float32), 6), np.zeros(6))


def test_what_is_written_is_read_again() -> None:
    wave = np.array([0, 1, -32768, 32767], np.int16)
    content = encoded(wave, 8000)
    rate, samples = wavfile.read(io.BytesIO(content))
    assert rate == 8000
    np.testing.assert_array_equal(samples, wave)
    assert read_header(content).seconds == 4 / 8000
