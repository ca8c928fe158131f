"""Normalisation opened: a number minus the mean of its group, over the group's deviation, times a scale, plus a shift.

With x the numbers of a group of m, mean and variance theirs (the variance over m), d = sqrt(variance + eps) and
x^ = (x - mean) / d, the result is y = x scale / d - mean scale / d + shift. The gradient of x, where mean and variance
are computed from x (Ioffe & Szegedy 2015, section 3, written as one sum):

    dL/dx_i = sum over j of dL/dy_j scale_j / d ((1 if i = j) - 1/m - x^_i x^_j / m)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from pellucid.ops.terms import Array, Call, Floats, Group, Index, Places, Terms, one_place, scaled, single, taken


@dataclass(frozen=True)
class Statistics:
    """mean and variance that a number is normalised by, of ``count`` numbers. origin: where they come from. centred:
    whether the mean is subtracted; where it is not, ``variance`` is the mean square (Zhang & Sennrich 2019, eq. 4)."""

    mean: float
    variance: float
    eps: float
    origin: str
    count: int = 0
    centred: bool = True

    @property
    def deviation(self) -> float:
        """sqrt(variance + eps)."""
        return sqrt(self.variance + self.eps)

    @property
    def inverse(self) -> float:
        """1 / deviation; infinite where all numbers are the same and eps is 0."""
        return 1 / self.deviation if self.deviation else inf

    def facts(self) -> dict[str, float | str]:
        """For a person."""
        found: dict[str, float | str] = {"mean": self.mean, "variance": self.variance}
        if not self.centred:
            found = {"mean square": self.variance}
        found.update({"deviation": self.deviation, "eps": self.eps, "from": self.origin})
        if self.count:
            found["count"] = self.count
        return found


def statistics_of(call: Call, places: Places, eps: float, origin: str, *, centred: bool = True) -> Statistics:
    """Mean and variance of the numbers of the input at places, in float64."""
    values = taken(call, "input", places)
    mean = float(values.mean()) if centred else 0.0
    return Statistics(mean, float(np.square(values - mean).mean()), eps, origin, len(values), centred)


def value_terms(call: Call, at: Index, statistics: Statistics, unit: int) -> Terms:
    """y = x scale / d - mean scale / d + shift, for the number at an index; ``unit`` is the flat place of its scale in
    the weight and of its shift in the bias, where the call has them."""
    has_scale, has_shift = call.optional("weight") is not None, call.optional("bias") is not None
    units = np.array([unit])
    scale = float(taken(call, "weight", units)[0]) if has_scale else 1.0
    factor = scale * statistics.inverse
    place = np.array([one_place(call.array("input").shape, at)])
    table = scaled("scaled input", call, "input", place, factor, "scale / deviation" if has_scale else "1 / deviation")
    if has_scale:
        table = Group(table.role, table.products, "input", place, table.factors, "weight", units, table.note)
    groups = [table]
    if statistics.centred:
        note = "- mean x scale / deviation" if has_scale else "- mean / deviation"
        groups.append(Group("mean", np.array([-statistics.mean * factor]), note=note))
    if has_shift:
        groups.append(single("shift", call, "bias", unit))
    facts = statistics.facts() | {"scale": scale, "shift": float(taken(call, "bias", units)[0]) if has_shift else 0.0}
    formula = "(x - mean) / deviation" if statistics.centred else "x / root of the mean square"
    return Terms(tuple(groups), formula + (" x scale" if has_scale else "") + (" + shift" if has_shift else ""), facts)


def gradient_of_input(call: Call, at: Index, places: Places, statistics: Statistics, units: Places) -> Terms:
    """dL/dx at an index, over all numbers of its group: their flat places, and those of their scales in the weight."""
    scales = taken(call, "weight", units) if call.optional("weight") is not None else np.ones(len(places))
    share = scales * statistics.inverse
    normal = (taken(call, "input", places) - statistics.mean) * statistics.inverse
    place, m = np.array([one_place(call.array("input").shape, at)]), len(places)
    own = np.flatnonzero(places == place[0])
    mine = float(normal[own[0]])
    groups = [
        scaled("through the number itself", call, "gradient", place, share[own], "scale / deviation"),
        scaled(
            "through the variance",
            call,
            "gradient",
            places,
            -share * mine * normal / m,
            "- scale / deviation x^ x^ / m",
        ),
    ]
    if statistics.centred:
        groups.insert(1, scaled("through the mean", call, "gradient", places, -share / m, "- scale / deviation / m"))
    facts = statistics.facts() | {"normalised": mine} | {group.role: float(group.products.sum()) for group in groups}
    means = "mean of gradient x scale + " if statistics.centred else ""
    formula = f"(gradient x scale - ({means}x^ x mean of gradient x scale x x^)) / deviation"
    return Terms(tuple(groups), formula, facts)


def normalised_lines(lines: Array, members: Sequence[int] | Places, eps: float, *, centred: bool = True) -> Floats:
    """(rows, m), each row a group: its members at some places, normalised by the row's own statistics, flat."""
    means = lines.mean(1, dtype=np.float64, keepdims=True) if centred else np.zeros((len(lines), 1))
    values = lines - means
    deviations = np.sqrt(np.einsum("rm,rm->r", values, values) / values.shape[1] + eps)
    found: Floats = (values[:, members] / deviations[:, None]).reshape(-1)
    return found


