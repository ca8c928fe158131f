"""What networks that write one token after another have in common: how they are asked, and rows of what they keep."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

PADDING = 0  # the number of the token that fills a sequence up: it is nothing, and nothing sees it

Kept = tuple[Tensor, ...]  # what a network keeps of sequences, each tensor with the batch in front


class Decoder(Protocol):
    """A network that reads a source and writes a target, token by token.

    Called with (source, target so far), it gives the outputs for all places at once, as in training. In decoding the
    source is read once by ``encode``; then ``step`` takes the tokens that are new, and what it kept of those before.
    """

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        """(N, S) and (N, T) int64 -> (N, T, vocabulary)"""
        ...

    def encode(self, source: Tensor) -> Kept:
        """(N, S) int64 -> what a decoder looks at."""
        ...

    def step(self, tokens: Tensor, memory: Kept, cache: Kept = ()) -> tuple[Tensor, Kept]:
        """(N, T) int64, the tokens that are new -> outputs (N, T, vocabulary), and the cache with them in it."""
        ...


def rows(kept: Kept, index: Tensor) -> Kept:
    """A memory or cache of other sequences: row ``index[i]`` becomes row i, as a beam search needs it."""
    return tuple(tensor.index_select(0, index) for tensor in kept)
