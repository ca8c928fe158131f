"""Losses: what training makes small, from logits and targets, as a sum over pictures.

Letters: N rows (pictures, or their pixels), C classes; x logits, t targets, w weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, first_shape
from pellucid.ops.broadcast import Meeting, readers_of
from pellucid.ops.choosing import Mask, idle
from pellucid.ops.field import Reach, joined
from pellucid.ops.functions import sigmoid, softplus
from pellucid.ops.terms import Call, Floats, Group, Index, Places, Terms, constant, one_place, scaled

_NONE, _MEAN, _SUM = range(3)  # PyTorch's reductions
_WORDS = {_NONE: "", _MEAN: ", mean", _SUM: ", sum"}


@dataclass(frozen=True)
class Loss(Op):
    """A function of each row, and their mean or sum."""

    kind: ClassVar[str] = "loss"
    word: ClassVar[str] = "Loss"
    reduction: int = _MEAN

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("reduction", _MEAN)))

    def describe(self) -> str:
        return self.word + _WORDS.get(self.reduction, "")

    def shape(self, arguments: Arguments) -> Shape:
        return () if self.reduction != _NONE else self.unreduced(arguments)

    def unreduced(self, arguments: Arguments) -> Shape:
        """The shape without mean or sum."""
        return tuple(np.broadcast_shapes(arguments["self"], arguments["target"]))

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        if self.reduction == _NONE:
            return super().field(reaches, out, arguments)
        return joined([reach.lost() for reach in reaches])

    def over(self, divisor: float) -> str:
        """How a person writes the division of a mean."""
        return f" / {divisor:g}" if self.reduction == _MEAN else ""


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-sum over c of q_c log softmax(x)_c, q the right class or probabilities: (N, C, ...), (N, ...) -> a number.

    Labels may be smoothed (Szegedy et al. 2015, section 7) and classes weighted; a mean is over the weights of the
    labels, those that are ignored left out, and with probabilities over the rows.
    """

    targets: ClassVar[tuple[str, ...]] = ("aten.cross_entropy_loss.default",)
    word: ClassVar[str] = "Cross-entropy"
    ignored: int = -100
    smoothing: float = 0.0
    of_probabilities: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(
            int(arguments.get("reduction", _MEAN)),
            int(arguments.get("ignore_index", -100)),
            float(arguments.get("label_smoothing", 0.0)),
            tuple(arguments["self"]) == tuple(arguments["target"]),
        )

    @property
    def name(self) -> str:
        return "cross_entropy"

    def describe(self) -> str:
        return super().describe() + (f", labels smoothed by {self.smoothing:g}" if self.smoothing else "")

    def unreduced(self, arguments: Arguments) -> Shape:
        return _without_classes(first_shape(arguments))

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return _field_of_rows(reaches, self.reduction, arguments)

    def terms(self, at: Index, call: Call) -> Terms:
        """log(sum of exp(x)) - x of the right class, for every row."""
        x = call.array("self")
        rows = np.array([one_place(call.result.shape, at)]) if self.reduction == _NONE else np.arange(_rows(x))
        q, places, divisor = self._wanted(call, rows), _places(x, rows), self._divisor(call)
        if not divisor:
            return Terms(missing="every label is ignored: the mean is 0 / 0")
        totals = q.sum(1)
        counted, used = totals != 0, q != 0
        logarithms = _log_sum(x, places)
        groups = [
            scaled("logit", call, "self", places[used], -q[used] / divisor, f"-target{self.over(divisor)}"),
            Group(
                "normaliser",
                (totals * logarithms / divisor)[counted],
                note=f"log(sum of exp(logits)) of the row{self.over(divisor)}",
            ),
            idle("denominator", "self", places[counted[:, None] & ~used]),
        ]
        facts: dict[str, float | str] = {"rows": float(len(rows)), "divisor": float(divisor)}
        if len(rows) == 1 and counted[0]:
            facts["log of the sum of exp"] = float(logarithms[0])
        if not self.of_probabilities and not counted.all():
            facts["ignored"] = float((~counted).sum())
        word = {_MEAN: "mean of ", _SUM: "sum of "}.get(self.reduction, "")
        return Terms(
            tuple(group for group in groups if len(group)), f"{word}log(sum of exp(logits)) - logit of the class", facts
        )

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """Of a logit: the probability less the target, dL/dx = p - t (Bishop 2006, eq. 4.109)."""
        if of not in ("self", "target"):
            return None
        x = call.array("self")
        row, own = _row_of(x, at)
        rows = np.array([row])
        q, divisor = self._wanted(call, rows)[0], self._divisor(call)
        if not divisor:
            return Terms(missing="every label is ignored: the mean is 0 / 0")
        logits = x.reshape(-1)[_places(x, rows)[0]].astype(np.float64)
        logarithm = float(_log_sum(x, _places(x, rows))[0])
        place = np.array([row if self.reduction == _NONE else 0], np.int64)
        if of == "target":
            factor = (1 - self.smoothing) * self._weights(call, len(q))[own] * (logarithm - logits[own]) / divisor
            group = scaled("product", call, "gradient", place, factor, f"-log(p){self.over(divisor)}")
            return Terms((group,), "the loss's gradient x -log(p)")
        share = float(np.exp(logits[own] - logarithm)) * q.sum() / divisor
        groups = (
            scaled("probability", call, "gradient", place, share, f"p{self.over(divisor)}"),
            scaled("target", call, "gradient", place, -q[own] / divisor, f"-target{self.over(divisor)}"),
        )
        return Terms(groups, "the loss's gradient x (p - target)", {"p": float(np.exp(logits[own] - logarithm))})

    def _wanted(self, call: Call, rows: Places) -> Floats:
        """q (rows, C): what each row wants of each class, smoothed and weighted; zeros where the label is ignored."""
        x, target = call.array("self"), call.array("target")
        classes = x.shape[_class_axis(x)]
        weights = self._weights(call, classes)
        if self.of_probabilities:
            given: Floats = target.reshape(-1)[_places(target, rows)].astype(np.float64)
            smoothed: Floats = (given * (1 - self.smoothing) + self.smoothing / classes) * weights
            return smoothed
        labels = target.reshape(-1)[rows]
        counted = labels != self.ignored
        q = np.tile(self.smoothing / classes * weights, (len(rows), 1))
        right = np.where(counted, labels, 0)
        q[np.arange(len(rows)), right] += (1 - self.smoothing) * weights[right]
        found: Floats = np.where(counted[:, None], q, 0.0)
        return found

    def _weights(self, call: Call, classes: int) -> Floats:
        given = call.optional("weight")
        found: Floats = np.ones(classes) if given is None else given.astype(np.float64)
        return found

    def _divisor(self, call: Call) -> float:
        x, target = call.array("self"), call.array("target")
        if self.reduction != _MEAN:
            return 1.0
        if self.of_probabilities:
            return float(_rows(x))
        return _weight_of_labels(target, self._weights(call, x.shape[_class_axis(x)]), self.ignored)


