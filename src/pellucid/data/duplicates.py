"""The same picture twice: exactly (equal pixels), or nearly (equal perceptual hashes)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIDE = 8  # the hash has 8 x 8 bits
_LUMA = np.array([0.299, 0.587, 0.114])


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """SHA-256 of a picture's shape and pixels."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).digest()


def difference_hash(pixels: NDArray[np.uint8]) -> int:
    """The 64-bit difference hash of one picture (H, W, C), as ImageHash's ``dhash`` has it: whether each of 8 x 9 means
    is darker than its right neighbour."""
    import imagehash
    from PIL import Image

    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return int(str(imagehash.dhash(picture, hash_size=_SIDE)), 16)


def difference_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Difference hashes of many small pictures at once, (N, H, W, C) -> (N,), by means over equal parts of each.

    The parts are those of a box filter, not of ImageHash's Lanczos filter, so single bits may differ from
    ``difference_hash``; use one or the other for a data set, never both.
    """
    count, height, width, channels = images.shape
    rows = np.linspace(0, height, _SIDE + 1).round().astype(int)
    columns = np.linspace(0, width, _SIDE + 2).round().astype(int)
    hashes = np.zeros(count, np.uint64)
    for first in range(0, count, 4096):
        block = images[first : first + 4096]
        grey = block[..., 0].astype(np.float32) if channels == 1 else (block @ _LUMA).astype(np.float32)
        sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), columns[:-1], axis=2)
        areas = np.diff(rows)[:, None] * np.diff(columns)[None, :]
        means = sums / areas
        bits = (means[:, :, 1:] > means[:, :, :-1]).reshape(len(block), -1)
        hashes[first : first + 4096] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def near_pairs(hashes: NDArray[np.uint64], most: int = 3) -> list[tuple[int, int]]:
    """Pairs (i < j) of which the hashes differ in at most ``most`` of 64 bits.

    Two such hashes agree in at least one of ``most + 1`` parts of their bits (Manku, Jain & Das Sarma 2007), so only
    pictures that share a part are compared. Flat pictures, of a hash that says nothing, are left out.
    """
    parts = np.array_split(np.arange(64), most + 1)
    found: set[tuple[int, int]] = set()
    useful = np.flatnonzero((np.bitwise_count(hashes) > 4) & (np.bitwise_count(hashes) < 60))
    for bits in parts:
        mask = np.uint64(sum(1 << int(bit) for bit in bits))
        keys = hashes[useful] & mask
        order = np.argsort(keys, kind="stable")
        ordered, members = keys[order], useful[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(ordered)], strict=True):
            if end - start > 1:
                found |= _within(members[start:end], hashes, most)
    return sorted(found)


def _within(members: NDArray[np.int64], hashes: NDArray[np.uint64], most: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for i, one in enumerate(members[:-1]):
        others = members[i + 1 :]
        close = others[np.bitwise_count(hashes[others] ^ hashes[one]) <= most]
        found |= {(min(int(one), int(other)), max(int(one), int(other))) for other in close}
    return found


def groups(digests: Sequence[bytes]) -> list[list[int]]:
    """Indices of equal digests, those that occur more than once."""
    by_digest: dict[bytes, list[int]] = {}
    for i, value in enumerate(digests):
        by_digest.setdefault(value, []).append(i)
    return [members for members in by_digest.values() if len(members) > 1]
