"""The reliability diagram: how often the network is right, over how sure it is. Guo et al. 2017, figure 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pellucid.draw.page import table

if TYPE_CHECKING:
    from pellucid.train.measure import Bin

_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = 440, 62, 24, 14, 42


def reliability(bins: Sequence[Bin], error: float, things: str = "pictures") -> str:
    """Points on the dashed line are as often right as they are sure; below it the network is too sure."""
    total = max(1, sum(b.count for b in bins))
    sure = sum(b.count * b.confidence for b in bins) / total
    right = sum(b.count * b.accuracy for b in bins) / total
    rows: list[list[object]] = [[round(b.confidence, 4), round(b.accuracy, 4), b.count] for b in bins]
    return (
        f"<p>Of the {things} of which the network is 80% sure, 80% should be right: points on the dashed line. The "
        f"mean distance, weighted by {things}, is {error:.3f} (expected calibration error, Guo et al. 2017). On the "
        f"whole this network is {sure:.1%} sure and {right:.1%} right.</p>"
        f'<div class="sides"><div>{_diagram(bins, things)}</div><details><summary>The same as a table</summary>'
        f"{table(['confidence', 'share right', things], rows)}</details></div>"
    )


def _diagram(bins: Sequence[Bin], things: str) -> str:
    width, height = _SIZE - _LEFT - _RIGHT, _SIZE - _TOP - _BOTTOM
    most = max((b.count for b in bins), default=1)

    def px(x: float) -> float:
        return round(_LEFT + x * width, 1)

    def py(y: float) -> float:
        return round(_TOP + (1 - y) * height, 1)

    grid = "".join(
        f'<line x1="{px(0)}" x2="{px(1)}" y1="{py(t)}" y2="{py(t)}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 7}" y="{py(t) + 4}" text-anchor="end">{t:.0%}</text>'
        f'<text x="{px(t)}" y="{_SIZE - 24}" text-anchor="middle">{t:.0%}</text>'
        for t in (0, 0.2, 0.4, 0.6, 0.8, 1)
    )
    points = "".join(
        f'<line x1="{px(b.confidence)}" x2="{px(b.confidence)}" y1="{py(b.confidence)}" y2="{py(b.accuracy)}" '
        f'stroke="var(--bad)" stroke-width="2.5"/><circle cx="{px(b.confidence)}" cy="{py(b.accuracy)}" '
        f'r="{3 + 7 * math.sqrt(b.count / most):.1f}" fill="var(--accent)" fill-opacity=".85"><title>'
        f"{b.count:,} {things}: {b.confidence:.1%} sure, {b.accuracy:.1%} right</title></circle>"
        for b in bins
    )
    return (
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" width="{_SIZE}" role="img" aria-label="Calibration: share that is right '
        f'over confidence; the numbers are in the table">{grid}<line x1="{px(0)}" y1="{py(0)}" x2="{px(1)}" '
        f'y2="{py(1)}" stroke="var(--soft)" stroke-dasharray="5 5"/>{points}'
        f'<text x="{px(0.5)}" y="{_SIZE - 5}" text-anchor="middle">how sure (a larger point: more {things})</text>'
        f'<text transform="translate(12 {py(0.5)}) rotate(-90)" text-anchor="middle">share that is right</text></svg>'
    )
