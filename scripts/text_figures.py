"""Draws the figure of docs/guide/course/16-text.md into docs/pictures, from the network that the page trains.

python scripts/text_figures.py
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.train.tasks.text_phrases import loudest_phrases

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guide" / "course" / "16-text.md"
FOLDER = ROOT / "docs" / "pictures"
LOUDEST, OTHERS = "#d1690e", "#9db7de"


def main() -> None:
    """Train the page's network as the page does; draw its most influential kernel for either class."""
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            page = _run_page()
        finally:
            os.chdir(before)
    kernels = loudest_phrases(page["model"].net, page["model"].preprocess.text, page["texts"])
    figure = Figure((8.4, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, 1)
    for axes, name in ((upper, "shuffled"), (lower, "as written")):
        one = max((k for k in kernels if k.speaks_for == name and k.span == 3), key=lambda k: k.influence)
        clean = [phrase for phrase in one.phrases if "[" not in phrase.text and "·" not in phrase.text]
        _draw(axes, page, one.number, page["texts"][clean[0].index], f"a kernel of 3 words that speaks for {name!r}")
    with matplotlib.rc_context({"svg.hashsalt": "pellucid", "svg.fonttype": "none"}):
        figure.savefig(FOLDER / "text-windows.svg", metadata={"Date": None})


def _run_page() -> dict[str, Any]:
    """The page's code up to the loudest phrases."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    last = next(i for i, block in enumerate(blocks) if "loudest_phrases(" in block)
    namespace: dict[str, Any] = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in blocks[: last + 1]:
            exec(compile(block, str(PAGE), "exec"), namespace)
    return namespace


@torch.no_grad()
def _draw(axes: Axes, page: dict[str, Any], kernel: int, text: str, title: str) -> None:
    """The kernel's number, before the ReLU, at each window that lies wholly inside the sentence."""
    net, preprocess = page["model"].net, page["model"].preprocess.text
    words = preprocess.tokens(text)
    tokens = torch.tensor(preprocess.encode([text]))
    maps = net.convs[0](net.embedding(tokens).transpose(1, 2))  # window i holds the words i - 2 to i
    numbers = maps[0, kernel, 2 : len(words)].tolist()
    best = max(range(len(numbers)), key=numbers.__getitem__)
    colours = [LOUDEST if i == best else OTHERS for i in range(len(numbers))]
    axes.bar([i + 1 for i in range(len(numbers))], numbers, width=0.9, color=colours)
    axes.text(best + 1, numbers[best], f"{numbers[best]:.2f} goes on", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(words)), words, fontsize=9)
    axes.set_xlim(-0.6, len(words) - 0.4)
    axes.set_ylim(1.2 * min(0.0, *numbers), 1.25 * max(numbers))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel("before the ReLU")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
