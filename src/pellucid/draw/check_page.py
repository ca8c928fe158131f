"""The page of ``pellucid check``: what is in a data set, with thumbnails of what is wrong."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.page import SORT, cards, page, table, text

if TYPE_CHECKING:
    from pellucid.data.check import Checked, Group

_MOST = 60


def check_page(found: Checked) -> str:
    """The page for a record of ``check``."""
    parts = [
        f"<h1>{text(found.origin)}</h1>",
        cards(
            [
                ("pictures", f"{found.total:,}"),
                ("classes", f"{len(found.samples):,}"),
                ("broken", f"{len(found.broken):,}"),
                ("odd", f"{len(found.odd):,}"),
                ("exact copies", f"{len(found.exact):,}"),
                ("of these across splits", f"{len(found.across):,}"),
                ("near copies", f"{len(found.near):,}"),
                ("of those across splits", f"{len(found.near_across):,}"),
            ]
        ),
        *(f"<p>{text(note)}</p>" for note in found.notes),
        "<h2>Classes</h2>",
        _classes(found),
        "<h2>Sizes</h2>",
        table(["size", "pictures"], [[size, count] for size, count in found.sizes[:20]], sortable=True),
    ]
    for title, items in (("Broken", found.broken), ("Odd", found.odd), ("Passed over", found.passed_over)):
        if items:
            rows = [[item.name, item.reason] for item in items]
            parts += [f"<h2>{title}</h2>", table(["file", "why"], rows, sortable=True)]
    across = [group for group in found.exact if group.crosses_splits]
    parts += _groups("Copies across splits: what is measured on was learned from", across, found)
    parts += _groups("Exact copies", [group for group in found.exact if not group.crosses_splits], found)
    near = [group for group in found.near if group.crosses_splits]
    parts += _groups("Near copies across splits", near, found)
    parts += _groups("Near copies", [group for group in found.near if not group.crosses_splits], found)
    return page(f"Check of {found.origin}", "\n".join(parts), script=SORT)


def _classes(found: Checked) -> str:
    splits = list(found.counts)
    rows = []
    for name, indices in found.samples.items():
        shown = "".join(_image(found.thumbnails[i], name) for i in indices if i in found.thumbnails)
        counts = "".join(f"<td>{found.counts[split].get(name, 0):,}</td>" for split in splits)
        rows.append(f'<tr><td>{text(name)}</td>{counts}<td class="strip">{shown}</td></tr>')
    heads = "".join(f'<th scope="col">{text(head)}</th>' for head in ["class", *splits, "some of them"])
    style = (
        "<style>td.strip{white-space:nowrap}"
        ".strip img{height:44px;margin-right:4px;image-rendering:pixelated;vertical-align:middle}</style>"
    )
    body = "".join(rows)
    return f'{style}<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _groups(title: str, items: list[Group], found: Checked) -> list[str]:
    if not items:
        return []
    shown = []
    for group in items[:_MOST]:
        image = "".join(
            _image(found.thumbnails[i], f"{label}, {name}")
            for i, label, name in zip(group.indices, group.classes, group.names, strict=True)
            if i in found.thumbnails
        )
        names = "<br>".join(
            f"{text(name)} <span class='soft'>{text(label)}{'' if split == 'all' else ', ' + text(split)}</span>"
            for name, label, split in zip(group.names[:6], group.classes, group.splits, strict=False)
        )
        warn = " <b>in different classes</b>" if group.crosses_classes else ""
        shown.append(f"<figure>{image}<figcaption>{names}{warn}</figcaption></figure>")
    more = f"<p class='soft'>and {len(items) - _MOST:,} more</p>" if len(items) > _MOST else ""
    return [f"<h2>{text(title)}</h2>", f'<div class="grid">{"".join(shown)}</div>{more}']


def _image(pixels: NDArray[np.uint8], name: str) -> str:
    from PIL import Image

    out = io.BytesIO()
    plain = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(plain)).save(out, "PNG")
    encoded = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="a picture of {text(name)}" src="data:image/png;base64,{encoded}">'
