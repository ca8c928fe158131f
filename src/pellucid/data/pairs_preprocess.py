"""What turns pairs of texts into numbers: vocabularies and lengths, learned on the training pairs alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.data.pairs import Pairs, PairSplit
from pellucid.data.subwords import Subwords, learn_characters, learn_subwords
from pellucid.errors import DataError, UsageError

_SHORT = 100  # characters: texts of which none is longer are read by characters


@dataclass(frozen=True)
class PairPreprocess:
    """The vocabularies of both sides, and how long texts may be.

    most: tokens that a source or target may have. target_length: of the longest training target. seed, validation:
    by which files without splits were split.
    """

    source: Subwords
    target: Subwords
    most: int
    target_length: int
    seed: int = 0
    validation: float | None = None

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        *,
        kind: str | None = None,
        size: int = 8000,
        shared: bool = False,
        most: int = 256,
        seed: int = 0,
        validation: float | None = None,
    ) -> PairPreprocess:
        """Learned on the training pairs.

        Args:
            pairs: all splits; only their lengths are looked at outside of training.
            kind: ``characters`` or ``subwords``; None: characters where no training text has more than 100.
            size: of a vocabulary of subwords.
            shared: one vocabulary for both sides.
            most: tokens that a text may have.

        Raises:
            DataError: for the first text that is longer.
        """
        train = pairs.train
        if kind is None:
            longest = max(map(len, (*train.sources, *train.targets)))
            kind = "characters" if longest <= _SHORT else "subwords"
        if shared:
            source = target = _learn((*train.sources, *train.targets), kind, size)
        else:
            source, target = (_learn(texts, kind, size) for texts in (train.sources, train.targets))
        length = max(len(target.encode(text)) for text in train.targets)
        made = cls(source, target, most, length, seed, validation)
        for split in pairs.splits.values():
            made.encode(split)
        return made

    def encode(self, split: PairSplit) -> tuple[list[list[int]], list[list[int]]]:
        """The numbers of all sources and of all targets.

        Raises:
            DataError: for the first that is too long.
        """
        sources = [self.source.encode(text) for text in split.sources]
        targets = [self.target.encode(text) for text in split.targets]
        self._check("source", sources, split.names)
        self._check("target", targets, split.names)
        return sources, targets

    def source_of(self, text: str, name: str) -> list[int]:
        """The numbers of one source, to be translated.

        Raises:
            DataError: where it is empty or too long.
        """
        numbers = self.source.encode(text)
        if not numbers:
            raise DataError(f"there is no text in {name or 'an empty source'}", fits="a text to translate")
        self._check("source", [numbers], [name])
        return numbers

    def _check(self, side: str, texts: Iterable[Sequence[int]], names: Sequence[str]) -> None:
        for i, numbers in enumerate(texts):
            if len(numbers) > self.most:
                raise DataError(
                    f"the {side} of {names[i]} has {len(numbers):,} tokens, and the limit is {self.most:,}",
                    fits=f"shorter texts, or --set longest={len(numbers)}",
                )

    @property
    def limit(self) -> int:
        """Tokens after which a translation is cut: half as many again as any target of training, and some."""
        return min(self.most, self.target_length * 3 // 2 + 10)

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads back exactly."""
        return {
            "source": self.source.to_json(),
            "target": self.target.to_json(),
            "most": self.most,
            "target_length": self.target_length,
            "seed": self.seed,
            "validation": self.validation,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PairPreprocess:
        """What ``to_json`` gave."""
        return cls(
            Subwords.from_json(values["source"]),
            Subwords.from_json(values["target"]),
            int(values["most"]),
            int(values["target_length"]),
            int(values["seed"]),
            None if values["validation"] is None else float(values["validation"]),
        )


def _learn(texts: Iterable[str], kind: str, size: int) -> Subwords:
    if kind == "characters":
        return learn_characters(texts)
    if kind == "subwords":
        return learn_subwords(texts, size)
    raise UsageError(f"a vocabulary cannot be of '{kind}'", fits="characters or subwords")
