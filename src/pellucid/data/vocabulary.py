"""Tokens as numbers: a vocabulary, learned from the texts of the training part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError

PADDING, UNKNOWN = 0, 1
SPECIAL = ("<padding>", "<unknown>")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that have a number of their own. 0 is padding, 1 any token that training did not know.

    tokens: the others, the first is number 2.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self._numbers) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise UsageError(f"the token '{twice}' stands twice in the vocabulary", fits="each token once")

    @classmethod
    def learn(cls, texts: Iterable[Sequence[str]], *, least: int = 1, most: int | None = None) -> Vocabulary:
        """The tokens of texts, the most frequent first, equals by the alphabet.

        Args:
            texts: token lists, of the training part alone.
            least: how often a token must be seen to have a number. With 2, what is seen once teaches what an unknown
                token means.
            most: how many tokens at most, beside padding and unknown.
        """
        counts = Counter(token for text in texts for token in text)
        order = sorted((token for token, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))
        return cls(tuple(order[:most]))

    def __len__(self) -> int:
        """How many numbers there are, those of padding and unknown among them: the rows of an embedding."""
        return len(SPECIAL) + len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._numbers

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, start=len(SPECIAL))}

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The number of each token.

        >>> Vocabulary(("good", "film")).encode(["good", "old", "film"])
        [2, 1, 3]
        """
        return [self._numbers.get(token, UNKNOWN) for token in tokens]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The token of each number; padding is left out.

        >>> Vocabulary(("good", "film")).decode([2, 1, 3, 0])
        ['good', '<unknown>', 'film']
        """
        return [self.token(int(number)) for number in numbers if number != PADDING]

    def token(self, number: int) -> str:
        """What stands for a number; ``<padding>`` and ``<unknown>`` for the first two."""
        return (SPECIAL[number]) if number < len(SPECIAL) else self.tokens[number - len(SPECIAL)]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"tokens": list(self.tokens)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Vocabulary:
        """What ``to_json`` gave."""
        return cls(tuple(values["tokens"]))


def padded(texts: Sequence[Sequence[int]], length: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of N texts as one array (N, length), filled up with padding at the end, and their lengths (N,).

    Args:
        texts: of any lengths.
        length: of the rows; longer texts are cut. None: that of the longest text, at least 1.

    >>> padded([[5, 6, 7], [8]])[0].tolist()
    [[5, 6, 7], [8, 0, 0]]
    """
    longest = max([1, *map(len, texts)]) if length is None else length
    array = np.full((len(texts), longest), PADDING, np.int64)
    for row, text in zip(array, texts, strict=True):
        row[: len(text)] = text[:longest]
    return array, np.minimum([len(text) for text in texts], longest).astype(np.int64).reshape(len(texts))
