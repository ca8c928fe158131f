"""Pairs of texts: a source, and the target that it is to become. What translation learns from.

``load_pairs`` reads them from a CSV file, parallel text files, a folder or zip of these, or makes a known set by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np

from pellucid.data.dataset import Numbered
from pellucid.data.random import permutation
from pellucid.data.split import SHARES, assign
from pellucid.errors import DataError, UsageError

# Sets that are made by rule: name -> the module and function that makes it
MADE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "dates": ("pellucid.data.dates", "dates"),
        "numbers": ("pellucid.data.number_words", "numbers"),
    }
)
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PairSplit:
    """N sources, their N targets, and where each pair stands: ``pairs.csv:17``, or ``train:16`` for what is made."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    names: Sequence[str]

    @classmethod
    def made(cls, name: str, pairs: Sequence[tuple[str, str]]) -> PairSplit:
        """Pairs that stand in no file, called by their split and number."""
        sources, targets = zip(*pairs, strict=True)
        return cls(sources, targets, Numbered(name, len(pairs)))

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, indices: Sequence[int]) -> PairSplit:
        """The pairs at these indices, in this order."""
        return PairSplit(
            tuple(self.sources[i] for i in indices),
            tuple(self.targets[i] for i in indices),
            tuple(self.names[i] for i in indices),
        )


@dataclass(frozen=True)
class Pairs:
    """A data set of pairs: ``train`` to learn from, ``validation`` to choose by, ``test`` to measure once."""

    splits: Mapping[str, PairSplit]
    origin: str = "pairs"
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=(), init=False)
    task: str = field(default="translation", init=False)

    @property
    def train(self) -> PairSplit:
        """The pairs to learn from."""
        return self.splits["train"]

    @property
    def test(self) -> PairSplit | None:
        """The pairs to measure once."""
        return self.splits.get("test")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all texts and splits: two sets with the same one train the same network."""
        digest = hashlib.sha256(b"pellucid pairs 1\n")
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split)}\n".encode())
            for text in (*split.sources, *split.targets):
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()


def load_pairs(
    where: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    validation: float | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Pairs:
    """Pairs of texts from a path, or one of the names ``dates`` and ``numbers``.

    Args:
        where: a CSV or TSV file with columns ``source`` and ``target`` (other usual names too) and perhaps ``split``; a
            folder with ``train.en`` and ``train.zh`` (and ``validation.*``, ``test.*``) or ``source.txt`` and
            ``target.txt``, line by line; a zip or tar of these.
        source, target: which column, or which ending, where the names do not say it.
        validation: share of the pairs to choose by; 0.1 (and 0.1 for the test) where the files have no splits.
        limit: at most so many pairs of each split.
        seed: decides the splits and what ``limit`` takes, and nothing else.

    Raises:
        DataError: with the line, for what cannot be read.
        UsageError: for what is neither a path nor a known name, or settings that do not fit.
    """
    path = Path(where).expanduser()
    notes: list[str] = []
    if str(where) in MADE and not path.exists():
        module, function = MADE[str(where)]
        make: Callable[[], Pairs] = getattr(import_module(module), function)
        pairs = make()
    else:
        from pellucid.data.pairs_files import read

        if str(where) in MADE:
            notes.append(f"'{where}' is {path.resolve()}, not the known data set of that name")
        given, said = read(path, source, target)
        notes += said
        pairs = Pairs(_split(given, validation, seed, str(where), notes), str(where), ())
    splits = {name: _limited(split, limit, seed) for name, split in pairs.splits.items()}
    return replace(pairs, splits=splits, notes=(*pairs.notes, *notes, *_seen_before(splits)))


def _split(
    given: Mapping[str, PairSplit], validation: float | None, seed: int, where: str, notes: list[str]
) -> dict[str, PairSplit]:
    """The splits of what was read: those of the files, or made so that one source stands in one split alone."""
    if validation is not None and not 0 <= validation < 1:
        raise UsageError(f"validation is {validation:g}", fits="a share from 0 to less than 1")
    splits = dict(given)
    if set(splits) == {""}:
        held = SHARES["validation"] if validation is None else validation
        shares = {"train": 1 - held - SHARES["test"], "validation": held, "test": SHARES["test"]}
        if shares["train"] <= 0:
            raise UsageError(f"validation is {held:g}, and the test takes {SHARES['test']:g}", fits="less than 0.9")
        splits = _dealt(splits[""], shares, seed)
        counts = ", ".join(f"{len(split):,} for {name}" for name, split in splits.items())
        notes.append(f"the pairs come without splits, so they were split at random: {counts}")
    elif "train" in splits and validation and "validation" in splits:
        notes.append(f"there is a validation split already, so validation={validation:g} was not used")
    elif "train" in splits and validation:
        splits |= _dealt(splits["train"], {"train": 1 - validation, "validation": validation}, seed)
    if "train" not in splits:
        raise DataError(f"{where} has no training pairs", found=", ".join(splits), fits="a split called train")
    return {name: splits[name] for name in _SPLITS if name in splits}


def _dealt(split: PairSplit, shares: Mapping[str, float], seed: int) -> dict[str, PairSplit]:
    """A split dealt out by shares; pairs with one source (whatever its capitals) stay together."""
    digests = [hashlib.sha256(source.casefold().encode("utf-8", "surrogatepass")).digest() for source in split.sources]
    names = np.array(assign(np.zeros(len(split), np.int64), digests, seed=seed, shares=shares))
    parts = {name: np.flatnonzero(names == name).tolist() for name in shares}
    return {name: split.take(indices) for name, indices in parts.items() if indices}


def _limited(split: PairSplit, limit: int | None, seed: int) -> PairSplit:
    if limit is None or limit >= len(split):
        return split
    return split.take(np.sort(permutation(seed, 0, len(split))[:limit]).tolist())


def _seen_before(splits: Mapping[str, PairSplit]) -> list[str]:
    """A sentence for each split of which sources stand in training too: what it measures is partly memory."""
    known = {source.casefold() for source in splits["train"].sources}
    notes = []
    for name, split in splits.items():
        again = sum(source.casefold() in known for source in split.sources) if name != "train" else 0
        if again:
            notes.append(f"{again:,} of {len(split):,} sources of the {name} split stand in the training split too")
    return notes