@dataclass(frozen=True)
class NegativeLogLikelihood(Loss):
    """-x of the right class, x logarithms of probabilities: (N, C, ...), (N, ...) -> a number."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.nll_loss.default",
        "aten.nll_loss_nd.default",
        "aten.nll_loss2d.default",
        "aten.nll_loss_forward.default",
        "aten.nll_loss2d_forward.default",
    )
    word: ClassVar[str] = "Negative log-likelihood"
    ignored: int = -100

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("reduction", _MEAN)), int(arguments.get("ignore_index", -100)))

    @property
    def name(self) -> str:
        return "nll_loss"

    def unreduced(self, arguments: Arguments) -> Shape:
        return _without_classes(first_shape(arguments))

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return _field_of_rows(reaches, self.reduction, arguments)

    def terms(self, at: Index, call: Call) -> Terms:
        """-x of the right class for every row, times the class's weight."""
        x, target = call.array("self"), call.array("target").reshape(-1)
        rows = np.array([one_place(call.result.shape, at)]) if self.reduction == _NONE else np.arange(_rows(x))
        if call.which:
            rows = np.arange(0 if self.reduction == _NONE else _rows(x))
        labels = target[rows]
        rows, labels = rows[labels != self.ignored], labels[labels != self.ignored]
        weight = call.optional("weight")
        if call.which:  # what a mean divides by
            if weight is None:
                return Terms((constant("count", float(len(rows))),), "the number of labels")
            return Terms((scaled("weight", call, "weight", labels, 1.0),), "the sum of the labels' weights")
        divisor = self._divisor(call)
        if not divisor:
            return Terms(missing="every label is ignored: the mean is 0 / 0")
        places = _places(x, rows)[np.arange(len(rows)), labels]
        factors = -self._weights(call)[labels] / divisor
        values = x.reshape(-1)[places].astype(np.float64)
        slot, where = ("", None) if weight is None else ("weight", labels.astype(np.int64))
        note = ("-1" if weight is None else "-weight") + self.over(divisor)
        group = Group("logarithm", values * factors, "self", places, factors, slot, where, note)
        word = {_MEAN: "mean of ", _SUM: "sum of "}.get(self.reduction, "")
        return Terms((group,), f"{word}-log(p) of the class", {"divisor": float(divisor)})

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The loss's gradient times -1 (over the divisor of a mean) at the right class, nothing elsewhere."""
        if of != "self":
            return None
        x = call.array("self")
        row, own = _row_of(x, at)
        label, divisor = int(call.array("target").reshape(-1)[row]), self._divisor(call)
        if label == self.ignored or own != label:
            return Terms(formula="0: another class is right")
        place = np.array([row if self.reduction == _NONE else 0], np.int64)
        factor = -self._weights(call)[label] / divisor
        group = scaled("target", call, "gradient", place, factor, f"-target{self.over(divisor)}")
        return Terms((group,), "the loss's gradient x -target")

    def _weights(self, call: Call) -> Floats:
        given, x = call.optional("weight"), call.array("self")
        return np.ones(x.shape[_class_axis(x)]) if given is None else given.astype(np.float64)

    def _divisor(self, call: Call) -> float:
        if self.reduction != _MEAN:
            return 1.0
        return _weight_of_labels(call.array("target"), self._weights(call), self.ignored)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), number by number, from logits; t log sigmoid(x) may be weighted
    by itself."""

    targets: ClassVar[tuple[str, ...]] = ("aten.binary_cross_entropy_with_logits.default",)
    word: ClassVar[str] = "Binary cross-entropy"

    @property
    def name(self) -> str:
        return "binary_cross_entropy"

    def terms(self, at: Index, call: Call) -> Terms:
        """(1 - t) x + (1 + (positive weight - 1) t) log(1 + exp(-x)), for each number."""
        m = Meeting(call, _places_of_result(self.reduction, at, call), call.array("self").shape)
        weights, scale, divisor = self._weights(m)
        x, t = m["self"], m["target"].values
        factors = weights * (1 - t) / divisor
        shares = weights * scale * softplus(-x.values) / divisor
        groups = (
            x.times("logit", factors, f"(1 - target){self.over(divisor)}"),
            x.giving("normaliser", shares, None, f"log(1 + exp(-logit)){self.over(divisor)}"),
            m["target"].idle("target"),
        )
        return Terms(groups, "(1 - target) logit + log(1 + exp(-logit))", {"divisor": float(divisor)})

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """Of a logit: the probability less the target, as in the cross-entropy."""
        if of not in ("self", "target"):
            return None
        shape = call.array("self").shape
        m = Meeting(call, np.array([one_place(shape, at)], np.int64), shape)
        weights, scale, divisor = self._weights(m)
        x, t = m["self"].values, m["target"].values
        place = m.places if self.reduction == _NONE else np.zeros(1, np.int64)
        over = self.over(divisor)
        if of == "target":
            factor = weights * (-x - (self._positive(m) - 1) * -softplus(-x)) / divisor
            return Terms((scaled("product", call, "gradient", place, factor, f"-logit{over}"),), "gradient x -logit")
        positive = self._positive(m)
        groups = (
            scaled("probability", call, "gradient", place, weights * scale * sigmoid(x) / divisor, f"p{over}"),
            scaled("target", call, "gradient", place, -weights * positive * t / divisor, f"-target{over}"),
        )
        return Terms(groups, "the loss's gradient x (p - target)", {"p": float(sigmoid(float(x[0])))})

    def _positive(self, m: Meeting) -> Floats:
        """The weight of t log sigmoid(x) beside that of (1 - t) log(1 - sigmoid(x))."""
        given = m.call.optional("pos_weight")
        return np.ones(len(m.places)) if given is None else m["pos_weight"].values

    def _weights(self, m: Meeting) -> tuple[Floats, Floats, float]:
        """The weight of each number, what log(1 + exp(-x)) is multiplied with, and the divisor of a mean."""
        weights = np.ones(len(m.places)) if m.call.optional("weight") is None else m["weight"].values
        divisor = float(m.call.array("self").size) if self.reduction == _MEAN else 1.0
        return weights, 1 + (self._positive(m) - 1) * m["target"].values, divisor


@dataclass(frozen=True)
class SquaredError(Loss):
    """(x - t)^2, number by number."""

    targets: ClassVar[tuple[str, ...]] = ("aten.mse_loss.default",)
    word: ClassVar[str] = "Squared error"

    @property
    def name(self) -> str:
        return "mse_loss"

    def terms(self, at: Index, call: Call) -> Terms:
        """The square of each difference, over their number in a mean."""
        shape = self._shape(call)
        m = Meeting(call, _places_of_result(self.reduction, at, call, shape), shape)
        divisor = self._divisor(call)
        squares = (m["self"].values - m["target"].values) ** 2 / divisor
        text = f"(x - target)^2{self.over(divisor)}"
        groups = (m["self"].giving("square", squares, None, text), m["target"].idle("target"))
        return Terms(groups, f"sum of {text}" if self.reduction != _NONE else text, {"divisor": divisor})

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """2 (x - t) times the loss's gradient; of the target the opposite."""
        if of not in ("self", "target"):
            return None
        shape = self._shape(call)
        places = readers_of(call.array(of).shape, at, shape)
        m, divisor = Meeting(call, places, shape), self._divisor(call)
        sign, text = (2.0, "2 (x - target)") if of == "self" else (-2.0, "-2 (x - target)")
        factors = sign * (m["self"].values - m["target"].values) / divisor
        there = places if self.reduction == _NONE else np.zeros(len(places), np.int64)
        group = scaled("product", call, "gradient", there, factors, f"{text}{self.over(divisor)}")
        return Terms((group,), f"the loss's gradient x {text}")

    def _shape(self, call: Call) -> Shape:
        return tuple(np.broadcast_shapes(call.array("self").shape, call.array("target").shape))

    def _divisor(self, call: Call) -> float:
        return float(np.prod(self._shape(call))) if self.reduction == _MEAN else 1.0


