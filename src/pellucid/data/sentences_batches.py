"""Batches of texts of like lengths. Which texts, in what order, is a function of (seed, epoch, step) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.random import Purpose, permutation, words
from pellucid.data.vocabulary import padded
from pellucid.errors import UsageError

_POOL = 32  # batches whose texts are sorted by length together


@dataclass
class SentenceBatch:
    """tokens: int64 (N, length), filled up with 0. labels: int64 (N,). indices: int64 (N,), where in the split the
    texts came from."""

    tokens: torch.Tensor
    labels: torch.Tensor
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def targets(self) -> torch.Tensor:
        """The same as the labels."""
        return self.labels

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the network is called with."""
        return (self.tokens,)

    @property
    def count(self) -> int:
        """Over how many things the means of loss and accuracy are taken: texts."""
        return len(self.indices)


class SentenceBatches:
    """The batches of encoded texts, epoch by epoch.

    In training the texts are shuffled, sorted by length inside of pools of 32 batches, cut into batches, and the
    batches are shuffled: rows of a batch need little filling, and yet each epoch has other batches. Else all in order.

    Args:
        texts: token numbers, N lists.
        labels: int64 (N,).
        batch_size: texts in a batch.
        seed: of the order.
        shuffle: whether this is training.
        device: where the batches are wanted.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        labels: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", fits="1 or more")
        self.texts, self.labels = texts, labels
        self.batch_size, self.seed, self.shuffle, self.device = batch_size, seed, shuffle, torch.device(device)
        self._lengths = np.array([len(text) for text in texts], np.int64)

    def __len__(self) -> int:
        """Steps in an epoch; in training the rest that fills no batch is left out, as long as there is a full one."""
        count, size = len(self.texts), self.batch_size
        return max(1, count // size) if self.shuffle and count else -(-count // size)

    def epoch(self, number: int, start: int = 0) -> Iterator[SentenceBatch]:
        """The batches of epoch ``number``, from step ``start`` on."""
        for indices in self.plan(number)[start:]:
            tokens, _ = padded([self.texts[i] for i in indices])
            labels = torch.from_numpy(self.labels[indices])
            yield SentenceBatch(torch.from_numpy(tokens).to(self.device), labels.to(self.device), indices)

    def plan(self, number: int) -> list[NDArray[np.int64]]:
        """Which texts are in each batch of an epoch."""
        count, size = len(self.texts), self.batch_size
        if not self.shuffle:
            return [np.arange(first, min(first + size, count)) for first in range(0, count, size)]
        order = permutation(self.seed, number, count)[: max(size, count - count % size)]
        pools = [order[first : first + _POOL * size] for first in range(0, len(order), _POOL * size)]
        ordered = [pool[np.argsort(self._lengths[pool], kind="stable")] for pool in pools]
        batches = [pool[first : first + size] for pool in ordered for first in range(0, len(pool), size)]
        chance = words(self.seed, number, Purpose.BUCKET, len(batches))[:, 0]
        return [batches[i] for i in np.argsort(chance, kind="stable")]
