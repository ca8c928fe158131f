"""The part of a report that tells of translations."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pellucid.draw.attention_map import attention_table
from pellucid.draw.translation_report import body
from pellucid.train.record import RunRecord
from pellucid.train.tasks.translation_attention import AttentionMap
from pellucid.train.tasks.translation_measure import Texts, TranslationMeasured, measure

SOURCES = ("<b>3/3/98", "4 May 1999", "the fifth")
TARGETS = ("1998-03-03", "1999-05-04", "1-1-5")


def record(measured: TranslationMeasured, **more: Any) -> RunRecord:
    values: dict[str, Any] = {
        "name": "first",
        "folder": "runs/first",
        "state": "finished",
        "data": "dates",
        "settings": {"task": "translation", "net": "transformer", "epochs": 1},
        "classes": (),
        "environment": {},
        "epochs": (),
        "steps": (),
        "split": "test",
        "measured": measured,
    }
    return RunRecord(**{**values, **more})


def measured(*written: str) -> TranslationMeasured:
    texts = [Texts(width, written, (0.9, 0.5, 0.25), width) for width in (1, 4)]
    return measure(SOURCES, TARGETS, ("d:1", "d:2", "d:3"), texts, loss=0.25, token_accuracy=0.875)


def sections(measured: TranslationMeasured, *maps: AttentionMap) -> dict[str, str]:
    return dict(body(record(measured), maps).sections)


MAP = AttentionMap(
    ("3", "/", "<"),
    ("1", "<end>"),
    np.array([[[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]], np.float32),
)


def test_what_is_wrong_stands_there_escaped_with_what_was_right() -> None:
    wrong = sections(measured("1998-03-08", "1999-05-04", "1-1-5"))["Wrong"]
    assert "1 of 3 came out differently" in wrong
    assert "&lt;b&gt;3/3/98" in wrong
    assert "1998-03-08" in wrong
    assert "1998-03-03" in wrong
    assert "4 May 1999" not in wrong


def test_where_all_is_right_it_says_so() -> None:
    assert sections(measured(*TARGETS))["Wrong"] == "<p>There are none.</p>"


def test_where_nothing_is_right_it_says_so() -> None:
    found = sections(measured("a", "b", "c"))
    assert found["Right"] == "<p>There are none.</p>"
    assert "3 of 3 came out differently. These are the ones" in found["Wrong"]


def test_each_way_of_decoding_has_a_row() -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", sections(measured("1998-03-08", "1999-05-04", "1-1-5"))["Decoding"])
    assert [re.sub("<.*?>", " ", row).split()[0] for row in rows[1:]] == ["greedy", "4"]
    assert "0.6667" in rows[1]


def test_without_bleu_there_is_a_dash_and_no_card() -> None:
    without = measured(*TARGETS)
    without = replace(without, decoded=tuple(replace(item, bleu=None) for item in without.decoded))
    made = body(record(without), ())
    assert "–" in dict(made.sections)["Decoding"]
    assert "BLEU" not in [name for name, *_ in made.cards]


def test_the_main_figure_stands_first_with_its_interval() -> None:
    made = body(record(measured("1998-03-08", "1999-05-04", "1-1-5")), ())
    assert made.cards[0][:2] == ("test exact match", "66.67%")
    assert "95% interval" in made.cards[0][2]
    assert "token by token, without a look at its target" in made.lead


def test_a_map_is_a_table_of_shades_with_its_numbers() -> None:
    drawn = attention_table(MAP.source, MAP.written, MAP.mean)
    cells = re.findall(r'<td style="--w:([\d.]+)" title="(.*?)"></td>', drawn)
    assert [shade for shade, _ in cells] == ["0.500", "0.250", "0.250", "0.000", "0.500", "0.500"]
    assert cells[2][1] == "1 looks at &lt;: 0.250"
    assert re.findall(r'<th scope="col">(.*?)</th>', drawn) == ["3", "/", "&lt;"]
    assert re.findall(r'<th scope="row">(.*?)</th>', drawn) == ["1", "&lt;end&gt;"]


@pytest.mark.parametrize("maps", [(), (MAP,)])
def test_attention_is_there_where_it_is_known(maps: tuple[AttentionMap, ...]) -> None:
    assert ("Attention" in sections(measured(*TARGETS), *maps)) == bool(maps)
