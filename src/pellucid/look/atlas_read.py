"""An atlas, found just now or read from its folder: layers, their channels, and the patches of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import CheckpointError, UsageError, unknown
from pellucid.look.atlas_files import Folder
from pellucid.look.atlas_layers import Layer, Numbers, Ranks, Shown
from pellucid.look.atlas_sheets import PATCHES, PICTURE_COLUMNS, PROJECTIONS, pictures_a_sheet, tiles_of

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class About:
    """What an atlas is of. data: what the data set is called, if it is. pictures: how many were looked at.
    specialized: whether the captured road is that of one example alone (see ``Graph``). output: the layer whose
    channels are the classes, where there is one."""

    network: str
    data: str
    split: str
    classes: tuple[str, ...]
    k: int
    pictures: int
    picture_size: tuple[int, int]
    specialized: bool = False
    output: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads."""
        return {key: list(item) if isinstance(item, tuple) else item for key, item in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        plain: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in values.items()}
        return cls(**plain)


class Tiles(Protocol):
    """Where the pictures of an atlas come from: made anew (``Cutter``), or read from its folder (``Sheets``)."""

    @property
    def whole_tile(self) -> tuple[int, int]: ...

    def patches(self, name: str, channels: Sequence[int]) -> Pixels: ...

    def projections(self, name: str, channels: Sequence[int]) -> Pixels: ...

    def pictures(self, indices: Numbers) -> Pixels: ...

    def sheet(self, kind: str, name: str, part: int) -> bytes: ...

    def picture_sheet(self, part: int) -> bytes: ...


@dataclass(frozen=True)
class Patch:
    """A place that excited a channel.

    rank: 0 for the strongest. picture: its number in the split. place: in the channel's map, (y, x), empty where the
    layer has one number a picture. box: the rows and the columns of the picture that the place sees, each the first and
    the last; box_with_padding: the same with what lies outside.
    """

    layer: str
    channel: int
    rank: int
    value: float
    picture: int
    name: str
    label: int | str | None
    place: tuple[int, ...]
    box: tuple[tuple[int, int], tuple[int, int]]
    box_with_padding: tuple[tuple[int, int], tuple[int, int]]


class Channel(Sequence[Patch]):
    """The patches of one channel, the strongest first."""

    def __init__(self, atlas: Atlas, layer: Layer, channel: int) -> None:
        self._atlas, self._layer, self.channel = atlas, layer, channel
        self._ranks = atlas.ranks[layer.name]

    def __len__(self) -> int:
        return int((self._ranks.pictures[self.channel] >= 0).sum())

    def __getitem__(self, rank: Any) -> Any:
        if isinstance(rank, slice):
            return [self[i] for i in range(*rank.indices(len(self)))]
        i = self._rank(rank)
        at = (self.channel, i)
        picture, place = int(self._ranks.pictures[at]), int(self._ranks.places[at])
        top, left, bottom, right = self._ranks.boxes[at].tolist()
        height, width = self._atlas.about.picture_size
        shown = self._atlas.shown[picture]
        return Patch(
            layer=self._layer.name,
            channel=self.channel,
            rank=i,
            value=float(self._ranks.values[at]),
            picture=picture,
            name=shown.name,
            label=shown.word if shown.word is not None else shown.label,
            place=tuple(int(n) for n in np.unravel_index(place, self._layer.maps)) if self._layer.maps else (),
            box=((max(0, top), min(height, bottom) - 1), (max(0, left), min(width, right) - 1)),
            box_with_padding=((top, bottom - 1), (left, right - 1)),
        )

    def __iter__(self) -> Iterator[Patch]:
        return (self[i] for i in range(len(self)))

    def crop(self, rank: int) -> Pixels:
        """A patch, uint8 (height, width, 4): red, green, blue, and 0 where it lies outside the picture. Patches of more
        than 64 pixels a side are made smaller."""
        tile: Pixels = self._atlas.tiles.patches(self._layer.name, [self.channel])[0, self._rank(rank)]
        return tile

    def projection(self, rank: int) -> Pixels:
        """What a deconvnet projects of the one number into the patch, as a tile of ``crop``: grey is nothing.

        Raises:
            UsageError: where the folder holds none of this layer, and the network is not at hand.
        """
        tile: Pixels = self._atlas.tiles.projections(self._layer.name, [self.channel])[0, self._rank(rank)]
        return tile

    @property
    def nans(self) -> int:
        """Of how many pictures the channel's map held a NaN: such numbers were passed over."""
        return int(self._ranks.nans[self.channel])

    def __repr__(self) -> str:
        found = ", ".join(f"{value:.4g}" for value in self._ranks.values[self.channel].tolist() if not isnan(value))
        return f"Channel({self._layer.name}, {self.channel}: {found})"

    def _rank(self, rank: int) -> int:
        if not -len(self) <= rank < len(self):  # an IndexError ends an iteration; a reader is told what there is
            raise IndexError(
                f"channel {self.channel} of {self._layer.name} has {len(self)} patches, 0 to {len(self) - 1}"
            )
        return rank % len(self)


