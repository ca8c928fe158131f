"""Curves as inline SVG: series over epochs, with a value to read under the pointer or by arrow keys."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.draw.page import text

WIDTH, HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 34
_COLORS = ("--a", "--b", "--c", "--d", "--e", "--f")


@dataclass(frozen=True)
class Series:
    """A named curve: y over x, with a band from ``low`` to ``high`` behind it where there are such."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def logged(records: Sequence[Mapping[str, Any]], name: str, x: str, y: str) -> Series:
    """A curve of what was logged; what was not, or was not finite, is left out."""
    points = [(float(r[x]), float(r[y])) for r in records if r.get(x) is not None and r.get(y) is not None]
    return Series(name, tuple(at for at, _ in points), tuple(value for _, value in points))


def curves(
    title: str,
    unit: str,
    series: Sequence[Series],
    *,
    over: str = "epoch",
    within: tuple[float, float] | None = None,
) -> str:
    """One chart over epochs or steps. Non-finite values are left out; without any value there is a sentence instead.
    ``within``: what the axis spans at least, so that several charts can be compared."""
    kept = [_finite(one) for one in series]
    kept = [one for one in kept if one.x]
    if not kept:
        return f"<p class='soft'>{text(title)}: nothing was measured yet.</p>"
    xs = [x for one in kept for x in one.x]
    ys = [y for one in kept for y in (*one.y, *one.low, *one.high)]
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    ticks = nice_ticks(min(*ys, *(within or ys)), max(*ys, *(within or ys)))
    y_low, y_high = ticks[0], ticks[-1]

    def px(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def py(y: float) -> float:
        return HEIGHT - _BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [_grid(ticks, py), _x_axis(x_low, x_high, px, over)]
    for i, one in enumerate(kept):
        color = f"var({_COLORS[i % len(_COLORS)]})"
        points = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in zip(one.x, one.y, strict=True))
        if one.low:
            edge = [*zip(one.x, one.low, strict=True), *reversed([*zip(one.x, one.high, strict=True)])]
            around = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in edge)
            parts.append(f'<polygon fill="{color}" fill-opacity=".15" points="{around}"/>')
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2"{_dashes(i)} points="{points}"/>')
        dots = zip(one.x, one.y, strict=True) if len(one.x) <= 60 else ()
        parts += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.5" fill="{color}"/>' for x, y in dots]
    data = json.dumps([{"name": one.name, "x": one.x, "y": one.y} for one in kept]).replace("<", "\\u003c")
    scale = json.dumps([x_low, x_high, _LEFT, WIDTH - _RIGHT, over])
    label = f"{title}: " + "; ".join(f"{one.name} ends at {one.y[-1]:.4g}" for one in kept)
    return (
        f'<figure class="chart"><figcaption><b>{text(title)}</b> <span class="soft">{text(unit)}</span> {_legend(kept)}'
        f'</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{text(label)}">'
        f'{"".join(parts)}<line class="cursor" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" stroke="var(--soft)" '
        f'visibility="hidden"/></svg><div class="read soft" aria-live="polite">&nbsp;</div>'
        f"<script type='application/json'>{data}</script><script type='application/json'>{scale}</script></figure>"
    )


SCRIPT = """
for(const chart of document.querySelectorAll('figure.chart')){
 const svg=chart.querySelector('svg[role=img]'),line=chart.querySelector('.cursor'),read=chart.querySelector('.read');
 const [series,scale]=[...chart.querySelectorAll('script')].map(s=>JSON.parse(s.textContent));
 const xs=[...new Set(series.flatMap(s=>s.x))].sort((a,b)=>a-b);let at=xs.length-1;
 const show=()=>{const x=xs[at],px=scale[2]+(x-scale[0])/(scale[1]-scale[0])*(scale[3]-scale[2]);
  line.setAttribute('x1',px);line.setAttribute('x2',px);line.setAttribute('visibility','visible');
  const said=series.map(s=>{const i=s.x.indexOf(x);return i<0?'':s.name+' '+Number(s.y[i].toPrecision(4))});
  read.textContent=scale[4]+' '+x+': '+said.filter(Boolean).join(', ')};
 svg.addEventListener('pointermove',e=>{const box=svg.getBoundingClientRect();
  const vx=(e.clientX-box.left)/box.width*svg.viewBox.baseVal.width;
  const x=scale[0]+(vx-scale[2])/(scale[3]-scale[2])*(scale[1]-scale[0]);
  at=xs.reduce((best,v,i)=>Math.abs(v-x)<Math.abs(xs[best]-x)?i:best,0);show()});
 svg.addEventListener('keydown',e=>{const step={ArrowLeft:-1,ArrowRight:1}[e.key];
  if(step){at=Math.max(0,Math.min(xs.length-1,at+step));show();e.preventDefault()}});
 svg.addEventListener('focus',show);
}
"""


def nice_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that span low to high.

    >>> nice_ticks(0.13, 0.97)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        low, high = low - abs(low) * 0.1 - 1e-9, high + abs(high) * 0.1 + 1e-9
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _finite(one: Series) -> Series:
    values = [one.x, one.y, *([one.low, one.high] if one.low else [])]
    points = [point for point in zip(*values, strict=True) if all(map(math.isfinite, point))]
    return Series(one.name, *([tuple(column) for column in zip(*points, strict=True)] if points else ((), ())))


def _grid(ticks: list[float], py: Callable[[float], float]) -> str:
    return "".join(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{py(t):.1f}" y2="{py(t):.1f}" '
        f'stroke="var(--line)"/><text x="{_LEFT - 6}" y="{py(t) + 4:.1f}" text-anchor="end">{t:g}</text>'
        for t in ticks
    )


def _x_axis(low: float, high: float, px: Callable[[float], float], over: str) -> str:
    whole = [t for t in nice_ticks(low, high) if low <= t <= high and t == int(t)]
    marks = "".join(f'<text x="{px(t):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{int(t):,}</text>' for t in whole)
    return f'{marks}<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{text(over)}</text>'


def _dashes(i: int) -> str:
    """Curves that take a colour for the second time are dashed, for the third time dotted."""
    return ("", ' stroke-dasharray="6 3"', ' stroke-dasharray="2 3"')[min(2, i // len(_COLORS))]


def _legend(series: Sequence[Series]) -> str:
    return " ".join(
        f'<span><svg width="14" height="10" aria-hidden="true"><line x1="0" x2="14" y1="5" y2="5" '
        f'stroke="var({_COLORS[i % len(_COLORS)]})" stroke-width="3"{_dashes(i)}/></svg> {text(one.name)}</span>'
        for i, one in enumerate(series)
    )
