"""A figure of the ratios as an SVG file by itself, from the record."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from lanes_bench.report import best, ratio
from lanes_bench.workloads import WORKLOADS

Record = dict[str, Any]
WIDTH, LEFT, RIGHT, ROW, TOP = 720, 150, 40, 30, 34
KINDS = {"train": ("training step", "#1f6fb2"), "evaluate": ("forward only", "#8cb8dd")}


def ratios(record: Record) -> str:
    """For each workload how many times the best float32 peer's speed lanes has; a tick at what was asked."""
    rows = {
        name: {kind: ratio(found[kind]) for kind in KINDS if kind in found and ratio(found[kind]) is not None}
        for name, found in record.get("workloads", {}).items()
    }
    rows = {name: own for name, own in rows.items() if own}
    most = math.ceil(
        max([*(WORKLOADS[name].goal for name in rows), *(x or 0 for r in rows.values() for x in r.values())])
    )
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + ROW * len(rows) + 24
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" role="img">',
        f"<title>Speed of lanes over the best float32 peer: {escape(_said(rows))}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for i, (title, color) in enumerate(KINDS.values()):
        parts.append(f'<rect x="{LEFT + 150 * i}" y="10" width="12" height="10" fill="{color}"/>')
        parts.append(f'<text x="{LEFT + 150 * i + 18}" y="19">{title}</text>')
    parts.append(f'<line x1="{LEFT + 306}" x2="{LEFT + 306}" y1="8" y2="22" stroke="black" stroke-width="2"/>')
    parts.append(f'<text x="{LEFT + 314}" y="19">asked for</text>')
    bottom = TOP + ROW * len(rows)
    for at in range(most + 1):
        x = LEFT + at * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{at}×</text>')
    for i, (name, own) in enumerate(rows.items()):
        parts += _row(name, own, record["workloads"][name], TOP + ROW * i, scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(name: str, own: Record, found: Record, y: float, scale: float) -> list[str]:
    parts = [f'<text x="{LEFT - 8}" y="{y + 18}" text-anchor="end">{escape(name)}</text>']
    for i, (kind, (title, color)) in enumerate(KINDS.items()):
        if kind in own:
            said = f"{name}, {title}: {own[kind]:.2f} times {best(found[kind], 'float32')}"
            bar = f'x="{LEFT}" y="{y + 4 + 11 * i}" width="{own[kind] * scale:.1f}" height="10" fill="{color}"'
            parts.append(f"<rect {bar}><title>{escape(said)}</title></rect>")
            end = LEFT + own[kind] * scale + 4
            parts.append(f'<text x="{end:.1f}" y="{y + 13 + 11 * i}" font-size="10">{own[kind]:.2f}</text>')
    goal = LEFT + WORKLOADS[name].goal * scale
    line = f'x1="{goal:.1f}" x2="{goal:.1f}" y1="{y + 2}" y2="{y + 27}"'
    return [*parts, f'<line {line} stroke="black" stroke-width="2"/>']


def _said(rows: Record) -> str:
    return "; ".join(f"{name} " + " and ".join(f"{x:.2f}" for x in own.values()) for name, own in rows.items())