class Channels(Sequence[Channel]):
    """The channels of one layer."""

    def __init__(self, atlas: Atlas, layer: Layer) -> None:
        self._atlas, self.layer = atlas, layer

    def __len__(self) -> int:
        return self.layer.channels

    def __getitem__(self, channel: Any) -> Any:
        if isinstance(channel, slice):
            return [self[i] for i in range(*channel.indices(len(self)))]
        if not -len(self) <= channel < len(self):
            raise IndexError(f"{self.layer.name} has {len(self)} channels, 0 to {len(self) - 1}; there is no {channel}")
        return Channel(self._atlas, self.layer, channel % len(self))

    def __repr__(self) -> str:
        return f"Channels({self.layer.name}, {len(self)} of field {self.layer.field})"


class Atlas(Mapping[str, Channels]):
    """What each channel responds to most: ``atlas["features.3"][7][0]`` is a ``Patch``.

    about: what it is of. layers: its layers. folder: where it lies, if it does.
    """

    def __init__(
        self,
        about: About,
        layers: Sequence[Layer],
        ranks: Mapping[str, Ranks],
        tiles: Tiles,
        shown: Mapping[int, Shown],
        projected: Sequence[str],
        folder: Path | None = None,
    ) -> None:
        self.about, self.layers, self.ranks, self.tiles = about, tuple(layers), dict(ranks), tiles
        self.shown, self.projected, self.folder = dict(shown), tuple(projected), folder

    @classmethod
    def open(cls, folder: str | Path) -> Atlas:
        """A finished atlas from its folder.

        Raises:
            CheckpointError: where there is none, or it is damaged or not finished.
        """
        found = Folder.open(Path(folder))
        if not found.complete:
            raise CheckpointError(f"the atlas in {folder} is not finished", fits="the command that began it goes on")
        return Sheets(found).atlas()

    def __getitem__(self, name: str) -> Channels:
        for layer in self.layers:
            if layer.name == name:
                return Channels(self, layer)
        raise unknown("layer of this atlas", name, [layer.name for layer in self.layers])

    def __contains__(self, name: object) -> bool:
        return any(layer.name == name for layer in self.layers)

    def __iter__(self) -> Iterator[str]:
        return (layer.name for layer in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def html(self, file: str | Path) -> list[Path]:
        """Write a page to browse, search and compare; returns what was written.

        It is one file that needs nothing else, where that takes no more than 20 MB; else the sheets lie beside it.
        """
        from pellucid.draw import write_atlas_page
        from pellucid.look.atlas_record import record_of

        return write_atlas_page(Path(file), record_of(self))

    def __repr__(self) -> str:
        channels = sum(layer.channels for layer in self.layers)
        return (
            f"Atlas({self.about.network}: {len(self)} layers, {channels:,} channels, the {self.about.k} strongest of "
            f"{self.about.pictures:,} pictures)"
        )


class Sheets:
    """The tiles of an atlas in its folder; what it lacks is made by the ``cutter``, where there is one."""

    def __init__(self, folder: Folder, cutter: Tiles | None = None) -> None:
        self.folder, self.cutter = folder, cutter
        self.layers = {layer.name: layer for layer in folder.layers}
        self.shown = {item.picture: item for item in (Shown(*values) for values in folder.facts["shown"])}
        self._last: tuple[str, Pixels] = "", np.zeros(0, np.uint8)

    def atlas(self) -> Atlas:
        """The atlas itself."""
        ranks, _ = self.folder.strongest()
        facts = self.folder.facts
        about = About.from_json(facts["about"])
        return Atlas(about, self.folder.layers, ranks, self, self.shown, facts["projections"], self.folder.path)

    @property
    def whole_tile(self) -> tuple[int, int]:
        height, width = self.folder.facts["whole_tile"]
        return int(height), int(width)

    def patches(self, name: str, channels: Sequence[int]) -> Pixels:
        return self._cut(PATCHES, name, channels)

    def projections(self, name: str, channels: Sequence[int]) -> Pixels:
        if name not in self.folder.facts["projections"]:
            if self.cutter is None:
                raise UsageError(
                    f"the atlas in {self.folder.path} has no projections of {name}",
                    fits="pellucid.look.atlas(model, data, folder=...), which makes them",
                )
            return self.cutter.projections(name, channels)
        return self._cut(PROJECTIONS, name, channels)

    def pictures(self, indices: Numbers) -> Pixels:
        rows = {picture: i for i, picture in enumerate(self.shown)}
        size = pictures_a_sheet(self.whole_tile[0])
        tiles = []
        for index in indices.tolist():
            part, at = divmod(rows[index], size)
            sheet = self._tiles(self.folder.picture_sheet(part), *self.whole_tile)
            tiles.append(sheet[at // PICTURE_COLUMNS, at % PICTURE_COLUMNS])
        return np.stack(tiles)

    def sheet(self, kind: str, name: str, part: int) -> bytes:
        return self.folder.content(self.folder.sheet(kind, self.layers[name], part))

    def picture_sheet(self, part: int) -> bytes:
        return self.folder.content(self.folder.picture_sheet(part))

    def _cut(self, kind: str, name: str, channels: Sequence[int]) -> Pixels:
        layer = self.layers[name]
        tiles = []
        for channel in channels:
            part, row = divmod(channel, layer.rows)
            tiles.append(self._tiles(self.folder.sheet(kind, layer, part), *layer.tile)[row])
        return np.stack(tiles)

    def _tiles(self, name: str, height: int, width: int) -> Pixels:
        """The tiles of a sheet; the last sheet stays open."""
        if self._last[0] != name:
            self._last = name, tiles_of(self.folder.content(name), height, width)
        return self._last[1]
