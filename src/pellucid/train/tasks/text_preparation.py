"""What the training texts teach before training: the vocabulary, and the bag of words that the network is held against.

Both are saved beside the weights, so that every later measurement has the same rival.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.data.sentences import Sentences
from pellucid.data.sentences_preprocess import TextPreprocess
from pellucid.train.tasks.text_baseline import WordWeights, fit


@dataclass(frozen=True)
class TextPreparation:
    """text: how a text becomes token numbers. baseline: a bag of words, learned from the same training texts."""

    text: TextPreprocess
    baseline: WordWeights

    @classmethod
    def of(cls, data: Sentences, text: TextPreprocess) -> TextPreparation:
        """Learn the bag of words."""
        encoded = text.encode(data.train.texts)
        return cls(text, fit(encoded, data.train.labels, len(data.classes), len(text.vocabulary)))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return self.text.classes

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads back exactly."""
        return {"text": self.text.to_json(), "baseline": self.baseline.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextPreparation:
        """What ``to_json`` gave."""
        return cls(TextPreprocess.from_json(values["text"]), WordWeights.from_json(values["baseline"]))
