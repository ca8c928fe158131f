"""A chart of forecasts: what came, what was said, and the interval around it, over dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.draw.curves import nice_ticks
from pellucid.draw.page import text

WIDTH, HEIGHT = 1040, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 12, 34
_MOST_ROWS = 400  # of the span; beyond, the last ones are drawn

Span = tuple[int, Sequence[float], Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Chart:
    """dates, truth: of each row of the span. spans: forecasts as (row of the first value, lowest, middle, highest)."""

    title: str
    dates: Sequence[str]
    truth: Sequence[float]
    spans: Sequence[Span]

    @property
    def first(self) -> int:
        """The first row that is drawn."""
        return max(0, len(self.dates) - _MOST_ROWS)

    @property
    def shown(self) -> list[Span]:
        """The forecasts that lie wholly in what is drawn."""
        return [span for span in self.spans if span[0] >= self.first]


def chart(one: Chart) -> str:
    """As inline SVG, readable without colour: the truth is a line, forecasts are dashed in a band."""
    values = [*one.truth[one.first :], *(v for span in one.shown for part in span[1:] for v in part)]
    ticks = nice_ticks(min(values), max(values))
    last = max(len(one.dates) - 1, one.first + 1)

    def px(row: float) -> float:
        return _LEFT + (row - one.first) / (last - one.first) * (WIDTH - _LEFT - _RIGHT)

    def py(value: float) -> float:
        return HEIGHT - _BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{py(t):.1f}" y2="{py(t):.1f}" stroke="var(--line)"/>'
        f'<text x="{_LEFT - 6}" y="{py(t) + 4:.1f}" text-anchor="end">{t:,.6g}</text>'
        for t in ticks
    ]
    for span in _joined(one.shown):
        rows = range(span[0], span[0] + len(span[1]))
        if len(rows) == 1:  # a single step that joins no other
            parts.append(_bar(px(rows[0]), py(span[1][0]), py(span[2][0]), py(span[3][0])))
            continue
        upper = " ".join(f"{px(r):.1f},{py(v):.1f}" for r, v in zip(rows, span[3], strict=True))
        lower = " ".join(f"{px(r):.1f},{py(v):.1f}" for r, v in reversed(list(zip(rows, span[1], strict=True))))
        parts.append(f'<polygon points="{upper} {lower}" fill="var(--b)" opacity=".22"/>')
        middle = " ".join(f"{px(r):.1f},{py(v):.1f}" for r, v in zip(rows, span[2], strict=True))
        parts.append(
            f'<polyline points="{middle}" fill="none" stroke="var(--b)" stroke-width="1.6" stroke-dasharray="5 2"/>'
        )
    came = " ".join(f"{px(r):.1f},{py(one.truth[r]):.1f}" for r in range(one.first, len(one.truth)))
    parts.append(f'<polyline points="{came}" fill="none" stroke="var(--ink)" stroke-width="1.3"/>')
    for row in _date_rows(one.first, len(one.dates)):
        parts.append(f'<text x="{px(row):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{text(one.dates[row])}</text>')
    label = f"{one.title}: {len(one.dates) - one.first} rows from {one.dates[one.first]} to {one.dates[-1]}"
    return (
        f'<figure class="forecast"><figcaption><b>{text(one.title)}</b> <span class="soft">line: what came; dashes and '
        f'band: what was said, and its interval</span></figcaption><div class="scroll" tabindex="0"><svg '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg></div></figure>'
    )


def _bar(x: float, low: float, middle: float, high: float) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="var(--b)" stroke-width="3" '
        f'opacity=".3"/><circle cx="{x:.1f}" cy="{middle:.1f}" r="1.8" fill="var(--b)"/>'
    )


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Forecasts of one step each that follow one another as one line; others as they are."""
    found: list[tuple[int, list[float], list[float], list[float]]] = []
    for row, low, middle, high in spans:
        before = found[-1] if found else None
        if before is not None and len(low) == 1 and before[0] + len(before[1]) == row:
            for own, new in zip(before[1:], (low, middle, high), strict=True):
                own.append(new[0])
        else:
            found.append((row, list(low), list(middle), list(high)))
    return list(found)


def _date_rows(first: int, end: int) -> list[int]:
    """Five rows whose dates are written."""
    count = min(5, end - first)
    return sorted({round(first + (end - 1 - first) * (k + 0.5) / count) for k in range(count)})
