"""Texts with a label each: sentences, lines, documents. What the classification of texts learns from.

``load_sentences`` reads them from CSV, folders of text files, files of one class each, or an archive of these.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.random import permutation
from pellucid.data.source import natural_order
from pellucid.data.split import SHARES, assign
from pellucid.errors import DataError, ShapeError, UsageError

_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class SentenceSplit:
    """N texts, their labels, int64 (N,), and where each stands: ``reviews.csv:17``."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.texts),) or len(self.names) != len(self.texts):
            raise ShapeError(
                f"{len(self.texts)} texts, {self.labels.shape} labels and {len(self.names)} names do not fit together"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> SentenceSplit:
        """The texts at these indices, in this order."""
        return SentenceSplit(
            tuple(self.texts[i] for i in indices),
            self.labels[np.asarray(indices, np.int64)],
            tuple(self.names[i] for i in indices),
        )

    @classmethod
    def joined(cls, parts: Iterable[SentenceSplit]) -> SentenceSplit:
        """All parts after one another."""
        listed = list(parts)
        return cls(
            tuple(text for part in listed for text in part.texts),
            np.concatenate([part.labels for part in listed]),
            tuple(str(name) for part in listed for name in part.names),
        )


@dataclass(frozen=True, eq=False)
class Sentences:
    """A data set of texts: ``train`` to learn from, ``validation`` to choose by, ``test`` to measure once."""

    classes: tuple[str, ...]
    splits: Mapping[str, SentenceSplit]
    origin: str = "texts"
    notes: tuple[str, ...] = ()
    task: str = field(default="text", init=False)

    @property
    def train(self) -> SentenceSplit:
        """The texts to learn from."""
        return self.splits["train"]

    @property
    def validation(self) -> SentenceSplit | None:
        """The texts to choose by."""
        return self.splits.get("validation")

    @property
    def test(self) -> SentenceSplit | None:
        """The texts to measure once."""
        return self.splits.get("test")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over texts, labels, classes and splits: two sets with the same one train the same network."""
        digest = hashlib.sha256(b"pellucid sentences 1\n")
        digest.update("\0".join(self.classes).encode("utf-8", "surrogatepass") + b"\n")
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split)}\n".encode())
            for text in split.texts:
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(np.ascontiguousarray(split.labels, "<i8").data)
        return digest.hexdigest()

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        validation: float | None = None,
        test: float = SHARES["test"],
        seed: int = 0,
    ) -> Sentences:
        """A data set from texts and the names of their classes, split at random as files without splits are.

        Raises:
            UsageError: for a number of labels that is not that of texts, or one class only.
            DataError: for an empty text.
        """
        if len(texts) != len(labels):
            raise UsageError(f"{len(texts)} texts and {len(labels)} labels", fits="one label for each text")
        for i, text in enumerate(texts):
            if not text.strip():
                raise DataError(f"text {i} is empty", fits="a text with something in it")
        rows = [
            Row(text, str(label), "", f"text:{i}") for i, (text, label) in enumerate(zip(texts, labels, strict=True))
        ]
        return built("texts", rows, validation=validation, test=test, seed=seed)


@dataclass(frozen=True, slots=True)
class Row:
    """A text, its label, its split ('' where the source has none), and where it stands."""

    text: str
    label: str
    split: str
    name: str


def load_sentences(
    where: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    classes: Sequence[str] | None = None,
    validation: float | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Sentences:
    """Texts with labels from a path.

    Args:
        where: a CSV or TSV file with columns ``text`` and ``label`` (other usual names too) and perhaps ``split``; a
            folder for each class with a text in each ``.txt`` file; a folder of ``.txt`` files, one for each class,
            with a text on each line; either of these below ``train``, ``validation`` and ``test``; a zip or tar.
        text, label: the columns, where their names do not say it.
        encoding: of the files; else UTF-8, UTF-16 by its mark, or Windows-1252 where a file is plainly that.
        classes: those that there may be, in their order; else those that are found, sorted.
        validation: share of the texts to choose by; 0.1 (and 0.1 for the test) where the source has no splits.
        limit: at most so many texts of each split.
        seed: decides the splits and what ``limit`` takes, and nothing else.

    Raises:
        DataError: with file and line, for what cannot be read, an empty text, a missing or unknown label, one class.
        UsageError: where there is no such path, or settings do not fit.
    """
    from pellucid.data.sentences_files import read

    rows, notes = read(Path(where).expanduser(), text, label, encoding)
    return built(str(where), rows, notes, classes=classes, validation=validation, limit=limit, seed=seed)


def built(
    origin: str,
    rows: Sequence[Row],
    notes: Sequence[str] = (),
    *,
    classes: Sequence[str] | None = None,
    validation: float | None = None,
    test: float = SHARES["test"],
    limit: int | None = None,
    seed: int = 0,
) -> Sentences:
    """The data set of rows; see ``load_sentences``."""
    names = tuple(classes) if classes is not None else natural_order({row.label for row in rows})
    if classes is None and len(names) == 1:
        raise DataError(f"{origin} has one class, '{names[0]}': there is nothing to tell apart", fits="two or more")
    unknown = next((row for row in rows if row.label not in names), None)
    if unknown is not None:
        raise DataError(
            f"{unknown.name} has a label that the network does not know: '{unknown.label}'", known=", ".join(names)
        )
    said = list(notes)
    splits = _splits(origin, rows, names, validation, test, seed, said)
    if classes is None and "train" not in splits:  # a network that knows its classes needs none to be measured
        found = ", ".join(splits)
        raise DataError(f"{origin} has no training texts", found=found, fits="a folder or split called train")
    limited = {name: _limited(split, limit, seed) for name, split in splits.items()}
    return Sentences(names, limited, origin, (*said, *_again(limited), *_missing(names, limited)))


def same_text(text: str) -> str:
    """What two texts that a reader calls the same have in common: neither capitals nor spaces tell them apart."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _splits(
    origin: str,
    rows: Sequence[Row],
    classes: tuple[str, ...],
    validation: float | None,
    test: float,
    seed: int,
    notes: list[str],
) -> dict[str, SentenceSplit]:
    if validation is not None and not 0 <= validation < 1:
        raise UsageError(f"validation is {validation:g}", fits="a share from 0 to less than 1")
    number = {name: i for i, name in enumerate(classes)}
    whole = SentenceSplit(
        tuple(row.text for row in rows),
        np.array([number[row.label] for row in rows], np.int64),
        tuple(row.name for row in rows),
    )
    given = [row.split for row in rows]
    if not any(given):
        held = SHARES["validation"] if validation is None else validation
        shares = {"train": 1 - held - test, "validation": held, "test": test}
        if shares["train"] <= 0:
            raise UsageError(f"validation is {held:g}, and the test takes {test:g}", fits=f"less than {1 - test:g}")
        given = _assigned(whole, shares, seed)
        parts = ", ".join(f"{given.count(name):,} for {name}" for name in shares)
        notes.append(f"the texts come without splits, so they were split at random: {parts}")
    elif validation and "validation" in given:
        notes.append(f"there is a validation split already, so validation={validation:g} was not used")
    elif validation:
        inside = [i for i, split in enumerate(given) if split == "train"]
        shares = {"train": 1 - validation, "validation": validation}
        for i, split in zip(inside, _assigned(whole.take(inside), shares, seed), strict=True):
            given[i] = split
    members = {name: [i for i, split in enumerate(given) if split == name] for name in _SPLITS}
    return {name: whole.take(indices) for name, indices in members.items() if indices}


