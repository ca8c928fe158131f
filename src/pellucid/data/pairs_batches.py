"""Batches of pairs of like lengths. Which pairs, in what order, is a function of (seed, epoch, step) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.random import Purpose, permutation, words
from pellucid.data.subwords import END, PADDING, START
from pellucid.errors import UsageError

_POOL = 64  # batches whose pairs are sorted by length together


@dataclass
class PairBatch:
    """source: int64 (N, S). before: int64 (N, T), what the decoder is given: start, then the target (teacher forcing).
    targets: int64 (N, T), what it is to say: the target, then end. Shorter rows are filled up with 0."""

    source: torch.Tensor
    before: torch.Tensor
    targets: torch.Tensor
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> torch.Tensor:
        """The same as the targets."""
        return self.targets

    @property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network is called with."""
        return self.source, self.before

    @property
    def count(self) -> int:
        """Over how many things the means of loss and accuracy are taken: target tokens, their end included."""
        return int((self.targets != PADDING).sum())


class PairBatches:
    """The batches of encoded pairs, epoch by epoch.

    In training the pairs are shuffled, sorted by length inside of pools of 64 batches, cut into batches, and the
    batches are shuffled: rows of a batch need little filling, and yet each epoch has other batches. Else all pairs in
    order of their lengths.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", fits="1 or more")
        self.sources, self.targets = sources, targets
        self.batch_size, self.seed, self.shuffle, self.device = batch_size, seed, shuffle, torch.device(device)
        self._lengths = np.array([(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]).reshape(-1, 2)

    def __len__(self) -> int:
        """Steps in an epoch."""
        return -(-len(self.sources) // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[PairBatch]:
        """The batches of epoch ``number``, from step ``start`` on."""
        for indices in self.plan(number)[start:]:
            yield self._batch(indices)

    def plan(self, number: int) -> list[NDArray[np.int64]]:
        """Which pairs are in each batch of an epoch."""
        count, size = len(self.sources), self.batch_size
        order = permutation(self.seed, number, count) if self.shuffle else np.arange(count)
        pool = _POOL * size if self.shuffle else max(1, count)
        batches = []
        for first in range(0, count, pool):
            part = order[first : first + pool]
            part = part[np.lexsort((self._lengths[part, 1], self._lengths[part, 0]))]
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        if self.shuffle:
            chance = words(self.seed, number, Purpose.BUCKET, len(batches))[:, 0]
            batches = [batches[i] for i in np.argsort(chance, kind="stable")]
        return batches

    def _batch(self, indices: NDArray[np.int64]) -> PairBatch:
        sources = [self.sources[i] for i in indices]
        targets = [self.targets[i] for i in indices]
        return PairBatch(
            padded(sources).to(self.device),
            padded([[START, *target] for target in targets]).to(self.device),
            padded([[*target, END] for target in targets]).to(self.device),
            indices,
        )


def padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """int64 (N, longest), each row filled up with 0."""
    result = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int64)
    for i, row in enumerate(rows):
        result[i, : len(row)] = row
    return torch.from_numpy(result)
