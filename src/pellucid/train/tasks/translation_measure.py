"""What translations are worth: exact matches, edits, BLEU and chrF by sacrebleu, examples right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pellucid.train.measure import wilson, without_nan

MISSING = "BLEU and chrF need sacrebleu: pip install 'pellucid[translation]'"
_BINS = 6
_MOST_RIGHT, _MOST_WRONG = 8, 25


@dataclass(frozen=True)
class Written:
    """The texts that one way of decoding wrote, over a whole split.

    width: beams; 1 is greedy. exact: share of pairs that are right to the character. character_error: edits (insert,
    delete, replace a character) for each character of the targets. bleu, chrf: of the corpus, from 0 to 100, by
    sacrebleu; None where it is not installed. cut: texts that did not end.
    """

    width: int
    exact: float
    character_error: float
    bleu: float | None
    chrf: float | None
    cut: int


@dataclass(frozen=True)
class OfLength:
    """Pairs whose sources have ``least`` to ``most`` characters."""

    least: int
    most: int
    count: int
    exact: float
    character_error: float


@dataclass(frozen=True)
class Example:
    """A pair and what was written for it, with its probability."""

    name: str
    source: str
    target: str
    written: str
    probability: float


@dataclass(frozen=True)
class TranslationMeasured:
    """Everything that is measured on one split.

    loss: mean of -log p(token) over target tokens, their ends included, given the target's tokens before (teacher
    forcing). token_accuracy: how many of them are the most probable. interval: Wilson's 95% interval of the greedy
    exact match. signature: of sacrebleu, or why there is none.
    """

    n: int
    loss: float
    token_accuracy: float
    interval: tuple[float, float]
    decoded: tuple[Written, ...]
    by_length: tuple[OfLength, ...]
    right: tuple[Example, ...]
    wrong: tuple[Example, ...]
    signature: str

    @property
    def greedy(self) -> Written:
        """What greedy decoding wrote."""
        return self.decoded[0]

    @property
    def score(self) -> float:
        """The main figure: exact match of greedy decoding."""
        return self.greedy.exact

    def headline(self) -> str:
        """One line for a terminal."""
        bleu = f", BLEU {self.greedy.bleu:.1f}" if self.greedy.bleu is not None else ""
        return f"exact match {self.score:.4f}{bleu} on {self.n:,} pairs"

    def text(self) -> str:
        """For a terminal."""
        low, high = self.interval
        lines = [
            f"exact match      {self.score:.4f}  (95%: {low:.4f} to {high:.4f}) on {self.n:,} pairs",
            f"token accuracy   {self.token_accuracy:.4f}  (given the tokens before)",
            f"loss             {self.loss:.4f}",
            "",
            "decoding     exact   character error    BLEU    chrF",
        ]
        for item in self.decoded:
            name = "greedy" if item.width == 1 else f"{item.width} beams"
            scores = "  ".join(f"{value:6.2f}" if value is not None else "     –" for value in (item.bleu, item.chrf))
            lines.append(f"{name:<10}  {item.exact:.4f}            {item.character_error:.4f}  {scores}")
        lines += ["", self.signature]
        if self.wrong:
            lines += ["", "wrong, the surest first"]
            lines += [f"  {item.source} -> {item.written}  (right: {item.target})" for item in self.wrong[:5]]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TranslationMeasured:
        """What ``to_json`` gave."""
        own: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__}
        own["interval"] = tuple(own["interval"])
        kinds = {"decoded": Written, "by_length": OfLength, "right": Example, "wrong": Example}
        for name, kind in kinds.items():
            own[name] = tuple(kind(**item) for item in own[name])
        return cls(**own)


@dataclass(frozen=True)
class Texts:
    """N translations by ``width`` beams, their probabilities, and how many did not end."""

    width: int
    written: tuple[str, ...]
    probabilities: tuple[float, ...]
    cut: int


def measure(
    sources: Sequence[str],
    targets: Sequence[str],
    names: Sequence[str],
    decoded: Sequence[Texts],
    *,
    loss: float,
    token_accuracy: float,
) -> TranslationMeasured:
    """Measure what was written for N pairs; the first of ``decoded`` is greedy."""
    first = decoded[0].written
    right = [one == other for one, other in zip(first, targets, strict=True)]
    edits = [edit_distance(one, other) for one, other in zip(first, targets, strict=True)]
    scores, signature = [], MISSING
    for texts in decoded:
        bleu, chrf, signature = _sacrebleu(texts.written, targets)
        scores.append(_written(texts, targets, bleu, chrf))

    def example(i: int) -> Example:
        return Example(str(names[i]), sources[i], targets[i], first[i], decoded[0].probabilities[i])

    wrong = sorted((i for i, good in enumerate(right) if not good), key=lambda i: -decoded[0].probabilities[i])
    good = [i for i, it_is in enumerate(right) if it_is]
    return TranslationMeasured(
        n=len(targets),
        loss=loss,
        token_accuracy=token_accuracy,
        interval=wilson(sum(right), len(right)),
        decoded=tuple(scores),
        by_length=_by_length([len(source) for source in sources], right, edits, [len(text) for text in targets]),
        right=tuple(example(i) for i in good[:: max(1, len(good) // _MOST_RIGHT)][:_MOST_RIGHT]),
        wrong=tuple(example(i) for i in wrong[:_MOST_WRONG]),
        signature=signature,
    )


def _written(texts: Texts, targets: Sequence[str], bleu: float | None, chrf: float | None) -> Written:
    pairs = list(zip(texts.written, targets, strict=True))
    return Written(
        texts.width,
        sum(one == other for one, other in pairs) / len(pairs),
        sum(edit_distance(one, other) for one, other in pairs) / max(1, sum(map(len, targets))),
        bleu,
        chrf,
        texts.cut,
    )


def _sacrebleu(written: Sequence[str], targets: Sequence[str]) -> tuple[float | None, float | None, str]:
    """BLEU, chrF2 and their signatures; Chinese and its kin are cut into characters, as sacrebleu does it. Where no
    text that was written has four words there is no BLEU."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        return None, None, MISSING
    bleu, chrf = BLEU(tokenize="zh" if is_unspaced(targets) else "13a"), CHRF()
    scores, by_characters = (metric.corpus_score(list(written), [list(targets)]) for metric in (bleu, chrf))
    signature = f"sacrebleu: BLEU {bleu.get_signature()}; chrF2 {chrf.get_signature()}"
    if not scores.totals[-1]:
        return None, float(by_characters.score), f"{signature}; BLEU counts runs of four words, and there are none"
    return float(scores.score), float(by_characters.score), signature


