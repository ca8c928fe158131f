"""The page of a grid: what it says, its curves with bands, its tables, names that are traps; in Chromium as well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pellucid.draw import grid_page, write_grid_page
from pellucid.draw.curves import Series, curves
from pellucid.draw.grid_page import band
from pellucid.train import Axis, read_grid
from tests.browser import Browser
from tests.draw.test_report import Outline
from tests.draw.test_report_in_browser import CONTRAST
from tests.made_grids import write_grid
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME

SKILLS = {"lenet sgd": 2.2, "lenet adam": 2.2, "mlp sgd": 1.0, "mlp adam": 1.8}
DIVERGED = ["mlp-adam-seed=0", "mlp-adam-seed=2"]
RATES = (Axis("optimizer", ("sgd",)), Axis("learning_rate", (0.03, 0.1), "sgd"))


def test_it_says_what_was_compared_and_what_is_larger(tmp_path: Path) -> None:
    grid = read_grid(write_grid(tmp_path / "grid", skill=SKILLS))
    text = Outline(grid_page(grid)).text
    larger = sum(pair.is_larger for pair in grid.pairs)
    assert 0 < larger < len(grid.pairs)
    assert grid.visible is not None
    best = grid.ranked[0]
    for part in (
        "4 ways of training on animals",
        "12 of 12 runs are over",
        f"{larger} of 4 differences {'is' if larger == 1 else 'are'} larger than the noise",
        f"With 3 seeds, and as these runs spread, no difference in accuracy below {grid.visible[0]:.2g}",
        f"{best.mean:.4f}",
        "may be noise",
        "optimizer",
        "Welch's t-test",
    ):
        assert part in text


def test_curves_are_means_with_a_band_from_the_lowest_to_the_highest(tmp_path: Path) -> None:
    levels = dict.fromkeys(SKILLS, 0.5)
    grid = read_grid(write_grid(tmp_path / "grid", validation=levels, diverged=DIVERGED))
    one = band(grid.entries[0], "validation_accuracy")
    assert one.x == tuple(range(1, 9))
    assert (one.low[-1], one.y[-1], one.high[-1]) == pytest.approx((0.5, 0.501, 0.502))
    left = band(grid.entries[3], "validation_accuracy")
    assert (left.y[-1], left.low, left.high) == (pytest.approx(0.501), (), ())
    html = grid_page(grid)
    assert len(re.findall("<polyline", html)) == 8
    assert len(re.findall("<polygon", html)) == 6


def test_a_band_with_values_that_are_no_numbers() -> None:
    nan, inf = float("nan"), float("inf")
    html = curves("x", "", [Series("a", (1, 2, 3), (1, 2, 3), (0, nan, 2), (2, 3, inf))])
    assert "nan" not in html
    assert re.findall(r'<polygon[^>]* points="([^"]*)"', html)[0].count(",") == 2


def test_what_diverged_is_said(tmp_path: Path) -> None:
    text = Outline(grid_page(read_grid(write_grid(tmp_path / "grid", diverged=DIVERGED)))).text
    assert "Diverged, so that the loss was no number any more: mlp adam (2 of 3)." in text
    assert "1/3" in text


def test_what_validation_chose_is_said(tmp_path: Path) -> None:
    levels = {"sgd learning_rate=0.03": 0.4, "sgd learning_rate=0.1": 0.6}
    folder = write_grid(tmp_path / "grid", RATES, validation=levels, choose=["learning_rate"])
    text = Outline(grid_page(read_grid(folder))).text
    assert "Chosen on validation" in text
    assert "chosen (the end of what was tried: a better one may lie beyond)" in text
    assert "0.6010" in text


def test_one_seed_says_nothing_of_noise(tmp_path: Path) -> None:
    text = Outline(grid_page(read_grid(write_grid(tmp_path / "grid", seeds=1)))).text
    assert "No difference can be called larger than the noise yet" in text
    assert "cannot be said" in text


def test_a_page_before_anything_ran(tmp_path: Path) -> None:
    names = [f"{net}-{rule}-seed=0" for net in ("lenet", "mlp") for rule in ("sgd", "adam")]
    text = Outline(grid_page(read_grid(write_grid(tmp_path / "grid", seeds=1, missing=names)))).text
    for part in ("0 of 4 runs are over", "nothing was measured yet", "There is nothing to compare yet"):
        assert part in text


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    hostile = [Axis("word", (HOSTILE_NAME.replace("/", ""), "\"'><b>", "狗 与 猫"))]
    made = {
        "plain": write_grid(root / "plain", skill=SKILLS, diverged=DIVERGED),
        "hostile": write_grid(root / "hostile", hostile, classes=HOSTILE_CLASSES, data=HOSTILE_NAME),
    }
    return {name: write_grid_page(folder / "compare.html", read_grid(folder)) for name, folder in made.items()}


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False)])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_it_says_nothing_asks_nothing_and_fits(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    with browser.open(pages[name], width=width, dark=dark) as page:
        page.value("document.querySelectorAll('details').forEach(e=>e.open=true)")
        assert page.value("[innerWidth,document.documentElement.scrollWidth]") == [width, width]
        assert page.value("typeof window.hacked") == "undefined"
        page.assert_quiet()


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_in_light_and_dark(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    with browser.open(pages["plain"], dark=dark) as page:
        page.value("document.querySelectorAll('details').forEach(e=>e.open=true)")
        worst = page.value(CONTRAST)
        assert worst[0][0] >= 4.5, worst


@pytest.mark.browser
def test_tables_sort_and_curves_are_read_by_keys(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["plain"]) as page:
        first = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r=>r.cells[0].textContent)"
        ranked = page.value(first)
        page.value("document.querySelectorAll('table')[0].tHead.rows[0].cells[1].querySelector('button').click()")
        page.value("document.querySelectorAll('table')[0].tHead.rows[0].cells[1].querySelector('button').click()")
        assert page.value(first) == ranked[::-1]
        page.value("document.querySelector('figure.chart svg[role=img]').focus()")
        page.press("ArrowLeft")
        assert page.texts("figure.chart .read")[0].startswith("epoch 7: lenet sgd 0.8")
        assert page.value("[...document.querySelectorAll('th button')].every(b=>b.textContent.trim())")
        page.assert_quiet()


@pytest.mark.browser
def test_every_run_is_a_link_to_its_report(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["plain"]) as page:
        links = page.value("[...document.querySelectorAll('li a')].map(a=>a.getAttribute('href'))")
        assert links[0] == "lenet-sgd-seed%3D0/report.html"
        assert len(links) == 12
