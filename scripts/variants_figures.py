"""Draws the matrices and the holes of docs/guide/course/13-variants-of-convolution.md, from networks like its own.

python scripts/variants_figures.py    # some seconds
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pellucid import look
from pellucid.draw import holes_svg, mixing_svg
from pellucid.graph import capture
from pellucid.nets.variants import ChannelShuffle

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"


def chain(layers: int, groups: int, *, shuffles: bool) -> nn.Sequential:
    """1x1 convolutions of 12 channels in groups, with or without a shuffle behind each."""
    net = nn.Sequential()
    for _ in range(layers):
        net.append(nn.Conv2d(12, 12, 1, groups=groups))
        if shuffles:
            net.append(ChannelShuffle(groups))
    return net


def mixing() -> str:
    """Who reaches whom after one layer and after two, of three groups."""
    panels = []
    for title, layers, shuffles in (
        ("groups, 1 or 10 layers", 10, False),
        ("shuffled, 1 layer", 1, True),
        ("shuffled, 2 layers", 2, True),
    ):
        found = look.channel_mixing(chain(layers, 3, shuffles=shuffles), input_size=(12, 2, 2))
        panels.append((title, found))
    return mixing_svg(panels)


def holes() -> str:
    """What the number in the middle reads through dilated layers."""

    def mask(rates: Sequence[int]) -> look.TheoreticalField:
        net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=rate, dilation=rate) for rate in rates))
        return look.theoretical_field(capture(net, (1, 17, 17)), str(len(rates) - 1), (0, 8, 8))

    return holes_svg([(f"rates {', '.join(map(str, rates))}", mask(rates).mask) for rates in ([2], [2, 2], [1, 2, 4])])


FIGURES = {"variants-mixing.svg": mixing, "variants-holes.svg": holes}


def draw(folder: Path = FOLDER) -> list[Path]:
    """Write them all, and say where each is."""
    written = []
    for name, make in FIGURES.items():
        written.append(folder / name)
        written[-1].write_text(make(), "utf-8")
    return written


if __name__ == "__main__":
    for file in draw(*map(Path, sys.argv[1:])):
        print(file.name, f"{file.stat().st_size:,} bytes")
