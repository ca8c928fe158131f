"""The written calculation of an optimizer's step: its lines, and the summands of each line that is a sum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class UpdateTerm:
    """One summand: ``factor`` times ``value``, and the role that it plays (``old weight``, ``momentum``, ...)."""

    role: str
    factor: float
    value: float
    product: float


@dataclass(frozen=True)
class Step:
    """One line of the calculation.

    ``formula`` is the textbook's, ``sum`` the same line with the numbers, ``value`` what comes out; ``terms`` are the
    summands where the line is a sum, and empty where it is not (a quotient, a root, a maximum).
    """

    name: str
    formula: str
    sum: str
    value: float
    terms: tuple[UpdateTerm, ...] = ()


class Sheet:
    """The lines of a calculation as they are written down, one below the other."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, name: str, formula: str, terms: Sequence[UpdateTerm], text: str = "", digits: int = 6) -> float:
        """A line that is a sum; ``text`` writes it where factor times value would not say enough."""
        value = total(terms)
        return self._write(Step(name, formula, text or _summed(terms, digits), value, tuple(terms)), digits)

    def compute(self, name: str, formula: str, text: str, value: float, digits: int = 6) -> float:
        """A line that is no sum."""
        return self._write(Step(name, formula, text, value), digits)

    def _write(self, step: Step, digits: int) -> float:
        result = written(step.value, digits)
        text = result if step.sum == result else f"{step.sum} = {result}"
        self.steps.append(Step(step.name, step.formula, text, step.value, step.terms))
        return step.value


def term(role: str, factor: float, value: float) -> UpdateTerm:
    """A summand with its product."""
    return UpdateTerm(role, factor, value, factor * value)


def scaled(terms: Iterable[UpdateTerm], by: float) -> list[UpdateTerm]:
    """The summands of ``by`` times a sum."""
    return [term(each.role, by * each.factor, each.value) for each in terms]


def total(terms: Iterable[UpdateTerm]) -> float:
    """The sum of the products, rounded once."""
    products = [each.product for each in terms]
    try:
        return math.fsum(products)
    except (OverflowError, ValueError):  # infinities of both signs, or a sum beyond the largest float
        return sum(products)


def written(value: float, digits: int = 6) -> str:
    """A number as it stands on the sheet."""
    return f"{value:.{digits}g}"


def bracketed(value: float, digits: int = 6) -> str:
    """A number as it stands in a product or a power: a minus goes into brackets."""
    text = written(value, digits)
    return f"({text})" if text.startswith("-") else text


def _summed(terms: Sequence[UpdateTerm], digits: int) -> str:
    """``0.9·0.012 + 0.1·(-0.3)``: factors of 1 are left out, and a factor's minus joins the sum."""
    text = ""
    for each in terms:
        size, minus = abs(each.factor), each.factor < 0
        value = bracketed(each.value, digits)
        if size != 1:
            value = f"{written(size)}·{value}"
        elif not text and not minus:
            value = written(each.value, digits)
        sign = (" - " if minus else " + ") if text else ("-" if minus else "")
        text += sign + value
    return text
