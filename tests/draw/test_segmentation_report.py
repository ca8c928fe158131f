"""The page of a segmentation: names are the user's and stay text, every class has its colour, void is black."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.draw.segmentation_overlay import VOID, colors, encoded_mask, encoded_picture, flat, overlay
from pellucid.draw.segmentation_report import body, save_overlays
from pellucid.train.tasks.segmentation_measure import confusion_of, measure, shares

NAMES = ("<b>road</b>", "天空", "pole & sign")


@pytest.fixture
def scenes() -> dict[int, Any]:
    chance = np.random.default_rng(0)
    found = {}
    for index in range(3):
        truth = chance.integers(0, 3, (6, 8)).astype(np.uint8)
        truth[0] = VOID
        found[index] = (
            chance.integers(0, 256, (6, 8, 3)).astype(np.uint8),
            truth,
            chance.integers(0, 3, (6, 8)).astype(np.uint8),
        )
    return found


@pytest.fixture
def record(scenes: dict[int, Any]) -> Any:
    confusions = np.stack([confusion_of(truth, called, 3) for _, truth, called in scenes.values()])
    measured = measure(
        confusions.sum(0), [shares(one) for one in confusions], 0.7, ["a/<i>.png", "b.png", "c.png"], NAMES, 0
    )
    task = SimpleNamespace(things="pictures", score="mean_iou")
    return SimpleNamespace(measured=measured, split="test", task=task, epochs=({"test_mean_iou": 0.1},))


def test_names_stay_text(record: Any, scenes: dict[int, Any]) -> None:
    found = body(record, scenes)
    page = found.lead + "".join(inside for _, inside in found.sections)
    assert "<b>road</b>" not in page
    assert "&lt;b&gt;road&lt;/b&gt;" in page
    assert "天空" in page
    assert "a/&lt;i&gt;.png" in page
    assert "Nothing was chosen by it" not in page
    assert "It was shown after each epoch too" in page


def test_the_worst_comes_first_and_the_baseline_stands_beside(record: Any, scenes: dict[int, Any]) -> None:
    found = body(record, scenes)
    pictures = dict(found.sections)["Pictures"]
    order = [pictures.index(f"{item.mean_iou:.1%}") for item in record.measured.pictures]
    assert order == sorted(order)
    assert f"always the same: {record.measured.baseline.mean_iou:.2%}" in found.cards[0]


def test_void_is_black_and_in_an_overlay_the_picture() -> None:
    mask = np.array([[0, 1], [2, VOID]], np.uint8)
    picture = np.full((2, 2, 1), 200, np.uint8)
    np.testing.assert_array_equal(flat(mask, 3)[1, 1], [0, 0, 0])
    np.testing.assert_array_equal(flat(mask, 3)[0], colors(3)[:2])
    shown = overlay(picture, mask, 3)
    np.testing.assert_array_equal(shown[1, 1], [200, 200, 200])
    np.testing.assert_array_equal(shown[0, 0], np.rint(80 + 0.6 * colors(3)[0].astype(float)))


def test_a_mask_as_a_file_keeps_its_indices() -> None:
    mask = np.arange(40, dtype=np.uint8).reshape(5, 8)
    with Image.open(io.BytesIO(encoded_mask(mask, 40))) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), mask)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")).reshape(-1, 3), colors(40))


def test_a_grey_picture_as_a_file() -> None:
    with Image.open(io.BytesIO(encoded_picture(np.full((3, 4, 1), 7, np.uint8)))) as image:
        assert (image.mode, image.size) == ("L", (4, 3))


def test_overlays_side_by_side(record: Any, scenes: dict[int, Any], tmp_path: Path) -> None:
    save_overlays(tmp_path / "overlays.png", record, scenes, most=2)
    with Image.open(tmp_path / "overlays.png") as image:
        pixels = np.asarray(image)
    first = record.measured.pictures[0].index
    assert pixels.shape == (12, 24, 3)
    np.testing.assert_array_equal(pixels[:6, :8], scenes[first][0])
    np.testing.assert_array_equal(pixels[:6, 8:16], flat(scenes[first][1], 3))
