"""The page of an atlas: what each channel responds to, to browse, search and compare, offline."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.atlas_words import WORDS
from pellucid.draw.page import page, text

ONE_FILE_BYTES = 20_000_000  # a page that would be larger has its sheets beside it
_SMALL_TILE = 32  # pixels a side: such tiles are kept to the bit, larger ones may be compressed further
_QUALITY = 80


@dataclass(frozen=True, eq=False)
class LayerView:
    """A layer as the page shows it.

    field: what a place sees, ``8x8`` or ``everything``. maps: the shape of a channel's map. tile: height and width of
    tiles. rows: channels on a sheet. values: (C, k), NaN for nothing. pictures: (C, k), rows of ``AtlasView.shown``, -1
    for nothing. places: (C, k), in the flattened map. boxes: (C, k, 4), the pixels seen: y, x of the first and y, x
    behind the last. nans: (C,). patches, projections: sheets as PNG; no projections where they were left out.
    units: the classes that the channels of an output stand for.
    """

    name: str
    operation: str
    field: str
    maps: tuple[int, ...]
    tile: tuple[int, int]
    rows: int
    values: NDArray[np.float32]
    pictures: NDArray[np.int64]
    places: NDArray[np.int64]
    boxes: NDArray[np.int64]
    nans: NDArray[np.int64]
    patches: tuple[bytes, ...]
    projections: tuple[bytes, ...]
    units: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AtlasView:
    """What the page shows.

    title: of the page. pictures: how many were looked at. size: their height and width. shown: (number in the split,
    name, class or None) of those that are shown. whole: sheets of them, in that order, ``columns`` a row, ``on_sheet``
    a sheet, each ``tile`` (height, width).
    """

    title: str
    split: str
    k: int
    pictures: int
    size: tuple[int, int]
    layers: tuple[LayerView, ...]
    shown: tuple[tuple[int, str, str | None], ...]
    whole: tuple[bytes, ...]
    tile: tuple[int, int]
    columns: int
    on_sheet: int
    specialized: bool = False


def write_atlas_page(file: Path, view: AtlasView) -> list[Path]:
    """Write the page, and where it would be larger than 20 MB the folder ``NAME_files`` of sheets beside it, which the
    page then speaks of. Sheets of large tiles are compressed further before it comes to that. Returns what was written.
    """
    folder = file.with_name(f"{file.stem}_files")
    if _size(view) > ONE_FILE_BYTES:
        view = _smaller(view)
    if _size(view) <= ONE_FILE_BYTES:
        _write(file, atlas_page(view).encode())
        return [file]
    made = []
    folder.mkdir(parents=True, exist_ok=True)
    for i, sheet in enumerate(_sheets(view)):
        made.append(folder / f"{i:04d}.{_kind(sheet)}")
        _write(made[-1], sheet)
    _write(file, atlas_page(view, [f"{folder.name}/{sheet.name}" for sheet in made]).encode())
    return [file, *made]


def atlas_page(view: AtlasView, beside: Sequence[str] | None = None) -> str:
    """The page; ``beside``: where the sheets lie, in the order of the layers' patches and projections and the whole
    pictures; None to embed them."""
    sheets = _sheets(view)
    addresses = list(beside) if beside is not None else [_embedded(sheet) for sheet in sheets]
    folder = Path(beside[0]).parent.name if beside else ""
    body = [
        _head(view, folder),
        _controls(),
        '<p id="status" class="soft" role="status"></p>',
        '<p id="missing" class="warn" role="alert" data-say="missing" hidden></p>',
        '<section id="comparison" hidden></section>',
        '<div id="columns"></div>',
        _DIALOG,
        "<noscript><p>This page needs JavaScript, which it brings along.</p></noscript>",
        _json("atlas-data", _data(view, folder)),
        _json("atlas-words", WORDS),
        *(f'<script type="text/plain" id="sheet-{i}">{text(a)}</script>' for i, a in enumerate(addresses)),
    ]
    return page(view.title, "\n".join(body), script=_asset("atlas.js"), style=_asset("atlas.css"))


def _head(view: AtlasView, folder: str) -> str:
    names = ["about", *(["specialized"] if view.specialized else []), *(["besideFiles"] if folder else []), "keys"]
    lines = "".join(f'<p class="soft" data-say="{name}"></p>' for name in names)
    return (
        f'<div class="top"><h1>{text(view.title)}</h1><div id="languages" role="group" data-label="languages">'
        '<button type="button" data-language="en" lang="en">English</button> '
        '<button type="button" data-language="zh" lang="zh-Hans">中文</button></div></div>\n'
        f'<div class="lead">{lines}</div>'
    )


def _controls() -> str:
    return (
        '<div class="controls" role="search">'
        '<label class="wide"><span data-say="layer"></span><select id="layer"></select></label>'
        '<label class="wide"><span data-say="search"></span><input id="search" type="search" autocomplete="off" '
        'spellcheck="false" data-hint="searchHint"></label>'
        '<label><span data-say="sort"></span><select id="sort"></select></label>'
        '<label><span data-say="beside"></span><select id="beside"></select></label></div>'
    )


_DIALOG = (
    '<dialog id="patch" aria-labelledby="patch-title"><header><h2 id="patch-title"></h2>'
    '<button type="button" id="patch-before" data-say="before"></button>'
    '<button type="button" id="patch-after" data-say="after"></button>'
    '<button type="button" id="patch-close" data-say="close"></button></header>'
    '<div id="patch-body"></div></dialog>'
)


def _data(view: AtlasView, folder: str) -> dict[str, Any]:
    """What the script reads; sheets by their number."""
    number = iter(range(len(_sheets(view))))
    layers = [
        {
            "name": layer.name,
            "operation": layer.operation,
            "channels": len(layer.values),
            "field": layer.field,
            "maps": list(layer.maps),
            "tile": list(layer.tile),
            "rows": layer.rows,
            "values": [[_value(float(value)) for value in row] for row in layer.values],
            "pictures": layer.pictures.tolist(),
            "places": layer.places.tolist(),
            "boxes": None if layer.field == "everything" else layer.boxes.reshape(len(layer.boxes), -1).tolist(),
            "nans": layer.nans.tolist(),
            "units": list(layer.units),
            "patches": [next(number) for _ in layer.patches],
            "projections": [next(number) for _ in layer.projections] or None,
        }
        for layer in view.layers
    ]
    return {
        "facts": {"pictures": f"{view.pictures:,}", "k": view.k, "folder": folder},
        "k": view.k,
        "size": list(view.size),
        "layers": layers,
        "shown": [list(item) for item in view.shown],
        "whole": [next(number) for _ in view.whole],
        "wholeTile": list(view.tile),
        "wholeColumns": view.columns,
        "wholeOnSheet": view.on_sheet,
    }


def _value(value: float) -> float | str | None:
    """Four digits are what a reader sees."""
    if math.isnan(value):
        return None
    return float(f"{value:.4g}") if math.isfinite(value) else ("∞" if value > 0 else "-∞")


def _json(name: str, value: Mapping[str, Any]) -> str:
    """As a script element: "<" is written so that nothing in a name can end it."""
    plain = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{plain}</script>'


def _sheets(view: AtlasView) -> list[bytes]:
    """All sheets, in the order in which the page numbers them."""
    return [*(sheet for layer in view.layers for sheet in (*layer.patches, *layer.projections)), *view.whole]


def _size(view: AtlasView) -> int:
    """Of the page as one file, about."""
    entries = sum(layer.values.size for layer in view.layers)
    return sum(len(sheet) * 4 // 3 for sheet in _sheets(view)) + entries * 40 + len(view.shown) * 60


def _smaller(view: AtlasView) -> AtlasView:
    """With sheets of large tiles as WebP, which loses what an eye does not see."""
    layers = tuple(
        replace(
            layer,
            patches=tuple(_as_webp(sheet) for sheet in layer.patches),
            projections=tuple(_as_webp(sheet) for sheet in layer.projections),
        )
        if max(layer.tile) > _SMALL_TILE
        else layer
        for layer in view.layers
    )
    whole = tuple(_as_webp(sheet) for sheet in view.whole) if max(view.tile) > _SMALL_TILE else view.whole
    return replace(view, layers=layers, whole=whole)


def _as_webp(sheet: bytes) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(sheet), formats=("PNG",)) as image:
        image.save(out, "WEBP", quality=_QUALITY)
    return out.getvalue()


def _kind(sheet: bytes) -> str:
    return "png" if sheet.startswith(b"\x89PNG") else "webp"


def _embedded(sheet: bytes) -> str:
    return f"data:image/{_kind(sheet)};base64,{base64.b64encode(sheet).decode()}"


def _write(file: Path, content: bytes) -> None:
    """A reader sees the file of before or this one, never half of it."""
    made = file.with_name(f".{file.name}.tmp")
    made.write_bytes(content)
    made.replace(file)


def _asset(name: str) -> str:
    return (files("pellucid.draw") / "assets" / name).read_text("utf-8")
