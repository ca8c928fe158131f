"""The k pictures that excite each channel most, found in one pass over any number of pictures, in bounded memory.

Each picture counts once for a channel: with the highest number of its map, and the place of that number. So the k are k
pictures, as in figure 2 of Zeiler & Fergus (2013), and not k neighbours in one. What is kept is k whole numbers a
channel, each a value and a picture in one: the order of the pictures' arrival changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError

Keys = NDArray[np.int64]
_NONE = np.int64(-(1 << 63))  # the key of an empty rank, below that of any value
_LAST = (1 << 32) - 1  # the highest picture


class Strongest:
    """The k strongest pictures of each of C channels.

    keys: int64 (C, k), falling: a float32's order in the upper half, the picture's number, falling, in the lower half.
    So of equal values the picture that comes first wins, and of equal places in a map the first one.
    places: int64 (C, k), the index in the flattened map. nans: int64 (C,), pictures whose map held a NaN.

    All but the maps themselves is NumPy's: numbers so few are done before threads have been woken.
    """

    def __init__(self, channels: int, k: int) -> None:
        if k < 1:
            raise UsageError(f"k is {k}", fits="1 or more")
        self.keys = np.full((channels, k), _NONE)
        self.places = np.full((channels, k), -1, np.int64)
        self.nans = np.zeros(channels, np.int64)

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
        wrong = np.isnan(best)
        if wrong.any():
            self.nans += wrong.sum(0)
            maps = torch.where(maps.isnan(), -torch.inf, maps)
            best = _highest(maps)
        candidates = _joined(best, np.arange(first, first + len(best))[:, None])
        candidates[best == -np.inf] = _NONE
        keys = np.concatenate([self.keys, candidates.T], axis=1)
        chosen = np.argpartition(keys, -self.k, axis=1)[:, -self.k :]
        order = np.argsort(np.take_along_axis(keys, chosen, 1), axis=1)[:, ::-1]
        chosen = np.take_along_axis(chosen, order, 1)
        keys = np.take_along_axis(keys, chosen, 1)
        places = np.take_along_axis(self.places, np.minimum(chosen, self.k - 1), 1)
        places[keys == _NONE] = -1
        channels, ranks = ((chosen >= self.k) & (keys != _NONE)).nonzero()
        places[channels, ranks] = _places(maps, chosen[channels, ranks] - self.k, channels)
        self.keys, self.places = keys, places

    @property
    def values(self) -> NDArray[np.float32]:
        """float32 (C, k), falling; NaN where there were fewer than k pictures."""
        values = _mirrored((self.keys >> 32).astype(np.int32)).view(np.float32)
        return np.where(self.keys == _NONE, np.float32(np.nan), values)

    @property
    def pictures(self) -> Keys:
        """int64 (C, k): the numbers of the pictures; -1 where there were fewer than k."""
        return np.where(self.keys == _NONE, -1, _LAST - (self.keys & _LAST))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it takes to go on later: values, pictures and places (C, k), nans (C,)."""
        return {
            "values": self.values,
            "pictures": self.pictures,
            "places": self.places.copy(),
            "nans": self.nans.copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """What ``arrays`` gave."""
        values, pictures = arrays["values"].astype(np.float32), arrays["pictures"].astype(np.int64)
        found = cls(*values.shape)
        found.keys = np.where(pictures < 0, _NONE, _joined(values, pictures))
        found.places, found.nans = arrays["places"].astype(np.int64), arrays["nans"].astype(np.int64)
        return found


def _highest(maps: Tensor) -> NDArray[np.float32]:
    """float32 (N, C): the highest number of each map; NaN where it holds one."""
    best: NDArray[np.float32] = (maps.flatten(2).amax(2) if maps.ndim > 2 else maps).float().cpu().numpy()
    return best


def _places(maps: Tensor, pictures: Keys, channels: Keys) -> Keys:
    """The place of the highest number, the first of several, in the maps of pairs of picture and channel."""
    if maps.ndim == 2 or not len(pictures):
        return np.zeros(len(pictures), np.int64)
    rows = maps[torch.from_numpy(pictures).to(maps.device), torch.from_numpy(channels).to(maps.device)]
    found: Keys = rows.flatten(1).argmax(1).cpu().numpy()
    return found


def _joined(values: NDArray[np.float32], pictures: Keys) -> Keys:
    """A key that rises with the value and, for equal values, falls with the picture's number."""
    order = _mirrored((values + np.float32(0)).view(np.int32))  # + 0: minus zero is zero
    return (order.astype(np.int64) << 32) | (_LAST - pictures)


def _mirrored(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """The bits of a float32 as a whole number of the same order, and back (IEEE 754: negative floats count down)."""
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
