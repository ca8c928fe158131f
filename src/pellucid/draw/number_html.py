"""One opened number as a piece of HTML for a notebook: what was multiplied with what, as small grids, and their sum."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.page import text

_MOST_CHANNELS = 4  # of a patch that are drawn, the largest first
_MOST_TERMS = 12  # that are listed
_MOST_CELLS = 121  # of a window; a larger one becomes a picture
_WRITTEN = 7  # columns up to which the numbers stand in the cells
_POSITIVE, _NEGATIVE = (209, 105, 14), (31, 111, 235)  # orange and blue, with alpha: they do on any paper

_STYLE = """
.pellucid-number{font:14px/1.5 system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans CJK SC",sans-serif;
overflow-wrap:anywhere}
.pellucid-number p{margin:.3em 0;max-width:none}
.pellucid-number .soft{opacity:.75}
.pellucid-number .row{display:flex;flex-wrap:wrap;align-items:center;gap:10px;margin:8px 0}
.pellucid-number .row>span{min-width:5.5em}
.pellucid-number table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:auto;margin:0}
.pellucid-number table.cells td{border:1px solid color-mix(in srgb,currentColor 22%,transparent);min-width:12px;
height:18px;padding:1px 4px;text-align:center;font-size:12px;
background:color-mix(in srgb,rgb(209,105,14) var(--up,0%),
color-mix(in srgb,rgb(31,111,235) var(--down,0%),transparent))}
.pellucid-number table.written td{min-width:4.2em}
.pellucid-number table.cells td.outside{border-style:dashed;opacity:.7}
.pellucid-number table.terms td,.pellucid-number table.terms th{padding:2px 12px 2px 0;text-align:right;border:0;
background:none;white-space:nowrap}
.pellucid-number table.terms td.left,.pellucid-number table.terms th.left{text-align:left}
.pellucid-number img{image-rendering:pixelated;min-width:96px;max-width:224px;
border:1px solid color-mix(in srgb,currentColor 22%,transparent)}
"""


def number_html(record: Mapping[str, Any]) -> str:
    """A piece of HTML with its own style, in light and dark, that asks for nothing.

    Args:
        record: of a number, as plain values (``pellucid.look.record.record_of``).
    """
    address, value = text(record["address"]), text(short(record["value"]))
    parts = [f'<p><code>{address}</code> = <b>{value}</b> <span class="soft">{text(record["operation"])}</span></p>']
    if record["formula"]:
        parts.append(f'<p class="soft">{text(record["formula"])}</p>')
    if record["missing"]:
        parts.append(f"<p>It has no terms: {text(record['missing'])}.</p>")
    drawn = [_patch(patch) for patch in record["patches"]]
    parts += drawn
    if record["count"]:
        parts += [_sum(record), _terms(record, with_products=not drawn)]
    if record["facts"]:
        facts = ", ".join(f"{text(name)} {text(short(fact))}" for name, fact in record["facts"].items())
        parts.append(f'<p class="soft">with {facts}</p>')
    if record["box"]:
        parts.append(f'<p class="soft">sees {text(box_words(record["box"]))} of the picture</p>')
    return f'<div class="pellucid-number"><style>{_STYLE}</style>{"".join(parts)}</div>'


def short(value: Any) -> str:
    """A number in four figures; what is no number (NaN goes as text) as it stands.

    >>> short(0.123456), short("nan"), short(None)
    ('0.1235', 'nan', '–')
    """
    if value is None:
        return "–"
    return f"{value + 0:.4g}" if isinstance(value, int | float) else str(value)  # + 0: no minus before a zero


def box_words(box: Sequence[Sequence[int]]) -> str:
    """``rows 3 to 10, columns 7 to 14``."""
    names = ["rows", "columns"] if len(box) == 2 else [f"axis {i}" for i in range(len(box))]
    return ", ".join(f"{name} {first} to {last}" for name, (first, last) in zip(names, box, strict=True))


def _patch(patch: Mapping[str, Any]) -> str:
    """Values x factors = products, for the channels that add most."""
    shape = [int(n) for n in patch["shape"]]
    window = [1, 1, *shape[1:]][-2:]
    arrays = {name: _numbers(patch[name]).reshape(shape[0], *window) for name in ("values", "factors", "products")}
    outside = np.array(patch["outside"], bool).reshape(shape[0], *window)
    sums = arrays["products"].sum((1, 2))
    size = np.nan_to_num(np.abs(arrays["products"])).sum((1, 2))
    chosen = sorted(np.argsort(-size, kind="stable")[:_MOST_CHANNELS].tolist())
    largest = {name: _largest(array) for name, array in arrays.items()}
    rows = []
    for i in chosen:
        grids = [_grid(arrays[n][i], largest[n], outside[i], n) for n in ("values", "factors", "products")]
        name = f"channel {patch['channels'][i]}" if patch["of_channels"] > 1 else text(patch["role"])
        rows.append(
            f'<div class="row"><span class="soft">{name}</span>{grids[0]}<b>×</b>{grids[1]}<b>=</b>{grids[2]}'
            f"<span>sum {text(short(float(sums[i])))}</span></div>"
        )
    left = int(patch["of_channels"]) - len(chosen)
    if left:
        rows.append(f'<p class="soft">and {left:,} more channel{"s" if left > 1 else ""}</p>')
    return "".join(rows)


def _numbers(listed: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([float(value) for value in listed], np.float64)  # float("nan") reads what JSON has as text


def _largest(values: NDArray[np.float64]) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _grid(values: NDArray[np.float64], largest: float, outside: NDArray[np.bool_], name: str) -> str:
    if values.size > _MOST_CELLS:
        return _picture(values, largest, name)
    written = values.shape[1] <= _WRITTEN
    rows = [
        "".join(_cell(float(v), largest, bool(o), written) for v, o in zip(row, edge, strict=True))
        for row, edge in zip(values, outside, strict=True)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    kind = "cells written" if written else "cells"
    return f'<table class="{kind}" aria-label="{name}"><tbody>{body}</tbody></table>'


def _cell(value: float, largest: float, outside: bool, written: bool) -> str:
    share = min(1.0, abs(value) / largest) if np.isfinite(value) else 0.0
    kind = ' class="outside"' if outside else ""
    side = "up" if value >= 0 else "down"
    said = f"{value + 0:.3g}"
    title = f"{said}, padding" if outside else said
    return f'<td{kind} style="--{side}:{65 * share:.0f}%" title="{title}">{said if written else ""}</td>'


def _picture(values: NDArray[np.float64], largest: float, name: str) -> str:
    """A large window as a picture: colours as in the cells, by their transparency."""
    from PIL import Image

    share = np.clip(np.nan_to_num(values) / largest, -1, 1)
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where((share >= 0)[..., None], _POSITIVE, _NEGATIVE)
    pixels[..., 3] = np.rint(np.abs(share) * 255)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    rows, columns = values.shape
    return f'<img alt="{name}, {rows} x {columns}" src="data:image/png;base64,{data}">'


def _sum(record: Mapping[str, Any]) -> str:
    """``0.5·2 + (-1)·3 + 40 more (0.7) = -1.3``."""
    terms = sorted(record["terms"], key=lambda term: -_size(term["product"]))[:_MOST_TERMS]
    said = " + ".join(_written(term) for term in terms)
    left = record["count"] - len(terms)
    if left:
        shown = sum(float(term["product"]) for term in terms)
        said += f" + {left:,} more ({short(float(record['total']) - shown)})"
    return f"<p>{text(said)} = <b>{text(short(record['total']))}</b></p>"


def _written(term: Mapping[str, Any]) -> str:
    if term["factor"] is None and term["value"] is not None and "(x" in term["note"]:  # a function, by its name
        return re.sub(r"\bx\b", short(term["value"]), str(term["note"]))
    if term["factor"] is not None and (term["weight"] is not None or term["factor"] != 1):
        return f"{_bracketed(term['value'] or 0.0)}·{_bracketed(term['factor'])}"
    return _bracketed(term["product"])


def _bracketed(value: Any) -> str:
    said = short(value)
    return f"({said})" if said.startswith("-") else said


def _size(product: Any) -> float:
    size = abs(float(product))
    return size if np.isfinite(size) else float("inf")


def _terms(record: Mapping[str, Any], *, with_products: bool) -> str:
    """The terms by their roles: all kinds where nothing is drawn, else those that stand in no grid."""
    shown = [term for term in record["terms"] if with_products or term["role"] not in ("product", "padding")]
    if not shown:
        return ""
    shown = sorted(shown, key=lambda term: -_size(term["product"]))[:_MOST_TERMS]
    rows = "".join(
        f'<tr><td class="left">{text(term["role"])}</td><td class="left"><code>{text(term["source"] or "")}</code></td>'
        f"<td>{text(short(term['value']))}</td><td>{text(short(term['factor']))}</td>"
        f'<td><b>{text(short(term["product"]))}</b></td><td class="left soft">{text(term["note"])}</td></tr>'
        for term in shown
    )
    heads = '<th class="left">term</th><th class="left">from</th><th>value</th><th>factor</th><th>adds</th><th></th>'
    return f'<table class="terms"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
