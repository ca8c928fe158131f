"""What a report says of a classifier of texts: the rival, mistakes as sentences, the loudest phrases of each kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.draw import confusion, figures
from pellucid.draw.classification_report import class_sections, lead, score_cards
from pellucid.draw.page import Share, table, text
from pellucid.draw.report import Body

if TYPE_CHECKING:
    from pellucid.train.record import RunRecord
    from pellucid.train.tasks.text_measure import TextMeasured
    from pellucid.train.tasks.text_phrases import Filter

_SHOWN = 10  # kernels of a span before the rest is folded away
_LONG = 600  # characters of a text that are shown
_STYLE = """
.texts{list-style:none;padding:0}
.texts li{border-top:1px solid var(--line);padding:8px 0}
.texts p{margin:0 0 2px}
td.phrases{white-space:normal}
.phrases span{display:inline-block;margin:1px 4px 1px 0;padding:0 6px;border-radius:6px;background:var(--card);
border:1px solid var(--line)}
"""


@dataclass(frozen=True)
class Wrong:
    """A mistake with its text: where it stands, what it is, what the network and the bag of words call it."""

    name: str
    text: str
    truth: str
    predicted: str
    confidence: float
    baseline: str


def body(
    record: RunRecord,
    mistakes: Sequence[Wrong],
    filters: Sequence[Filter],
    words: Sequence[tuple[str, Sequence[tuple[str, float]]]],
) -> Body:
    """The part of the page for a measured classifier of texts.

    Args:
        record: of the run, measured.
        mistakes: the surest.
        filters: the network's kernels with their loudest phrases; none for a network without kernels over tokens.
        words: of each class, the words that weigh most in the bag of words.
    """
    measured: TextMeasured = record.measured
    things = record.task.things
    cards = list(score_cards(record, measured.of))
    low, high = (100 * bound for bound in measured.beside.interval)
    beside = f"difference {100 * measured.beside.difference:+.1f} points (95%: {low:+.1f} to {high:+.1f})"
    cards.insert(1, ("bag of words", f"{measured.baseline_accuracy:.2%}", f"{beside}: {measured.verdict}"))
    own = [("Beside a bag of words", _rival(measured, words)), ("Mistakes", _mistakes(measured, mistakes))]
    if filters:
        own.append(("Loudest phrases", _filters(filters)))
    sections = (*own, *class_sections(measured.of, things))
    return Body(lead(record, measured.of), cards, sections, confusion.SCRIPT, confusion.STYLE + _STYLE)


def save_figures(folder: Path, record: RunRecord) -> None:
    """Write ``confusion.png``."""
    measured: TextMeasured = record.measured
    names = [item.name for item in measured.of.per_class]
    figures.save_confusion(folder / "confusion.png", measured.of.confusion, names)


def _rival(measured: TextMeasured, words: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    rows = [
        ["network", Share(measured.of.accuracy), measured.beside.only_first],
        ["bag of words", Share(measured.baseline_accuracy), measured.beside.only_second],
    ]
    listed = "".join(
        f"<h4><bdi>{text(name)}</bdi></h4><p class='phrases'>{_spans(own, 1) or 'none'}</p>" for name, own in words
    )
    unknown = (
        f" {measured.unknown:.1%} of the words measured on stand in no training sentence often enough to be known."
    )
    return (
        f"<p>{text(measured.sentence())}</p>"
        + table(["", "accuracy", "right where the other is wrong"], rows)
        + "<p class='soft'>The bag of words knows which words a sentence holds, and nothing of their order: logistic "
        "regression on words scaled by their log-count ratios (Wang &amp; Manning 2012), learned from the same "
        f"training sentences. What a network of phrases adds is seen only beside it.{unknown}</p>"
        + f"<h3>Words that weigh most in it, for each class</h3>{listed}"
    )


def _mistakes(measured: TextMeasured, mistakes: Sequence[Wrong]) -> str:
    if not mistakes:
        return "<p>There are none.</p>"
    items = "".join(
        f"<li><p><bdi>{text(_cut(one.text))}</bdi></p><span class='soft'><b><bdi>{text(one.truth)}</bdi></b>, called "
        f"<bdi>{text(one.predicted)}</bdi> with {one.confidence:.0%}; the bag of words says "
        f"<bdi>{text(one.baseline)}</bdi>. {text(one.name)}</span></li>"
        for one in mistakes
    )
    wrong = measured.n - sum(row[i] for i, row in enumerate(measured.of.confusion))
    return (
        f"<p>{wrong:,} of {measured.n:,} sentences were called something else. These are the ones of which the network "
        f'was surest: look for wrong labels first.</p><ul class="texts">{items}</ul>'
    )


def _cut(content: str) -> str:
    return content if len(content) <= _LONG else f"{content[:_LONG]}…"


def _filters(filters: Sequence[Filter]) -> str:
    introduction = (
        "<p>A kernel makes one number for each few neighbouring tokens, and only the largest of a sentence goes on to "
        "the output. These are the phrases of the split at which each kernel is loudest, each phrase once. Speaks for: "
        "the class that it raises most beside the others, by weight for each unit. Influence: weight x how far its "
        "number differs between sentences; the kernels are in its order. A dot stands for a place beyond the sentence, "
        "brackets for a word that training did not know.</p>"
    )
    parts = [introduction]
    for span in dict.fromkeys(one.span for one in filters):
        own = [one for one in filters if one.span == span]
        parts.append(f"<h3>Kernels of {span} {'token' if span == 1 else 'tokens'}</h3>{_table(own[:_SHOWN])}")
        if rest := own[_SHOWN:]:
            parts.append(f"<details><summary>The other {len(rest):,}</summary>{_table(rest)}</details>")
    return "".join(parts)


def _table(filters: Sequence[Filter]) -> str:
    rows = "".join(
        f"<tr><td class='left'>{one.number}</td><td class='left'><bdi>{text(one.speaks_for)}</bdi></td>"
        f"<td>{one.weight:.2f}</td><td>{one.influence:.3f}</td><td class='left phrases'>{_phrases(one)}</td></tr>"
        for one in filters
    )
    heads = "".join(
        f"<th{left}>{name}</th>"
        for name, left in (
            ("kernel", " class='left'"),
            ("speaks for", " class='left'"),
            ("weight", ""),
            ("influence", ""),
            ("loudest phrases, and how loud", " class='left'"),
        )
    )
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _phrases(one: Filter) -> str:
    if not one.phrases:
        return "<span class='soft'>silent in all of them</span>"
    return _spans([(phrase.text, phrase.value) for phrase in one.phrases], 2)


def _spans(phrases: Sequence[tuple[str, float]], digits: int) -> str:
    return "".join(f"<span><bdi>{text(words)}</bdi> {value:.{digits}f}</span>" for words, value in phrases)
