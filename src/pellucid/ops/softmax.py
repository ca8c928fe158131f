"""The softmax, which is over a dimension, and its logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, first_shape
from pellucid.ops.choosing import idle
from pellucid.ops.field import Reach
from pellucid.ops.functions import as_computed
from pellucid.ops.terms import Call, Group, Index, Places, Terms, constant, flat, scaled, single


@dataclass(frozen=True)
class Softmax(Op):
    """exp(x) / sum of exp(x) over a dimension, or its logarithm."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.softmax.int",
        "aten._softmax.default",
        "aten.log_softmax.int",
        "aten._log_softmax.default",
        "aten._safe_softmax.default",
    )
    kind: ClassVar[str] = "activation"
    dim: int = -1
    logarithm: bool = False
    safe: bool = False  # whether a line of nothing but -inf gives zeros

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments["dim"]) % len(first_shape(arguments)), "log" in call, "safe" in call)

    @property
    def name(self) -> str:
        return "log_softmax" if self.logarithm else "softmax"

    def describe(self) -> str:
        return f"{'Log-softmax' if self.logarithm else 'Softmax'} over dimension {self.dim}"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost([self.dim])

    def terms(self, at: Index, call: Call) -> Terms:
        """The own number's exponential over the sum of all; of the logarithm, the own number less the logarithm of that
        sum. The other numbers stand beside it: they are in the sum."""
        places = self._line(at, call)
        x = call.array("self").reshape(-1)[places].astype(np.float64)
        own, others = places[[at[self.dim]]], np.delete(places, at[self.dim])
        with np.errstate(all="ignore"):
            most = x.max()
            exponentials = np.exp(x - most)
            total = exponentials.sum()
            share = exponentials[at[self.dim]] / total
        if self.safe and most == -np.inf:
            share = np.float64(0.0)
        facts = {"max": float(most), "sum": float(total)}
        beside = idle("denominator", "self", others)
        if self.logarithm:
            logit = single("logit", call, "self", int(own[0]))
            groups = (logit, constant("normaliser", -float(most + np.log(total)), "-log(sum of exp(x))"), beside)
            return Terms(groups, "x - log(sum of exp(x))", facts)
        value = np.array([as_computed(float(share), call.result[at])])
        group = Group("share", value, "self", own, note="exp(x - max) / sum")
        return Terms((group, beside), "exp(x - max) / sum of exp(x - max)", facts)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """dL/dx_i = y_i (g_i - sum over j of g_j y_j); of the logarithm g_i - exp(y_i) times the sum of g_j."""
        places = self._line(at, call)
        y = call.result.reshape(-1)[places].astype(np.float64)
        own = places[[at[self.dim]]]
        if self.logarithm:
            mine = float(np.exp(y[at[self.dim]]))
            groups = (
                scaled("own", call, "gradient", own, 1.0),
                scaled("shared", call, "gradient", places, -mine, "-softmax(x)_i"),
            )
            return Terms(groups, "g_i - softmax(x)_i times the sum of g")
        mine = float(y[at[self.dim]])
        groups = (
            scaled("own", call, "gradient", own, mine, "y_i"),
            scaled("shared", call, "gradient", places, -mine * y, "-y_i y_j"),
        )
        return Terms(groups, "y_i (g_i - sum of g y)")

    def _line(self, at: Index, call: Call) -> Places:
        """The flat places of all numbers along the dimension."""
        shape = call.result.shape
        ranges: list[Any] = [*at]
        if ranges:
            ranges[self.dim] = np.arange(shape[self.dim])
        return flat(shape, *ranges)
