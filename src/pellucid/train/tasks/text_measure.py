"""What a classifier of texts is worth: the measures of every classifier, and whether it beats a bag of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.train.measure import Measured, measure
from pellucid.train.paired import Paired, paired

BASELINE = "bag of words"
_BRIEFLY = {
    "better": "the network is better",
    "worse": "the network is worse",
    "not distinguishable": "the two cannot be told apart",
}


@dataclass(frozen=True)
class TextMeasured:
    """of: accuracy, confusion, calibration, mistakes. baseline_accuracy: of the bag of words on the same texts.
    beside: how the network does beside it. unknown: the share of tokens that training did not know."""

    of: Measured
    baseline_accuracy: float
    beside: Paired
    unknown: float

    @property
    def n(self) -> int:
        """How many texts were measured."""
        return self.of.n

    @property
    def score(self) -> float:
        """The main figure: accuracy."""
        return self.of.accuracy

    def headline(self) -> str:
        """One line for a terminal, the rival included."""
        own = self.of.headline("sentences")
        return f"{own}; {BASELINE} {self.baseline_accuracy:.4f}: {_BRIEFLY[self.verdict]}"

    @property
    def verdict(self) -> str:
        """What the network is beside the bag of words: better, worse, or not distinguishable."""
        return self.beside.verdict

    def sentence(self) -> str:
        """The comparison in words."""
        low, high = self.beside.interval
        figures = (
            f"The network has {self.of.accuracy:.1%} right, a {BASELINE} {self.baseline_accuracy:.1%}: a difference of "
            f"{100 * self.beside.difference:+.1f} points (95%: {100 * low:+.1f} to {100 * high:+.1f}). Of {self.n:,} "
            f"sentences the network alone has {self.beside.only_first:,} right, the {BASELINE} alone "
            f"{self.beside.only_second:,} (McNemar's exact test: p = {_p(self.beside.p_value)})."
        )
        says = {
            "better": "The network is better.",
            "worse": f"The network is worse: the {BASELINE} is smaller, faster, and to be preferred.",
            "not distinguishable": "On these sentences neither can be said to be better.",
        }
        return f"{figures} {says[self.verdict]}"

    def text(self) -> str:
        """For a terminal."""
        return f"{self.of.text('sentences')}\n\n{self.sentence()}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        own = {"baseline_accuracy": self.baseline_accuracy, "beside": self.beside.to_json(), "unknown": self.unknown}
        return {**self.of.to_json(), **own}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TextMeasured:
        """What ``to_json`` gave."""
        beside = Paired.from_json(values["beside"])
        return cls(Measured.from_json(values), float(values["baseline_accuracy"]), beside, float(values["unknown"]))


def measure_texts(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    names: Sequence[str],
    classes: Sequence[str],
    baseline: NDArray[np.int64],
    unknown: float,
) -> TextMeasured:
    """Measure predictions beside those of the bag of words.

    Args:
        probabilities: of each class for each text, (N, K).
        labels: the truth, (N,).
        names: of the texts.
        classes: names of the classes.
        baseline: what the bag of words says, (N,).
        unknown: the share of tokens that training did not know.
    """
    of = measure(probabilities, labels, names, classes)
    beside = paired(probabilities.argmax(1) == labels, baseline == labels)
    return TextMeasured(of, float((baseline == labels).mean()), beside, unknown)


def _p(value: float) -> str:
    return "less than 0.0001" if value < 1e-4 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
