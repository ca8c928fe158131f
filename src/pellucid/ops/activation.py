"""Activations: a function of each number by itself; and the softmax, which is over a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, first_shape
from pellucid.ops.field import Reach

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

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments["dim"]) % len(first_shape(arguments)), "log" in call)

    @property
    def name(self) -> str:
        return "log_softmax" if self.logarithm else "softmax"

    def describe(self) -> str:
        return f"{'Log-softmax' if self.logarithm else 'Softmax'} over dimension {self.dim}"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost([self.dim])


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

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(float(arguments["p"]))

    def describe(self) -> str:
        return f"Dropout {self.probability:g}"
