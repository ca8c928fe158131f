"""One number of a network, and the terms that sum to it: each comes from other numbers, which open in the same way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np

from pellucid.errors import UsageError
from pellucid.graph import Node
from pellucid.look.recording import Tied
from pellucid.ops.terms import Call, Floats, Group, Terms, taken

if TYPE_CHECKING:
    from pellucid.look.scene import Scene

Index = tuple[int, ...]
CLOSE = 1e-5  # of the sum of magnitudes: float32 beside a sum in float64


@dataclass(frozen=True)
class Term:
    """One product of a sum.

    product: what it adds. role: ``product``, ``bias``, ``winner``, ``padding`` ... source: the number that it comes
    from, None for a constant and in the padding. weight: the number of the network that it is multiplied with, where it
    is one; factor: what it is multiplied with; None where the product is a function of the source, named by ``note``.
    """

    product: float
    role: str
    source: Number | None = None
    weight: Number | None = None
    factor: float | None = None
    note: str = ""

    def open(self) -> Number:
        """The number that it comes from.

        Raises:
            UsageError: for a constant, and for what stands in the padding.
        """
        if self.source is None:
            what = "stands in the padding" if self.role == "padding" else f"is a constant ({self.role})"
            raise UsageError(f"this term {what}: nothing is behind it", fits="a term whose source is not None")
        return self.source

    def __str__(self) -> str:
        from pellucid.look.writing import written_term

        return written_term(self)


@dataclass(frozen=True)
class Part:
    """A table of terms and the call whose slots it names; both None where no call is behind it."""

    terms: Terms
    node: Node | None = None
    call: Call | None = None

    def values_of(self, group: Group) -> Floats:
        """What was multiplied in a table, (T,); 0 in the padding and for constants."""
        if self.call is None or not group.source or group.places is None:
            return np.zeros(len(group))
        return taken(self.call, group.source, group.places)


@dataclass(frozen=True, eq=False)
class Number:
    """One number of a scene.

    name: of the node, input or parameter that holds it. which: of several results. index: in it, batch first.
    of_gradient: whether it is dL/d(that number) instead.
    """

    scene: Scene = field(repr=False)
    name: str
    index: Index
    which: int = 0
    of_gradient: bool = False

    @property
    def tied(self) -> Tied:
        """The tensor that holds it."""
        return Tied(self.name, self.which)

    @cached_property
    def value(self) -> float:
        """The number, as the network computed it."""
        recording = self.scene.recording
        array = recording.gradient(self.tied) if self.of_gradient else recording.array(self.tied)
        return float(array[self.index])

    @property
    def node(self) -> Node | None:
        """The call that made it; None for pixels and weights."""
        inner = self.scene.recording.inner_of(self.name)
        return self.scene.recording.nodes.get(self.name) if inner is None else inner[0]

    @property
    def kind(self) -> str:
        """activation, gradient, pixel, weight or label."""
        if self.of_gradient:
            return "gradient"
        if self.node is not None:
            return "activation"
        if self.name in self.scene.graph.tensors:
            return "weight"
        return "pixel" if self.name in self.scene.inputs else "label"

    @property
    def operation(self) -> str:
        """What made it, for a person."""
        if self.of_gradient:
            return f"gradient of the loss with respect to {self.address_of_value}"
        if self.node is not None:
            return self.node.op.describe()
        return {"weight": "a weight: learned", "pixel": "a pixel of the input", "label": "a label: given"}[self.kind]

    @property
    def address_of_value(self) -> str:
        """``features.3[0,7,10,12]``; the second result of a node as ``name:1[...]``."""
        which = f":{self.which}" if self.which else ""
        return f"{self.name}{which}[{','.join(map(str, self.index))}]"

    @property
    def address(self) -> str:
        """What ``scene.open`` finds it by: ``features.3[0,7,10,12]``, and its gradient by ``d features.3[...]``."""
        return f"d {self.address_of_value}" if self.of_gradient else self.address_of_value

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The tables behind it: one for an activation; for a gradient one for each call that uses the number."""
        from pellucid.look.opening import parts_of

        return parts_of(self)

    def terms(self) -> TermList:
        """Its sum: the products add up to ``value``."""
        return TermList(self)

    @property
    def formula(self) -> str:
        """The sum as a textbook writes it."""
        return "; ".join(dict.fromkeys(part.terms.formula for part in self.parts if part.terms.formula))

    @property
    def facts(self) -> dict[str, float | str]:
        """Numbers that all terms share: mean and variance of a normalisation, the sum of a softmax."""
        return {name: fact for part in self.parts for name, fact in part.terms.facts.items()}

    @property
    def missing(self) -> str:
        """Why it has no terms; empty where it has."""
        return "; ".join(part.terms.missing for part in self.parts if part.terms.missing)

    @property
    def total(self) -> float:
        """The sum of its terms, in float64."""
        return float(sum(part.terms.total for part in self.parts))

    @property
    def magnitude(self) -> float:
        """The sum of its terms' magnitudes."""
        return float(sum(part.terms.magnitude for part in self.parts))

    @property
    def adds_up(self) -> bool:
        """Whether the terms sum to the value within 1e-5 of the sum of magnitudes."""
        if self.missing:
            return False
        if not self.parts:
            return self.value == 0 if self.of_gradient else True
        with np.errstate(invalid="ignore"):
            equal = np.isclose(self.total, self.value, rtol=0, atol=CLOSE * self.magnitude + 1e-37, equal_nan=True)
        return bool(equal)

    @property
    def box(self) -> tuple[tuple[int, int], ...]:
        """Its receptive field in the picture: first and last row, first and last column, both inside the picture; all
        of the picture where it may see everything. Empty for a weight."""
        return self.scene.box(self)

    @property
    def box_with_padding(self) -> tuple[tuple[int, int], ...]:
        """The same with what lies outside of the picture."""
        return self.scene.box(self, clipped=False)

    def gradient(self) -> Number:
        """dL/d(this number).

        Raises:
            UsageError: for what a call makes on its way and does not return, such as attention's weights.
        """
        if self.scene.recording.inner_of(self.name) is not None:
            raise UsageError(
                f"{self.name} is made inside a call: autograd keeps no gradient of it", fits="the call's own"
            )
        return Number(self.scene, self.name, self.index, self.which, True)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        from pellucid.look.writing import written

        return written(self)

    def _repr_html_(self) -> str:
        from pellucid.draw import number_html
        from pellucid.look.record import record_of

        return number_html(record_of(self))


