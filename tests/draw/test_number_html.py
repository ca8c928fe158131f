"""An opened number in a notebook: the record's numbers stand in it, and names are text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pellucid.draw import number_html
from tests.browser import Browser
from tests.draw.test_report import Outline

TRAP = "<img src=x onerror=window.hacked=1>"


def record(**given: Any) -> dict[str, Any]:
    """The textbook's sum of two channels: 1·1 + 2·2 + 4·3 + 5·4 + 0·0 + 1·1 + 3·2 + 4·3 = 56, and a bias."""
    values, factors = [1, 2, 4, 5, 0, 1, 3, 4], [1, 2, 3, 4, 0, 1, 2, 3]
    products = [float(v * f) for v, f in zip(values, factors, strict=True)]
    terms = [
        {
            "product": p,
            "role": "product",
            "value": float(v),
            "factor": float(f),
            "note": "",
            "source": f"input[0,{i // 4},0,{i % 4}]",
            "weight": f"conv.weight[0,{i}]",
        }
        for i, (v, f, p) in enumerate(zip(values, factors, products, strict=True))
    ]
    bias = {"product": -0.5, "role": "bias", "value": -0.5, "factor": 1.0, "note": "", "source": "conv.bias[0]"}
    patch = {
        "role": "product",
        "slot": "input",
        "shape": [2, 2, 2],
        "channels": [0, 1],
        "of_channels": 2,
        "values": values,
        "factors": factors,
        "products": products,
        "outside": [0] * 8,
    }
    return {
        "address": "conv[0,0,0,0]",
        "value": 55.5,
        "kind": "activation",
        "path": "conv",
        "shape": [1, 1, 2, 2],
        "index": [0, 0, 0, 0],
        "operation": "Convolution 2x2, 1 kernel",
        "formula": "sum of input x kernel",
        "facts": {},
        "missing": "",
        "total": 55.5,
        "adds_up": True,
        "box": [[0, 1], [3, 4]],
        "box_with_padding": [[0, 1], [3, 4]],
        "count": 9,
        "terms": [*terms, {**bias, "weight": None}],
        "rest": {"count": 0, "sum": 0.0},
        "patches": [patch],
    } | given


def cells(html: str, name: str) -> list[list[str]]:
    """The written numbers of each grid of a name."""
    grids = re.findall(rf'aria-label="{name}">(.*?)</table>', html)
    return [re.findall(r"<td[^>]*>([^<]*)</td>", grid) for grid in grids]


def test_patch_kernel_and_products_stand_side_by_side() -> None:
    html = number_html(record())
    assert cells(html, "values") == [["1", "2", "4", "5"], ["0", "1", "3", "4"]]
    assert cells(html, "factors") == [["1", "2", "3", "4"], ["0", "1", "2", "3"]]
    assert cells(html, "products") == [["1", "4", "12", "20"], ["0", "1", "6", "12"]]
    assert re.findall(r"sum ([\d.]+)", html) == ["37", "19"]


def test_the_sum_is_written_with_its_largest_terms_first() -> None:
    html = number_html(record())
    assert "5·4 + 4·3 + 4·3 + 3·2 + 2·2 + 1·1 + 1·1 + (-0.5) + 0·0 = <b>55.5</b>" in html
    assert "rows 0 to 1, columns 3 to 4" in html


def test_what_stands_in_no_grid_is_listed_with_its_role() -> None:
    html = number_html(record())
    listed = html.split('<table class="terms">')[1]
    assert re.findall(r'<tr><td class="left">(\w+)', listed) == ["bias"]
    assert "conv.bias[0]" in listed


def test_without_a_grid_all_kinds_are_listed() -> None:
    html = number_html(record(patches=[]))
    assert html.count('<td class="left">product</td>') == 8
    assert "aria-label" not in html


