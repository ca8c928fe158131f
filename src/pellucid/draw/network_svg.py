"""A network as a drawing: boxes from top to bottom, branches side by side, edges outside the boxes that they pass.

Layered drawing (Sugiyama, Tagawa & Toda 1981): a node's layer is the longest way to it; an edge over several layers
gets a lane of its own beside the boxes between; within a layer, nodes are ordered by the mean place of what they
read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.draw.page import text

if TYPE_CHECKING:
    from pellucid.graph.account import Account, Row

BOX_WIDTH, BOX_HEIGHT, LANE_WIDTH = 290, 40, 22
GAP_X, GAP_Y, MARGIN = 26, 30, 28
_SWEEPS = 6
_COLORS = {
    "input": ("#e8edf3", "#5c6a7c"),
    "convolution": ("#dcebff", "#1f6feb"),
    "linear": ("#dff5e6", "#1a7f4b"),
    "attention": ("#efe3ff", "#8250df"),
    "recurrent": ("#d9f3f5", "#0d8390"),
    "pooling": ("#fff0d9", "#b26a00"),
    "normalisation": ("#eef1f5", "#7b8794"),
    "activation": ("#f7f0e8", "#a0764a"),
    "dropout": ("#f2f2f2", "#9a9a9a"),
    "join": ("#ffe3e0", "#c4432b"),
    "shape": ("#f2f2f2", "#9a9a9a"),
    "opaque": ("#ffd9ec", "#bf1d6d"),
}


@dataclass(frozen=True)
class Box:
    """Where a node stands, in pixels from the upper left."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class _Place:
    """A slot in a layer: a node's, or the lane of an edge that passes by."""

    key: tuple[str, str]  # (node, "") or (from, to)
    layer: int
    width: float
    above: list[_Place]
    x: float = 0.0


def network_svg(account: Account, title: str = "Network") -> str:
    """The drawing of a whole network as SVG, light and dark, with what each node costs in its tooltip."""
    layers = _layers(account.rows)
    places = _places(account.rows, layers)
    _order(places)
    boxes = layout(places)
    width = max(b.x + b.width for b in boxes.values()) + MARGIN
    height = max(b.y + b.height for b in boxes.values()) + MARGIN
    edges = "".join(_edge(a, row.name, places, boxes) for row in account.rows for a in row.inputs)
    drawn = "".join(_box(row, boxes[row.name]) for row in account.rows)
    said = f"{len(account.rows)} nodes, {account.parameters:,} parameters, {account.macs:,} multiply-accumulates"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-labelledby="title said"><title id="title">{text(title)}</title>'
        f'<desc id="said">{said}</desc><style>{_style()}</style><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" '
        'refY="4" markerWidth="7" markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>'
        f'<rect class="paper" width="100%" height="100%"/>{edges}{drawn}</svg>\n'
    )


def place_boxes(account: Account) -> dict[str, Box]:
    """Where each node of a network stands in its drawing."""
    places = _places(account.rows, _layers(account.rows))
    _order(places)
    return layout(places)


def _layers(rows: tuple[Row, ...]) -> dict[str, int]:
    """The longest way to each node; constants' readers that read nothing stand right above their first reader."""
    layers: dict[str, int] = {}
    for row in rows:
        layers[row.name] = max((layers[name] + 1 for name in row.inputs), default=0)
    return layers


def _places(rows: tuple[Row, ...], layers: dict[str, int]) -> list[list[_Place]]:
    count = max(layers.values()) + 1
    places: list[list[_Place]] = [[] for _ in range(count)]
    nodes: dict[str, _Place] = {}
    for row in rows:
        own = _Place((row.name, ""), layers[row.name], BOX_WIDTH, [])
        nodes[row.name] = own
        places[own.layer].append(own)
        for name in row.inputs:
            above = nodes[name]
            for layer in range(above.layer + 1, own.layer):
                lane = _Place((name, row.name), layer, LANE_WIDTH, [above])
                places[layer].append(lane)
                above = lane
            own.above.append(above)
    return places


def _order(places: list[list[_Place]]) -> None:
    """Sort each layer by the mean place of what it reads, and of what reads it, some times over."""
    below: dict[int, list[_Place]] = {}
    for layer in places:
        for place in layer:
            for above in place.above:
                below.setdefault(id(above), []).append(place)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in places if down else reversed(places):
            index = {
                id(p): i / max(1, len(row) - 1) if len(row) > 1 else 0.5 for row in places for i, p in enumerate(row)
            }

            def mean(place: _Place, index: dict[int, float] = index, down: bool = down) -> float:
                near = place.above if down else below.get(id(place), [])
                return sum(index[id(p)] for p in near) / len(near) if near else index[id(place)]

            layer.sort(key=mean)


