"""The confusion matrix on a page: cells to walk through with pointer or arrow keys; for many classes a heat map."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.page import table, text

Matrix = Sequence[Sequence[int]]
MOST_CELLS = 30  # classes up to which every count is written
_MOST_PAIRS = 15
_GROWN = 280  # classes beyond which a cell is smaller than two pixels of the page
_BLUE, _RED = (63, 134, 240), (214, 84, 58)


def confusion(matrix: Matrix, classes: Sequence[str], things: str = "pictures") -> str:
    """Counts of truth (rows) against prediction (columns), beside the most frequent mistakes."""
    listed = table(["truth", "called", things, "of the class"], pairs(matrix, classes))
    shown = _cells(matrix, classes, things) if len(classes) <= MOST_CELLS else _heat(matrix, classes, things)
    return (
        '<p class="soft">Rows are the truth, columns what it was called. Blue is right, red is wrong; the shade grows '
        "with the square root of the share of the row. Point at a cell, or walk with the arrow keys.</p>"
        f'<div class="sides"><div>{shown}<p class="said" role="status">&nbsp;</p></div>'
        f"<div><h3>Most frequent mistakes</h3>{listed}</div></div>"
    )


def pairs(matrix: Matrix, classes: Sequence[str]) -> list[list[object]]:
    """(truth, called, count, percent of the truth), the most frequent first."""
    found = [(count, i, j, sum(row)) for i, row in enumerate(matrix) for j, count in enumerate(row) if i != j and count]
    found.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [[classes[i], classes[j], count, f"{count / whole:.1%}"] for count, i, j, whole in found[:_MOST_PAIRS]]


def _cells(matrix: Matrix, classes: Sequence[str], things: str) -> str:
    heads = "".join(f'<th scope="col"><span>{text(name)}</span></th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row"><span>{text(classes[i])}</span></th>'
        f"{''.join(_cell(row, i, j, classes, things) for j in range(len(row)))}</tr>"
        for i, row in enumerate(matrix)
    )
    return (
        f'<div class="scroll"><table class="confusion" aria-label="Confusion matrix"><thead><tr><td></td>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(row: Sequence[int], i: int, j: int, classes: Sequence[str], things: str) -> str:
    whole = sum(row)
    share = row[j] / whole if whole else 0.0
    shade = round(100 * math.sqrt(share))
    said = f"{row[j]:,} of {whole:,} {things} of {classes[i]} were called {classes[j]} ({share:.1%})"
    first = 0 if i == j == 0 else -1  # one stop of the tab key; from there the arrow keys
    tone = "right" if i == j else "wrong"
    return (
        f'<td class="{tone}" style="--s:{shade}%"><button type="button" tabindex="{first}" aria-label="{text(said)}">'
        f"{row[j] or ''}</button></td>"
    )


def _heat(matrix: Matrix, classes: Sequence[str], things: str) -> str:
    from PIL import Image

    counts = np.asarray(matrix, np.float64)
    out = io.BytesIO()
    Image.fromarray(_heat_pixels(counts)).save(out, "PNG")
    sparse = [[i, j, int(counts[i, j])] for i, j in np.argwhere(counts > 0).tolist()]
    data = json.dumps({"classes": list(classes), "cells": sparse, "things": things}, ensure_ascii=False).replace(
        "<", "\\u003c"
    )
    return (
        '<div class="heat" tabindex="0" role="img" aria-label="Confusion matrix of '
        f'{len(classes)} classes as a heat map; the table of the most frequent mistakes says the same">'
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}">'
        f'<i></i></div><script type="application/json">{data}</script>'
    )


def _heat_pixels(counts: NDArray[np.float64]) -> NDArray[np.uint8]:
    """One pixel a cell, RGBA (K, K, 4), so that it serves on light and on dark paper.

    Mistakes are shaded against the most frequent one; of hundreds of classes each is grown by a pixel to every side:
    the page has fewer pixels than there are cells.
    """
    shares = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    diagonal = np.eye(len(counts), dtype=bool)
    wrong = np.where(diagonal, 0, shares)
    wrong = np.where(wrong > 0, 0.2 + 0.8 * wrong / max(wrong.max(), 1e-12), 0)
    if len(counts) > _GROWN:
        for axis in (0, 1):
            wrong = np.maximum(wrong, np.maximum(np.roll(wrong, 1, axis), np.roll(wrong, -1, axis)))
    pixels = np.empty((*counts.shape, 4), np.uint8)
    pixels[..., :3] = np.where(diagonal[..., None], _BLUE, _RED)
    pixels[..., 3] = np.rint(255 * np.where(diagonal, shares, wrong))
    return pixels


# The strongest shade leaves a contrast of 4.5 to 1 to the ink, on light paper and on dark.
STYLE = """
.confusion{--most:.7}
@media(prefers-color-scheme:dark){.confusion{--most:.5}}
.confusion td{background:color-mix(in srgb,var(--tone) calc(var(--s)*var(--most)),transparent)}
.confusion thead td{background:none}
.confusion .right{--tone:var(--accent)}
.confusion .wrong{--tone:var(--bad)}
.sides{display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start}
.sides>div{min-width:0;max-width:100%}
.sides h3{margin-top:0}
.confusion{border-collapse:separate;border-spacing:1px;min-width:0}
.confusion th,.confusion td{border:0;font-weight:400;font-size:.82rem}
.confusion td{padding:0;border-radius:3px}
.confusion td button{font:inherit;display:block;width:100%;min-width:38px;height:32px;padding:0 3px;border:0;
background:none;color:inherit;cursor:pointer;border-radius:3px}
.confusion th span{display:block;overflow:hidden;text-overflow:ellipsis}
.confusion tbody th{padding:2px 8px 2px 0;text-align:right}
.confusion tbody th span{max-width:9em}
.confusion thead th{vertical-align:bottom;padding:4px 0}
.confusion thead th span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:9em;margin:0 auto}
.said{min-height:3.1em;margin:.5em 0}
.heat{position:relative;width:min(100%,560px);aspect-ratio:1;border:1px solid var(--line);cursor:crosshair}
.heat img{width:100%;height:100%;display:block;image-rendering:pixelated}
.heat i{position:absolute;border:1.5px solid var(--ink);display:none;pointer-events:none;min-width:5px;min-height:5px;
transform:translate(-50%,-50%)}
"""

SCRIPT = """
const STEPS={ArrowLeft:[0,-1],ArrowRight:[0,1],ArrowUp:[-1,0],ArrowDown:[1,0]};
for(const grid of document.querySelectorAll('table.confusion')){
 const said=grid.closest('.sides').querySelector('.said');
 const cells=[...grid.tBodies[0].rows].map(row=>[...row.querySelectorAll('button')]);
 let chosen=cells[0][0];
 cells.forEach((row,i)=>row.forEach((cell,j)=>{
  const show=()=>{said.textContent=cell.getAttribute('aria-label')};
  cell.addEventListener('pointerenter',show);
  cell.addEventListener('focus',()=>{show();chosen.tabIndex=-1;chosen=cell;cell.tabIndex=0});
  cell.addEventListener('click',()=>cell.focus());
  cell.addEventListener('keydown',e=>{const s=STEPS[e.key],to=s&&(cells[i+s[0]]||[])[j+s[1]];
   if(s)e.preventDefault();
   if(to)to.focus()});
 }));
}
for(const heat of document.querySelectorAll('.heat')){
 const said=heat.closest('.sides').querySelector('.said'),mark=heat.querySelector('i');
 const {classes,cells,things}=JSON.parse(heat.parentElement.querySelector('script').textContent);
 const k=classes.length,counts=new Map(cells.map(([i,j,n])=>[i*k+j,n])),sums=new Array(k).fill(0);
 cells.forEach(([i,,n])=>{sums[i]+=n});
 let row=0,column=0;
 const show=()=>{const n=counts.get(row*k+column)||0,all=sums[row];
  mark.style.cssText=`display:block;left:${(column+.5)/k*100}%;top:${(row+.5)/k*100}%;width:${100/k}%;height:${100/k}%`;
  said.textContent=`${n} of ${all} ${things} of ${classes[row]} were called ${classes[column]}`
   +(all?` (${(n/all*100).toFixed(1)}%)`:'')};
 const at=(x,size)=>Math.max(0,Math.min(k-1,Math.floor(x/size*k)));
 heat.addEventListener('pointermove',e=>{const box=heat.getBoundingClientRect();
  row=at(e.clientY-box.top,box.height);column=at(e.clientX-box.left,box.width);show()});
 heat.addEventListener('focus',show);
 heat.addEventListener('keydown',e=>{const s=STEPS[e.key];if(!s)return;e.preventDefault();
  row=Math.max(0,Math.min(k-1,row+s[0]));column=Math.max(0,Math.min(k-1,column+s[1]));show()});
}
"""
