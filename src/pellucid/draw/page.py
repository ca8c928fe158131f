"""The frame of every page: one file, no network, light and dark, usable by keyboard and screen reader."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TALL = 60  # rows beyond which a table scrolls in a box of its own

STYLE = """
:root{--ink:#1c2430;--soft:#5c6a7c;--line:#d9dfe7;--paper:#fff;--card:#f6f8fb;--accent:#1f6feb;--good:#1a7f4b;--bad:#c4432b;
--a:#1f6feb;--b:#d1690e;--c:#1a7f4b;--d:#8250df;--e:#c2317e;--f:#0d8390}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#9aa7b8;--line:#313b49;--paper:#12171f;--card:#1a212c;
--accent:#6cb0ff;--good:#56d394;--bad:#ff8f78;--a:#6cb0ff;--b:#ffa657;--c:#56d394;--d:#c297ff;--e:#ff8cc6;--f:#5fd3e0}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI","Noto Sans",
"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.7rem;line-height:1.25;margin:.2em 0}
h2{font-size:1.2rem;margin:2.2em 0 .6em;padding-top:.4em;border-top:1px solid var(--line)}
p{max-width:70ch}
h1,h2,p{overflow-wrap:anywhere}
a{color:var(--accent)}
.soft{color:var(--soft)}
.cards{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px;min-width:130px;flex:1}
.card b{display:block;font-size:1.5rem;white-space:nowrap;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
.scroll{max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:40%}
th,td{padding:5px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;cursor:pointer}
th button::after{content:" \\2195";color:var(--soft)}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
svg{max-width:100%;height:auto}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(128px,1fr));gap:14px}
figure{margin:0}
.grid img{width:100%;aspect-ratio:1;object-fit:contain;image-rendering:pixelated;background:var(--card);
border:1px solid var(--line);border-radius:6px}
figcaption{font-size:.82rem;line-height:1.35;overflow-wrap:anywhere}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:24px}
pre,code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;overflow-x:auto}
details summary{cursor:pointer}
h3{font-size:1rem;margin:1.2em 0 .5em}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.9rem;margin:0 0 1em}
.card small{display:block;color:var(--soft);font-size:.78rem}
.card.first{flex:1.6;border-color:var(--accent)}
.card.first b{font-size:2rem;line-height:1.3}
.badge{display:inline-block;border:1px solid var(--line);border-radius:99px;padding:1px 11px;font-size:.85rem;
background:var(--card)}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:5px 20px;margin:0}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
td.left,th.left{text-align:left}
td.share{min-width:96px;
background:linear-gradient(to right,color-mix(in srgb,var(--accent) 20%,transparent) var(--v),transparent 0)}
.tall{max-height:36rem;overflow:auto;border:1px solid var(--line);border-radius:8px}
.tall thead th{position:sticky;top:0;background:var(--paper)}
.tall td.strip,thead:has(~tbody .strip) th:last-child{text-align:left}
tfoot td{position:sticky;bottom:0;background:var(--paper)}
tfoot td{border-bottom:0;font-weight:600}
details{margin:.8em 0}
.read{min-height:1.6em;font-variant-numeric:tabular-nums}
@media(max-width:520px){.facts{grid-template-columns:1fr;gap:0}.facts dd{margin-bottom:8px}
.grid{grid-template-columns:repeat(auto-fill,minmax(100px,1fr))}}
@media print{.card{break-inside:avoid}}
"""

SORT = """
for(const table of document.querySelectorAll('table.sortable')){
 const heads=[...table.tHead.rows[0].cells],body=table.tBodies[0];
 heads.forEach((head,i)=>head.querySelector('button').addEventListener('click',()=>{
  const numbers=[...body.rows].some(row=>'value' in row.cells[i].dataset);
  const up=head.hasAttribute('aria-sort')?head.getAttribute('aria-sort')==='descending':!numbers;
  heads.forEach(other=>other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort',up?'ascending':'descending');
  const value=row=>numbers?Number(row.cells[i].dataset.value):row.cells[i].textContent;
  const order=(x,y)=>numbers?x-y:x.localeCompare(y,undefined,{numeric:true});
  body.append(...[...body.rows].sort((a,b)=>(up?1:-1)*order(value(a),value(b))));
 }));
}
"""


@dataclass(frozen=True)
class Share:
    """A number from 0 to 1 that a table shows with a bar behind it; NaN as a dash."""

    value: float


@dataclass(frozen=True)
class Number:
    """A number that a table shows with so many digits behind the point, and sorts by its value."""

    value: float
    digits: int


def page(title: str, body: str, *, script: str = "", style: str = "", language: str = "en") -> str:
    """A whole HTML page. ``title`` is plain text; ``body`` is HTML whose texts went through ``text``."""
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{text(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}{style}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n" + (f"<script>{script}</script>\n" if script else "") + "</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Any value as HTML text: names of files and classes are the user's, and may hold anything."""
    return html.escape(str(value), quote=True)


def cards(items: Sequence[tuple[str, ...]], *, first: bool = False) -> str:
    """Headline numbers: (name, value) or (name, value, a remark below); ``first`` makes the first the largest."""
    shown = [
        f'<div class="card{" first" if first and i == 0 else ""}"><b>{text(value)}</b>'
        f'<span class="soft">{text(name)}</span>{"".join(f"<small>{text(remark)}</small>" for remark in more)}</div>'
        for i, (name, value, *more) in enumerate(items)
    ]
    return f'<div class="cards">{"".join(shown)}</div>'


def facts(values: Mapping[str, object]) -> str:
    """Names and what they are; those of which nothing is known are left out."""
    shown = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in values.items() if value)
    return f'<dl class="facts">{shown}</dl>'


