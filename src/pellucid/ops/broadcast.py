"""Which numbers of tensors of several shapes meet where these broadcast together, as tables of places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pellucid.ops.choosing import idle
from pellucid.ops.terms import Array, Call, Floats, Group, Index, Places, flat

Shape = tuple[int, ...]


def places_in(shape: Shape, places: Places, out: Shape) -> Places:
    """The flat places of a tensor that the results at flat places read."""
    if shape == out:
        return places
    if not shape:
        return np.zeros(places.shape, np.int64)
    index = np.unravel_index(places, out)[len(out) - len(shape) :]
    own = tuple(np.zeros_like(i) if n == 1 else i for i, n in zip(index, shape, strict=True))
    return np.ravel_multi_index(own, shape).astype(np.int64)


def readers_of(shape: Shape, at: Index, out: Shape) -> Places:
    """The flat places of all results that read the number at index ``at`` of a tensor."""
    missing = len(out) - len(shape)
    own = zip(at, shape, out[missing:], strict=True)
    return flat(out, *(np.arange(n) for n in out[:missing]), *(np.arange(m) if n == 1 else i for i, n, m in own))


@dataclass(frozen=True)
class Operand:
    """The numbers that a slot gives to some results, one for each of them; a plain number has no places."""

    slot: str
    numbers: Array
    places: Places | None

    @property
    def values(self) -> Floats:
        """In float64."""
        return self.numbers.astype(np.float64)

    def times(self, role: str, factors: Floats | float = 1.0, note: str = "", by: Operand | None = None) -> Group:
        """As a term each, times ``factors``, which come from the operand ``by`` where there is one."""
        spread = np.broadcast_to(np.asarray(factors, np.float64), self.numbers.shape)
        return self.giving(role, self.values * spread, spread, note, by)

    def giving(
        self, role: str, products: Floats, factors: Floats | None, note: str = "", by: Operand | None = None
    ) -> Group:
        """As a term each, with what it adds to the sum."""
        if self.places is None:
            return Group("constant", products, note=note)
        weight, weight_places = (by.slot, by.places) if by is not None and by.places is not None else ("", None)
        return Group(role, products, self.slot, self.places, factors, weight, weight_places, note)

    def idle(self, role: str) -> Group:
        """As terms that add nothing."""
        if self.places is None:
            return Group("constant", np.zeros(len(self.numbers), np.float64), note=role)
        return idle(role, self.slot, self.places)


@dataclass(frozen=True)
class Meeting:
    """What meets at some flat places of a shape: that of the result, unless another is given."""

    call: Call
    places: Places
    shape: Shape | None = None

    def __getitem__(self, slot: str) -> Operand:
        """The numbers of an argument there, a tensor or a plain number."""
        value = self.call.arguments[slot]
        if not isinstance(value, np.ndarray):
            return Operand(slot, np.full(len(self.places), value, self._type_of(value)), None)
        out = self.call.result.shape if self.shape is None else self.shape
        places = places_in(value.shape, self.places, out)
        return Operand(slot, value.reshape(-1)[places], places)

    @property
    def results(self) -> Floats:
        """The results there, in float64."""
        return self.call.result.reshape(-1)[self.places].astype(np.float64)

    def _type_of(self, number: bool | float) -> np.dtype[np.generic]:
        """A plain number counts in the precision of the tensors that it meets."""
        types = [self.call.array(slot).dtype for slot in self.call.slots()]
        floats = [dtype for dtype in types if dtype.kind == "f"]
        return np.result_type(*floats) if floats else np.asarray(number).dtype
