"""Reductions: one number of many, over whole dimensions; among them global pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, first_shape
from pellucid.ops.choosing import Mask, idle, winner_and_losers
from pellucid.ops.field import Reach
from pellucid.ops.terms import Call, Floats, Group, Index, Places, Terms, constant, flat, one_place, scaled

_SPREADS = ("var", "std", "var_mean", "std_mean")


@dataclass(frozen=True)
class Reduction(Op):
    """A sum, mean, maximum or minimum over whole dimensions: global pooling, where these are the spatial ones."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.mean.dim",
        "aten.mean.default",
        "aten.sum.dim_IntList",
        "aten.sum.default",
        "aten.amax.default",
        "aten.amin.default",
        "aten.max.dim",
        "aten.min.dim",
        "aten.max.default",
        "aten.min.default",
        "aten.var.correction",
        "aten.std.correction",
        "aten.linalg_vector_norm.default",
        "aten.logsumexp.default",
        "aten.argmax.default",
        "aten.prod.dim_int",
        "aten.any.dim",
        "aten.any.default",
        "aten.all.dim",
        "aten.all.default",
        "aten.var_mean.correction",
        "aten.var_mean.dim",
        "aten.std_mean.correction",
        "aten.std_mean.dim",
        "aten.var.dim",
        "aten.std.dim",
    )
    kind: ClassVar[str] = "pooling"
    word: str = "mean"
    dims: tuple[int, ...] | None = None
    keep: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rank = len(first_shape(arguments))
        given: Any = arguments.get("dim")
        listed = [given] if isinstance(given, int) else list(given or [])
        dims = tuple(sorted(int(d) % rank for d in listed)) or tuple(range(rank))
        return cls(call, dims, bool(arguments.get("keepdim", False)))

    @property
    def name(self) -> str:
        return self.word

    def describe(self) -> str:
        return (
            f"{self.word.capitalize()} over {'dimension' if len(self.dims or ()) == 1 else 'dimensions'} "
            + ", ".join(map(str, self.dims or ()))
        )

    def shape(self, arguments: Arguments) -> Shape:
        x, gone = first_shape(arguments), self.dims or ()
        return tuple(1 if i in gone else n for i, n in enumerate(x) if self.keep or i not in gone)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        rank, gone = len(first_shape(arguments)), self.dims or ()
        kept = [dim for dim in range(rank) if dim not in gone]
        where = {dim: dim if self.keep else i for i, dim in enumerate(kept)}
        return reaches[0].renamed(where)

    def terms(self, at: Index, call: Call) -> Terms:
        """The sum over the dimensions: of shares (mean), of the winner alone (maximum), of squares (variance) ..."""
        places = self._behind(at, call)
        x = call.array("self").reshape(-1)[places]
        if self.word in ("mean", "sum"):
            return self._linear(call, "self", places, len(places))
        if call.which and self.word in ("var_mean", "std_mean"):
            return self._linear(call, "self", places, len(places), of="mean")
        if call.which or self.word == "argmax":
            return self._index(at, call, places, x)
        if self.word in ("any", "all"):
            return self._truth(places, x)
        if self.word in ("amax", "amin", "max", "min"):
            won = self._won(at, call, x)
            return Terms(winner_and_losers(call, "self", places, won), f"the {self._superlative} of {len(places)}")
        if self.word in _SPREADS:
            return self._spread(call, places, x.astype(np.float64))
        if self.word == "linalg_vector_norm":
            return self._norm(call, places, x.astype(np.float64))
        return self._logarithm(places, x.astype(np.float64)) if self.word == "logsumexp" else self._product(places, x)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient goes back to every number of a sum, in shares of a mean, and to the winners of a maximum (evenly
        among equals, unless the call gives the winner's index); else times the derivative."""
        if call.result.dtype.kind != "f":
            return Terms(formula="no gradient goes back")
        gone = self.dims or ()
        there = tuple(0 if dim in gone else i for dim, i in enumerate(at) if self.keep or dim not in gone)
        place = np.array([one_place(call.result.shape, there)], np.int64)
        if self.word in ("mean", "sum"):
            n = call.array("self").size // max(1, call.result.size)
            return self._linear(call, "gradient", place, n, gradient=True)
        places = self._behind(there, call)
        values = call.array("self").reshape(-1)[places].astype(np.float64)
        own = int(np.flatnonzero(places == one_place(call.array("self").shape, at))[0])
        y = float(call.results[0][there])
        groups = []
        for slot, (factor, note) in self._slopes(there, call, values, own, y).items():
            role = ("winner" if factor else "loser") if self.word in ("amax", "amin", "max", "min") else "product"
            groups.append(scaled(role, call, slot, place, factor, note))
        return Terms(tuple(groups), "the output's gradient x local derivative")

    def _slopes(self, out: Index, call: Call, x: Floats, own: int, y: float) -> dict[str, tuple[float, str]]:
        """d(result)/d(own number) and how it is written, for each result, by the slot of its gradient."""
        n = len(x)
        if self.word in ("amax", "amin", "max", "min"):
            won = self._won(out, call, call.array("self").reshape(-1)[self._behind(out, call)])
            return {"gradient": (won[own] / won.sum(), "1 where it won")}
        if self.word in _SPREADS:
            found = {"gradient[0]": self._slope_of_spread(call, x, own, y)}
            return found | ({"gradient[1]": (1 / n, f"1/{n}")} if len(call.results) > 1 else {})
        if self.word == "linalg_vector_norm":
            return {"gradient": self._slope_of_norm(call, x, own, y)}
        if self.word == "logsumexp":
            with np.errstate(all="ignore"):
                return {"gradient": (float(np.exp(x[own] - y)), "softmax(x)")}
        return {"gradient": (float(np.prod(np.delete(x, own))), "product of the others")}

    @property
    def _superlative(self) -> str:
        return "largest" if self.word in ("amax", "max", "argmax") else "smallest"

    def _behind(self, at: Index, call: Call) -> Places:
        """The flat places of the numbers that a result is over."""
        shape, gone = call.array("self").shape, self.dims or ()
        if not shape:
            return np.zeros(1, np.int64)
        kept = iter(at)
        ranges: list[Any] = []
        for dim, n in enumerate(shape):
            if dim in gone:
                ranges.append(np.arange(n))
                if self.keep:
                    next(kept)
            else:
                ranges.append(next(kept))
        return flat(shape, *ranges)

    def _linear(self, call: Call, slot: str, places: Places, n: int, of: str = "", *, gradient: bool = False) -> Terms:
        """Numbers as they stand, or 1/n of each."""
        if (of or self.word) == "sum":
            text = "the output's gradient" if gradient else "sum of the inputs"
            return Terms((scaled("product", call, slot, places, 1.0),), text)
        text = f"the output's gradient / {n}" if gradient else f"mean of {n}"
        return Terms((scaled("product", call, slot, places, 1 / n, f"1/{n}"),), text)

    def _won(self, at: Index, call: Call, x: Any) -> Mask:
        """Which numbers won: by the index that the call gives, else all that are equal to the result."""
        if len(call.results) > 1:
            given: Mask = np.arange(len(x)) == int(call.results[1][at])
            return given
        best = x.max() if self._superlative == "largest" else x.min()
        won: Mask = np.isnan(x) if x.dtype.kind == "f" and np.isnan(best) else x == best
        return won

    def _index(self, at: Index, call: Call, places: Places, x: Any) -> Terms:
        """The index of the winner, a whole number."""
        index = int(x.argmin() if self._superlative == "smallest" else x.argmax())
        won = np.arange(len(x)) == (int(call.results[1][at]) if len(call.results) > 1 else index)
        value = np.array([float(np.flatnonzero(won)[0])])
        winner = Group("winner", value, "self", places[won], note=f"the index of the {self._superlative}")
        return Terms((winner, idle("loser", "self", places[~won])), f"the index of the {self._superlative}")

    def _truth(self, places: Places, x: Any) -> Terms:
        """The first that decides: true for any, false for all."""
        holds = x != 0
        decides = int((holds if self.word == "any" else ~holds).argmax())
        own = np.arange(len(x)) == decides
        value = np.array([float(holds[decides])])
        decider = Group("winner", value, "self", places[own], note="the first that decides")
        text = "1 if any is not zero" if self.word == "any" else "1 if none is zero"
        return Terms((decider, idle("loser", "self", places[~own])), text)

    def _correction(self, call: Call) -> float:
        """What is taken from n in the divisor: 1 by default (Bessel)."""
        if "unbiased" in call.arguments:
            return float(bool(call.arguments["unbiased"]))
        given = call.arguments.get("correction")
        return 1.0 if given is None else float(given)

    def _spread(self, call: Call, places: Places, x: Floats) -> Terms:
        """The variance as a mean of squares; the deviation as the variance over itself, square by square."""
        n, mean, divisor = len(x), float(x.mean()), max(0.0, len(x) - self._correction(call))
        squares = np.square(x - mean)
        with np.errstate(all="ignore"):
            products = squares / divisor
            note = f"(x - mean)^2 / {divisor:g}"
            if self.word in ("std", "std_mean"):
                deviation = float(np.sqrt(products.sum()))
                products = products / deviation if deviation else np.zeros(n)
                note += " / deviation"
        facts = {"mean": mean, "n": float(n)}
        return Terms((Group("square", products, "self", places, note=note),), f"sum of {note}", facts)

    def _slope_of_spread(self, call: Call, x: Floats, own: int, y: float) -> tuple[float, str]:
        divisor = len(x) - self._correction(call)
        with np.errstate(all="ignore"):
            if self.word in ("var", "var_mean"):
                return float(2 * (x[own] - x.mean()) / np.float64(divisor)), f"2 (x - mean) / {divisor:g}"
            slope = float((x[own] - x.mean()) / np.float64(divisor * y)) if y else 0.0
        return slope, f"(x - mean) / {divisor:g} / deviation"

    def _norm(self, call: Call, places: Places, x: Floats) -> Terms:
        """|x|_p as the sum of |x|^p / |x|_p^(p - 1); of order infinity as the largest magnitude."""
        order, sizes = float(call.arguments.get("ord", 2)), np.abs(x)
        if np.isinf(order):
            won = sizes == (sizes.max() if order > 0 else sizes.min())
            share = np.where(won, sizes, 0.0)[won] / won.sum()
            groups = (Group("winner", share, "self", places[won], note="|x|"), idle("loser", "self", places[~won]))
            return Terms(groups, f"the {'largest' if order > 0 else 'smallest'} of |x|")
        if order == 0:
            return Terms(
                (Group("product", (x != 0).astype(np.float64), "self", places, note="1 if not zero"),), "count"
            )
        powers = sizes**order
        norm = float(powers.sum()) ** (1 / order)
        products = powers / norm ** (order - 1) if norm else np.zeros(len(x))
        note = {1.0: "|x|", 2.0: "x^2 / norm"}.get(order, f"|x|^{order:g} / norm^{order - 1:g}")
        return Terms((Group("product", products, "self", places, note=note),), f"sum of {note}", {"norm": norm})

    def _slope_of_norm(self, call: Call, x: Floats, own: int, y: float) -> tuple[float, str]:
        order, size, sign = float(call.arguments.get("ord", 2)), abs(float(x[own])), float(np.sign(x[own]))
        if np.isinf(order):
            won = np.abs(x) == y
            return sign * float(won[own]) / max(1, int(won.sum())), "sign(x) where it won"
        if order == 0 or not y or not size:
            return 0.0, "0"
        return sign * size ** (order - 1) / y ** (order - 1), f"sign(x) |x|^{order - 1:g} / norm^{order - 1:g}"

    def _logarithm(self, places: Places, x: Floats) -> Terms:
        """log(sum of exp(x)) = max + log(sum of exp(x - max)): the largest number and what the others add to it."""
        largest = int(x.argmax())
        with np.errstate(all="ignore"):
            total = float(np.exp(x - x[largest]).sum()) if np.isfinite(x[largest]) else 1.0
        own = np.arange(len(x)) == largest
        winner = Group("winner", x[own], "self", places[own], np.ones(1))
        rest = constant("logarithm", float(np.log(total)), "log(sum of exp(x - max))")
        facts = {"max": float(x[largest]), "sum": total}
        return Terms((winner, rest, idle("loser", "self", places[~own])), "max + log(sum of exp(x - max))", facts)

    def _product(self, places: Places, x: Any) -> Terms:
        """The first number times the product of the others."""
        rest = float(np.prod(x[1:].astype(np.float64)))
        first = Group(
            "product", float(x[0]) * np.array([rest]), "self", places[:1], np.array([rest]), note="the others"
        )
        return Terms((first, idle("factor", "self", places[1:])), "the product of all")
