"""The guide's figures: each page shows only those that the script draws, and the drawn sums are the committed ones."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
SUMS = ("cross-correlation", "padding-stride", "channels", "pooling", "fields", "back-propagation")  # exact numbers
MOST = 60_000  # bytes a figure


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_figures", ROOT / "scripts" / "guide_figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SUMS)
def test_a_drawn_sum_is_what_the_network_computes(script: ModuleType, name: str, tmp_path: Path) -> None:
    (file,) = script.draw([name], tmp_path)
    ElementTree.fromstring(file.read_text("utf-8"))
    assert file.read_text("utf-8") == (PICTURES / file.name).read_text("utf-8")


def test_the_pages_show_every_figure_that_the_script_draws_and_no_other(script: ModuleType) -> None:
    drawn = {f"guide-{name}.{suffix}" for name, (_, suffix) in script.FIGURES.items()}
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs" / "guide" / "course").glob("*.md"))
    assert set(re.findall(r"pictures/(guide-[\w.-]+)", pages)) == drawn
    assert {file.name for file in PICTURES.glob("guide-*")} == drawn


@pytest.mark.parametrize("file", sorted(PICTURES.glob("guide-*")), ids=lambda file: file.name)
def test_a_figure_is_small(file: Path) -> None:
    assert file.stat().st_size < MOST


def teardown_module() -> None:
    """The script puts its own folder on the path to find its drawing."""
    sys.path[:] = [place for place in sys.path if place != str(ROOT / "scripts")]
