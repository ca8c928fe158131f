"""How numbers that meet make a result, operation by operation: their terms, and the derivative by each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.ops.broadcast import Meeting, Operand
from pellucid.ops.functions import as_computed
from pellucid.ops.terms import Array, Floats, Group, constant

_HALF_PRECISION = 2**-7  # of a number: what is lost of it in bfloat16


@dataclass(frozen=True)
class Slope:
    """d(result)/d(argument) at each result: numbers, how a person writes them, and the operand that they come from."""

    factors: Floats | float
    note: str = ""
    by: Operand | None = None


@dataclass(frozen=True)
class Rule:
    """terms: of one result. slopes: by the argument's name; where there is none, nothing goes back."""

    formula: str
    terms: Callable[[Meeting], Sequence[Group]]
    slopes: Mapping[str, Callable[[Meeting], Slope]] = field(default_factory=dict)


def _factor(m: Meeting, name: str) -> float:
    """``alpha`` of an addition, ``value`` of an ``addcmul``."""
    return float(m.call.arguments.get(name, 1))


def _addition(formula: str, own: Callable[[Meeting], float], other: Callable[[Meeting], float]) -> Rule:
    """x and y, each with its factor."""

    def slope(factor: float) -> Slope:
        return Slope(factor, "" if factor == 1 else f"{factor:g}")

    return Rule(
        formula,
        lambda m: (
            m["self"].times("summand", own(m), slope(own(m)).note),
            m["other"].times("summand", other(m), slope(other(m)).note),
        ),
        {"self": lambda m: slope(own(m)), "other": lambda m: slope(other(m))},
    )


def _product(m: Meeting) -> Sequence[Group]:
    y = m["other"]
    note = f"{float(y.values[0]):g}" if y.places is None else ""
    return (m["self"].times("product", y.values, note, y),)


def _quotient(m: Meeting) -> Sequence[Group]:
    x, y = m["self"], m["other"]
    note = f"1 / {float(y.values[0]):g}" if y.places is None else "1 / y"
    return (x.giving("product", x.values / y.values, 1 / y.values, note, y),)


def _larger(sign: int) -> Rule:
    """Equal numbers share the result, and the gradient."""

    def shares(m: Meeting) -> tuple[Floats, Floats]:
        x, y = sign * m["self"].values, sign * m["other"].values
        own, other = ~(x < y), ~(x > y)
        tied = np.where(x == y, 0.5, 1.0)
        return own.astype(np.float64) * tied, other.astype(np.float64) * tied

    def terms(m: Meeting) -> Sequence[Group]:
        x, y = m["self"], m["other"]
        own, other = (float(share[0]) for share in shares(m))
        if own == other == 0.5:
            return x.times("winner", 0.5, "1/2: a tie"), y.times("winner", 0.5, "1/2: a tie")
        first = np.isnan(x.values[0]) or (own == 1 and not np.isnan(y.values[0]))
        return (x.times("winner"), y.idle("loser")) if first else (y.times("winner"), x.idle("loser"))

    slopes: dict[str, Callable[[Meeting], Slope]] = {
        "self": lambda m: Slope(shares(m)[0], "1 where it won"),
        "other": lambda m: Slope(shares(m)[1], "1 where it won"),
    }
    return Rule(f"the {'larger' if sign > 0 else 'smaller'} of two", terms, slopes)


def _choice(formula: str, where: str, yes: str, no: str) -> Rule:
    def terms(m: Meeting) -> Sequence[Group]:
        condition = m[where]
        taken, left = (yes, no) if condition.numbers[0] else (no, yes)
        return m[taken].times("chosen"), m[left].idle("not chosen"), condition.idle("condition")

    slopes: dict[str, Callable[[Meeting], Slope]] = {
        yes: lambda m: Slope((m[where].numbers != 0).astype(np.float64), "1 where chosen"),
        no: lambda m: Slope((m[where].numbers == 0).astype(np.float64), "1 where chosen"),
    }
    return Rule(formula, terms, slopes)


