"""An atlas as its page shows it: a record without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.draw.atlas_page import AtlasView, LayerView
from pellucid.look.atlas_layers import Layer
from pellucid.look.atlas_sheets import PATCHES, PICTURE_COLUMNS, PROJECTIONS, pictures_a_sheet

if TYPE_CHECKING:
    from pellucid.look.atlas_read import Atlas


def record_of(atlas: Atlas) -> AtlasView:
    """What the page needs, the sheets included."""
    about, tiles = atlas.about, atlas.tiles
    on_sheet = pictures_a_sheet(tiles.whole_tile[0])
    shown = sorted(atlas.shown)
    words = {item.picture: item.word if item.word is not None else item.label for item in atlas.shown.values()}
    return AtlasView(
        title=f"{about.network} on {about.data}" if about.data else about.network,
        split=about.split,
        k=about.k,
        pictures=about.pictures,
        size=about.picture_size,
        layers=tuple(_layer(atlas, layer, np.array(shown, np.int64)) for layer in atlas.layers),
        shown=tuple((i, atlas.shown[i].name, None if words[i] is None else str(words[i])) for i in shown),
        whole=tuple(tiles.picture_sheet(part) for part in range(-(-len(shown) // on_sheet))),
        tile=tiles.whole_tile,
        columns=PICTURE_COLUMNS,
        on_sheet=on_sheet,
        specialized=about.specialized,
    )


def _layer(atlas: Atlas, layer: Layer, shown: np.ndarray[tuple[int], np.dtype[np.int64]]) -> LayerView:
    ranks = atlas.ranks[layer.name]
    parts = range(len(layer.parts()))
    projected = layer.name in atlas.projected
    return LayerView(
        name=layer.name,
        operation=layer.operation,
        field=layer.field,
        maps=layer.maps,
        tile=layer.tile,
        rows=layer.rows,
        values=ranks.values,
        pictures=np.where(ranks.pictures < 0, -1, np.searchsorted(shown, ranks.pictures)),
        places=ranks.places,
        boxes=ranks.boxes,
        nans=ranks.nans,
        patches=tuple(atlas.tiles.sheet(PATCHES, layer.name, part) for part in parts),
        projections=tuple(atlas.tiles.sheet(PROJECTIONS, layer.name, part) for part in parts) if projected else (),
        units=atlas.about.classes if layer.name == atlas.about.output else (),
    )