class TermList(Sequence[Term]):
    """The terms of a number, made when they are asked for: a first layer's weight has thousands."""

    def __init__(self, number: Number) -> None:
        self.number = number
        self._groups = [(part, group) for part in number.parts for group in part.terms.groups]
        self._ends = np.cumsum([len(group) for _, group in self._groups])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, at: int) -> Term: ...
    @overload
    def __getitem__(self, at: slice) -> list[Term]: ...
    def __getitem__(self, at: int | slice) -> Term | list[Term]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(f"term {at} of {len(self)}")
        which = int(np.searchsorted(self._ends, place, side="right"))
        part, group = self._groups[which]
        return self._made(part, group, place - (int(self._ends[which - 1]) if which else 0))

    def __iter__(self) -> Iterator[Term]:
        return (self[i] for i in range(len(self)))

    def products(self) -> Floats:
        """The products alone, (T,)."""
        return np.concatenate([group.products for _, group in self._groups]) if self._groups else np.zeros(0)

    def largest(self, count: int) -> list[Term]:
        """The terms of the largest magnitude, the first the largest."""
        order = np.argsort(-np.abs(self.products()), kind="stable")[:count]
        return [self[int(i)] for i in order]

    def __repr__(self) -> str:
        return f"<{len(self)} terms of {self.number.address}>"

    def _made(self, part: Part, group: Group, i: int) -> Term:
        outside = group.places is not None and group.places[i] < 0
        weight = None
        if group.weight and group.weight_places is not None and group.weight_places[i] >= 0:
            weight = self._number(part, group.weight, int(group.weight_places[i]))
        elif group.weight and group.weight_places is not None:
            outside = True
        source = None
        if group.source and group.places is not None and group.places[i] >= 0:
            source = self._number(part, group.source, int(group.places[i]))
        return Term(
            product=float(group.products[i]),
            role="padding" if outside else group.role,
            source=source,
            weight=weight,
            factor=None if group.factors is None else float(group.factors[i]),
            note=group.note,
        )

    def _number(self, part: Part, slot: str, place: int) -> Number | None:
        from pellucid.look.opening import number_behind

        return number_behind(self.number, part, slot, place)
