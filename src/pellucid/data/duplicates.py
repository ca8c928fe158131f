"""The same picture twice: exactly (equal pixels), or nearly (equal perceptual hashes)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 3  # of 64, in which the hashes of near copies may differ
LEAST_ALIKE = 0.98  # correlation of the grey thumbnails of near copies
MOST_PAIRS = 200_000  # a film's frames are all alike: the search ends here
_SIDE = 8  # the hash has 8 x 8 bits
_THUMBNAIL = 16
_BLOCK = 1 << 22  # comparisons of hashes at a time
_PAIRS = 1 << 16  # comparisons of thumbnails at a time


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """SHA-256 of a picture's shape and pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def look(pixels: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
    """What near copies are known by: the hash and a grey thumbnail (256,) of one picture (H, W, C).

    The hash is ImageHash's 64-bit difference hash: whether each of 8 x 9 grey means is darker than its right neighbour.
    """
    import imagehash
    from PIL import Image

    grey = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    bits = imagehash.dhash(grey, hash_size=_SIDE).hash
    small = grey.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return int.from_bytes(np.packbits(bits).tobytes()), np.asarray(small).ravel()


def near_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.int64], bool]:
    """Pairs (i < j) of near copies, (P, 2), the most alike first; and whether the search ended at ``MOST_PAIRS``.

    Near copies are pictures of which the hashes (N,) differ in at most ``MOST_BITS`` bits and the thumbnails (N, 256)
    correlate by at least ``LEAST_ALIKE``. Two such hashes agree in at least one of ``MOST_BITS + 1`` parts of their
    bits (Manku, Jain & Das Sarma 2007), so only pictures that share a part are compared. A part takes every fourth bit,
    so that it sees all of the picture. Flat pictures, of a hash that says nothing, are left out.
    """
    centred = thumbnails.astype(np.float32)
    centred -= centred.mean(1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), np.float32(1e-6))
    counts = np.bitwise_count(hashes)
    useful = np.flatnonzero((counts > 4) & (counts < 60))
    found: set[tuple[int, int]] = set()
    for part in range(MOST_BITS + 1):
        mask = np.uint64(sum(1 << bit for bit in range(part, 64, MOST_BITS + 1)))
        for members in _sharing(useful, hashes[useful] & mask):
            for pairs in _within(members, hashes):
                alike = np.einsum("ij,ij->i", centred[pairs[:, 0]], centred[pairs[:, 1]])
                found.update(map(tuple, pairs[alike >= LEAST_ALIKE][:MOST_PAIRS].tolist()))
                if len(found) >= MOST_PAIRS:
                    return _ordered(found, centred), True
    return _ordered(found, centred), False


def _sharing(members: NDArray[np.int64], keys: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """The members that have the same key, for each key of several; each in rising order."""
    order = np.argsort(keys, kind="stable")
    borders = np.flatnonzero(np.diff(keys[order])) + 1
    return (part for part in np.split(members[order], borders) if len(part) > 1)


def _within(members: NDArray[np.int64], hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Pairs of members (P, 2) with hashes that differ in few bits, some at a time."""
    own = hashes[members]
    rows = max(1, _BLOCK // len(members))
    for first in range(0, len(members), rows):
        i, j = np.nonzero(np.bitwise_count(own[first : first + rows, None] ^ own[None, :]) <= MOST_BITS)
        i += first
        pairs = np.stack([members[i[i < j]], members[j[i < j]]], axis=1)
        for start in range(0, len(pairs), _PAIRS):
            yield pairs[start : start + _PAIRS]


def _ordered(found: set[tuple[int, int]], centred: NDArray[np.float32]) -> NDArray[np.int64]:
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    alike = np.einsum("ij,ij->i", centred[pairs[:, 0]], centred[pairs[:, 1]])
    return pairs[np.argsort(-alike, kind="stable")]


def groups(digests: Sequence[bytes]) -> list[list[int]]:
    """Indices of equal digests, those that occur more than once."""
    by_digest: dict[bytes, list[int]] = {}
    for i, value in enumerate(digests):
        by_digest.setdefault(value, []).append(i)
    return [members for members in by_digest.values() if len(members) > 1]
