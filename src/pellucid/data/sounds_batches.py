"""Batches of waves, and of spectrograms that are moved in time: functions of (seed, epoch, step), without a state."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.batches import Batch, Batches
from pellucid.data.random import Purpose, integers, permutation
from pellucid.data.sounds import WaveSplit
from pellucid.data.sounds_preprocess import WavePreprocess
from pellucid.errors import ShapeError, UsageError


class SpectrogramBatches(Batches):
    """The batches of a split of spectrograms: those of pictures, each first moved in time by its own number of up to
    ``shift`` columns either way. What leaves at one end is lost, and silence comes in at the other."""

    def __init__(self, *given: Any, shift: int = 0, **named: Any) -> None:
        super().__init__(*given, **named)
        self.shift = shift
        self._moves: NDArray[np.int64] | None = None

    def _make(self, number: int, start: int) -> Iterator[Batch]:
        if not self.shift:
            return super()._make(number, start)
        this = copy.copy(self)  # an epoch has its own moves, however many are under way
        count = len(self.split)
        this._moves = integers(2 * self.shift + 1, self.seed, number, Purpose.CROP, count, 3)[:, 2] - self.shift
        return super(SpectrogramBatches, this)._make(number, start)

    def _gather(self, indices: NDArray[np.int64]) -> torch.Tensor:
        pictures = super()._gather(indices)
        if self._moves is None:
            return pictures
        width = pictures.shape[3]
        at = torch.arange(width) - torch.from_numpy(self._moves[indices])[:, None]  # (n, W): where each column is from
        inside = ((at >= 0) & (at < width)).to(pictures.device)
        columns = at.clamp(0, width - 1).to(pictures.device)[:, None, None].expand(pictures.shape)
        return pictures.gather(3, columns) * inside[:, None, None]


class WaveBatches:
    """The batches of a split of waves, epoch by epoch, float32 (n, 1, T).

    The batch at (epoch, step) is the same whatever was asked for before. In training each wave is moved by its own
    number of up to ``shift`` samples either way; what leaves at one end is lost, and silence comes in at the other.
    """

    def __init__(
        self,
        split: WaveSplit,
        preprocess: WavePreprocess,
        *,
        batch_size: int,
        seed: int = 0,
        shift: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", fits="1 or more")
        if split.waves.shape[1] != preprocess.hearing.length:
            raise ShapeError(
                f"waves have {split.waves.shape[1]:,} samples, the network was made for {preprocess.hearing.length:,}",
                fits="load_sounds(..., hearing=preprocess.hearing)",
            )
        self.split, self.preprocess, self.batch_size, self.seed = split, preprocess, batch_size, seed
        self.shift, self.shuffle, self.drop_last = shift, shuffle, drop_last
        self.device = torch.device(device)

    def __len__(self) -> int:
        """Steps in an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number``, from step ``start`` on."""
        count = len(self.split)
        order = permutation(self.seed, number, count) if self.shuffle else np.arange(count)
        moves = np.zeros(count, np.int64)
        if self.shift:
            moves = integers(2 * self.shift + 1, self.seed, number, Purpose.CROP, count)[:, 0] - self.shift
        for step in range(start, len(self)):
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            waves = moved(np.asarray(self.split.waves[indices]), moves[indices])
            labels = torch.from_numpy(self.split.labels[indices]).to(self.device)
            inputs = self.preprocess.tensor(torch.from_numpy(waves).to(self.device))
            yield Batch(inputs, labels, labels, indices)


def moved(waves: NDArray[np.int16], moves: NDArray[np.int64]) -> NDArray[np.int16]:
    """Waves (n, T), each later by its number of samples (earlier where it is negative), with silence behind it."""
    length = waves.shape[1]
    at = np.arange(length) - moves[:, None]
    inside = (at >= 0) & (at < length)
    return np.where(inside, np.take_along_axis(waves, np.clip(at, 0, length - 1), 1), 0).astype(np.int16)
