"""The k pictures that excite each channel most, found in one pass over any number of pictures, in bounded memory.

Each picture counts once for a channel: with the highest number of its map, and the place of that number. So the k are k
pictures, as in figure 2 of Zeiler & Fergus (2013), and not k neighbours in one. What is kept is k whole numbers a
channel, each a value and a picture in one: the order of the pictures' arrival changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from pellucid.errors import UsageError

_NONE = -(1 << 63)  # the key of an empty rank, below that of any value
_LAST = (1 << 32) - 1  # the highest picture


class Strongest:
    """The k strongest pictures of each of C channels.

    keys: int64 (C, k), falling: a float32's order in the upper half, the picture's number, falling, in the lower half.
    So of equal values the picture that comes first wins, and of equal places in a map the first one.
    places: int64 (C, k), the index in the flattened map. nans: int64 (C,), pictures whose map held a NaN.
    """

    def __init__(self, channels: int, k: int) -> None:
        if k < 1:
            raise UsageError(f"k is {k}", fits="1 or more")
        self.keys = torch.full((channels, k), _NONE)
        self.places = torch.full((channels, k), -1)
        self.nans = torch.zeros(channels, dtype=torch.int64)

    @property
    def k(self) -> int:
        return self.keys.shape[1]

    def update(self, maps: Tensor, first: int) -> None:
        """Take note of the maps of pictures ``first``, ``first + 1``, ...: (N, C, ...) of any floating type.

        NaN and minus infinity excite nothing: such numbers are passed over, and the NaN counted in ``nans``. Values are
        compared as float32.
        """
        if first + len(maps) > _LAST:
            raise UsageError(f"picture {first + len(maps):,} is one too many", fits=f"at most {_LAST:,} pictures")
        maps = maps.detach()
        best = _highest(maps)
        if bool((wrong := best.isnan()).any()):
            self.nans += wrong.sum(0).cpu()
            maps = torch.where(maps.isnan(), -torch.inf, maps)
            best = _highest(maps)
        candidates = _keys(best.cpu(), first).T
        keys, chosen = torch.cat([self.keys, candidates], dim=1).topk(self.k, dim=1)
        places = self.places.gather(1, chosen.clamp(max=self.k - 1))
        new = (chosen >= self.k) & (keys != _NONE)
        if maps.ndim == 2:
            places[new] = 0
        elif bool(new.any()):
            channels, ranks = new.nonzero(as_tuple=True)
            rows = maps[(chosen[channels, ranks] - self.k).to(maps.device), channels.to(maps.device)]
            places[channels, ranks] = rows.flatten(1).argmax(1).cpu()  # the first of several highest
        places[keys == _NONE] = -1
        self.keys, self.places = keys, places

    @property
    def values(self) -> Tensor:
        """float32 (C, k), falling; NaN where there were fewer than k pictures."""
        order = (self.keys >> 32).to(torch.int32)
        values = _mirrored(order).view(torch.float32)
        return values.masked_fill(self.keys == _NONE, torch.nan)

    @property
    def pictures(self) -> Tensor:
        """int64 (C, k): the numbers of the pictures; -1 where there were fewer than k."""
        return (_LAST - (self.keys & _LAST)).masked_fill(self.keys == _NONE, -1)

    def tensors(self) -> dict[str, Tensor]:
        """What it takes to go on later: values, pictures and places (C, k), nans (C,)."""
        return {"values": self.values, "pictures": self.pictures, "places": self.places, "nans": self.nans}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What ``tensors`` gave."""
        values, pictures = tensors["values"], tensors["pictures"]
        found = cls(*values.shape)
        found.keys = torch.where(pictures < 0, _NONE, _joined(values, pictures))
        found.places, found.nans = tensors["places"].clone(), tensors["nans"].clone()
        return found


def _highest(maps: Tensor) -> Tensor:
    """float32 (N, C): the highest number of each map; NaN where it holds one."""
    return (maps.flatten(2).amax(2) if maps.ndim > 2 else maps).float()


def _keys(best: Tensor, first: int) -> Tensor:
    """int64 (N, C) of float32 (N, C)."""
    numbers = torch.arange(first, first + len(best))[:, None]
    return torch.where(best == -torch.inf, _NONE, _joined(best, numbers))


def _joined(values: Tensor, pictures: Tensor) -> Tensor:
    """A key that rises with the value and, for equal values, falls with the picture's number."""
    order = _mirrored((values + 0.0).view(torch.int32))  # + 0.0: minus zero is zero
    return (order.to(torch.int64) << 32) | (_LAST - pictures)


def _mirrored(bits: Tensor) -> Tensor:
    """The bits of a float32 as a whole number of the same order, and back (IEEE 754: negative floats count down)."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)
