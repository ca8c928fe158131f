"""The page of a data set's check: what was found, with thumbnails, and names that are traps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.check import Checked, check
from pellucid.draw import check_page
from tests.draw.test_report import Outline

TRAP = "<img src=x onerror=window.hacked=1>'\"&"  # no slash: it is the name of a folder


def save(file: Path, seed: int, size: tuple[int, int] = (24, 32)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def write_data(root: Path) -> Path:
    """Two classes in two splits: one picture twice, one in both splits, one file that is broken."""
    for i in range(6):
        save(root / "train" / "cat" / f"{i}.png", i)
        save(root / "train" / TRAP / f"{i}.png", 100 + i)
        save(root / "test" / "cat" / f"{i}.png", 200 + i)
        save(root / "test" / TRAP / f"{i}.png", 300 + i)
    save(root / "train" / "cat" / "again.png", 0)
    save(root / "test" / TRAP / "leaked.png", 101)
    (root / "train" / "cat" / f"{TRAP}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return root


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    return check(str(write_data(tmp_path_factory.mktemp("data") / "animals")))


def test_the_numbers_are_those_that_were_found(found: Checked) -> None:
    text = Outline(check_page(found)).text
    assert f"{found.total:,} pictures" in text
    assert f"{len(found.broken)} broken" in text
    assert "1 of these across splits" in text
    assert "Copies across splits: what is measured on was learned from" in text
    assert "leaked.png" in text
    assert "again.png" in text
    for item in found.broken:
        assert item.reason in text
    assert "24" in text
    assert "32" in text


def test_thumbnails_are_in_the_page(found: Checked) -> None:
    images = Outline(check_page(found)).all("img")
    assert len(images) >= 4
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(image["alt"].startswith("a picture of ") for image in images)


def test_names_stay_text(found: Checked) -> None:
    page = Outline(check_page(found))
    assert TRAP in page.text
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