def test_a_function_is_written_with_its_number() -> None:
    term = {"product": 0.0, "role": "function", "value": -1.5, "factor": None, "note": "relu(x)", "weight": None}
    html = number_html(record(patches=[], terms=[{**term, "source": "conv[0]"}], count=1, total=0.0))
    assert "relu(-1.5) = <b>0</b>" in html


def test_padding_is_marked() -> None:
    patch = record()["patches"][0] | {"outside": [1, 0, 0, 0, 0, 0, 0, 0]}
    html = number_html(record(patches=[patch]))
    assert html.count('class="outside"') == 3
    assert html.count(', padding"') == 3


def test_of_many_channels_those_that_add_most_are_drawn() -> None:
    chance = np.random.default_rng(0)
    values, factors = chance.normal(size=(20, 9)), np.ones((20, 9))
    values[7], values[13] = 50, -60
    patch = record()["patches"][0] | {
        "shape": [20, 3, 3],
        "channels": [*range(100, 120)],
        "of_channels": 64,
        "values": values.reshape(-1).tolist(),
        "factors": factors.reshape(-1).tolist(),
        "products": values.reshape(-1).tolist(),
        "outside": [0] * 180,
    }
    html = number_html(record(patches=[patch]))
    assert {"channel 107", "channel 113"} < set(re.findall(r"channel \d+", html))
    assert "and 60 more channels" in html


def test_a_large_window_is_a_picture() -> None:
    n = 28 * 28
    patch = record()["patches"][0] | {
        "shape": [1, 28, 28],
        "channels": [0],
        "of_channels": 1,
        "values": [1.0] * n,
        "factors": [-1.0] * n,
        "products": [-1.0] * n,
        "outside": [0] * n,
    }
    html = number_html(record(patches=[patch]))
    assert html.count("<img ") == 3
    assert "<td title" not in html
    assert len(html) < 12_000


def test_what_is_no_number_is_said() -> None:
    patch = record()["patches"][0] | {"values": ["nan", "inf", 1, 2, 0, 0, 0, 0]}
    html = number_html(record(value="nan", total="nan", patches=[patch], facts={"mean": "inf", "n": 3}))
    assert "= <b>nan</b>" in html
    assert cells(html, "values")[0][:2] == ["nan", "inf"]
    assert "mean inf, n 3" in html


def test_why_there_are_no_terms_is_said() -> None:
    html = number_html(record(missing="nobody has written them", patches=[], terms=[], count=0))
    assert "It has no terms: nobody has written them." in html


@pytest.mark.parametrize("field", ["address", "operation", "formula", "missing"])
def test_names_are_text(field: str) -> None:
    html = number_html(record(**{field: TRAP}))
    assert TRAP not in html
    assert "&lt;img src=x" in html


def test_names_of_terms_are_text() -> None:
    trap = {"product": 1.0, "role": TRAP, "value": 1.0, "factor": 1.0, "note": TRAP, "source": TRAP, "weight": None}
    html = number_html(record(terms=[trap], patches=[], count=1, facts={TRAP: TRAP}))
    assert TRAP not in html


def test_tags_are_closed() -> None:
    assert len(Outline(number_html(record())).elements) > 50


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_changes_nothing_else_of_a_notebook(browser: Browser, tmp_path: Any, dark: bool) -> None:
    around = "<!DOCTYPE html><meta charset=utf-8><p id=text>text</p><table id=t><td>1</table>"
    look = (
        "['text','t'].map(i=>{const s=getComputedStyle(document.getElementById(i));return [s.font,s.color,s.margin]})"
    )
    for name, html in (("alone", around), ("beside", around + number_html(record()))):
        (tmp_path / f"{name}.html").write_text(html, "utf-8")
    with browser.open(tmp_path / "alone.html", dark=dark) as page:
        alone = page.value(look)
    with browser.open(tmp_path / "beside.html", dark=dark) as page:
        assert page.value(look) == alone
        assert page.texts(".pellucid-number table.cells td")[:4] == ["1", "2", "4", "5"]
        page.assert_quiet()
