"""Windows of series dealt out as batches: a function of (seed, epoch, step), with no state to save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.data.random import permutation
from pellucid.data.series import Places, SeriesSplit
from pellucid.data.series_scaling import SeriesPreparation
from pellucid.errors import ShapeError


@dataclass
class SeriesBatch:
    """windows: float32 (N, window, features). targets, labels: what came next, scaled, float32 (N, horizon, targets).
    indices: int64 (N,), which windows of the split they are."""

    windows: Tensor
    targets: Tensor
    labels: Tensor
    indices: Places

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is called with."""
        return (self.windows,)

    @property
    def count(self) -> int:
        """Over how many things the means of loss and score are taken: windows."""
        return len(self.indices)


class SeriesBatches:
    """The batches of a split, epoch by epoch; shuffled in training, else in the order of time."""

    def __init__(
        self,
        split: SeriesSplit,
        preparation: SeriesPreparation,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        framing = preparation.framing
        if (split.window, split.horizon, split.values.shape[1]) != (
            framing.window,
            framing.horizon,
            len(preparation.names),
        ):
            raise ShapeError(
                f"windows are {split.window} rows of {split.values.shape[1]} series and {split.horizon} ahead",
                fits=f"{framing.window} rows of {len(preparation.names)} series and {framing.horizon} ahead",
            )
        self.split, self.preparation, self.batch_size, self.seed = split, preparation, batch_size, seed
        self.shuffle, self.drop_last, self.device = shuffle, drop_last, torch.device(device)

    def __len__(self) -> int:
        """Steps in an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def epoch(self, number: int, start: int = 0) -> Iterator[SeriesBatch]:
        """The batches of epoch ``number``, from step ``start`` on."""
        count = len(self.split)
        order = permutation(self.seed, number, count) if self.shuffle else np.arange(count)
        for step in range(start, len(self)):
            yield self._batch(order[step * self.batch_size : (step + 1) * self.batch_size])

    def _batch(self, indices: Places) -> SeriesBatch:
        split = self.split
        known = split.known(indices)
        windows = self.preparation.inputs(known, split.dates[split.known_rows(indices)])
        wanted = torch.from_numpy(self.preparation.wanted(known, split.targets(indices))).to(self.device)
        return SeriesBatch(torch.from_numpy(windows).to(self.device), wanted, wanted, indices)