def _of_several(
    formula: str,
    value: Callable[..., Any],
    names: Sequence[str] = ("self", "other"),
    slopes: Mapping[str, Callable[[Meeting], Slope]] | None = None,
) -> Rule:
    """A function of several numbers: the first has the value as its term, the others stand beside it."""

    def terms(m: Meeting) -> Sequence[Group]:
        operands = [m[name] for name in names]
        with np.errstate(all="ignore"):
            own = float(value(*(operand.numbers for operand in operands))[0])
        scale = max(abs(float(operand.values[0])) for operand in operands)
        found = np.array([as_computed(own, m.call.result.reshape(-1)[m.places[0]], scale)])
        first, *others = [operand for operand in operands if operand.places is not None]
        return first.giving("function", found, None, formula), *(operand.idle("operand") for operand in others)

    return Rule(formula, terms, slopes or {})


def _power(x: Array, exponent: Array) -> Any:
    return np.power(x, exponent) if x.dtype.kind in "iu" else np.power(x.astype(np.float64), exponent)


def _power_by_base(m: Meeting) -> Slope:
    x, p = m["self"].values, m["exponent"].values
    return Slope(np.where(p == 0, 0.0, p * np.power(x, p - 1)), "y x^(y - 1)")


def _power_by_exponent(m: Meeting) -> Slope:
    x, p = m["self"].values, m["exponent"].values
    return Slope(np.where((x == 0) & (p >= 0), 0.0, m.results * np.log(x)), "x^y log(x)")


def _angle(which: str) -> Callable[[Meeting], Slope]:
    def slope(m: Meeting) -> Slope:
        y, x = m["self"].values, m["other"].values
        square = 1 / (x * x + y * y)
        return Slope(x * square, "x / (x^2 + y^2)") if which == "self" else Slope(-y * square, "-y / (x^2 + y^2)")

    return slope


def _remainder(formula: str, value: Callable[..., Any], whole: Callable[[Floats], Floats], name: str) -> Rule:
    def by_divisor(m: Meeting) -> Slope:
        return Slope(-whole(m["self"].values / m["other"].values), f"-{name}(x / y)")

    return _of_several(formula, value, slopes={"self": lambda m: Slope(1.0), "other": by_divisor})


def _sign_taken(m: Meeting) -> Slope:
    x = m["self"].values
    return Slope(np.where(x == 0, 0.0, m.results / x), "1 or -1")


def _interpolation() -> Rule:
    def terms(m: Meeting) -> Sequence[Group]:
        w = m["weight"]
        return (
            m["self"].times("product", 1 - w.values, "1 - weight", w),
            m["end"].times("product", w.values, "weight", w),
        )

    return Rule(
        "x (1 - weight) + end x weight",
        terms,
        {
            "self": lambda m: Slope(1 - m["weight"].values, "1 - weight", m["weight"]),
            "end": lambda m: Slope(m["weight"].values, "weight", m["weight"]),
            "weight": lambda m: Slope(m["end"].values - m["self"].values, "end - x"),
        },
    )


def _product_added(m: Meeting) -> Sequence[Group]:
    v, y = _factor(m, "value"), m["tensor2"]
    return m["self"].times("summand"), m["tensor1"].times("product", v * y.values, f"{v:g} y", y)


def _quotient_added(m: Meeting) -> Sequence[Group]:
    v, x, y = _factor(m, "value"), m["tensor1"], m["tensor2"]
    return m["self"].times("summand"), x.giving("product", v * x.values / y.values, v / y.values, f"{v:g} / y", y)


def _copy(m: Meeting) -> Sequence[Group]:
    """A change of type may round: the term is the number as it came out."""
    x, result = m["self"], m.call.result
    own = float(x.numbers.astype(result.dtype)[0])
    computed = float(m.results[0])
    if result.dtype.kind == "f" and abs(computed - own) <= _HALF_PRECISION * abs(own):
        own = computed
    if own == float(x.values[0]):
        return (x.times("copy"),)
    return (x.giving("copy", np.array([own]), None, f"as {result.dtype}"),)


def _filled(role: str, value: Callable[[Meeting], float]) -> Rule:
    return Rule("a number that comes from no tensor", lambda m: (constant(role, value(m)),))


