"""Figures as PNG files: read back as pictures, compared with the records that they were drawn from."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.draw import figures
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME, measured, pictures


def read(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


def colored(picture: np.ndarray) -> int:
    """How many pixels are neither grey, white nor black."""
    return int((np.ptp(picture, axis=2) > 40).sum())


def test_curves_of_each_split_are_there(tmp_path: Path) -> None:
    epochs = [{"epoch": e, "train_loss": 1 / e, "validation_loss": 1.2 / e, "train_accuracy": 0.5} for e in (1, 2, 3)]
    figures.save_curves(tmp_path / "both.png", epochs)
    figures.save_curves(tmp_path / "one.png", [{"epoch": e["epoch"], "train_loss": e["train_loss"]} for e in epochs])
    figures.save_curves(tmp_path / "none.png", [])
    none, one, both = (colored(read(tmp_path / f"{name}.png")) for name in ("none", "one", "both"))
    assert none == 0
    assert 100 < one < both


def test_values_that_were_not_finite_leave_a_gap(tmp_path: Path) -> None:
    epochs: list[dict[str, Any]] = [{"epoch": e, "train_loss": None, "test_accuracy": None} for e in (1, 2)]
    figures.save_curves(tmp_path / "curves.png", epochs)
    assert colored(read(tmp_path / "curves.png")) == 0
    figures.save_curves(
        tmp_path / "curves.png", [*epochs, {"epoch": 3, "train_loss": 0.5}, {"epoch": 4, "train_loss": 0.4}]
    )
    assert colored(read(tmp_path / "curves.png")) > 50


@pytest.mark.parametrize("classes", [2, 10, 45, 300, 1000])
def test_confusion_is_drawn_for_few_and_many_classes(tmp_path: Path, classes: int) -> None:
    counts = np.zeros((classes, classes), int)
    counts[np.arange(classes), np.arange(classes)] = 10
    figures.save_confusion(tmp_path / "right.png", counts.tolist(), [f"class {i}" for i in range(classes)])
    counts[0, -1] = 30  # one mistake, in the corner
    figures.save_confusion(tmp_path / "wrong.png", counts.tolist(), [f"class {i}" for i in range(classes)])
    right, wrong = read(tmp_path / "right.png"), read(tmp_path / "wrong.png")
    assert right.shape == wrong.shape
    assert max(right.shape) < 1800
    differs = np.argwhere(np.abs(right - wrong).max(2) > 60)
    assert len(differs) >= 3, "a single cell must be seen"
    rows, columns = differs.mean(0)
    assert columns > right.shape[1] / 2


def test_confusion_of_a_class_without_pictures(tmp_path: Path) -> None:
    figures.save_confusion(tmp_path / "confusion.png", [[3, 1], [0, 0]], ["there", "not there"])
    assert (tmp_path / "confusion.png").stat().st_size > 1000


@pytest.mark.parametrize("size", [(28, 28, 1), (40, 30, 3)])
def test_mistakes_show_their_pictures(tmp_path: Path, size: tuple[int, int, int]) -> None:
    result = measured(("a", "b", "c"), 60, skill=1.0)
    shown = {index: np.full(size, 255, np.uint8) for index in pictures(result)}
    figures.save_mistakes(tmp_path / "white.png", result.mistakes, shown)
    black = {index: np.zeros_like(picture) for index, picture in shown.items()}
    figures.save_mistakes(tmp_path / "black.png", result.mistakes, black)
    differ = np.abs(read(tmp_path / "white.png") - read(tmp_path / "black.png")).max(2) > 200
    assert differ.mean() > 0.3
    figures.save_mistakes(tmp_path / "none.png", (), {})
    assert (tmp_path / "none.png").is_file()


def test_hostile_names_are_drawn_without_a_warning(tmp_path: Path) -> None:
    result = measured(HOSTILE_CLASSES, 80, name=HOSTILE_NAME + "{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of characters that become boxes
        figures.save_confusion(tmp_path / "confusion.png", result.confusion, HOSTILE_CLASSES)
        figures.save_mistakes(tmp_path / "mistakes.png", result.mistakes, pictures(result))


def test_dollars_in_names_are_dollars(tmp_path: Path) -> None:
    figures.save_confusion(tmp_path / "confusion.png", [[1, 0], [0, 1]], ["$\\frac{$", "$5 or $6"])  # no mathematics
    assert (tmp_path / "confusion.png").is_file()


def test_names_without_a_font_are_written_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures.drawable(["cat", "Kätzchen"]) == (["cat", "Kätzchen"], "")
    monkeypatch.setattr(figures, "_FONTS", ["DejaVu Sans"])  # comes with matplotlib, and has no Chinese
    names, note = figures.drawable(["cat", "猫 1"])
    assert names == ["cat", r"\u732b 1"]
    assert "no font for them is installed" in note


def test_chinese_names_are_drawn_where_a_font_is_installed(tmp_path: Path) -> None:
    names, note = figures.drawable(["猫"])
    if note:
        pytest.skip("no font with Chinese characters is installed (Debian's package fonts-wqy-zenhei)")
    assert names == ["猫"]
    drawn = []
    for name in ("猫", "狗"):  # two boxes would look the same
        figures.save_confusion(tmp_path / "confusion.png", [[1, 0], [0, 1]], [name, "x"])
        drawn.append(read(tmp_path / "confusion.png"))
    assert drawn[0].shape != drawn[1].shape or not np.array_equal(*drawn)


def test_nothing_global_of_matplotlib_is_touched(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from pellucid.draw import figures\n"
        f"figures.save_curves(pathlib.Path({str(tmp_path / 'c.png')!r}), [{{'epoch': 1, 'train_loss': 1.0}}])\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
