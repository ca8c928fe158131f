"""Whether features follow a motion of the picture: f(T x) against T' f(x), the same motion done to the maps.

A convolution commutes with shifts by multiples of its step, and with no other motion unless its kernels happen to be
symmetric (Cohen & Welling, "Group equivariant convolutional networks", ICML 2016, section 2); a step above 1 loses the
shifts between (Azulay & Weiss, "Why do deep convolutional networks generalize so poorly to small image
transformations?", JMLR 2019; Zhang, "Making convolutional networks shift-invariant again", ICML 2019).

Feature i of a map stands for the middle of its receptive field, picture position step * i + middle. So T', too, is a
look-up between features. Compared are places that see nothing but the picture on both sides: no padding, and none of
the pixels that repeat the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, linalg

from pellucid.look.changes import Floats, LookUp, at_places, looked_up

if TYPE_CHECKING:
    from pellucid.graph import Field

_SAME = 1e-9


@dataclass(frozen=True)
class Grid:
    """A map of features over the picture, one number for each of (height, width): how many features (``count``), and
    in pixels how far from one to the next (``step``), the middle of the first one's receptive field (``middle``), and
    how far the field reaches from its middle (``reach``)."""

    count: tuple[int, int]
    step: Floats
    middle: Floats
    reach: Floats

    @classmethod
    def of(cls, shape: tuple[int, ...], field: Field | None) -> Grid | None:
        """Of a node whose value is (N, C, P, Q); None where it is no map over the two axes of a picture."""
        if len(shape) != 4 or field is None or field.unbounded or set(field.reach.dims) != {2, 3}:
            return None
        axes = [field.reach.dims[dim] for dim in (2, 3)]
        if [axis.of for axis in axes] != [0, 1] or not all(axis.step > 0 for axis in axes):
            return None
        step, low, high = (np.array([float(getattr(a, name)) for a in axes]) for name in ("step", "low", "high"))
        return cls((shape[2], shape[3]), step, (low + high) / 2, (high - low) / 2)

    def middles(self) -> Floats:
        """Where the middles of all receptive fields lie, (P, Q, 2)."""
        index = np.stack(np.meshgrid(*map(np.arange, self.count), indexing="ij"), -1)
        return index * self.step + self.middle


@dataclass(frozen=True)
class Places:
    """Which features are compared: those of the changed picture at ``index`` (K,) of the flattened map, with those of
    the unchanged one at ``source`` (K, 2), in indices of the map and fractions of them."""

    index: NDArray[np.int64]
    source: Floats


def places(grid: Grid, look_up: LookUp, image_size: tuple[int, int]) -> Places:
    """The features that see only the picture, before the motion and after it."""
    middles = grid.middles()
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * grid.reach
    field = middles[..., None, :] + corners  # (P, Q, 4, 2), in the changed picture
    source = look_up(middles)  # (P, Q, 2), in the unchanged one
    # A source between features is made of its neighbours: all four must see only the picture.
    index = (source - grid.middle) / grid.step
    first = np.ceil((grid.reach - grid.middle) / grid.step - _SAME)
    last = np.floor((np.array(image_size) - 1 - grid.reach - grid.middle) / grid.step + _SAME)
    first, last = np.maximum(first, 0), np.minimum(last, np.array(grid.count) - 1)
    good = _within(field, 0, np.array(image_size) - 1) & _within(look_up(field), 0, np.array(image_size) - 1)
    good = good.all(-1) & _within(index, first, last)
    return Places(np.flatnonzero(good), index[good])


def errors(changed: Tensor, unchanged: Tensor, at: Places) -> Tensor:
    """||f(T x) - T' f(x)|| / ||f(T x)|| over the compared places of each picture, (N,); NaN where that is 0 / 0.

    changed: f(T x), unchanged: f(x), both (N, C, P, Q).
    """
    found = at_places(changed, at.index)
    error: Tensor = lengths(looked_up(unchanged, at.source) - found) / lengths(found)
    return error


def lengths(maps: Tensor) -> Tensor:
    """The root of the sum of squares of each picture's numbers (N, ...), (N,) in double precision."""
    found: Tensor = linalg.vector_norm(maps.flatten(1), dim=1)
    return found.double()


def _within(positions: Floats, low: Floats | float, high: Floats) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.all((positions >= low - _SAME) & (positions <= high + _SAME), axis=-1)
    return inside