def table(
    heads: list[str],
    rows: Sequence[Sequence[Any]],
    *,
    sortable: bool = False,
    caption: str = "",
    foot: Sequence[Any] = (),
) -> str:
    """A table; floats with four digits, None and NaN as a dash; columns of words are set to the left."""
    left = [any(_is_word(row[i]) for row in rows) for i in range(len(heads))]
    head = "".join(
        f'<th scope="col"{_left(left[i])}>'
        + (f'<button type="button">{text(name)}</button></th>' if sortable else f"{text(name)}</th>")
        for i, name in enumerate(heads)
    )
    body = "".join(_row(row, left) for row in rows)
    name = f"<caption class='soft'>{text(caption)}</caption>" if caption else ""
    kind = ' class="sortable"' if sortable else ""
    end = f"<tfoot>{_row(foot, left)}</tfoot>" if foot else ""
    box = ' class="scroll tall" tabindex="0"' if len(rows) > _TALL else ' class="scroll"'
    return f"<div{box}><table{kind}>{name}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{end}</table></div>"


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value[:1] not in "0123456789?"


def _left(yes: bool) -> str:
    return ' class="left"' if yes else ""


def _row(row: Sequence[Any], left: Sequence[bool]) -> str:
    return "<tr>" + "".join(_cell(value, left[i]) for i, value in enumerate(row)) + "</tr>"


def _cell(value: Any, left: bool) -> str:
    plain = value.value if isinstance(value, Share | Number) else value
    if plain is None or (isinstance(plain, float) and math.isnan(plain)):
        return '<td class="left">–</td>' if left else '<td data-value="-1">–</td>'
    if isinstance(value, Share):
        return f'<td class="share" style="--v:{plain:.1%}" data-value="{plain!r}">{plain:.4f}</td>'
    if isinstance(value, Number):
        return f'<td{_left(left)} data-value="{plain!r}">{plain:,.{value.digits}f}</td>'
    if isinstance(value, float):
        return f'<td{_left(left)} data-value="{value!r}">{value:.4f}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td{_left(left)} data-value="{value}">{value:,}</td>'
    return f'<td{_left(left)} dir="auto">{text(value)}</td>'