RULES: dict[str, Rule] = {
    "add": _addition("x + alpha y", lambda m: 1.0, lambda m: _factor(m, "alpha")),
    "sub": _addition("x - alpha y", lambda m: 1.0, lambda m: -_factor(m, "alpha")),
    "rsub": _addition("y - alpha x", lambda m: -_factor(m, "alpha"), lambda m: 1.0),
    "mul": Rule(
        "x y",
        _product,
        {
            "self": lambda m: Slope(m["other"].values, "", m["other"]),
            "other": lambda m: Slope(m["self"].values, "", m["self"]),
        },
    ),
    "div": Rule(
        "x / y",
        _quotient,
        {
            "self": lambda m: Slope(1 / m["other"].values, "1 / y", m["other"]),
            "other": lambda m: Slope(-m["self"].values / m["other"].values / m["other"].values, "-x / y^2"),
        },
    ),
    "neg": Rule("-x", lambda m: (m["self"].times("product", -1.0, "-1"),), {"self": lambda m: Slope(-1.0, "-1")}),
    "maximum": _larger(1),
    "minimum": _larger(-1),
    "where": _choice("x where the condition holds, else y", "condition", "self", "other"),
    "masked_fill": _choice("the value where the mask is set, else x", "mask", "value", "self"),
    "lerp": _interpolation(),
    "addcmul": Rule(
        "x + value y z",
        _product_added,
        {
            "self": lambda m: Slope(1.0),
            "tensor1": lambda m: Slope(_factor(m, "value") * m["tensor2"].values, "value z", m["tensor2"]),
            "tensor2": lambda m: Slope(_factor(m, "value") * m["tensor1"].values, "value y", m["tensor1"]),
        },
    ),
    "addcdiv": Rule(
        "x + value y / z",
        _quotient_added,
        {
            "self": lambda m: Slope(1.0),
            "tensor1": lambda m: Slope(_factor(m, "value") / m["tensor2"].values, "value / z", m["tensor2"]),
            "tensor2": lambda m: Slope(
                -_factor(m, "value") * m["tensor1"].values / m["tensor2"].values ** 2, "-value y / z^2"
            ),
        },
    ),
    "pow": _of_several("x^y", _power, ("self", "exponent"), {"self": _power_by_base, "exponent": _power_by_exponent}),
    "atan2": _of_several("atan2(y, x)", np.arctan2, slopes={"self": _angle("self"), "other": _angle("other")}),
    "remainder": _remainder("x - y floor(x / y)", np.remainder, np.floor, "floor"),
    "fmod": _remainder("x - y trunc(x / y)", np.fmod, np.trunc, "trunc"),
    "copysign": _of_several("|x| with the sign of y", np.copysign, slopes={"self": _sign_taken}),
    "floor_divide": _of_several("floor(x / y)", np.floor_divide),
    "trunc_divide": _of_several("trunc(x / y)", lambda x, y: np.trunc(x / y)),
    "heaviside": _of_several("0 below zero, 1 above, y at zero", np.heaviside, ("self", "values")),
    "eq": _of_several("x = y", np.equal),
    "ne": _of_several("x is not y", np.not_equal),
    "lt": _of_several("x < y", np.less),
    "gt": _of_several("x > y", np.greater),
    "le": _of_several("x <= y", np.less_equal),
    "ge": _of_several("x >= y", np.greater_equal),
    "logical_and": _of_several("x and y", np.logical_and),
    "logical_or": _of_several("x or y", np.logical_or),
    "logical_xor": _of_several("either x or y", np.logical_xor),
    "bitwise_and": _of_several("x and y, bit by bit", np.bitwise_and),
    "bitwise_or": _of_several("x or y, bit by bit", np.bitwise_or),
    "bitwise_xor": _of_several("either x or y, bit by bit", np.bitwise_xor),
    "_to_copy": Rule("x", _copy, {"self": lambda m: Slope(1.0)}),
    "to": Rule("x", _copy, {"self": lambda m: Slope(1.0)}),
    "rand_like": _filled("drawn", lambda m: float(m.results[0])),
    "randn_like": _filled("drawn", lambda m: float(m.results[0])),
    "zeros_like": _filled("constant", lambda m: 0.0),
    "ones_like": _filled("constant", lambda m: 1.0),
    "full_like": _filled("constant", lambda m: float(m.call.arguments["fill_value"])),
}
