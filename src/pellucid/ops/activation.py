"""Activations: a function of each number by itself; and the gated linear unit, of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, first_shape
from pellucid.ops.field import Reach
from pellucid.ops.functions import function_gradient, function_terms, sigmoid
from pellucid.ops.terms import Call, Group, Index, Terms, flat, function, one_place, scaled, weighted

_FORMULAS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "hardtanh": "Clamp",
    "clamp": "Clamp",
    "leaky_relu": "Leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "celu": "CELU",
    "silu": "SiLU",
    "gelu": "GELU",
    "mish": "Mish",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "log_sigmoid": "Log-sigmoid",
    "log_sigmoid_forward": "Log-sigmoid",
    "threshold": "Threshold",
    "rrelu": "Randomized leaky ReLU",
    "clamp_min": "Clamp",
    "clamp_max": "Clamp",
}

# Those that stand where a ReLU may stand; a gate (sigmoid, tanh) is none. A clamp is one where it begins at zero.
_RECTIFIERS = frozenset(
    "relu relu6 leaky_relu prelu rrelu elu selu celu silu gelu mish softplus hardswish threshold".split()
)
_BOUNDS = {
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
    "relu": (0.0, None),
}


@dataclass(frozen=True)
class Activation(Op):
    """y = f(x), number by number."""

    targets: ClassVar[tuple[str, ...]] = (*(f"aten.{call}.default" for call in _FORMULAS), "aten._prelu_kernel.default")
    kind: ClassVar[str] = "activation"
    function: str = "relu"
    low: float | None = None
    high: float | None = None

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        if call == "hardtanh":
            low, high = float(arguments.get("min_val", -1.0)), float(arguments.get("max_val", 1.0))
            return cls("relu6" if (low, high) == (0.0, 6.0) else call, low, high)
        if call == "clamp":
            least, most = arguments.get("min"), arguments.get("max")
            return cls("relu" if least == 0 and most is None else call, least, most)
        if call in ("clamp_min", "clamp_max"):
            least, most = arguments.get("min"), arguments.get("max")
            return cls("relu" if least == 0 and most is None else "clamp", least, most)
        return cls("prelu" if call == "_prelu_kernel" else call)

    @property
    def name(self) -> str:
        return self.function

    @property
    def rectifies(self) -> bool:
        return self.function in _RECTIFIERS or (self.function in ("clamp", "hardtanh") and self.low == 0)

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        return _BOUNDS.get(self.function, (self.low, self.high))

    def describe(self) -> str:
        text = _FORMULAS[self.function]
        if text != "Clamp" or (self.low is None and self.high is None):
            return text
        if self.high is None:
            return f"Clamp from {self.low:g} on"
        return f"Clamp to {self.high:g}" if self.low is None else f"Clamp {self.low:g} to {self.high:g}"

    def terms(self, at: Index, call: Call) -> Terms:
        """f(x) as one term; of a PReLU x times its slope."""
        if self.function == "prelu":
            return Terms((self._prelu(at, call),), "x above zero, else x times a learned slope")
        if self._drawn(call):
            text = "x above zero, else x times a drawn slope"
            place = one_place(call.result.shape, at)
            return Terms((function("function", call, "self", place, float(call.result[at]), "rrelu(x)"),), text)
        if call.which:
            text = "exp(-|x|)"
            place = one_place(call.result.shape, at)
            value = float(np.exp(-abs(float(call.array("self")[at]))))
            return Terms((function("function", call, "self", place, value, text),), text)
        name, settings = self._function(call)
        return function_terms(name, call, "self", at, settings, self.function)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """dL/dy f'(x), with the value that PyTorch gives f' at the kinks; of a PReLU's slope the gradient times what
        lies below zero."""
        if self.function == "prelu":
            return self._gradient_of_slope(at, call) if of == "weight" else self._gradient_of_prelu(at, call)
        if self._drawn(call):
            x, y = float(call.array("self")[at]), float(call.result[at])
            if x == 0:
                return Terms(missing="the slope was drawn and is not recorded, and at 0 the result does not show it")
            place = np.array([one_place(call.result.shape, at)], np.int64)
            slope = 1.0 if x > 0 else y / x
            return Terms((scaled("product", call, "gradient", place, slope, "rrelu'(x)"),), "the gradient x slope")
        name, settings = self._function(call)
        return function_gradient(name, call, "self", at, settings, self.function)

    def _function(self, call: Call) -> tuple[str, dict[str, Any]]:
        """The name in ``FUNCTIONS``, with settings: what is a ReLU by its borders may be computed as a clamp."""
        is_hardtanh = "min_val" in call.arguments or "max_val" in call.arguments
        if is_hardtanh or self.function == "hardtanh":
            return "hardtanh", {"min_val": self.low, "max_val": self.high}
        if self.function == "clamp" or self.low is not None:
            return "clamp", {"min": self.low, "max": self.high}
        return self.function.removesuffix("_forward"), dict(call.arguments)

    def _drawn(self, call: Call) -> bool:
        """Whether the slopes of a randomized leaky ReLU were drawn for this call."""
        return self.function == "rrelu" and bool(call.arguments.get("training", False))

    def _slope_of(self, at: Index, call: Call) -> int:
        """The flat place of the slope that a PReLU takes: one for all, for each channel, or for each number."""
        weight, rank = call.array("weight"), call.result.ndim
        if weight.size == 1:
            return 0
        if weight.ndim == 1:
            return at[min(1, rank - 1)]
        return one_place(weight.shape, tuple(i if n > 1 else 0 for i, n in zip(at, weight.shape, strict=True)))

    def _prelu(self, at: Index, call: Call, source: str = "self") -> Group:
        """A number (or the gradient) times the slope, or as it stands."""
        place = np.array([one_place(call.result.shape, at)], np.int64)
        if call.array("self")[at] > 0:
            return scaled("product", call, source, place, 1.0)
        slopes = np.array([self._slope_of(at, call)], np.int64)
        return weighted("product", call, source, place, "weight", slopes)

    def _gradient_of_prelu(self, at: Index, call: Call) -> Terms:
        return Terms((self._prelu(at, call, "gradient"),), "the output's gradient x slope")

    def _gradient_of_slope(self, at: Index, call: Call) -> Terms:
        x, weight = call.array("self"), call.array("weight")
        if weight.size == 1:
            ranges: list[Any] = [np.arange(n) for n in x.shape]
        elif weight.ndim == 1:
            channel = min(1, x.ndim - 1)
            ranges = [at[0] if axis == channel else np.arange(n) for axis, n in enumerate(x.shape)]
        else:
            sizes = zip(at, weight.shape, x.shape, strict=True)
            ranges = [np.arange(n) if own == 1 else i for i, own, n in sizes]
        places = flat(x.shape, *ranges)
        below = np.minimum(x.reshape(-1)[places].astype(np.float64), 0)
        table = scaled("product", call, "gradient", places, below, "x below zero, else 0")
        return Terms((table,), "sum of the output's gradient x what lies below zero")


@dataclass(frozen=True)
class GatedLinearUnit(Op):
    """a * sigmoid(b), a and b the halves of a dimension (Dauphin et al. 2017, eq. 1)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.glu.default",)
    kind: ClassVar[str] = "activation"
    dim: int = -1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("dim", -1)) % len(first_shape(arguments)))

    @property
    def name(self) -> str:
        return "glu"

    def describe(self) -> str:
        return f"Gated linear unit over dimension {self.dim}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        return (*x[: self.dim], x[self.dim] // 2, *x[self.dim + 1 :])

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost([self.dim])

    def terms(self, at: Index, call: Call) -> Terms:
        """a sigmoid(b)."""
        half = call.result.shape[self.dim]
        value, gate = self._places(at, call, half)
        group = self._gated("product", call, "self", value, gate)
        return Terms((group,), "a sigmoid(b)")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """Of a: the gradient times sigmoid(b); of b: times a sigmoid'(b)."""
        half = call.result.shape[self.dim]
        out = (*at[: self.dim], at[self.dim] % half, *at[self.dim + 1 :])
        value, gate = self._places(out, call, half)
        place = one_place(call.result.shape, out)
        if at[self.dim] < half:
            return Terms((self._gated("product", call, "gradient", place, gate),), "the output's gradient x sigmoid(b)")
        x = call.array("self").reshape(-1)
        a, open_by = float(x[value]), float(sigmoid(float(x[gate])))
        here = np.array([place], np.int64)
        parts = {"a sigmoid(b)": a * open_by, "-a sigmoid(b)^2": -a * open_by * open_by}
        groups = tuple(scaled("product", call, "gradient", here, factor, note) for note, factor in parts.items())
        return Terms(groups, "the output's gradient x a sigmoid'(b)")

    def _places(self, at: Index, call: Call, half: int) -> tuple[int, int]:
        """Where a and b stand in the input."""
        shape = call.array("self").shape
        gate = (*at[: self.dim], at[self.dim] + half, *at[self.dim + 1 :])
        return one_place(shape, at), one_place(shape, gate)

    def _gated(self, role: str, call: Call, source: str, place: int, gate: int) -> Group:
        factor = np.array([sigmoid(float(call.array("self").reshape(-1)[gate]))])
        products = float(call.array(source).reshape(-1)[place]) * factor
        here, there = np.array([place], np.int64), np.array([gate], np.int64)
        return Group(role, products, source, here, factor, "self", there, "sigmoid(b)")
