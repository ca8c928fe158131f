"""Sums of products over indices, opened: matrix products and all that ``einsum`` can say.

A contraction names every dimension of its operands and of its result by a letter. A number of the result is the sum,
over the letters that the result lacks, of the product of one number of each operand; the gradient of an operand is a
contraction too, of the result's gradient with the other operands, over the letters that the operand lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from pellucid.ops.terms import Call, Group, Index, Places, taken

Letters = tuple[str, ...]


@dataclass(frozen=True)
class Contraction:
    """slots: of the operands. letters: of each operand's dimensions, a dimension of one entry standing for any size.
    out: the letters of the result. factor: what every product is multiplied with."""

    slots: tuple[str, ...]
    letters: tuple[Letters, ...]
    out: Letters
    factor: float = 1.0

    def group(self, at: Index, call: Call) -> Group:
        """The products that sum to number ``at`` of the result."""
        fixed = dict(zip(self.out, at, strict=True))
        places = self._places(call, fixed, range(len(self.slots)))
        return self._table(call, self.slots[0], places[0], dict(zip(self.slots[1:], places[1:], strict=True)))

    def gradient_group(self, of: int, at: Index, call: Call) -> Group:
        """The products that sum to what comes back to number ``at`` of an operand."""
        sizes, others = self._sizes(call), [k for k in range(len(self.slots)) if k != of]
        fixed: dict[str, int] = {}
        for letter, index, n in zip(self.letters[of], at, call.array(self.slots[of]).shape, strict=True):
            if n != sizes[letter]:
                continue  # it is read by every index of the letter
            if fixed.setdefault(letter, index) != index:  # a letter twice: only the diagonal is read
                nothing = np.zeros(0, np.int64)
                return self._table(call, "gradient", nothing, {self.slots[k]: nothing for k in others})
        gradient, *places = self._places(call, fixed, others, with_result=True)
        return self._table(call, "gradient", gradient, dict(zip([self.slots[k] for k in others], places, strict=True)))

    def _sizes(self, call: Call) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for slot, letters in zip(self.slots, self.letters, strict=True):
            for letter, n in zip(letters, call.array(slot).shape, strict=True):
                sizes[letter] = n if sizes.get(letter, 1) == 1 else sizes[letter]
        return sizes

    def _places(
        self, call: Call, fixed: Mapping[str, int], operands: Sequence[int], *, with_result: bool = False
    ) -> list[Places]:
        """Flat places in the operands (after those in the result, where it is asked for), one for each combination of
        the letters that are not fixed."""
        sizes = self._sizes(call)
        free = [letter for letter in sizes if letter not in fixed]
        indices: dict[str, Any] = dict(fixed)
        for axis, letter in enumerate(free):
            indices[letter] = np.arange(sizes[letter]).reshape([-1 if i == axis else 1 for i in range(len(free))])
        extent = tuple(sizes[letter] for letter in free)
        wanted = [(self.letters[k], call.array(self.slots[k]).shape) for k in operands]
        if with_result:
            wanted.insert(0, (self.out, call.result.shape))
        found = []
        for letters, shape in wanted:
            place: Any = np.zeros((1,) * len(free), np.int64)
            for d, (letter, n) in enumerate(zip(letters, shape, strict=True)):
                if n > 1:
                    place = place + prod(shape[d + 1 :]) * indices[letter]
            found.append(np.broadcast_to(place, extent).reshape(-1))
        return found

    def _table(self, call: Call, source: str, places: Places, others: Mapping[str, Places]) -> Group:
        factors = np.full(len(places), self.factor)
        for slot, own in others.items():
            factors = factors * taken(call, slot, own)
        products = taken(call, source, places) * factors
        by = "" if self.factor == 1 else f"{self.factor:g} x "
        if len(others) == 1:
            ((weight, own),) = others.items()
            note = by + weight if by else ""
            return Group("product", products, source, places, factors, weight, own, note)
        return Group("product", products, source, places, factors, note=(by + " x ".join(others)).removesuffix(" x "))


def matrix_letters(left: int, right: int) -> tuple[Letters, Letters, Letters]:
    """The letters of a matrix product of tensors with so many dimensions: of both and of the result.

    >>> matrix_letters(3, 2)
    (('batch 1', 'row', 'inner'), ('inner', 'column'), ('batch 1', 'row', 'column'))
    """
    leads = [tuple(f"batch {d}" for d in range(rank - 2, 0, -1)) for rank in (left, right)]
    rows, columns = ("row",) * (left > 1), ("column",) * (right > 1)
    return (
        (*leads[0], *rows, "inner"),
        (*leads[1], "inner", *columns),
        (*max(leads, key=len), *rows, *columns),
    )


def einsum_letters(equation: str, ranks: Sequence[int]) -> tuple[tuple[Letters, ...], Letters]:
    """The letters of an equation's operands and of its result. The dimensions that dots stand for lie over one another
    from the last on; without an arrow the result has the dots and the letters that stand once, in order.

    >>> einsum_letters("...ij,jk", [3, 2])
    ((('... 1', 'i', 'j'), ('j', 'k')), ('... 1', 'i', 'k'))
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if not arrow:
        plain = left.replace("...", "").replace(",", "")
        once = sorted(letter for letter in set(plain) if plain.count(letter) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    operands = tuple(_spelled(term, n) for term, n in zip(terms, hidden, strict=True))
    return operands, _spelled(right, max(n for term, n in zip(terms, hidden, strict=True)))


def _spelled(term: str, hidden: int) -> Letters:
    before, dots, after = term.partition("...")
    middle = [f"... {d}" for d in range(hidden, 0, -1)] if dots else []
    return (*before, *middle, *after)
