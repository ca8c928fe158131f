"""Squares that are filled or not: which channels reach which, and which pixels a number reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.page import text

if TYPE_CHECKING:
    from pellucid.look.mixing import Mixing

Mask = NDArray[np.bool_]
_SIDE, _GAP, _HEAD, _FOOT = 220, 36, 30, 34
_STYLE = (
    "text{font:13px system-ui,'DejaVu Sans','Noto Sans','Noto Sans CJK SC',sans-serif;text-anchor:middle;fill:#1c2430}"
    ".small{font-size:11px;fill:#5c6a7c}.paper{fill:#fff}.box{fill:#f6f8fb;stroke:#b9c3d0}.on{fill:#1f6feb}"
    ".grid{stroke:#d9dfe7;stroke-width:.6;fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e6ebf2}.small{fill:#9aa7b8}.paper{fill:#12171f}"
    ".box{fill:#1a212c;stroke:#465264}.on{fill:#6cb0ff}.grid{stroke:#313b49}}"
)


def mixing_svg(mixings: Sequence[tuple[str, Mixing]]) -> str:
    """Matrices side by side, (title, record): a row for each output channel, a column for each input channel, filled
    where the one reaches the other."""
    panels = [
        (title, found.reaches, f"{found.share:.0%} joined · → {found.source} · ↓ {found.node}")
        for title, found in mixings
    ]
    return squares_svg(panels, "Which input channels reach which output channels")


def holes_svg(masks: Sequence[tuple[str, Mask]]) -> str:
    """Pixels side by side, (title, mask (H, W)): filled where a number reads them, so that holes show."""
    panels = []
    for title, mask in masks:
        rows, columns = np.nonzero(mask)
        box = (int(np.ptp(rows)) + 1) * (int(np.ptp(columns)) + 1) if len(rows) else 0
        panels.append((title, mask, f"{len(rows):,} of {box:,} pixels in the box"))
    return squares_svg(panels, "Which pixels a number reads")


def squares_svg(panels: Sequence[tuple[str, Mask, str]], title: str) -> str:
    """Panels of (title, mask, what is said below) in a row, as an SVG picture."""
    width = len(panels) * (_SIDE + _GAP) + _GAP
    height = _HEAD + _SIDE + _FOOT
    drawn = "".join(_panel(_GAP + i * (_SIDE + _GAP), *panel) for i, panel in enumerate(panels))
    said = "; ".join(f"{name}: {below}" for name, _, below in panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{text(title)}"><title>{text(title)}</title><desc>{text(said)}</desc>'
        f'<style>{_STYLE}</style><rect class="paper" width="100%" height="100%"/>{drawn}</svg>\n'
    )


def _panel(left: float, title: str, mask: Mask, below: str) -> str:
    rows, columns = mask.shape
    cell = _SIDE / max(rows, columns)
    width, height = columns * cell, rows * cell
    x, y = left + (_SIDE - width) / 2, _HEAD + (_SIDE - height) / 2
    filled = "".join(
        f"M{x + begin * cell:.2f} {y + row * cell:.2f}h{(end - begin) * cell:.2f}v{cell:.2f}"
        f"h{(begin - end) * cell:.2f}z"
        for row in range(rows)
        for begin, end in _runs(mask[row])
    )
    lines = ""
    if max(rows, columns) <= 64:
        upright = "".join(f"M{x + j * cell:.2f} {y:.2f}v{height:.2f}" for j in range(1, columns))
        level = "".join(f"M{x:.2f} {y + i * cell:.2f}h{width:.2f}" for i in range(1, rows))
        lines = f'<path class="grid" d="{upright}{level}"/>'
    middle = left + _SIDE / 2
    return (
        f'<g><rect class="box" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"/>'
        f'<path class="on" d="{filled}"/>{lines}'
        f'<text x="{middle:.1f}" y="{_HEAD - 11}">{text(title)}</text>'
        f'<text class="small" x="{middle:.1f}" y="{_HEAD + _SIDE + 20}">{text(below)}</text></g>'
    )


def _runs(row: Mask) -> list[tuple[int, int]]:
    """Where filled squares begin and end.

    >>> _runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
