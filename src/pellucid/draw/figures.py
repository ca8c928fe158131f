"""Figures as PNG files, by matplotlib without its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pellucid.train.measure import Mistake

# The first that is installed and has the characters is used: Chinese class names must not become boxes.
_FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei"]


def save_curves(file: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Loss and accuracy over epochs, training beside validation or test."""
    figure = _figure((9, 3.6))
    for i, what in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(1, 2, i + 1)
        for split in ("train", "validation", "test"):
            points = [(e["epoch"], e[f"{split}_{what}"]) for e in epochs if f"{split}_{what}" in e]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=split)
        axes.set_title(what)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if axes.has_data():
            axes.legend()
    _save(figure, file)


def save_confusion(file: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Counts of truth (rows) against prediction (columns); shares of the row as shades, numbers up to 20 classes."""
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    many = len(classes)
    side = min(14.0, max(4.0, 0.45 * many + 2))
    figure = _figure((side, side))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    if many <= 60:
        axes.set_xticks(range(many), [_short(name) for name in classes], rotation=90)
        axes.set_yticks(range(many), [_short(name) for name in classes])
    if many <= 20:
        for i in range(many):
            for j in range(many):
                if counts[i, j]:
                    color = "white" if shares[i, j] > 0.5 else "black"
                    axes.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", fontsize=8, color=color)
    _save(figure, file)


def save_mistakes(file: Path, mistakes: Sequence[Mistake], pictures: Mapping[int, NDArray[np.uint8]]) -> None:
    """The most confident mistakes: picture, what it is, what it was called, how confidently."""
    shown = [mistake for mistake in mistakes if mistake.index in pictures][:25]
    columns = 5
    rows = max(1, -(-len(shown) // columns))
    figure = _figure((2.1 * columns, 2.5 * rows))
    if not shown:
        figure.text(0.5, 0.5, "no mistakes", ha="center")
    for i, mistake in enumerate(shown):
        axes = figure.add_subplot(rows, columns, i + 1)
        picture = pictures[mistake.index]
        axes.imshow(picture[:, :, 0] if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{_short(mistake.truth)}\nnot {_short(mistake.predicted)} ({mistake.confidence:.2f})", size=8)
        axes.set_axis_off()
    _save(figure, file)


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.family": _FONTS}):
        return Figure(figsize=size, layout="constrained")


def _save(figure: Figure, file: Path) -> None:
    import logging

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it would name every font of the list that is not installed
    try:
        with rc_context({"font.family": _FONTS}):
            for text in figure.findobj(Text):
                text.set_fontfamily(_FONTS)
            FigureCanvasAgg(figure)
            figure.savefig(file, dpi=110)
    finally:
        logger.setLevel(level)


def _short(name: str, most: int = 18) -> str:
    plain = name.replace("$", r"\$")  # matplotlib reads dollars as mathematics
    return plain if len(plain) <= most else plain[: most - 1] + "…"
