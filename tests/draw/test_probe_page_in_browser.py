"""The page of a probe in Chromium: it fits, says nothing on the console, and is read by keys as by pointer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.draw import write_probe_page
from tests.browser import Browser
from tests.draw.test_probe_page import made_probe
from tests.draw.test_report_in_browser import CONTRAST
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of one network, of two, and of one with names that are traps."""
    root = tmp_path_factory.mktemp("pages")
    hostile = made_probe(HOSTILE_NAME, classes=HOSTILE_CLASSES)
    made = {
        "one": [made_probe()],
        "two": [made_probe(), made_probe("a-rather-long-name-of-a-run-without-a-space-in-it", side=80, skill=1.0)],
        "hostile": [hostile],
    }
    return {name: write_probe_page(root / f"{name}.html", probes) for name, probes in made.items()}


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False)])
@pytest.mark.parametrize("name", ["one", "two", "hostile"])
def test_a_page_says_nothing_asks_nothing_and_fits(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    with browser.open(pages[name], width=width, dark=dark) as page:
        page.value("document.querySelectorAll('details').forEach(e=>e.open=true)")
        assert page.value("[innerWidth,document.documentElement.scrollWidth]") == [width, width]
        assert page.value("typeof window.hacked") == "undefined"
        assert page.value("[...document.images].every(i=>i.complete&&i.naturalWidth>0)")
        page.assert_quiet()


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_in_light_and_dark(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1; the darkest cells of the tables too."""
    with browser.open(pages["one"], dark=dark) as page:
        page.value("document.querySelectorAll('details').forEach(e=>e.open=true)")
        worst = page.value(CONTRAST)
        assert worst[0][0] >= 4.5, worst


def test_the_page_is_gone_through_and_read_by_keys(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["one"], width=400) as page:
        seen = []
        for _ in range(40):
            page.press("Tab")
            name = page.value(
                "(e=>e===document.body?'':(e.getAttribute('aria-label')||e.innerText||'').trim().split(/[:\\n]/)[0])"
                "(document.activeElement)"
            )
            if not name:
                break
            seen.append(name)
            if name == "ant at each size of rotation":
                page.press("ArrowRight")
                page.value("new Promise(done=>setTimeout(done,300))")
                assert page.value("document.activeElement.scrollLeft") > 0
        links = ["Rotation", "Brightness", "What the numbers mean", "How it was measured"]
        charts = ["Accuracy", "Answers", "ant at each size of {}", "bee at each size of {}", "Change of features"]
        end = "The same in numbers"
        rotation = [name.format("rotation") for name in [*charts, "Error of following", end]]
        seen = [name for name in seen if not name.startswith("change\twhere")]  # a table that is too wide scrolls
        assert seen == [*links, *rotation, *(name.format("brightness") for name in [*charts, end])]
        page.value("document.querySelectorAll('figure.chart svg[role=img]')[3].focus()")
        page.press("ArrowLeft")
        assert page.texts("figure.chart .read")[3] == "rotation, degrees 10: conv, step 1 0.11, pool, step 2 0.32"
        page.assert_quiet()


def test_a_screen_reader_hears_pictures_charts_and_tables(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["one"]) as page:
        page.value("document.querySelectorAll('details').forEach(e=>e.open=true)")
        heard = page.accessible()
        headings = [item["name"] for item in heard if item["role"] == "heading"]
        assert headings[:2] == ["What plain tolerates", "Where half of the accuracy is lost"]
        pictured = [item["name"] for item in heard if item["role"] == "image"]
        assert "a picture of bee, brightness 0.25 times" in pictured
        assert [name for name in pictured if name.startswith("Error of following: conv, step 1 ends at 0.448")]
        assert "bee at each size of rotation" in [item["name"] for item in heard if item["role"] == "group"]
        assert all(item["name"] for item in heard if item["role"] in {"rowheader", "columnheader", "link"})
