"""Splitting: stratified, seeded, exact duplicates together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.split import SHARES, assign


def unlike(count: int) -> list[bytes]:
    return [str(i).encode() for i in range(count)]


def counts(labels: list[int], splits: list[str]) -> dict[str, dict[int, int]]:
    return {name: dict(Counter(label for label, split in zip(labels, splits, strict=True) if split == name))
            for name in SHARES}  # fmt: skip


def test_each_class_has_its_share_in_each_split() -> None:
    labels = [0] * 100 + [1] * 50 + [2] * 20
    splits = assign(np.array(labels), unlike(170))
    assert counts(labels, splits) == {
        "train": {0: 80, 1: 40, 2: 16},
        "validation": {0: 10, 1: 5, 2: 2},
        "test": {0: 10, 1: 5, 2: 2},
    }


def test_the_seed_alone_decides() -> None:
    labels, digests = np.arange(200) % 2, unlike(200)
    assert assign(labels, digests, seed=3) == assign(labels, digests, seed=3)
    assert assign(labels, digests, seed=3) != assign(labels, digests, seed=4)


def test_the_order_of_the_digests_values_does_not_matter() -> None:
    labels = np.arange(60) % 3
    assert assign(labels, unlike(60)) == assign(labels, [digest[::-1] + b"x" for digest in unlike(60)])


def test_it_is_shuffled() -> None:
    """The pictures set aside are spread over the class, not its first or last."""
    splits = assign(np.zeros(1000, np.int64), unlike(1000))
    places = [i for i, split in enumerate(splits) if split == "test"]
    assert len(places) == 100
    assert 400 < np.mean(places) < 600
    assert np.std(places) > 200


@pytest.mark.parametrize("size", [1, 2])
def test_the_smallest_classes_are_for_training(size: int) -> None:
    assert assign(np.zeros(size, np.int64), unlike(size)) == ["train"] * size


@pytest.mark.parametrize("size", range(3, 15))
def test_small_classes_are_in_every_split(size: int) -> None:
    splits = Counter(assign(np.zeros(size, np.int64), unlike(size)))
    assert splits["validation"] == splits["test"] == 1
    assert splits["train"] == size - 2


def test_other_shares() -> None:
    shares = {"train": 0.5, "validation": 0.0, "test": 0.5}
    splits = Counter(assign(np.zeros(10, np.int64), unlike(10), shares=shares))
    assert splits == {"train": 5, "test": 5}


def test_duplicates_with_two_labels_stay_together() -> None:
    labels = np.array([0, 1] * 50)
    digests = [str(i // 2).encode() for i in range(100)]  # each picture once as 0 and once as 1
    splits = assign(labels, digests)
    assert all(splits[i] == splits[i + 1] for i in range(0, 100, 2))


@settings(max_examples=200, deadline=None)
@given(
    members=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=120),
    seed=st.integers(0, 2**63),
)
def test_whatever_is_given(members: list[tuple[int, int]], seed: int) -> None:
    """Every picture has a split, equal ones the same, and no split has more than its share of unlike ones, rounded."""
    labels = np.array([label for label, _ in members])
    digests = [str(number).encode() for _, number in members]
    splits = assign(labels, digests, seed=seed)
    assert len(splits) == len(members)
    assert set(splits) <= set(SHARES)
    of_digest: dict[bytes, set[str]] = {}
    for digest, split in zip(digests, splits, strict=True):
        of_digest.setdefault(digest, set()).add(split)
    assert all(len(found) == 1 for found in of_digest.values())
    most = sum(max(1, round(0.1 * count)) for count in Counter(labels.tolist()).values())
    assert splits.count("test") <= most + len(members) - len(of_digest)
    assert "train" in splits
