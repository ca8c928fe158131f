"""Copies: exact by pixels, near by ImageHash's difference hash and a thumbnail."""

from __future__ import annotations

import io
from itertools import combinations

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pellucid.data import duplicates
from pellucid.data.duplicates import digest, groups, look, near_pairs
from tests.data.pictures import a_picture, encoded


def seen(pictures: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    looks = [look(picture) for picture in pictures]
    return np.array([value for value, _ in looks], np.uint64), np.stack([small for _, small in looks])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (5, 7), (1, 1), (240, 100)])
def test_the_hash_is_imagehash_itself(channels: int, size: tuple[int, int]) -> None:
    for number in range(10):
        pixels = a_picture(number, *size, channels=channels)
        picture = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        assert f"{look(pixels)[0]:016x}" == str(imagehash.dhash(picture))


def test_the_digest_tells_pixels_and_shapes_apart() -> None:
    pixels = a_picture(1, 6, 4)
    changed = pixels.copy()
    changed[5, 3, 2] ^= 1
    assert digest(pixels) == digest(pixels.copy()) == digest(np.asfortranarray(pixels))
    assert len({digest(pixels), digest(changed), digest(pixels.reshape(4, 6, 3)), digest(pixels[::-1])}) == 4


def test_groups() -> None:
    assert groups([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[0, 2, 5], [1, 4]]
    assert groups([b"a", b"b"]) == groups([]) == []


def changed_a_little(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    picture = Image.fromarray(pixels)
    small = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    return {
        "as JPEG": np.asarray(Image.open(io.BytesIO(encoded(pixels, "JPEG", quality=60)))),
        "smaller": np.asarray(small),
        "brighter": np.minimum(pixels.astype(int) * 0.8 + 30, 255).astype(np.uint8),
        "noisy": np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8),
    }


@pytest.mark.parametrize("how", ["as JPEG", "smaller", "brighter", "noisy"])
def test_near_copies_are_found_among_others(how: str) -> None:
    originals = [a_picture(number, 64, 64) for number in range(60)]
    copies = [changed_a_little(pixels)[how] for pixels in originals[:20]]
    pairs, ended = near_pairs(*seen(originals + copies))
    assert not ended
    found = set(map(tuple, pairs.tolist()))
    assert found <= {(i, 60 + i) for i in range(20)}
    assert len(found) >= 18


def brute(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]) -> set[tuple[int, int]]:
    """Every pair compared, by the definition."""
    found = set()
    for i, j in combinations(range(len(hashes)), 2):
        ones = (int(hashes[i]).bit_count(), int(hashes[j]).bit_count())
        if min(ones) <= 4 or max(ones) >= 60 or (int(hashes[i]) ^ int(hashes[j])).bit_count() > duplicates.MOST_BITS:
            continue
        if np.corrcoef(thumbnails[i].astype(float), thumbnails[j].astype(float))[0, 1] >= duplicates.LEAST_ALIKE:
            found.add((i, j))
    return found


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_the_fast_search_finds_what_a_slow_one_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    monkeypatch.setattr(duplicates, "_PAIRS", min(block, 1 << 16))
    chance = np.random.default_rng(0)
    hashes, thumbnails = [], []
    for _ in range(40):  # families of hashes that differ in 0 to 6 bits, of thumbnails that are more or less alike
        value, small = int(chance.integers(0, 2**63)), chance.integers(0, 256, 256).astype(float)
        for _ in range(6):
            hashes.append(value ^ sum(1 << int(bit) for bit in chance.integers(0, 64, chance.integers(0, 5))))
            thumbnails.append(np.clip(small + chance.normal(0, chance.choice([1, 15, 30]), 256), 0, 255))
    hashes += [0, 0, 2**64 - 1, 2**64 - 1]  # those that say nothing: a picture that grows darker or brighter throughout
    thumbnails += [np.arange(255.0, -1, -1)] * 2 + [np.arange(256.0)] * 2
    h, t = np.array(hashes, np.uint64), np.array(thumbnails).astype(np.uint8)
    pairs, ended = near_pairs(h, t)
    assert set(map(tuple, pairs.tolist())) == brute(h, t)
    assert 50 < len(pairs) < 600
    assert not ended


def test_the_most_alike_come_first() -> None:
    base = a_picture(3, 64, 64)
    noise = np.random.default_rng(0).normal(0, 1, base.shape)
    others = [np.clip(base + by * noise, 0, 255).astype(np.uint8) for by in (12, 1)]
    pairs, _ = near_pairs(*seen([base, *others]))
    assert pairs[0].tolist() == [0, 2]


def test_flat_pictures_are_not_alike() -> None:
    pairs, _ = near_pairs(*seen([np.full((9, 9, 3), value, np.uint8) for value in (0, 0, 100, 255)]))
    assert pairs.shape == (0, 2)


def test_the_search_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film of 3,000 frames that are all alike has 4.5 million pairs."""
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 1000)
    hashes, thumbnails = seen([a_picture(1, 32, 32)])
    pairs, ended = near_pairs(np.repeat(hashes, 3000), np.repeat(thumbnails, 3000, axis=0))
    assert ended
    assert len(pairs) >= 1000


def test_nothing_at_all() -> None:
    pairs, ended = near_pairs(np.zeros(0, np.uint64), np.zeros((0, 256), np.uint8))
    assert pairs.shape == (0, 2)
    assert not ended
