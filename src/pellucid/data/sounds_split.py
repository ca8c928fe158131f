"""Which recordings are to learn from, to choose by and to measure on: at random, or so that no speaker (or take, or
whatever a name says) stands on two sides.

A network that has heard a speaker's other takes of a word has an easier task with the next one than with a stranger's.
Which of the two is measured is for the user to know: so the split says what it held apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.data.random import Purpose, uniform
from pellucid.data.source import natural_order
from pellucid.data.split import assign
from pellucid.errors import DataError, UsageError, unknown

Indices = NDArray[np.int64]
TEST_SHARE = 0.1
_SPLITS = ("train", "validation", "test")


def by_group(
    groups: Sequence[str], *, seed: int, shares: Mapping[str, float], held_out: Sequence[str] = ()
) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """A split for each recording, whole groups together, and which groups went where.

    Groups are taken in an order by the seed until a split has its share, at least one for every split with a share;
    the training split has the rest.

    Args:
        groups: what each recording belongs to, N of them.
        seed: of the order.
        shares: of the splits beside train, such as {"test": 0.1, "validation": 0.1}; those of 0 get nothing.
        held_out: the groups of the test split, instead of a draw.

    Raises:
        UsageError: for a held-out group that there is not.
        DataError: where there are too few groups.
    """
    names = natural_order(set(groups))
    for name in held_out:
        if name not in names:
            raise unknown("group to hold out", name, names)
    order = np.argsort(uniform(seed, 0, Purpose.SPLIT, len(names))[:, 0])
    rest = [names[i] for i in order if names[i] not in held_out]
    count = {name: groups.count(name) for name in names}
    dealt: dict[str, tuple[str, ...]] = {}
    for split in ("test", "validation"):
        if split == "test" and held_out:
            dealt[split] = tuple(held_out)
            continue
        taken: list[str] = []
        while shares.get(split, 0) > 0 and rest and sum(count[name] for name in taken) < shares[split] * len(groups):
            best = rest.pop(0)
            full = sum(count[name] for name in taken)
            if taken and full + count[best] - shares[split] * len(groups) > shares[split] * len(groups) - full:
                rest.insert(0, best)  # with it the split would be further from its share than without
                break
            taken.append(best)
        if taken:
            dealt[split] = tuple(taken)
    if not rest:
        raise DataError(
            f"{len(names)} groups ({', '.join(names)}) are too few for {len(dealt) + 1} splits that share none",
            fits="validation=0, or a split by something else",
        )
    dealt["train"] = tuple(rest)
    of = {name: split for split, members in dealt.items() for name in members}
    return [of[group] for group in groups], {
        split: natural_order(set(dealt[split])) for split in _SPLITS if split in dealt
    }


def splits_of(
    given: Sequence[str | None],
    labels: Indices,
    digests: Sequence[bytes],
    groups: Sequence[str] | None,
    what: str,
    *,
    validation: float | None,
    held_out: Sequence[str],
    seed: int,
) -> tuple[list[str], list[str]]:
    """A split for each of N recordings, and sentences for the user.

    Args:
        given: the splits that the source says.
        labels: (N,). digests: equal where the files are.
        groups: what may not stand on two sides; None: split at random, the classes in their shares, equal files
            together. what: the name of that, such as speaker.
        validation: its share; None: a tenth where the source has no splits, else nothing.
        held_out: groups of the test split.
        seed: of the draw.
    """
    if validation is not None and not 0 <= validation < 1:
        raise UsageError(f"validation is {validation:g}", fits="a share from 0 to less than 1")
    if held_out and groups is None:
        raise UsageError("held_out names groups, and it is not said of what", fits="split_by=speaker held_out=theo")
    result = [split or "train" for split in given]
    has_splits = bool(set(result) - {"train"})
    if has_splits and (not validation or "validation" in result):
        return result, []
    held = 0.1 if validation is None else validation
    shares = {"validation": held} if has_splits else {"test": TEST_SHARE, "validation": held}
    inside = [i for i, split in enumerate(result) if split == "train"]
    if groups is None:
        every = {"train": 1 - sum(shares.values()), **shares}
        if every["train"] <= 0:
            raise UsageError(f"validation is {held:g}, and the test takes {TEST_SHARE:g}", fits="less than 0.9")
        dealt = assign(labels[inside], [digests[i] for i in inside], seed=seed, shares=every)
        note = "recordings were split at random: the same speaker may stand in several splits"
    else:
        mine = [groups[i] for i in inside]
        dealt, members = by_group(mine, seed=seed, shares=shares, held_out=() if has_splits else held_out)
        listed = "; ".join(f"{split} {', '.join(_few(members[split]))}" for split in members)
        note = f"split by {what}, so that none stands in two splits: {listed}"
    for i, split in zip(inside, dealt, strict=True):
        result[i] = split
    return result, [note]


def _few(names: Sequence[str], most: int = 8) -> list[str]:
    return [*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])]


def limited(members: Indices, labels: Indices, limit: int | None, seed: int) -> Indices:
    """At most ``limit`` of these recordings, the classes in their shares; in their order."""
    if limit is None or len(members) <= limit:
        return members
    chance = uniform(seed, 1, Purpose.SPLIT, len(members))[:, 0]
    place = np.empty(len(members))  # of each within its class, 0 to 1: the first of every class come first
    for label in np.unique(labels[members]):
        own = np.flatnonzero(labels[members] == label)
        place[own[np.argsort(chance[own])]] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(members[np.argsort(place, kind="stable")[:limit]])
