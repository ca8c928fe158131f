"""The sum behind one number, as tables of arrays: what an operation multiplied, where each factor stands, and why.

An operation says with ``terms`` which products sum to one number of its result, and with ``terms_of_gradient`` which
sum to one number of the gradient of one of its arguments. All sums are in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Index = tuple[int, ...]

OUTSIDE = -1  # the place of what stands in the padding


@dataclass(frozen=True)
class Call:
    """A call with its numbers.

    arguments: by the names of the operator's schema; tensors as arrays. results: all of them, the first the main one.
    gradients: dL/d(result) for each of them, where gradients are asked for. which: the result that is asked about.
    """

    arguments: Mapping[str, Any]
    results: tuple[Array, ...]
    gradients: tuple[Array, ...] = ()
    which: int = 0

    def array(self, slot: str) -> Array:
        """The array in a slot: an argument's name (``input``, ``weight``), one of a list's (``tensors[1]``), ``result``
        or ``gradient`` (the main one's; ``gradient[2]`` is that of the third result)."""
        name, bracket, rest = slot.partition("[")
        if name == "result":
            return self.results[int(rest[:-1]) if bracket else self.which]
        if name == "gradient":
            return self.gradients[int(rest[:-1]) if bracket else self.which]
        value = self.arguments[name]
        return np.asarray(value[int(rest[:-1])] if bracket else value)

    def optional(self, name: str) -> Array | None:
        """The array in an argument, None where the call has none."""
        value = self.arguments.get(name)
        return None if value is None else np.asarray(value)

    @property
    def result(self) -> Array:
        """The result that is asked about."""
        return self.results[self.which]

    def slots(self) -> list[str]:
        """The slots that hold arrays, in the call's order."""
        found: list[str] = []
        for name, value in self.arguments.items():
            if isinstance(value, np.ndarray):
                found.append(name)
            elif isinstance(value, list | tuple):
                found += [f"{name}[{i}]" for i, item in enumerate(value) if isinstance(item, np.ndarray)]
        return found


@dataclass(frozen=True)
class Group:
    """Terms of one kind, T of them.

    role: what they are to the sum: ``product``, ``bias``, ``winner``, ``loser``, ``shift`` ...
    products: (T,), what they add to the sum.
    source: the slot that the first factors come from (``gradient``: the gradient of the result; ``result``: the result
        itself; empty where there is none, as for a constant); places: (T,), flat in it, -1 in the padding.
    factors: (T,), what the source is multiplied with; None where the product is a function of the source.
    weight: the slot that the factors come from, empty where they are plain numbers; weight_places: (T,), flat in it.
    note: what a person should know of the factor: ``1/9``, ``relu'(x)``, ``scale / deviation``.
    shape: how the terms lie as a picture, (channels, rows, columns); empty for a mere list.
    """

    role: str
    products: Floats
    source: str = ""
    places: Places | None = None
    factors: Floats | None = None
    weight: str = ""
    weight_places: Places | None = None
    note: str = ""
    shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.products)


@dataclass(frozen=True)
class Terms:
    """A number as a sum.

    groups: the tables; all their products sum to the number. formula: as a textbook writes it. facts: numbers that
    every term shares (mean, variance, the exponentials' sum). missing: why there is no such sum, empty where there is.
    """

    groups: tuple[Group, ...] = ()
    formula: str = ""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    missing: str = ""

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    @property
    def total(self) -> float:
        """The sum of the products."""
        return float(sum(group.products.sum() for group in self.groups))

    @property
    def magnitude(self) -> float:
        """The sum of their magnitudes: what a rounding error is measured by."""
        return float(sum(np.abs(group.products).sum() for group in self.groups))


def weighted(
    role: str,
    call: Call,
    source: str,
    places: Places,
    weight: str,
    weight_places: Places,
    note: str = "",
    shape: tuple[int, ...] = (),
) -> Group:
    """Source numbers times weights, both by their flat places; what stands in the padding is 0."""
    values, factors = taken(call, source, places), taken(call, weight, weight_places)
    return Group(role, values * factors, source, places, factors, weight, weight_places, note, shape)


def scaled(role: str, call: Call, source: str, places: Places, factors: Floats | float, note: str = "") -> Group:
    """Source numbers times plain numbers."""
    values = taken(call, source, places)
    spread = np.broadcast_to(np.asarray(factors, np.float64), values.shape)
    return Group(role, values * spread, source, places, spread, note=note)


def single(role: str, call: Call, source: str, place: int, note: str = "") -> Group:
    """One number as it stands."""
    return scaled(role, call, source, np.array([place], np.int64), 1.0, note)


def constant(role: str, value: float, note: str = "") -> Group:
    """A number that comes from no tensor."""
    return Group(role, np.array([value], np.float64), note=note)


def function(role: str, call: Call, source: str, place: int, value: float, note: str) -> Group:
    """A function of one number: ``note`` names it."""
    return Group(role, np.array([value], np.float64), source, np.array([place], np.int64), note=note)


def taken(call: Call, slot: str, places: Places) -> Floats:
    """The numbers in a slot at flat places, 0 outside."""
    flat = call.array(slot).reshape(-1)
    if not flat.size:
        return np.zeros(places.shape, np.float64)
    values = flat[np.maximum(places, 0)].astype(np.float64)
    return np.where(places < 0, 0.0, values)


def flat(shape: Sequence[int], *index: Any) -> Places:
    """Flat places of all combinations of indices, a number or a list of them for each dimension (the last runs
    fastest); -1 where one of them is outside of the shape.

    >>> flat((3, 4), [0, 1], [2, 4])
    array([ 2, -1,  6, -1])
    """
    lists = [np.atleast_1d(np.asarray(i, np.int64)) for i in index]
    place, outside = np.zeros([1] * len(lists), np.int64), np.zeros([1] * len(lists), bool)
    for axis, (own, n) in enumerate(zip(lists, shape, strict=True)):
        part = own.reshape([-1 if i == axis else 1 for i in range(len(lists))])
        place = place * n + part
        outside = outside | (part < 0) | (part >= n)
    return np.where(outside, OUTSIDE, place).reshape(-1)


def one_place(shape: Sequence[int], index: Index) -> int:
    """The flat place of one index."""
    return int(np.ravel_multi_index(index, tuple(shape))) if len(shape) else 0
