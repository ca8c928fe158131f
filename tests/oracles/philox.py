"""Philox4x64-10 from the paper's definition, one block at a time, in Python's whole numbers.

Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
"""

from __future__ import annotations

MASK = 2**64 - 1
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # added to the key after each round


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    for _ in range(10):
        first = MULTIPLIERS[0] * counter[0]
        second = MULTIPLIERS[1] * counter[2]
        counter = (
            (second >> 64) ^ counter[1] ^ key[0],
            second & MASK,
            (first >> 64) ^ counter[3] ^ key[1],
            first & MASK,
        )
        key = ((key[0] + WEYL[0]) & MASK, (key[1] + WEYL[1]) & MASK)
    return counter


def words_of_sample(seed: int, epoch: int, purpose: int, sample: int) -> list[int]:
    """The eight 32-bit words of one sample: the four of 64 bits, low half first."""
    block = philox((sample + 1, epoch, purpose, 0), (seed & MASK, seed >> 64 & MASK))
    return [half for word in block for half in (word & 0xFFFFFFFF, word >> 32)]
