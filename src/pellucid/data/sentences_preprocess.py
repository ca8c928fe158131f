"""From texts to token numbers, the same way in training, evaluation and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.data.sentences import Sentences
from pellucid.data.tokens import kind_for, tokens_of
from pellucid.data.vocabulary import Vocabulary

_ONCE = 2  # how often a token must stand in training to have a number, where its texts are not few
_FEW = 2000  # tokens in all


@dataclass(frozen=True)
class TextPreprocess:
    """What turns a text into a network's input; saved beside the weights.

    vocabulary: of the training texts. kind: words or characters. lower: whether capitals are small letters.
    longest: tokens of a text; what follows is cut. classes: names of the outputs. seed, validation: how the data were
    split, so that an evaluation later measures on what was not learned from.
    """

    vocabulary: Vocabulary
    kind: str
    lower: bool
    longest: int
    classes: tuple[str, ...]
    seed: int = 0
    validation: float | None = None

    @classmethod
    def of(
        cls,
        data: Sentences,
        *,
        kind: str = "auto",
        lower: bool = True,
        longest: int = 512,
        least: int | None = None,
        most: int = 100_000,
        seed: int = 0,
        validation: float | None = None,
    ) -> TextPreprocess:
        """Learned from the training texts alone.

        Args:
            data: all texts.
            kind: words, characters, or auto: characters where most texts are one word, else words.
            lower, longest, seed, validation: as they are kept.
            least: how often a token must be seen to have a number; None: twice, or once where texts are few. What is
                seen once teaches what an unknown token means.
            most: tokens in the vocabulary.
        """
        texts = data.train.texts
        chosen = kind_for(texts) if kind == "auto" else kind
        lists = [tokens_of(text, chosen, lower=lower)[:longest] for text in texts]
        at_least = least if least is not None else _ONCE if sum(map(len, lists)) > _FEW else 1
        vocabulary = Vocabulary.learn(lists, least=at_least, most=most)
        return cls(vocabulary, chosen, lower, longest, data.classes, seed, validation)

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, as far as the network reads it."""
        return tokens_of(text, self.kind, lower=self.lower)[: self.longest]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token numbers of each text."""
        return [self.vocabulary.encode(self.tokens(text)) for text in texts]

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``from_json`` reads them back exactly."""
        return {
            "vocabulary": self.vocabulary.to_json(),
            "kind": self.kind,
            "lower": self.lower,
            "longest": self.longest,
            "classes": list(self.classes),
            "seed": self.seed,
            "validation": self.validation,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextPreprocess:
        """What ``to_json`` gave."""
        read = {name: values[name] for name in ("kind", "lower", "longest", "seed", "validation")}
        return cls(vocabulary=Vocabulary.from_json(values["vocabulary"]), classes=tuple(values["classes"]), **read)