def _class_axis(x: Any) -> int:
    return 1 if x.ndim > 1 else 0


def _rows(x: Any) -> int:
    """How many rows of classes an array (N, C, ...) has."""
    return int(x.size // x.shape[_class_axis(x)])


def _without_classes(shape: Shape) -> Shape:
    return (shape[0], *shape[2:]) if len(shape) > 1 else ()


def _places(x: Any, rows: Places) -> Places:
    """The flat places (rows, C) of some rows of an array (N, C, ...)."""
    classes, inner = x.shape[_class_axis(x)], int(np.prod(x.shape[2:]))
    picture, rest = np.divmod(rows.astype(np.int64), inner)
    found: Places = (picture * classes * inner + rest)[:, None] + np.arange(classes) * inner
    return found


def _row_of(x: Any, at: Index) -> tuple[int, int]:
    """The row that an index of (N, C, ...) lies in, and its class."""
    axis = _class_axis(x)
    outer = (*at[:axis], *at[axis + 1 :])
    return one_place((*x.shape[:axis], *x.shape[axis + 1 :]), outer), at[axis]


def _log_sum(x: Any, places: Places) -> Floats:
    """log(sum of exp(x)) of each row."""
    values = x.reshape(-1)[places].astype(np.float64)
    most = values.max(1, keepdims=True)
    found: Floats = np.log(np.exp(values - most).sum(1)) + most[:, 0]
    return found


def _weight_of_labels(target: Any, weights: Floats, ignored: int) -> float:
    """The sum of the weights of all labels that count."""
    counted: Mask = target != ignored
    return float(weights[target[counted]].sum())


def _places_of_result(reduction: int, at: Index, call: Call, shape: Shape | None = None) -> Places:
    """The places that a result is over: its own, or all."""
    whole = call.array("self").shape if shape is None else shape
    if reduction == _NONE:
        return np.array([one_place(whole, at)], np.int64)
    return np.arange(int(np.prod(whole)))


def _field_of_rows(reaches: Sequence[Reach], reduction: int, arguments: Arguments) -> Reach:
    if reduction != _NONE:
        return joined([reach.lost() for reach in reaches])
    rank = len(arguments["self"])
    where = {dim: dim - (dim > 1) for dim in range(rank) if dim != (1 if rank > 1 else 0)}
    return reaches[0].renamed(where)
