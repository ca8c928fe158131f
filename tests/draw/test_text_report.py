"""The report of a classifier of texts in Chromium: hostile sentences are text, and it fits a telephone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.draw import text_report
from pellucid.draw.report import write_report
from pellucid.train.record import read_run
from pellucid.train.tasks.text_measure import measure_texts
from pellucid.train.tasks.text_phrases import Filter, Phrase
from tests.browser import Browser
from tests.made_runs import write_run

HOSTILE = "<script>document.title='taken'</script> \u202eright to left " + "w" * 300
CLASSES = ("neg</b>", "pos & more")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    labels = np.arange(40) % 2
    p = np.full((40, 2), 0.2)
    p[np.arange(40), np.where(np.arange(40) < 30, labels, 1 - labels)] = 0.8
    measured = measure_texts(p, labels, [f"a.csv:{i}" for i in range(40)], CLASSES, labels * 0, 0.1)
    folder = write_run(tmp_path / "run", classes=CLASSES, result=measured, task="text")
    record = read_run(folder)
    mistakes = [
        text_report.Wrong(item.name, HOSTILE, item.truth, item.predicted, item.confidence, CLASSES[0])
        for item in measured.of.mistakes
    ]
    filters = [
        Filter(span, number, CLASSES[0], 0.5, 0.1, (Phrase(HOSTILE[:60], 1.0, 0),) if number else ())
        for span in (1, 3)
        for number in range(12)
    ]
    words = [(name, [(HOSTILE[:30], 1.5)]) for name in CLASSES]
    return write_report(folder, record, text_report.body(record, mistakes, filters, words))


def test_what_is_said_without_a_browser(page: Path) -> None:
    html = page.read_text("utf-8")
    assert "<script>document.title" not in html
    assert "neg</b>" not in html
    assert "Kernels of 1 token<" in html
    assert "The other 2<" in html
    assert "silent in all of them" in html
    assert html.count("the bag of words says") == 10
    assert "10 of 40 sentences were called something else" in html


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_it_says_nothing_asks_nothing_and_fits(browser: Browser, page: Path, width: int) -> None:
    with browser.open(page, width=width) as shown:
        assert shown.value("[innerWidth,document.documentElement.scrollWidth]") == [width, width]
        assert shown.value("document.title") == "lenet on animals"
        assert shown.texts(".texts p")[0].startswith("<script>")
        shown.assert_quiet()
