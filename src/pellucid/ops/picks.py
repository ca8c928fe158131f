"""Indexing a tensor with tensors, ``x[i, :, j]``: which place is read, and who reads a place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.ops.terms import Array, Index, Places, flat

Indices = Sequence[Array | None]


def picked(x: Sequence[int], indices: Indices, at: Index) -> Index:
    """The index in a tensor of shape ``x`` that number ``at`` of x[indices] reads.

    >>> picked((4, 5), [None, np.array([3, 0])], (2, 1))
    (2, 0)
    """
    given, common, first = _read(x, indices)
    inside, rest = at[first : first + len(common)], [*at[:first], *at[first + len(common) :]]
    return tuple(int(given[dim][inside]) if dim in given else rest.pop(0) for dim in range(len(x)))


def pickers(x: Sequence[int], indices: Indices, place: Index, out: Sequence[int]) -> Places:
    """Flat places in x[indices], of shape ``out``, of all numbers that read one place.

    >>> pickers((4,), [np.array([3, 0, 3])], (3,), (3,))
    array([0, 2])
    """
    given, common, first = _read(x, indices)
    reads = np.ones(common, bool)
    for dim, index in given.items():
        reads &= index == place[dim]
    rest = [index for dim, index in enumerate(place) if dim not in given]
    inside = np.flatnonzero(reads)
    middle = int(np.prod(common, dtype=np.int64))
    # The common dimensions are one while the places are made, since the numbers that read are no box in them.
    shape = (*out[:first], middle, *out[first + len(common) :])
    return flat(shape, *rest[:first], inside, *rest[first:])


def _read(x: Sequence[int], indices: Indices) -> tuple[dict[int, Array], tuple[int, ...], int]:
    """By dimension the whole numbers that index it, counted from the front and all of one shape; that shape; and the
    dimension of the result where it begins: in the place of the first index where they are neighbours, else in front.
    """
    plain: list[Array | None] = []
    for index in indices:
        if index is not None and np.asarray(index).dtype in (np.bool_, np.uint8):
            plain += list(np.nonzero(index))  # a mask stands for the places where it is true
        else:
            plain.append(index)
    dims = [dim for dim, index in enumerate(plain) if index is not None]
    spread = np.broadcast_arrays(*(np.asarray(plain[dim]) for dim in dims))
    given = {dim: np.where(own < 0, own + x[dim], own) for dim, own in zip(dims, spread, strict=True)}
    first = dims[0] if dims == list(range(dims[0], dims[-1] + 1)) else 0
    return given, tuple(spread[0].shape), first