def fixed_gradient_of_input(call: Call, at: Index, statistics: Statistics, unit: int) -> Terms:
    """dL/dx where mean and variance are given: the output's gradient times scale / deviation."""
    has_scale, units = call.optional("weight") is not None, np.array([unit])
    factor = (float(taken(call, "weight", units)[0]) if has_scale else 1.0) * statistics.inverse
    place = np.array([one_place(call.array("input").shape, at)])
    note = "scale / deviation" if has_scale else "1 / deviation"
    table = scaled("product", call, "gradient", place, factor, note)
    if has_scale:
        table = Group("product", table.products, "gradient", place, table.factors, "weight", units, note)
    return Terms((table,), f"the output's gradient x {note}", statistics.facts())


def gradient_of_scale(call: Call, places: Places, normal: Floats) -> Terms:
    """The output's gradient times the normalised input, over all numbers that a scale multiplies."""
    products = taken(call, "gradient", places) * normal
    table = Group("product", products, "gradient", places, normal, "input", places, "normalised input")
    return Terms((table,), "sum of the output's gradient x normalised input")


def gradient_of_shift(call: Call, places: Places) -> Terms:
    """The output's gradient over all numbers that a shift is added to."""
    return Terms((scaled("product", call, "gradient", places, 1.0),), "sum of the output's gradient")


def mean_terms(call: Call, places: Places, share: float = 1.0, before: Group | None = None) -> Terms:
    """The mean of the input at places, or with ``before`` a running mean: what it was, plus a share of the mean."""
    table = scaled("product", call, "input", places, share / len(places), f"{share:g}/{len(places)}")
    groups = (table,) if before is None else (before, table)
    return Terms(groups, "sum of input / count" if before is None else "(1 - momentum) x before + momentum x mean")


def running_variance_terms(call: Call, places: Places, share: float, before: Group) -> Terms:
    """A running variance: what it was, plus a share of the variance over m - 1."""
    values = taken(call, "input", places)
    squares = np.square(values - values.mean()) * (share / max(1, len(values) - 1))
    note = f"(x - mean) squared x {share:g}/{max(1, len(values) - 1)}"
    table = Group("squared deviation", squares, "input", places, note=note)
    facts: dict[str, float | str] = {"mean": float(values.mean()), "variance": float(values.var())}
    return Terms((before, table), "(1 - momentum) x before + momentum x variance over count - 1", facts)


def no_terms_of_deviation(statistics: Statistics) -> Terms:
    """Of 1 / deviation, which some calls give as a result of their own."""
    return Terms(
        formula="1 / sqrt(variance + eps)",
        facts=statistics.facts(),
        missing="1 / deviation is the inverse root of a sum, no sum: the facts give variance and eps",
    )
