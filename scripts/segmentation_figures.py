"""Draws pictures, masks and predictions for docs/guide/course/14-a-label-for-every-pixel.md, trained as on that page.

python scripts/segmentation_figures.py    # half a minute
"""

from __future__ import annotations

import re
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pellucid.draw.segmentation_overlay import flat
from pellucid.train import Model, Settings, start

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guide" / "course" / "14-a-label-for-every-pixel.md"
FILE = ROOT / "docs" / "pictures" / "segmentation-wardrobe.png"
SHOWN, TIMES, GAP = (140, 143, 147, 150, 153), 2, 6


def code_of_the_page(names: str) -> str:
    """The block of the page that makes the wardrobe."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if names in block)


def draw(file: Path = FILE) -> Path:
    """Rows: the picture, what it is, what the network says."""
    from pellucid import data

    names = ("nothing", "Trouser", "Bag", "Ankle boot")
    space: dict[str, Any] = {"np": np, "clothes": data.load("fashion-mnist-small"), "names": names}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        exec(code_of_the_page("def scene_of"), space)
        net = {"channels": 8, "depth": 3, "dropout": 0.0, "stem": False}
        own = {"epochs": 9, "learning_rate": 0.01, "scale": 0.2, "color": 0.0, "threads": 1}
        settings = Settings.parse({**own, "net_settings": net})
        start("wardrobe", settings, folder=Path("run"))
        model = Model.load("run")
        columns = []
        for seed in SHOWN:
            picture, mask = space["scene_of"](seed)
            model.answers(f"wardrobe/test/images/{seed}.png", out="masks")
            called = np.asarray(Image.open(f"masks/{seed}.mask.png"))
            shown = [np.repeat(picture[..., None], 3, 2), flat(mask, 4), flat(called, 4)]
            columns.append(
                np.concatenate([np.pad(one, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for one in shown])
            )
    pixels = np.concatenate(columns, 1)[:-GAP, :-GAP].repeat(TIMES, 0).repeat(TIMES, 1)
    Image.fromarray(pixels).quantize(128).save(file, optimize=True)
    return file


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = draw()
    print(made, f"{made.stat().st_size:,} bytes")
