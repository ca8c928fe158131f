"""Drawings of small numbers in cells, as SVG: what the figures of the guide are made of. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

Cell = tuple[int, int]

INK, SOFT, LINE, PAPER, CARD = "#1c2430", "#5c6a7c", "#b9c3d0", "#ffffff", "#f6f8fb"
BLUE, ORANGE, GREEN, VIOLET = "#d3e4ff", "#ffdcb8", "#cdeeda", "#e4d6ff"
GREY = "#e7ebf0"


class Drawing:
    """A picture that is put together from grids of numbers, texts and arrows; units are pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def grid(
        self,
        x: float,
        y: float,
        values: Sequence[Sequence[float | str]],
        *,
        cell: float = 34,
        fill: Mapping[Cell, str] | str = PAPER,
        bold: Sequence[Cell] = (),
        soft: Sequence[Cell] = (),
    ) -> None:
        """Rows of numbers with the upper left corner at (x, y). fill: of all cells, or of some by (row, column)."""
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                colour = fill if isinstance(fill, str) else fill.get((i, j), PAPER)
                left, top = x + j * cell, y + i * cell
                self._parts.append(
                    f'<rect x="{left:g}" y="{top:g}" width="{cell:g}" height="{cell:g}" '
                    f'fill="{colour}" stroke="{LINE}"/>'
                )
                text = value if isinstance(value, str) else f"{value:g}".replace("-", "−")
                self.text(
                    left + cell / 2,
                    top + cell / 2 + 0.16 * cell,
                    text,
                    size=(0.44 if len(text) < 4 else 0.34) * cell,
                    colour=SOFT if (i, j) in soft else INK,
                    bold=(i, j) in bold,
                )

    def frame(self, x: float, y: float, width: float, height: float, colour: str = INK) -> None:
        """A thick rectangle around cells."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="none" stroke="{colour}" '
            'stroke-width="2.5"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 15,
        colour: str = INK,
        bold: bool = False,
        at: str = "middle",
    ) -> None:
        """A line of text; at: start, middle or end."""
        weight = ' font-weight="700"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:.3g}" fill="{colour}" text-anchor="{at}"{weight}>'
            f"{escape(text)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, colour: str = LINE, width: float = 1.5) -> None:
        """A straight line."""
        self._parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:g}"/>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float, *, colour: str = SOFT) -> None:
        """A line with a head at (x2, y2); level or upright."""
        self.line(x1, y1, x2, y2, colour=colour)
        dx, dy = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
        x, y, side_x, side_y = x2 - 7 * dx, y2 - 7 * dy, 4 * dy, 4 * dx
        corners = f"M{x2:g} {y2:g}L{x + side_x:g} {y + side_y:g}L{x - side_x:g} {y - side_y:g}Z"
        self._parts.append(f'<path d="{corners}" fill="{colour}"/>')

    def save(self, file: Path) -> None:
        """Write it, on white."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="DejaVu Sans, Noto Sans, Arial, sans-serif">'
        )
        paper = f'<rect width="{self.width}" height="{self.height}" fill="{PAPER}"/>'
        file.write_text("\n".join([head, paper, *self._parts, "</svg>"]) + "\n", "utf-8")
