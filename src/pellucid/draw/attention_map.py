"""Attention as maps: over words, a table of shades; over the patches of a picture, heat laid on it, head by head."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.page import page, text

STYLE = """
table.attention{border-collapse:collapse;min-width:0;margin:.4em 0 1.2em}
table.attention th,table.attention td{padding:1px 3px;border:0;text-align:center;font:13px/1.3 ui-monospace,Menlo,
Consolas,"Noto Sans Mono CJK SC",monospace;min-width:1.25em;height:1.5em}
table.attention tbody th{text-align:right;padding-right:8px}
table.attention td{background:color-mix(in srgb,var(--accent) calc(var(--w)*100%),var(--card))}
"""
_OVER_PICTURE = """
.heads{display:flex;flex-wrap:wrap;gap:14px;margin:.4em 0 1.6em}
.heads figure{margin:0;width:150px}.heads img{width:150px;image-rendering:pixelated;border-radius:4px}
.heads figcaption{font-size:13px}
"""
_SIDE = 300  # pixels of the longer side that heat is drawn at, at least
_HOT = np.array((229, 57, 53), np.float64)  # readable over grey, in light and dark


def attention_table(source: Sequence[str], written: Sequence[str], weights: NDArray[np.floating]) -> str:
    """One map as a table: written down, source across, weights (written, source) as shades and, under the pointer, as
    numbers."""
    head = "".join(f'<th scope="col">{text(token)}</th>' for token in source)
    rows = []
    for token, row in zip(written, weights.tolist(), strict=True):
        cells = "".join(
            f'<td style="--w:{weight:.3f}" title="{text(token)} looks at {text(seen)}: {weight:.3f}"></td>'
            for seen, weight in zip(source, row, strict=True)
        )
        rows.append(f'<tr><th scope="row">{text(token)}</th>{cells}</tr>')
    name = f"{''.join(source)} to {''.join(written)}"
    return (
        f'<div class="scroll" tabindex="0"><table class="attention" aria-label="{text(name)}"><thead><tr><td></td>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def heat(picture: NDArray[np.uint8], weights: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A picture in grey with weights laid on it in red: the largest weight is full red, none is grey.

    Args:
        picture: uint8 (H, W, C), 1 or 3 channels.
        weights: (rows, columns) of a grid of patches over the whole picture.

    Returns:
        uint8 (H', W', 3), the picture enlarged by a whole factor where it is small.
    """
    factor = max(1, -(-_SIDE // max(picture.shape[:2])))
    large = picture.mean(2, keepdims=True).repeat(factor, 0).repeat(factor, 1)
    rows = np.arange(large.shape[0]) * weights.shape[0] // large.shape[0]
    columns = np.arange(large.shape[1]) * weights.shape[1] // large.shape[1]
    share = (weights / max(float(weights.max()), 1e-12))[rows][:, columns, None] * 0.8
    mixed: NDArray[np.uint8] = np.rint((1 - share) * (80 + 0.6 * large) + share * _HOT).astype(np.uint8)
    return mixed


def heads_over_picture(picture: NDArray[np.uint8], maps: Sequence[tuple[str, NDArray[np.floating]]]) -> str:
    """Several maps over one picture, side by side: (caption, weights (rows, columns)) each."""
    figures = "".join(
        f'<figure><img alt="{text(caption)}: where it looks" src="{_png(heat(picture, weights))}">'
        f"<figcaption>{text(caption)}<br><span class=soft>largest weight {float(weights.max()):.3f}</span></figcaption>"
        "</figure>"
        for caption, weights in maps
    )
    return f'<div class="heads">{figures}</div>'


def attention_page(
    name: str,
    lead: str,
    picture: NDArray[np.uint8],
    layers: Sequence[tuple[str, Sequence[tuple[str, NDArray[np.floating]]]]],
) -> str:
    """An offline page of a picture: for each layer its name and its maps (see ``heads_over_picture``)."""
    parts = [f"<h1>{text(name)}</h1><p>{text(lead)}</p>"]
    parts += [f"<h2>{text(layer)}</h2>{heads_over_picture(picture, maps)}" for layer, maps in layers]
    return page(name, "\n".join(parts), style=_OVER_PICTURE)


def _png(picture: NDArray[np.uint8]) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
