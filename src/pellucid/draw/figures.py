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

_SPLITS = ("train", "validation", "test")
# The first that is installed and has the characters is used: Chinese class names must not become boxes.
_FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei"]


def save_curves(file: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Loss and scores over epochs, training beside validation or test."""
    known = {key.partition("_")[2] for epoch in epochs for key in epoch if key.partition("_")[0] in _SPLITS}
    names = ["loss", *sorted(known - {"", "loss"})]
    figure = _figure((4.5 * max(2, len(names)), 3.6))
    for i, what in enumerate(names):
        axes = figure.add_subplot(1, max(2, len(names)), i + 1)
        for split in _SPLITS:
            points = [(e["epoch"], e[f"{split}_{what}"]) for e in epochs if e.get(f"{split}_{what}") is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=split)
        axes.set_title(what.replace("_", " "))
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
    if many > 280:  # a cell is smaller than two pixels: mistakes are grown by one to every side, lest they vanish
        grown = shares * ~np.eye(many, dtype=bool)
        for axis in (0, 1):
            grown = np.maximum(grown, np.maximum(np.roll(grown, 1, axis), np.roll(grown, -1, axis)))
        shares = np.maximum(shares, grown)
    side = min(14.0, max(4.0, 0.45 * many + 2))
    names, note = drawable([_short(name) for name in classes])
    figure = _figure((side, side))
    axes = figure.add_subplot()
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)  # the root: a share of 1% is seen too
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    if many <= 60:
        axes.set_xticks(range(many), names, rotation=90)
        axes.set_yticks(range(many), names)
        figure.supxlabel(note, fontsize=7)
    if many <= 20:
        for i in range(many):
            for j in range(many):
                if counts[i, j]:
                    color = "white" if shares[i, j] > 0.3 else "black"
                    axes.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", fontsize=8, color=color)
    _save(figure, file)


def save_mistakes(file: Path, mistakes: Sequence[Mistake], pictures: Mapping[int, NDArray[np.uint8]]) -> None:
    """The most confident mistakes: picture, what it is, what it was called, how confidently."""
    shown = [mistake for mistake in mistakes if mistake.index in pictures][:25]
    columns = 5
    rows = max(1, -(-len(shown) // columns))
    figure = _figure((2.1 * columns, 2.6 * rows))
    if not shown:
        figure.text(0.5, 0.5, "no mistakes", ha="center")
    truths, note = drawable([_short(mistake.truth) for mistake in shown])
    called, note_too = drawable([_short(mistake.predicted) for mistake in shown])
    files, _ = drawable([_short(mistake.name, 24, from_end=True) for mistake in shown])
    figure.supxlabel(note or note_too, fontsize=7)
    for i, mistake in enumerate(shown):
        axes = figure.add_subplot(rows, columns, i + 1)
        picture = pictures[mistake.index]
        axes.imshow(picture[:, :, 0] if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{truths[i]}\ncalled {called[i]} {mistake.confidence:.0%}\n{files[i]}", size=7)
        axes.set_axis_off()
    _save(figure, file)


def drawable(names: Sequence[str]) -> tuple[list[str], str]:
    """Names as figures can show them: characters that no installed font of ours has are written by their numbers.

    Returns the names, and a sentence on what was replaced, empty where nothing was.
    """
    rare = {character for name in names for character in name if not character.isascii()}
    missing = rare - _covered(rare) if rare else rare
    if not missing:
        return list(names), ""
    written = ["".join(f"\\u{ord(c):04x}" if c in missing else c for c in name) for name in names]
    return written, "Some names are written in numbers: no font for them is installed here. The report shows them."


def _covered(characters: set[str]) -> set[str]:
    """Those characters that one of our fonts has."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    installed = set(fontManager.get_font_names())
    covered: set[str] = set()
    for family in _FONTS:
        if family in installed and covered != characters:
            known = get_font(fontManager.findfont(FontProperties(family=[family]))).get_charmap()
            covered |= {character for character in characters if ord(character) in known}
    return covered


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
                text.set_parse_math(False)  # a dollar in a name is a dollar
            FigureCanvasAgg(figure)
            figure.savefig(file, dpi=110)
    finally:
        logger.setLevel(level)


def _short(name: str, most: int = 18, *, from_end: bool = False) -> str:
    plain = " ".join(name.split())
    if len(plain) <= most:
        return plain
    return "…" + plain[1 - most :] if from_end else plain[: most - 1] + "…"
