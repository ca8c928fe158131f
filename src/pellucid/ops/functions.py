"""Functions of one number with their derivatives, as PyTorch has both: at their kinks too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.ops.terms import Call, Floats, Group, Index, Terms, function, one_place, scaled

Settings = Mapping[str, Any]  # of a call, by the names of its arguments; ``dtype`` is that of x
Parts = dict[str, float]  # what a derivative is the sum of, by how a person writes it

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
_WRITTEN = {"square": "x^2", "reciprocal": "1 / x", "rsqrt": "1 / sqrt(x)", "abs": "|x|"}
_ROUNDINGS = 16  # by how many units in the last place of what it computes with a function may be off


@dataclass(frozen=True)
class Function:
    """value: x, settings -> f(x). slope: x, f(x), settings -> f'(x), as one number or as the parts that PyTorch adds
    up (where they nearly cancel, float32 loses digits, and the parts show of what size); None where f has steps
    instead of a slope, and nothing goes back."""

    value: Callable[[Any, Settings], Any]
    slope: Callable[[Any, Any, Settings], Any] | None = None


def function_terms(name: str, call: Call, slot: str, at: Index, settings: Settings, written: str = "") -> Terms:
    """f(x) as one term, x at index ``at`` of a slot."""
    text = _text(written or name)
    group = function("function", call, slot, one_place(call.array(slot).shape, at), 0.0, text)
    x, settings = _number(call, slot, at, settings)
    with np.errstate(all="ignore"):
        value = as_computed(float(FUNCTIONS[name].value(x, settings)), call.result[at], float(x))
    return Terms((Group(group.role, np.array([value]), group.source, group.places, note=group.note),), text)


def function_gradient(name: str, call: Call, slot: str, at: Index, settings: Settings, written: str = "") -> Terms:
    """dL/dy f'(x), x at index ``at`` of a slot: one term, or one for each part of f'(x)."""
    slope, text = FUNCTIONS[name].slope, f"{written or name}'(x)"
    if slope is None:
        return Terms(formula=f"{text} = 0")
    x, settings = _number(call, slot, at, settings)
    with np.errstate(all="ignore"):
        found = slope(x, np.float64(call.result[at]), settings)
    parts = found if isinstance(found, dict) else {text: found}
    place = np.array([one_place(call.result.shape, at)], np.int64)
    groups = tuple(scaled("product", call, "gradient", place, float(v), note) for note, v in parts.items())
    return Terms(groups, f"the output's gradient x {text}")


def as_computed(own: float, computed: Any, scale: float = 1.0) -> float:
    """The value of a function as the network computed it, where that is this function's value but for rounding.

    A function that is the small difference of larger numbers (GELU far below zero) has lost digits there, which are no
    term of a sum. scale: how large these numbers are.
    """
    value = np.asarray(computed)
    if value.dtype.kind != "f":
        return own
    bound = _ROUNDINGS * float(np.finfo(value.dtype).eps) * max(1.0, abs(scale), abs(own))
    return float(value) if abs(float(value) - own) <= bound else own


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow; numbers or arrays."""
    half: Floats = 0.5 * np.asarray(x, np.float64)
    return np.exp(half - np.logaddexp(half, -half))


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow; numbers or arrays."""
    return np.logaddexp(0.0, np.asarray(x, np.float64))


def _text(name: str) -> str:
    return _WRITTEN.get(name, f"{name}(x)")


def _number(call: Call, slot: str, at: Index, settings: Settings) -> tuple[Any, Settings]:
    array = call.array(slot)
    return np.float64(array[at]), {**settings, "dtype": array.dtype}


def _clamp(x: Any, s: Settings) -> Any:
    low, high = s.get("min"), s.get("max")
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _clamp_slope(x: Any, y: Any, s: Settings) -> float:
    """1 on the borders, where a hardtanh has 0."""
    low, high = s.get("min"), s.get("max")
    return float((low is None or x >= low) and (high is None or x <= high))


def _hardtanh(low: float | None = None, high: float | None = None) -> Function:
    def borders(s: Settings) -> tuple[float, float]:
        return (s["min_val"] if low is None else low, s["max_val"] if high is None else high)

    return Function(
        lambda x, s: np.minimum(np.maximum(x, borders(s)[0]), borders(s)[1]),
        lambda x, y, s: float(not (x <= borders(s)[0] or x >= borders(s)[1])),
    )


def _leaky(slope: Callable[[Settings], float]) -> Function:
    return Function(lambda x, s: x if x > 0 else x * slope(s), lambda x, y, s: 1.0 if x > 0 else slope(s))


def _single(number: float) -> float:
    """In single precision, as PyTorch has some constants of derivatives whatever the precision of the numbers."""
    return float(np.float32(number))


def _exponential(
    coefficients: Callable[[Settings], tuple[float, float, float]],
    of_slope: Callable[[Settings], tuple[float, float, float]] | None = None,
) -> Function:
    """ELU and its kin: (alpha, scale, input scale)."""

    def value(x: Any, s: Settings) -> Any:
        alpha, scale, inner = coefficients(s)
        return alpha * scale * np.expm1(x * inner) if x < 0 else x * scale

    def slope(x: Any, y: Any, s: Settings) -> Any:
        alpha, scale, inner = (of_slope or coefficients)(s)
        return scale if x > 0 else alpha * scale * inner * np.exp(x * inner)

    return Function(value, slope)


def _gelu_inner(x: Any) -> Any:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _gelu(x: Any, s: Settings) -> Any:
    if s.get("approximate", "none") == "tanh":
        return 0.5 * x * (1 + np.tanh(_gelu_inner(x)))
    return 0.5 * x * math.erfc(-x / math.sqrt(2))


def _gelu_slope(x: Any, y: Any, s: Settings) -> Parts:
    if s.get("approximate", "none") == "tanh":
        t = np.tanh(_gelu_inner(x))
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return {"1/2": 0.5, "tanh(u) / 2": t / 2, "x u' (1 - tanh(u)^2) / 2": 0.5 * x * inner * (1 - t * t)}
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return {"1/2": 0.5, "erf(x / sqrt 2) / 2": math.erf(x / math.sqrt(2)) / 2, "x phi(x)": x * density}


def _mish_slope(x: Any, y: Any, s: Settings) -> Parts:
    t = np.tanh(softplus(x))
    return {"tanh(softplus(x))": t, "x sigmoid(x) (1 - tanh(softplus(x))^2)": x * sigmoid(x) * (1 - t * t)}


def _softplus(x: Any, s: Settings) -> Any:
    beta = s.get("beta", 1)
    return x if x * beta > s.get("threshold", 20) else softplus(x * beta) / beta


def _softplus_slope(x: Any, y: Any, s: Settings) -> Any:
    beta = s.get("beta", 1)
    return 1.0 if x * beta > s.get("threshold", 20) else sigmoid(x * beta)


def _hardswish_slope(x: Any, y: Any, s: Settings) -> float | Parts:
    if -3 < x < 3:
        return {"x / 3": x / 3, "1/2": 0.5}
    return 0.0 if x <= -3 else 1.0


def _nan_to_num(x: Any, s: Settings) -> Any:
    ends = np.finfo(s["dtype"]) if s["dtype"].kind == "f" else np.finfo(np.float64)
    if np.isnan(x):
        return s.get("nan") or 0.0
    largest, least = s.get("posinf"), s.get("neginf")
    if np.isposinf(x):
        return float(ends.max) if largest is None else largest
    return (float(ends.min) if least is None else least) if np.isneginf(x) else x


FUNCTIONS: dict[str, Function] = {
    "relu": Function(lambda x, s: np.maximum(x, 0), lambda x, y, s: float(not x <= 0)),
    "relu6": _hardtanh(0.0, 6.0),
    "hardtanh": _hardtanh(),
    "clamp": Function(_clamp, _clamp_slope),
    "leaky_relu": _leaky(lambda s: float(s.get("negative_slope", 0.01))),
    "rrelu": _leaky(lambda s: (s.get("lower", 1 / 8) + s.get("upper", 1 / 3)) / 2),
    "elu": _exponential(lambda s: (s.get("alpha", 1), s.get("scale", 1), s.get("input_scale", 1))),
    "selu": _exponential(lambda s: (_SELU_ALPHA, _SELU_SCALE, 1.0)),
    "celu": _exponential(
        lambda s: (s.get("alpha", 1.0), 1.0, 1 / s.get("alpha", 1.0)),
        lambda s: (s.get("alpha", 1.0), 1.0, 1 / _single(s.get("alpha", 1.0))),
    ),
    "silu": Function(
        lambda x, s: x * sigmoid(x),
        lambda x, y, s: {
            "sigmoid(x)": sigmoid(x),
            "x sigmoid(x) (1 - sigmoid(x))": x * sigmoid(x) * sigmoid(-x),
        },
    ),
    "gelu": Function(_gelu, _gelu_slope),
    "mish": Function(lambda x, s: x * np.tanh(softplus(x)), _mish_slope),
    "sigmoid": Function(lambda x, s: sigmoid(x), lambda x, y, s: y * (1 - y)),
    "tanh": Function(lambda x, s: np.tanh(x), lambda x, y, s: {"1": 1.0, "-tanh(x)^2": -y * y}),
    "softplus": Function(_softplus, _softplus_slope),
    "hardswish": Function(lambda x, s: x * np.clip(x + 3, 0, 6) / 6, _hardswish_slope),
    "hardsigmoid": Function(
        lambda x, s: np.clip(x + 3, 0, 6) / 6, lambda x, y, s: _single(1 / 6) if -3 < x < 3 else 0.0
    ),
    "log_sigmoid": Function(lambda x, s: -softplus(-x), lambda x, y, s: sigmoid(-x)),
    "threshold": Function(
        lambda x, s: s["value"] if x <= s["threshold"] else x, lambda x, y, s: float(not x <= s["threshold"])
    ),
    "abs": Function(lambda x, s: np.abs(x), lambda x, y, s: np.sign(x)),
    "exp": Function(lambda x, s: np.exp(x), lambda x, y, s: y),
    "expm1": Function(lambda x, s: np.expm1(x), lambda x, y, s: y + 1),
    "log": Function(lambda x, s: np.log(x), lambda x, y, s: 1 / x),
    "log1p": Function(lambda x, s: np.log1p(x), lambda x, y, s: 1 / (x + 1)),
    "log2": Function(lambda x, s: np.log2(x), lambda x, y, s: 1 / (x * math.log(2))),
    "sqrt": Function(lambda x, s: np.sqrt(x), lambda x, y, s: 1 / (2 * y)),
    "rsqrt": Function(lambda x, s: 1 / np.sqrt(x), lambda x, y, s: -0.5 * y**3),
    "reciprocal": Function(lambda x, s: 1 / x, lambda x, y, s: -y * y),
    "square": Function(lambda x, s: x * x, lambda x, y, s: 2 * x),
    "sin": Function(lambda x, s: np.sin(x), lambda x, y, s: np.cos(x)),
    "cos": Function(lambda x, s: np.cos(x), lambda x, y, s: -np.sin(x)),
    "tan": Function(lambda x, s: np.tan(x), lambda x, y, s: 1 + y * y),
    "sinh": Function(lambda x, s: np.sinh(x), lambda x, y, s: np.cosh(x)),
    "cosh": Function(lambda x, s: np.cosh(x), lambda x, y, s: np.sinh(x)),
    "asin": Function(lambda x, s: np.arcsin(x), lambda x, y, s: 1 / np.sqrt(1 - x * x)),
    "acos": Function(lambda x, s: np.arccos(x), lambda x, y, s: -1 / np.sqrt(1 - x * x)),
    "atan": Function(lambda x, s: np.arctan(x), lambda x, y, s: 1 / (x * x + 1)),
    "erf": Function(lambda x, s: math.erf(x), lambda x, y, s: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "nan_to_num": Function(_nan_to_num, lambda x, y, s: float(np.isfinite(x))),
    "sign": Function(lambda x, s: np.sign(x)),
    "floor": Function(lambda x, s: np.floor(x)),
    "ceil": Function(lambda x, s: np.ceil(x)),
    "round": Function(lambda x, s: np.round(x)),
    "trunc": Function(lambda x, s: np.trunc(x)),
    "isnan": Function(lambda x, s: np.isnan(x)),
    "isinf": Function(lambda x, s: np.isinf(x)),
    "logical_not": Function(lambda x, s: x == 0),
    "bitwise_not": Function(lambda x, s: x == 0 if s["dtype"].kind == "b" else -x - 1),
}
