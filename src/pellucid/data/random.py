"""Random numbers without a state: each is a function of (seed, epoch, purpose, sample).

Philox is a counter-based generator (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
2011): block number b of its stream is a bijection of b under a key. The key here is the seed; the 256-bit counter is
(sample, epoch, purpose, 0), so the numbers of one sample in one epoch are the same in whatever order samples are
visited, whatever was drawn before, and by however many workers. There is nothing to save when a run stops.
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

_WORDS = 8  # one Philox block: four 64-bit words, used as eight of 32 bits


class Purpose(enum.IntEnum):
    """What a number is for. The values are part of what makes a run repeatable: never renumber them."""

    SHUFFLE = 1
    FLIP = 2
    CROP = 3
    RESIZED_CROP = 4
    ROTATION = 5
    SCALE = 6
    COLOR = 7
    CUTOUT = 8
    MIXUP = 9
    SPLIT = 10
    NOISE = 11
    SPELLING = 20
    BUCKET = 21


def words(seed: int, epoch: int, purpose: Purpose, count: int) -> NDArray[np.uint32]:
    """Eight random 32-bit words for each of the samples 0 .. count-1, of shape (count, 8)."""
    key = np.array([seed % 2**64, seed // 2**64 % 2**64], np.uint64)
    # numpy steps the counter before each block, so sample i gets block i + 1: the same for everyone.
    counter = np.array([0, epoch, int(purpose), 0], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(count * _WORDS // 2)
    # Little-endian order of the two halves, spelled out so that every machine has the same words.
    return raw.astype("<u8", copy=False).view("<u4").reshape(count, _WORDS).astype(np.uint32, copy=False)


def uniform(seed: int, epoch: int, purpose: Purpose, count: int, columns: int = 1) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 32 random bits, of shape (count, columns), columns <= 8."""
    return words(seed, epoch, purpose, count)[:, :columns].astype(np.float64) * 2.0**-32


def integers(below: int, seed: int, epoch: int, purpose: Purpose, count: int, columns: int = 1) -> NDArray[np.int64]:
    """Whole numbers in [0, below), of shape (count, columns): the high half of a 32-bit by 32-bit product."""
    product = words(seed, epoch, purpose, count)[:, :columns].astype(np.uint64) * np.uint64(below)
    return (product >> np.uint64(32)).astype(np.int64)


def permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The samples 0 .. count-1 in random order: sorted by a 64-bit number of each sample's own (no two are equal)."""
    pair = words(seed, epoch, Purpose.SHUFFLE, count)[:, :2].astype(np.uint64)
    return np.argsort(pair[:, 0] << np.uint64(32) | pair[:, 1]).astype(np.int64, copy=False)


def beta_symmetric(probability: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """The quantile function of Beta(alpha, alpha), so that one uniform number makes one Beta number.

    With s = x^p, p = min(alpha, 1), the density x^(alpha-1) (1-x)^(alpha-1) dx becomes, but for a constant,
    s^(alpha/p-1) (1-s^(1/p))^(alpha-1) ds, which is bounded for x <= 1/2, so a table of its integral inverts it; the
    other half follows by symmetry. Exact to about 1e-6 in probability.
    """
    power = min(alpha, 1.0)
    grid = np.linspace(0.0, 0.5**power, 8193)
    height = grid ** (alpha / power - 1.0) * (1.0 - grid ** (1.0 / power)) ** (alpha - 1.0)
    mass = np.concatenate([[0.0], np.cumsum((height[1:] + height[:-1]) / 2)])
    lower = np.minimum(probability, 1.0 - probability)
    x: NDArray[np.float64] = np.interp(lower, mass / mass[-1] / 2, grid) ** (1.0 / power)
    return np.where(probability <= 0.5, x, 1.0 - x)