def _assigned(split: SentenceSplit, shares: Mapping[str, float], seed: int) -> list[str]:
    """Stratified; texts that are the same stay together."""
    digests = [hashlib.sha256(same_text(text).encode("utf-8", "surrogatepass")).digest() for text in split.texts]
    return assign(split.labels, digests, seed=seed, shares=shares)


def _limited(split: SentenceSplit, limit: int | None, seed: int) -> SentenceSplit:
    if limit is None or limit >= len(split):
        return split
    return split.take(np.sort(permutation(seed, 0, len(split))[:limit]).tolist())


def _again(splits: Mapping[str, SentenceSplit]) -> list[str]:
    """A sentence for each split of which texts stand in training too: what it measures is partly memory."""
    known = {same_text(text) for text in splits["train"].texts} if "train" in splits else set()
    notes = []
    for name, split in splits.items():
        count = sum(same_text(text) in known for text in split.texts) if name != "train" else 0
        if count:
            notes.append(f"{count:,} of {len(split):,} texts of the {name} split stand in the training split too")
    return notes


def _missing(classes: tuple[str, ...], splits: Mapping[str, SentenceSplit]) -> list[str]:
    notes = []
    for name, split in splits.items():
        there = set(split.labels.tolist())
        absent = [called for i, called in enumerate(classes) if i not in there]
        if absent:
            notes.append(f"the {name} split has no texts of {', '.join(absent)}")
    return notes
