"""Small recordings for tests: WAV files of sines, written by hand or by scipy."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from scipy.io import wavfile

RATE = 4000
PITCHES = {"low": 300.0, "middle": 700.0, "high": 1500.0}


def sine(pitch: float, seconds: float = 0.1, rate: int = RATE, phase: float = 0.0) -> np.ndarray:
    """float64 (T,), half of full scale."""
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate + phase)


def write_sounds(folder: Path, speakers: int = 4, takes: int = 3, seconds: float = 0.1) -> Path:
    """LABEL_SPEAKER_TAKE.wav: three pitches, every speaker a little higher than the one before."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for label, pitch in PITCHES.items():
        for speaker in range(speakers):
            for take in range(takes):
                wave = sine(pitch * (1 + 0.03 * speaker), seconds, phase=chance.uniform(0, 6))
                noisy = wave + chance.normal(0, 0.02, len(wave))
                file = folder / f"{label}_s{speaker}_{take}.wav"
                wavfile.write(file, RATE, np.rint(noisy * 20000).astype(np.int16))
    return folder


def riff(
    code: int, bits: int, samples: bytes, *, channels: int = 1, rate: int = 8000, data_size: int | None = None
) -> bytes:
    """A WAV file by hand: a chunk nobody knows, of odd length, stands before the samples."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits)
    size = len(samples) if data_size is None else data_size
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", size) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
