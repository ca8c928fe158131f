"""The frame of every page: one file, no network, light and dark, usable by keyboard and screen reader."""

from __future__ import annotations

import html
from typing import Any

STYLE = """
:root{--ink:#1c2430;--soft:#5c6a7c;--line:#d9dfe7;--paper:#fff;--card:#f6f8fb;--accent:#1f6feb;--good:#1a7f4b;--bad:#c4432b;
--a:#1f6feb;--b:#d1690e;--c:#1a7f4b;--d:#8250df}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#9aa7b8;--line:#313b49;--paper:#12171f;--card:#1a212c;
--accent:#6cb0ff;--good:#56d394;--bad:#ff8f78;--a:#6cb0ff;--b:#ffa657;--c:#56d394;--d:#c297ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI","Noto Sans",
"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.7rem;line-height:1.25;margin:.2em 0}
h2{font-size:1.2rem;margin:2.2em 0 .6em;padding-top:.4em;border-top:1px solid var(--line)}
p{max-width:70ch}
a{color:var(--accent)}
.soft{color:var(--soft)}
.cards{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px;min-width:130px;flex:1}
.card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
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
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(320px,1fr));gap:24px}
pre,code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;overflow-x:auto}
details summary{cursor:pointer}
.confusion td{padding:0;text-align:center;border:1px solid var(--paper)}
.confusion td button{font:inherit;font-size:.8rem;width:100%;min-width:34px;height:30px;border:0;background:none;
color:inherit;cursor:pointer}
.confusion th{padding:2px 6px;font-weight:500;font-size:.8rem;border:0}
.confusion thead th{writing-mode:vertical-rl;text-align:left;max-height:9em}
@media print{.card{break-inside:avoid}}
"""

SORT = """
for(const table of document.querySelectorAll('table.sortable')){
 const heads=[...table.tHead.rows[0].cells];
 heads.forEach((head,i)=>head.querySelector('button').addEventListener('click',()=>{
  const up=head.getAttribute('aria-sort')==='descending'?1:-1;
  heads.forEach(other=>other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort',up>0?'ascending':'descending');
  const value=row=>row.cells[i].dataset.value??row.cells[i].textContent;
  const rows=[...table.tBodies[0].rows].sort((a,b)=>{const x=value(a),y=value(b),n=parseFloat(x)-parseFloat(y);
   return up*(Number.isNaN(n)?x.localeCompare(y):n)});
  table.tBodies[0].append(...rows);
 }));
}
"""


def page(title: str, body: str, *, script: str = "", language: str = "en") -> str:
    """A whole HTML page. ``title`` is plain text; ``body`` is HTML whose texts went through ``text``."""
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{text(title)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n" + (f"<script>{script}</script>\n" if script else "") + "</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Any value as HTML text: names of files and classes are the user's, and may hold anything."""
    return html.escape(str(value), quote=True)


def cards(items: list[tuple[str, str]]) -> str:
    """Headline numbers: (name, value) pairs."""
    return '<div class="cards">' + "".join(
        f'<div class="card"><b>{text(value)}</b><span class="soft">{text(name)}</span></div>' for name, value in items
    ) + "</div>"  # fmt: skip


def table(heads: list[str], rows: list[list[Any]], *, sortable: bool = False, caption: str = "") -> str:
    """A table; floats with four digits, None as a dash."""
    head = "".join(
        f'<th scope="col"><button type="button">{text(name)}</button></th>' if sortable
        else f'<th scope="col">{text(name)}</th>' for name in heads
    )  # fmt: skip
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    name = f"<caption class='soft'>{text(caption)}</caption>" if caption else ""
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="scroll"><table{kind}>{name}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return '<td data-value="-1">–</td>'
    if isinstance(value, float):
        return f'<td data-value="{value!r}">{value:.4f}</td>'
    if isinstance(value, int) and not isinstance(value, bool):
        return f'<td data-value="{value}">{value:,}</td>'
    return f"<td>{text(value)}</td>"