def layout(places: list[list[_Place]]) -> dict[str, Box]:
    """Place each layer's slots side by side, as near as they can be to the middle of what they read."""
    for layer in places:
        wanted = [sum(p.x for p in slot.above) / len(slot.above) if slot.above else 0.0 for slot in layer]
        x = 0.0
        for i, slot in enumerate(layer):
            if i:
                x += (layer[i - 1].width + slot.width) / 2 + GAP_X
            slot.x = x
        # The shift of the whole layer that brings its slots nearest to where they want to be.
        shift = sum(w - s.x for w, s in zip(wanted, layer, strict=True)) / len(layer)
        for slot in layer:
            slot.x += shift
    left = min(slot.x - slot.width / 2 for layer in places for slot in layer) - MARGIN
    for layer in places:
        for slot in layer:
            slot.x -= left
    return {
        slot.key[0]: Box(slot.x - BOX_WIDTH / 2, MARGIN + i * (BOX_HEIGHT + GAP_Y), BOX_WIDTH, BOX_HEIGHT)
        for i, layer in enumerate(places)
        for slot in layer
        if not slot.key[1]
    }


def _edge(start: str, end: str, places: list[list[_Place]], boxes: dict[str, Box]) -> str:
    a, b = boxes[start], boxes[end]
    lanes = [slot for layer in places for slot in layer if slot.key == (start, end)]
    x, y = a.x + a.width / 2, a.y + a.height
    path = [f"M{x:.1f} {y:.1f}"]
    for lane in lanes:
        top = MARGIN + lane.layer * (BOX_HEIGHT + GAP_Y)
        path.append(f"C{x:.1f} {y + GAP_Y * 0.6:.1f} {lane.x:.1f} {top - GAP_Y * 0.6:.1f} {lane.x:.1f} {top:.1f}")
        path.append(f"L{lane.x:.1f} {top + BOX_HEIGHT:.1f}")
        x, y = lane.x, top + BOX_HEIGHT
    ex, ey = b.x + b.width / 2, b.y - 1
    path.append(f"C{x:.1f} {y + GAP_Y * 0.6:.1f} {ex:.1f} {ey - GAP_Y * 0.6:.1f} {ex:.1f} {ey:.1f}")
    return f'<path class="edge" data-from="{text(start)}" data-to="{text(end)}" d="{" ".join(path)}"/>'


def _box(row: Row, box: Box) -> str:
    kind = row.kind if row.kind in _COLORS else "shape"
    shape = " × ".join(map(str, row.shape))
    facts = [f"{row.name}: {row.operation}", f"output {shape}"]
    if row.parameters:
        facts.append(f"{row.parameters:,} parameters")
    if row.macs:
        facts.append(f"{row.macs:,} multiply-accumulates")
    if row.field is not None:
        facts.append(f"receptive field {row.field}")
    if row.source:
        facts.append(row.source)
    middle = box.x + box.width / 2
    return (
        f'<g class="{kind}" data-node="{text(row.name)}"><title>{text(chr(10).join(facts))}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width}" height="{box.height}" rx="7"/>'
        f'<text x="{middle:.1f}" y="{box.y + 17:.1f}">{text(_cut(row.operation, 40))}</text>'
        f'<text class="small" x="{middle:.1f}" y="{box.y + 32:.1f}">{text(_cut(row.name, 28))} · {text(shape)}</text>'
        "</g>"
    )


def _style() -> str:
    kinds = "".join(f".{k} rect{{fill:{fill};stroke:{line}}}" for k, (fill, line) in _COLORS.items())
    dark = "".join(f".{k} rect{{fill:{line}33;stroke:{line}}}" for k, (_, line) in _COLORS.items())
    return (
        "text{font:13px system-ui,'Noto Sans','Noto Sans CJK SC',sans-serif;text-anchor:middle;fill:#1c2430}"
        ".small{font-size:11px;fill:#5c6a7c}.edge{fill:none;stroke:#8b98a8;stroke-width:1.6;marker-end:url(#arrow)}"
        f".head{{fill:#8b98a8}}.paper{{fill:#fff}}{kinds}"
        f"@media(prefers-color-scheme:dark){{text{{fill:#e6ebf2}}.small{{fill:#9aa7b8}}.paper{{fill:#12171f}}{dark}}}"
    )


def _cut(label: str, most: int) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"
