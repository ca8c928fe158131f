"""Splitting a data set that comes without splits: stratified, seeded, never exact duplicates apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def assign(
    labels: NDArray[np.int64], digests: Sequence[bytes], *, seed: int = 0, shares: Mapping[str, float] = SHARES
) -> list[str]:
    """A split for each of N pictures.

    Within each class, groups of exact duplicates (equal digests) are shuffled by the seed and dealt out, each to the
    split that is furthest behind its share. A group that stands in several classes is dealt with the first of them.

    Args:
        labels: the class of each picture, (N,).
        digests: what is equal exactly where two pictures are, such as the SHA-256 of their pixels; N of them.
        seed: of the shuffle.
        shares: of each split, in all 1. The first named takes what does not divide.
    """
    groups: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests):
        groups.setdefault(digest, []).append(i)
    of_class: dict[int, list[list[int]]] = {}
    for members in groups.values():
        of_class.setdefault(int(labels[members[0]]), []).append(members)
    result = [""] * len(labels)
    for label in sorted(of_class):
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, label], np.uint64)))
        order = generator.permutation(len(of_class[label]))
        for split, members in _deal([of_class[label][i] for i in order], shares):
            for i in members:
                result[i] = split
    return result


def _deal(groups: list[list[int]], shares: Mapping[str, float]) -> list[tuple[str, list[int]]]:
    total = sum(map(len, groups))
    names = list(shares)
    # Small classes: every split that has a share gets a picture before the training split gets its second.
    room = {name: round(shares[name] * total) for name in names[1:]}
    if len(groups) >= len(names):
        room = {name: max(1, size) if shares[name] > 0 else 0 for name, size in room.items()}
    dealt = []
    for members in groups:
        name = next((name for name in names[1:] if room[name] >= len(members)), names[0])
        if name != names[0]:
            room[name] -= len(members)
        dealt.append((name, members))
    return dealt
