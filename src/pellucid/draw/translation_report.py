"""What a report says of translations: decoding, examples, what each token looked at, errors by length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pellucid.draw.attention_map import STYLE, attention_table
from pellucid.draw.page import Number, Share, table, text
from pellucid.draw.report import Body, caution, number

if TYPE_CHECKING:
    from pellucid.train.record import RunRecord
    from pellucid.train.tasks.translation_attention import AttentionMap
    from pellucid.train.tasks.translation_measure import Example, TranslationMeasured


def body(record: RunRecord, maps: Sequence[AttentionMap]) -> Body:
    """The part of the page for measured translations.

    Args:
        record: of the run, measured.
        maps: what each written token looked at, for some examples.
    """
    measured: TranslationMeasured = record.measured
    sections = [("Decoding", _decoding(measured))]
    if maps:
        sections.append(("Attention", _attention(maps)))
    sections += [
        ("Wrong", _wrong(measured)),
        ("Right", _examples(measured.right) if measured.right else "<p>There are none.</p>"),
        ("Length", _lengths(measured)),
    ]
    return Body(_lead(record, measured), _cards(record, measured), tuple(sections), style=STYLE)


def _lead(record: RunRecord, measured: TranslationMeasured) -> str:
    return (
        f"Measured at the end on the {measured.n:,} pairs of the <b>{text(record.split)}</b> split: each source was "
        f"decoded token by token, without a look at its target, and is right where every character is."
        f"{caution(record)}"
    )


def _cards(record: RunRecord, measured: TranslationMeasured) -> tuple[tuple[str, ...], ...]:
    low, high = measured.interval
    greedy = measured.greedy
    return (
        (f"{record.split} exact match", f"{greedy.exact:.2%}", f"{low:.1%} to {high:.1%} (95% interval, Wilson)"),
        ("character error", f"{greedy.character_error:.2%}", "edits for each character of the targets"),
        *([("BLEU", f"{greedy.bleu:.1f}")] if greedy.bleu is not None else []),
        ("token accuracy", f"{measured.token_accuracy:.2%}", "given the target's tokens before"),
        ("loss", number(measured.loss)),
    )


def _decoding(measured: TranslationMeasured) -> str:
    rows = [
        [
            "greedy" if item.width == 1 else f"{item.width} beams",
            Share(item.exact),
            Number(100 * item.character_error, 2),
            None if item.bleu is None else Number(item.bleu, 2),
            None if item.chrf is None else Number(item.chrf, 2),
            item.cut,
        ]
        for item in measured.decoded
    ]
    heads = ["decoding", "exact match", "character error, %", "BLEU", "chrF", "did not end"]
    return (
        '<p class="soft">Greedy takes the most probable token at each step; a beam search keeps the most probable '
        "texts so far, and compares those that have ended by log P over the length penalty of Wu et al. (2016).</p>"
        + table(heads, rows)
        + f'<p class="soft">{text(measured.signature)}</p>'
    )


def _attention(maps: Sequence[AttentionMap]) -> str:
    drawn = "".join(attention_table(found.source, found.written, found.mean) for found in maps)
    return (
        '<p class="soft">A row for each token that was written, a column for each token of the source: the darker, the '
        "larger the weight with which the decoder looked there (mean over layers and heads; each row sums to 1).</p>"
        f"{drawn}"
    )


def _wrong(measured: TranslationMeasured) -> str:
    count = measured.n - round(measured.greedy.exact * measured.n)
    if not measured.wrong:
        return "<p>There are none.</p>"
    shown = "These are" if count == len(measured.wrong) else f"These {len(measured.wrong)} are"
    return (
        f"<p>{count:,} of {measured.n:,} came out differently. {shown} the ones of which the network was surest: look "
        f"for wrong targets first.</p>{_examples(measured.wrong, wrong=True)}"
    )


def _examples(examples: Sequence[Example], *, wrong: bool = False) -> str:
    heads = ["source", "written", *(["target"] if wrong else []), "probability", "where"]
    rows = [
        [
            item.source,
            item.written,
            *([item.target] if wrong else []),
            Share(item.probability),
            item.name,
        ]
        for item in examples
    ]
    return table(heads, rows)


def _lengths(measured: TranslationMeasured) -> str:
    rows = [
        [f"{item.least} to {item.most}", item.count, Share(item.exact), Number(100 * item.character_error, 2)]
        for item in measured.by_length
    ]
    heads = ["characters of the source", "pairs", "exact match", "character error, %"]
    return table(heads, rows, caption="Errors by length, greedy decoding")
