"""Small data sets of pictures and masks, written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def scene(seed: int, height: int = 24, width: int = 32, void: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture with a red and a green box in it, uint8 (H, W, 3), and its mask of 0, 1, 2 with a void row."""
    chance = np.random.default_rng(seed)
    picture = chance.integers(0, 60, (height, width, 3)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for label, channel in ((1, 0), (2, 1)):
        top, left = int(chance.integers(1, height - 10)), int(chance.integers(0, width - 10))
        picture[top : top + 9, left : left + 9] //= 3
        picture[top : top + 9, left : left + 9, channel] += 180
        mask[top : top + 9, left : left + 9] = label
    mask[0] = void
    return picture, mask


def write(
    folder: Path,
    splits: Sequence[tuple[str, int]] = (("train", 6), ("val", 3), ("test", 3)),
    *,
    classes: Sequence[str] | None = ("ground", "red", "green"),
    height: int = 24,
    width: int = 32,
    void: int = 255,
) -> Path:
    """``folder`` with so many pictures in each split (a split named "" stands at the top)."""
    seed = 0
    for split, count in splits:
        for side in ("images", "masks"):
            (folder / split / side).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            picture, mask = scene(seed, height, width, void)
            Image.fromarray(picture).save(folder / split / "images" / f"p{seed:02}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"p{seed:02}.png")
            seed += 1
    if classes is not None:
        (folder / "classes.txt").write_text("\n".join(classes) + "\n", "utf-8")
    return folder
