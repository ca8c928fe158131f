"""Dropout, and what its result shows of the mask where that is not recorded."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op
from pellucid.ops.choosing import idle
from pellucid.ops.terms import Call, Group, Index, Terms, constant, one_place, scaled, single

_SELU_FLOOR = 1.7580993408473766  # SELU lies above minus this; alpha dropout puts its drops there
_UNSEEN = "the mask is not recorded, and where dropping changes nothing the result does not show it"


@dataclass(frozen=True)
class Dropout(Op):
    """Each number becomes 0 with probability p, the others grow by 1 / (1 - p) (Srivastava et al. 2014); nothing in
    evaluation."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.native_dropout.default",
        "aten.dropout.default",
        "aten.feature_dropout.default",
        "aten.alpha_dropout.default",
    )
    kind: ClassVar[str] = "dropout"
    probability: float = 0.5
    variant: str = "native_dropout"

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(float(arguments["p"]), call)

    @property
    def name(self) -> str:
        return "dropout"

    def describe(self) -> str:
        return f"Dropout {self.probability:g}"

    def terms(self, at: Index, call: Call) -> Terms:
        """x / (1 - p) where it is kept, 0 where it is dropped; x itself in evaluation."""
        place = one_place(call.result.shape, at)
        if call.which:
            return Terms((constant("drawn", float(call.result[at])),), "the mask: 1 with probability 1 - p")
        kept = self._kept(at, call)
        if not self._acts(call):
            return Terms((single("kept", call, "input", place),), "x: nothing is dropped")
        if self.variant == "alpha_dropout":
            return self._alpha_terms(kept, place, call)
        group = self._through(kept, place, call, "input", 1 / (1 - self.probability) if kept else 0.0)
        return Terms((group,), "x mask / (1 - p)")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient goes back through the same mask."""
        place = one_place(call.result.shape, at)
        if not self._acts(call):
            return Terms((single("kept", call, "gradient", place),), "the output's gradient")
        kept = self._kept(at, call)
        if kept is None:
            return Terms(missing=_UNSEEN)
        scale = self._alpha()[0] if self.variant == "alpha_dropout" else 1 / (1 - self.probability) if kept else 0.0
        group = self._through(kept, place, call, "gradient", scale)
        return Terms(
            (group,), "the output's gradient x mask" + (" / (1 - p)" if self.variant != "alpha_dropout" else "")
        )

    def _acts(self, call: Call) -> bool:
        """Whether it drops at all: in training, which is what a call without a word on it means."""
        return call.arguments.get("train") is not False and self.probability > 0

    def _kept(self, at: Index, call: Call) -> bool | None:
        """Whether a number is kept, by the mask or by what the result shows; None where it does not."""
        x = call.array("input")
        if len(call.results) > 1:
            return bool(call.results[1][at])
        if self.probability == 1:
            return False
        if self.variant == "alpha_dropout":
            kept, dropped = self._alpha_values(float(x[at]))
            result = float(call.result[at])
            return None if abs(kept - dropped) < 1e-6 else abs(result - kept) < abs(result - dropped)
        seen = at[:2] if self.variant == "feature_dropout" else at  # whole maps are dropped together
        own = x[seen] != 0
        return bool((call.result[seen] != 0).any()) if own.any() else None

    def _through(self, kept: bool | None, place: int, call: Call, source: str, scale: float) -> Group:
        places = np.array([place], np.int64)
        if kept:
            return scaled("kept", call, source, places, scale, f"1 / {1 - self.probability:g}")
        return idle("dropped" if kept is False else "kept or dropped", source, places)

    def _alpha(self) -> tuple[float, float]:
        """Scale and shift that keep mean and variance (Klambauer et al. 2017, section 3)."""
        p = self.probability
        scale = 0.0 if p == 1 else 1 / sqrt((_SELU_FLOOR**2 * p + 1) * (1 - p))
        return scale, _SELU_FLOOR * scale * p

    def _alpha_values(self, x: float) -> tuple[float, float]:
        scale, shift = self._alpha()
        return scale * x + shift, -_SELU_FLOOR * scale + shift

    def _alpha_terms(self, kept: bool | None, place: int, call: Call) -> Terms:
        scale, shift = self._alpha()
        places = np.array([place], np.int64)
        groups = [idle("dropped", "input", places), constant("floor", -_SELU_FLOOR * scale)]
        if kept is not False:
            groups = [scaled("kept", call, "input", places, scale, f"{scale:g}")]
        return Terms((*groups, constant("shift", shift)), "x, or the floor of SELU, scaled and shifted")
