"""The tiles of an atlas, made from the pictures: patches, what a deconvnet projects into them, and the whole pictures.

A tile is uint8 (height, width, 4): red, green, blue, and 0 for what lies outside the picture (else 255).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid.graph import Graph
from pellucid.look.atlas_layers import Layer, Numbers, Ranks, Shown
from pellucid.look.atlas_sheets import PATCHES, PICTURE_COLUMNS, pictures_a_sheet, sheet_bytes
from pellucid.look.atlas_source import Source
from pellucid.look.deconvnet import project
from pellucid.look.walk import record

Pixels = NDArray[np.uint8]
_BUDGET = 256 << 20  # bytes that the numbers of one run take, about
_PICTURES_BUDGET = 128 << 20  # bytes that all whole pictures take as they are kept
_CLIPPED = 0.005  # of a projection's numbers: a single large one would leave all others grey
_SIDES = (64, 256)  # of a whole picture, at most, where there are many and where there are few


class Cutter:
    """Makes tiles from the pictures themselves.

    Args:
        graph: the network in evaluation. source: the pictures. layers, ranks: what was found, by the layer's name.
    """

    def __init__(self, graph: Graph, source: Source, layers: Sequence[Layer], ranks: Mapping[str, Ranks]) -> None:
        self.graph, self.source, self.ranks = graph, source, ranks
        self.layers = {layer.name: layer for layer in layers}
        self._bytes = {row.name: row.activation_bytes for row in graph.account(1).rows}

    def patches(self, name: str, channels: Sequence[int]) -> Pixels:
        """The patches of some channels: uint8 (channels, k, height, width, 4)."""
        layer, ranks = self.layers[name], self.ranks[name]
        tiles = np.zeros((len(channels), ranks.pictures.shape[1], *layer.tile, 4), np.uint8)
        for row, rank in np.argwhere(ranks.pictures[list(channels)] >= 0):
            channel = channels[row]
            pixels = self.source.pixels(ranks.pictures[channel, rank : rank + 1])[0]
            tiles[row, rank] = tile_of(pixels, ranks.boxes[channel, rank], layer)
        return tiles

    def projections(self, name: str, channels: Sequence[int]) -> Pixels:
        """What a deconvnet projects of each one number into its patch (Zeiler & Fergus 2013), tiles as of ``patches``.

        Grey is nothing, brighter is above and darker below it, in the units of the network's input; each tile is scaled
        by itself (see ``as_grey``).
        """
        layer, ranks = self.layers[name], self.ranks[name]
        tiles = np.zeros((len(channels), ranks.pictures.shape[1], *layer.tile, 4), np.uint8)
        entries = [(row, rank) for row, rank in np.argwhere(ranks.pictures[list(channels)] >= 0).tolist()]
        size = self._entries_at_once(name)
        for first in range(0, len(entries), size):
            chosen = entries[first : first + size]
            index = tuple(np.array([(channels[row], rank) for row, rank in chosen]).T)
            at = list(zip(index[0].tolist(), ranks.places[index].tolist(), strict=True))
            projected = self._projected(layer, ranks.pictures[index], at)
            for (row, rank), image, box in zip(chosen, projected, ranks.boxes[index], strict=True):
                tiles[row, rank] = tile_of(as_grey(image, box), box, layer)
        return tiles

    def pictures(self, indices: Numbers) -> Pixels:
        """Whole pictures, made smaller where the atlas shows many: uint8 (n, height, width, 4)."""
        height, width = self.whole_tile
        tiles = np.full((len(indices), height, width, 4), 255, np.uint8)
        for i in range(len(indices)):
            pixels = self.source.pixels(indices[i : i + 1])[0]
            tiles[i, :, :, :3] = np.asarray(_image(pixels).resize((width, height), Image.Resampling.BOX))
        return tiles

    @cached_property
    def shown(self) -> Numbers:
        """The pictures that were found for any channel, rising."""
        found = np.unique(np.concatenate([ranks.pictures.reshape(-1) for ranks in self.ranks.values()]))
        return found[found >= 0]

    def named(self) -> dict[int, Shown]:
        """What each of them is called."""
        names, labels, classes = self.source.names, self.source.labels, self.source.classes
        found = {}
        for i in self.shown.tolist():
            label = int(labels[i]) if labels is not None else None
            found[i] = Shown(i, str(names[i]), label, classes[label] if label is not None and classes else None)
        return found

    @property
    def whole_tile(self) -> tuple[int, int]:
        """The height and width at which whole pictures are kept."""
        size = self.source.input_shape[1:]
        return whole_size((size[0], size[1]), len(self.shown))

    def sheet(self, kind: str, name: str, part: int) -> bytes:
        """One sheet of patches or projections, as a PNG: a row a channel, a column a rank."""
        channels = self.layers[name].parts()[part]
        return sheet_bytes(self.patches(name, channels) if kind == PATCHES else self.projections(name, channels))

    def picture_sheet(self, part: int) -> bytes:
        """One sheet of whole pictures, as a PNG."""
        size = pictures_a_sheet(self.whole_tile[0])
        return sheet_bytes(self.pictures(self.shown[part * size : (part + 1) * size]), PICTURE_COLUMNS)

    def _projected(self, layer: Layer, pictures: Numbers, at: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        with torch.no_grad():
            images = self.source.inputs(pictures)
            values: dict[str, Any] = record(self.graph, images, layer.name)
            signal = layer.kept(values[layer.name], at)
            found = project(self.graph, values, images, layer.name, signal)
        image: NDArray[np.float32] = found.float().cpu().numpy()
        return image

    def _entries_at_once(self, name: str) -> int:
        """So many that the numbers on the way to the layer fit the budget."""
        before = 0
        for known, size in self._bytes.items():
            before += size
            if known == name:
                break
        return int(max(1, min(500, _BUDGET // (2 * before + 1))))


def whole_size(picture: tuple[int, int], count: int) -> tuple[int, int]:
    """The height and width at which so many whole pictures are kept."""
    few, many = _SIDES[1], _SIDES[0]
    side = min(few, max(many, int((_PICTURES_BUDGET / (4 * max(1, count))) ** 0.5)))
    shrunk = min(1.0, side / max(picture))
    return max(1, round(picture[0] * shrunk)), max(1, round(picture[1] * shrunk))


def tile_of(pixels: Pixels, box: Numbers, layer: Layer) -> Pixels:
    """The part of a picture (H, W, 1 or 3) in a box as a tile of the layer; outside the picture it is empty."""
    patch = np.zeros((*layer.extent, 4), np.uint8)
    top, left = (max(0, int(box[i])) for i in (0, 1))
    bottom, right = (min(pixels.shape[i], int(box[i + 2])) for i in (0, 1))
    if bottom > top and right > left:
        y, x = top - int(box[0]), left - int(box[1])
        patch[y : y + bottom - top, x : x + right - left, :3] = pixels[top:bottom, left:right]
        patch[y : y + bottom - top, x : x + right - left, 3] = 255
    if layer.tile == layer.extent:
        return patch
    small = Image.fromarray(patch).resize((layer.tile[1], layer.tile[0]), Image.Resampling.BOX)
    tile: Pixels = np.asarray(small)
    return tile


def as_grey(image: NDArray[np.float32], box: Numbers) -> Pixels:
    """A projection (C, H, W) as pixels (H, W, 1 or 3): 128 for zero, black and white for numbers as large as all but
    the largest ``_CLIPPED`` of those in the box."""
    if len(image) not in (1, 3):
        image = image.mean(0, keepdims=True)
    part = image[:, max(0, int(box[0])) : max(0, int(box[2])), max(0, int(box[1])) : max(0, int(box[3]))]
    sizes = np.abs(part[np.isfinite(part)])
    greatest = float(np.quantile(sizes, 1 - _CLIPPED) or sizes.max()) if sizes.size else 0.0
    scaled = np.nan_to_num(image / greatest if greatest > 0 else np.zeros_like(image))
    shown: Pixels = (128 + 127 * np.clip(scaled, -1, 1)).round().astype(np.uint8).transpose(1, 2, 0)
    return shown


def _image(pixels: Pixels) -> Image.Image:
    grey = pixels.shape[2] == 1
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if grey else pixels)).convert("RGB")
