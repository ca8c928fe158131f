"""The figures of the chapter on variants of convolution are what the networks give, and small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_drawn_matrices_and_holes_are_the_committed_ones(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("variants_figures", ROOT / "scripts" / "variants_figures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn = {file.name: file.read_text("utf-8") for file in script.draw(tmp_path)}
    assert drawn == {file.name: file.read_text("utf-8") for file in (ROOT / "docs" / "pictures").glob("variants-*.svg")}
