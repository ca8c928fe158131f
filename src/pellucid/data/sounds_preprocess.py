"""From recordings to what a network eats, the same way in training, evaluation and prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from pellucid.data.dataset import Data, Pixels
from pellucid.data.preprocess import Preprocess
from pellucid.data.sounds import Hearing, Samples, Spectrograms, Waves, WaveSplit
from pellucid.errors import UsageError

_CHUNK = 1024  # waves that are summed at a time
_SMALLEST_STD = 1 / 32768


@dataclass(frozen=True)
class SpectrogramPreprocess(Preprocess):
    """What turns a recording into the picture that a network reads: ``Preprocess`` behind a spectrogram."""

    hearing: Hearing | None = None

    @classmethod
    def of(cls, data: Data) -> SpectrogramPreprocess:
        """Mean and deviation over the training spectrograms.

        Raises:
            UsageError: where the data do not say how recordings became pictures.
        """
        if not isinstance(data, Spectrograms) or data.hearing is None:
            raise UsageError("the data are pictures, and no recordings", fits="pellucid.data.load_sounds(...)")
        return cls(**vars(Preprocess.of(data)), hearing=data.hearing)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | str) -> SpectrogramPreprocess:
        read = json.loads(values) if isinstance(values, str) else dict(values)
        hearing = Hearing.from_json(read.pop("hearing"))
        return cls(**vars(Preprocess.from_json(read)), hearing=hearing)

    def picture(self, picture: Any) -> Pixels:
        """A recording (a WAV file's path or bytes, samples (T,) at the network's rate, or (samples, rate)) as its
        spectrogram, uint8 (mels, frames, 1). A picture (mels, frames, 1) or (mels, frames) is one already."""
        if self.hearing is None:
            raise UsageError("how recordings become pictures is not known")
        array = np.asarray(picture) if isinstance(picture, np.ndarray | torch.Tensor) else None
        if array is not None and array.dtype == np.uint8 and array.shape[:2] == self.image_size:
            return array.reshape(*self.image_size, 1)
        return self.hearing.picture(picture if array is None else array)


@dataclass(frozen=True)
class WavePreprocess:
    """What turns a recording into the wave that a network reads: x / std, where full scale is 1.

    std: root of the mean square of the training waves. classes: names of the outputs.
    """

    hearing: Hearing
    std: float
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Waves) -> WavePreprocess:
        """From whole-number sums of squares, so exact and the same on every machine."""
        return cls(data.hearing, root_mean_square(data.train), data.classes)

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``from_json`` reads them back exactly."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WavePreprocess:
        return cls(Hearing.from_json(values["hearing"]), float(values["std"]), tuple(values["classes"]))

    def wave(self, recording: Any, name: str = "the recording") -> Samples:
        """One recording as int16 (T,), see ``Hearing.wave``."""
        return self.hearing.wave(recording, name)

    def tensor(self, waves: torch.Tensor) -> torch.Tensor:
        """int16 (N, T) -> float32 (N, 1, T)"""
        return (waves.to(torch.float32) * (1 / (32768 * self.std))).unsqueeze(1)


def root_mean_square(split: WaveSplit) -> float:
    """Over all samples, where full scale is 1.

    Raises:
        UsageError: where there are none.
    """
    if not len(split):
        raise UsageError("there are no training recordings to measure")
    total = 0
    for first in range(0, len(split), _CHUNK):
        block = np.asarray(split.waves[first : first + _CHUNK]).astype(np.int64)
        total += int((block * block).sum())
    return max(_SMALLEST_STD, float(np.sqrt(total / split.waves.size)) / 32768)
