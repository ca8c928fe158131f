"""Charts: what is drawn where, what a reader hears, and values that are none."""

from __future__ import annotations

import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from pellucid.draw.curves import HEIGHT, WIDTH, Series, curves, nice_ticks


def points(html: str) -> list[list[tuple[float, float]]]:
    """The corners of each curve, in the drawing's units."""
    found = re.findall(r'<polyline[^>]* points="([^"]*)"', html)
    return [[tuple(map(float, pair.split(","))) for pair in one.split()] for one in found]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("low", "high"), [(0.13, 0.97), (0, 1), (0.4, 0.4), (0, 0), (-3, 8), (1e-7, 3e-7), (2.2, 1840.0), (0.8999, 0.9001)]
)
def test_ticks_are_few_round_and_span(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    digits = f"{steps[0]:e}".split("e")[0]
    assert float(digits) == pytest.approx(round(float(digits)), abs=1e-4)
    assert round(float(digits)) in {1, 2, 5}


def test_curves_lie_where_their_values_are() -> None:
    html = curves("Loss", "", [Series("a", (1, 2, 3, 5), (0.0, 1.0, 0.5, 0.25)), Series("b", (1, 5), (1.0, 0.0))])
    one, two = points(html)
    xs, ys = np.array(one).T
    np.testing.assert_allclose((xs - xs[0]) / (xs[-1] - xs[0]), [0, 0.25, 0.5, 1], atol=1e-3)
    np.testing.assert_allclose((ys - ys[1]) / (ys[0] - ys[1]), [1, 0, 0.5, 0.75], atol=1e-3)  # downwards is less
    assert two == [(one[0][0], one[1][1]), (one[-1][0], one[0][1])]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in one + two)


def test_what_is_not_finite_is_left_out() -> None:
    html = curves("Loss", "", [Series("a", (1, 2, 3), (0.5, math.nan, 0.25)), Series("none", (1,), (math.inf,))])
    assert [len(one) for one in points(html)] == [2]
    data = re.search(r"<script type='application/json'>(\[\{.*?)</script>", html)
    assert data is not None
    assert json.loads(data[1]) == [{"name": "a", "x": [1, 3], "y": [0.5, 0.25]}]
    assert "none" not in html.replace('fill="none"', "")


@pytest.mark.parametrize("series", [[], [Series("a", (), ())], [Series("a", (1.0,), (math.nan,))]])
def test_without_values_a_sentence(series: list[Series]) -> None:
    assert curves("Loss <1>", "", series) == "<p class='soft'>Loss &lt;1&gt;: nothing was measured yet.</p>"


def test_one_value_of_one_epoch_is_drawn() -> None:
    html = curves("Accuracy", "", [Series("test", (1.0,), (0.5,))])
    [[(x, y)]] = points(html)
    assert math.isfinite(x)
    assert math.isfinite(y)
    assert "<circle" in html


def test_a_reader_hears_the_last_values_and_names_are_only_text() -> None:
    html = curves("Loss", "unit", [Series("</script><b>&\"'", (1, 2), (0.7, 0.12345))])
    assert 'aria-label="Loss: &lt;/script&gt;&lt;b&gt;&amp;&quot;&#x27; ends at 0.1235"' in html
    assert "</script><b>" not in html
    svg = re.search(r'<svg viewBox="0 0 \d+ \d+" role="img".*?</svg>', html, re.S)
    assert svg is not None
    ElementTree.fromstring(svg[0])


def test_the_axis_says_over_what() -> None:
    assert ">step</text>" in curves("Loss", "", [Series("a", (0, 2000), (1, 2))], over="step")
    assert ">2,000</text>" in curves("Loss", "", [Series("a", (0, 2000), (1, 2))], over="step")
    assert ">epoch</text>" in curves("Loss", "", [Series("a", (0, 2), (1, 2))])


def test_many_curves_are_told_apart() -> None:
    html = curves("Loss", "", [Series(str(i), (1, 2), (i, i)) for i in range(14)])
    looks = re.findall(r'<polyline fill="none" stroke="([^"]*)" stroke-width="2"( stroke-dasharray="[^"]*")?', html)
    assert len(set(looks)) == 14
