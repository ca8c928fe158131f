"""Log-mel spectrograms as pictures: which pitches a recording holds, moment by moment.

A wave x of rate r is cut into frames of F samples, one every H samples, each weighted by Hann's window w and padded
with zeros to D samples, the next power of two:

    P[t, k] = | sum_n w[n] x[t H + n] exp(-2 pi i k n / D) |^2                      the power at k r / D hertz
    M[t, m] = sum_k B[m, k] P[t, k]                                                 gathered into mel bands
    L[t, m] = 10 log10 M[t, m]                                                      in decibels

The bands B are triangles that overlap by half, evenly spaced in mel (Davis & Mermelstein, "Comparison of parametric
representations for monosyllabic word recognition", 1980; their mel(f) = 2595 log10(1 + f / 700), as in HTK): narrow
where the ear tells pitches apart well, broad above. Triangles have height 1 (HTK's; Slaney's have area 1).

What is kept is one byte: 255 for the loudest place of the recording, 0 for ``range_db`` below it and for all that is
fainter, which is more often the room's noise than the speaker. A step is 50 / 255 = 0.2 dB, and rounding errs by no
more than half of it, far less than two takes of one word by one speaker differ by. So a spectrogram is a grey picture:
time goes to the right, pitch upwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError

Levels = NDArray[np.uint8]
Floats = NDArray[np.float64]
_FAINTEST = 1e-10  # of power, below which decibels stop: waves of -1..1


@dataclass(frozen=True)
class LogMel:
    """How waves become pictures.

    rate: samples a second. frame, hop: milliseconds of a frame, and from one to the next. mels: bands, the height of
    the picture. low, high: hertz, where the bands begin and end; high None is half the rate. range_db: decibels from
    the loudest to black.
    """

    rate: int
    frame: float = 25.0
    hop: float = 10.0
    mels: int = 40
    low: float = 20.0
    high: float | None = None
    range_db: float = 50.0

    def __post_init__(self) -> None:
        top = self.top
        if not 0 <= self.low < top <= self.rate / 2:
            raise UsageError(
                f"mel bands from {self.low:g} to {top:g} hertz", fits=f"0 to {self.rate / 2:g}: half of {self.rate:,}"
            )
        if self.hop_samples < 1 or self.frame_samples < 2:
            raise UsageError(
                f"a frame of {self.frame:g} ms every {self.hop:g} ms is no sample at a rate of {self.rate:,}",
                fits="frame=25, hop=10",
            )
        empty = np.flatnonzero(self.bands.sum(1) == 0)
        if len(empty):
            raise UsageError(
                f"{self.mels} mel bands are too many for frames of {self.frame:g} ms: band {empty[0]} holds no "
                f"frequency of the transform ({self.rate / self.transform:.0f} hertz apart)",
                fits="fewer mels, or a longer frame",
            )

    @property
    def top(self) -> float:
        """Where the highest band ends, in hertz."""
        return self.rate / 2 if self.high is None else self.high

    @property
    def frame_samples(self) -> int:
        return round(self.rate * self.frame / 1000)

    @property
    def hop_samples(self) -> int:
        return round(self.rate * self.hop / 1000)

    @property
    def transform(self) -> int:
        """D: the length of the Fourier transform."""
        return 1 << (self.frame_samples - 1).bit_length()

    def frames(self, length: int) -> int:
        """Columns of the picture of a wave of so many samples; a wave shorter than a frame is one."""
        return 1 + max(0, length - self.frame_samples) // self.hop_samples

    @cached_property
    def window(self) -> Floats:
        """w, Hann's: (F,)"""
        n = np.arange(self.frame_samples)
        return 0.5 - 0.5 * np.cos(2 * np.pi * n / self.frame_samples)

    @cached_property
    def edges(self) -> Floats:
        """Where the triangles begin, have their tops and end, in hertz, evenly spaced in mel: (mels + 2,)"""
        low, high = mel_of(np.array([self.low, self.top])).tolist()
        return hertz_of(np.linspace(low, high, self.mels + 2))

    @cached_property
    def bands(self) -> Floats:
        """B: (mels, D / 2 + 1), triangles of height 1."""
        edges = self.edges
        at = np.arange(self.transform // 2 + 1) * (self.rate / self.transform)
        rising = (at - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        falling = (edges[2:, None] - at) / (edges[2:] - edges[1:-1])[:, None]
        return np.maximum(0.0, np.minimum(rising, falling))

    def middle(self, band: int) -> float:
        """Where a band's triangle has its top, in hertz; band 0 is the lowest."""
        return float(self.edges[band + 1])

    def decibels(self, wave: NDArray[Any]) -> Floats:
        """L of a wave (T,), floats of -1..1 or int16: (mels, frames), the lowest band first."""
        x = np.asarray(wave, np.float64)
        if np.issubdtype(np.asarray(wave).dtype, np.integer):
            x = x / 32768
        x = np.pad(x, (0, max(0, self.frame_samples - len(x))))
        frames = np.lib.stride_tricks.sliding_window_view(x, self.frame_samples)[:: self.hop_samples]
        power = np.abs(np.fft.rfft(frames * self.window, self.transform)) ** 2
        return 10 * np.log10(np.maximum(power @ self.bands.T, _FAINTEST)).T

    def picture(self, wave: NDArray[Any]) -> Levels:
        """The spectrogram of a wave (T,) as a grey picture: uint8 (mels, frames, 1), the highest band on top."""
        decibels = self.decibels(wave)
        loudest = decibels.max()
        if loudest <= 10 * np.log10(_FAINTEST):  # silence
            return np.zeros((*decibels.shape, 1), np.uint8)
        share = np.clip(1 + (decibels - loudest) / self.range_db, 0, 1)
        picture: Levels = np.rint(255 * share[::-1, :, None]).astype(np.uint8)
        return picture

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def mel_of(hertz: Floats) -> Floats:
    """2595 log10(1 + f / 700)"""
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def hertz_of(mel: Floats) -> Floats:
    """The inverse: 700 (10^(m / 2595) - 1)"""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