def is_unspaced(texts: Sequence[str]) -> bool:
    """Whether most letters of texts are Chinese characters or kana, which stand without spaces."""
    letters = [character for text in texts for character in text if character.isalpha()]
    return (
        sum("\u3040" <= letter <= "\u30ff" or "\u3400" <= letter <= "\u9fff" for letter in letters) > len(letters) / 2
    )


def edit_distance(one: str, other: str) -> int:
    """The fewest characters to insert, delete or replace that make one text the other (Levenshtein 1966)."""
    if one == other:
        return 0
    codes, places = np.array([ord(c) for c in other]), np.arange(len(other) + 1)
    row = places
    for i, character in enumerate(one, start=1):
        best = np.minimum(row[:-1] + (codes != ord(character)), row[1:] + 1) if len(other) else row[:0]
        best = np.concatenate([[i], best])
        row = np.minimum.accumulate(best - places) + places  # a character inserted costs one more than the one before
    return int(row[-1])


def _by_length(
    lengths: Sequence[int], right: Sequence[bool], edits: Sequence[int], characters: Sequence[int]
) -> tuple[OfLength, ...]:
    """Up to six groups of about as many pairs each, by the lengths of sources; equal lengths stay together."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _BINS + 1)[1:], method="inverted_cdf"))
    groups = np.searchsorted(edges, lengths)
    made = []
    for group in range(len(edges)):
        own = np.flatnonzero(groups == group)
        if len(own):
            inside = np.array(lengths)[own]
            made.append(
                OfLength(
                    int(inside.min()),
                    int(inside.max()),
                    len(own),
                    float(np.array(right)[own].mean()),
                    float(np.array(edits)[own].sum() / max(1, np.array(characters)[own].sum())),
                )
            )
    return tuple(made)
