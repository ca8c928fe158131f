"""Expressions over feature maps, number by number: built while a network is lowered, computed in one pass.

A ``MapBlock`` computes one. An expression has leaves (feature maps as they stand, normalised or scaled channel by
channel; gates; parameters) and instructions, each of which makes a number from one or two others. It has no memory
until a block writes its result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from pellucid.errors import UsageError, unknown
from pellucid.lanes.values import Base, Memory, Value

if TYPE_CHECKING:
    from pellucid.lanes.build import Build

__all__ = ["ACTIVATIONS", "CODES", "LEAVES", "Expression", "Instruction", "Leaf", "Normaliser"]

LEAVES, INSTRUCTIONS = 4, 12  # kMapLeaves and kMapInstructions of native/lanes/map.h

_UNARY = """identity relu hardtanh clamp leaky_relu elu silu gelu gelu_tanh mish sigmoid tanh softplus hardswish
    hardsigmoid log_sigmoid threshold linear abs exp log sqrt square reciprocal rsqrt pow_integer pow erf""".split()
_BINARY = "add mul div maximum minimum prelu".split()

# Instruction -> its number: enum MapCode of native/lanes/kernels/map_instructions.h.
CODES: Mapping[str, int] = (
    {name: i for i, name in enumerate(_UNARY)} | {name: 64 + i for i, name in enumerate(_BINARY)} | {"dropout": 128}
)

# Activation (as ops/activation.py names it) -> what ``Expression.activate`` takes beside it.
ACTIVATIONS: Mapping[str, Mapping[str, Any]] = {
    "relu": {},
    "relu6": {},
    "hardtanh": {"min_val": -1.0, "max_val": 1.0},
    "clamp": {"min": None, "max": None},
    "clamp_min": {"min": None},
    "clamp_max": {"max": None},
    "leaky_relu": {"negative_slope": 0.01},
    "elu": {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0},
    "selu": {},
    "celu": {"alpha": 1.0},
    "silu": {},
    "gelu": {"approximate": "none"},
    "mish": {},
    "sigmoid": {},
    "tanh": {},
    "softplus": {"beta": 1.0, "threshold": 20.0},
    "hardswish": {},
    "hardsigmoid": {},
    "log_sigmoid": {},
    "threshold": {"threshold": 0.0, "value": 0.0},
    "rrelu": {"lower": 1.0 / 8, "upper": 1.0 / 3},  # in evaluation
}

_PLAIN = frozenset("neg abs exp log sqrt square reciprocal rsqrt erf".split())
_DROPS = {"number": 0.0, "channel": 1.0, "picture": 2.0}
_SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


class Normaliser(Protocol):
    """What gives a leaf its scale and shift, and on the way back needs sums over the batch: a batch norm."""

    mean: Memory
    parameters: Sequence[str]
    inverse_deviation: Memory
    scale: Memory
    shift: Memory

    def begin_backward(self, build: Build) -> tuple[Memory | None, Memory | None]:
        """Memory for the leaf's sums and for the factors that are made of them; None where not needed."""

    def finish_backward(self, build: Build) -> None:
        """The sums are taken: emit what makes factors and gradients of them."""


@dataclass(frozen=True)
class Leaf:
    """Numbers that an expression begins with: of a feature map, or of a parameter ([C], or [1] where ``shared``).

    scale, shift: names of parameters [C] that a map is multiplied by and that are added. norm: gives both instead.
    """

    value: Value | None = None
    parameter: str = ""
    shared: bool = False
    scale: str = ""
    shift: str = ""
    norm: Normaliser | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a feature map as it stands."""
        return self.value is not None and not self.scale and not self.shift and self.norm is None


@dataclass(frozen=True)
class Instruction:
    """One step. left, right: leaves from 0, results of instructions from ``LEAVES``. a, b, c: its settings.

    seed: where the dropout's seed stands, an int64 number. stream: tells the dropouts of one seed apart.
    """

    code: str
    left: int
    right: int = 0
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    seed: Base | Memory | None = None
    stream: int = 0

    def moved(self, leaves: Mapping[int, int], by: int) -> Instruction:
        """The same over leaves and instructions that have other numbers."""
        left, right = (leaves[r] if r < LEAVES else r + by for r in (self.left, self.right))
        return replace(self, left=left, right=right)


@dataclass(frozen=True)
class Expression:
    """Leaves and instructions; its result, of shape (channels, height, width), is the last instruction's."""

    channels: int
    height: int
    width: int
    leaves: tuple[Leaf, ...]
    instructions: tuple[Instruction, ...] = ()

    @classmethod
    def of(cls, leaf: Leaf | Value) -> Expression:
        """A feature map, or a leaf that is one."""
        leaf = Leaf(leaf) if isinstance(leaf, Value) else leaf
        if leaf.value is None:
            raise UsageError("a parameter alone has no height and width: Expression.of_parameter takes them")
        return cls(*leaf.value.shape, (leaf,))

    @classmethod
    def of_parameter(cls, name: str, like: Expression, shared: bool = False) -> Expression:
        """A parameter for each channel, or one for all, spread over the shape of another expression."""
        return cls(like.channels, like.height, like.width, (Leaf(parameter=name, shared=shared),))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def value(self) -> Value | None:
        """The feature map that it is, if nothing was done to it yet."""
        return self.leaves[0].value if not self.instructions and self.leaves[0].is_plain else None

    @property
    def room(self) -> int:
        """How many more instructions it may have."""
        return INSTRUCTIONS - len(self.instructions)

    @property
    def _last(self) -> int:
        return LEAVES + len(self.instructions) - 1 if self.instructions else 0

    # -- one more instruction

    def then(self, code: str, a: float = 0.0, b: float = 0.0, c: float = 0.0) -> Expression:
        """With an instruction of one number after it."""
        return self._with(Instruction(code, self._last, a=a, b=b, c=c))

    def _with(self, instruction: Instruction) -> Expression:
        if self.room == 0:
            raise UsageError(f"an expression has at most {INSTRUCTIONS} instructions", fits="a MapBlock of it so far")
        return replace(self, instructions=(*self.instructions, instruction))

    def activate(self, function: str, **settings: Any) -> Expression:
        """With an activation after it.

        Args:
            function: as ``ACTIVATIONS`` names it.
            settings: its arguments, as ATen names them; those left out have PyTorch's defaults.
        """
        if function not in ACTIVATIONS:
            raise unknown("activation", function, list(ACTIVATIONS))
        code, numbers = _activation(function, {**ACTIVATIONS[function], **settings})
        return self.then(code, *numbers)

    def apply(self, function: str) -> Expression:
        """With one of neg, abs, exp, log, sqrt, square, reciprocal, rsqrt, erf after it."""
        if function not in _PLAIN:
            raise unknown("function", function, sorted(_PLAIN))
        return self.then("linear", -1.0) if function == "neg" else self.then(function)

    def linear(self, factor: float = 1.0, added: float = 0.0) -> Expression:
        """factor x + added."""
        return self.then("linear", factor, added)

    def power(self, exponent: float) -> Expression:
        """x to the power of a constant."""
        known = {1.0: "identity", 2.0: "square", 0.5: "sqrt", -1.0: "reciprocal", -0.5: "rsqrt"}
        if exponent in known:
            return self.then(known[exponent])
        whole = float(exponent).is_integer() and abs(exponent) <= 64
        return self.then("pow_integer" if whole else "pow", exponent)

    def dropout(self, p: float, seed: Base | Memory, stream: int, of: str = "number") -> Expression:
        """Numbers are dropped with probability p, the others divided by 1 - p.

        Args:
            seed: where an int64 number stands when the pass runs; forward and backward must find the same.
            stream: different for each dropout that shares a seed.
            of: what is dropped together: each "number", each "channel" of a picture, or a whole "picture".
        """
        if of not in _DROPS:
            raise unknown("kind of dropout", of, list(_DROPS))
        return self._with(Instruction("dropout", self._last, a=p, b=_DROPS[of], seed=seed, stream=stream))

    # -- two expressions

    def can_join(self, other: Expression) -> bool:
        """Whether both fit into one expression: shapes alike or the other a gate (C, 1, 1), and few enough leaves."""
        if self.shape != other.shape and not self._takes_gate(other) and not other._takes_gate(self):
            return False
        leaves = {*self.leaves, *other.leaves}
        return len(leaves) <= LEAVES and len(self.instructions) + len(other.instructions) + 1 <= INSTRUCTIONS

    def _takes_gate(self, other: Expression) -> bool:
        """Whether the other is a feature map (C, 1, 1) as it stands, to be spread over this one's pixels."""
        return other.shape == (self.channels, 1, 1) and self.shape != other.shape and other.value is not None

    def join(self, code: str, other: Expression, alpha: float = 1.0) -> Expression:
        """add (self + alpha other), sub, mul, div, maximum, minimum, or prelu (the other is the slope)."""
        if code == "sub":
            code, alpha = "add", -alpha
        if code not in _BINARY:
            raise unknown("operation of two", code, ["sub", *_BINARY])
        if not self.can_join(other):
            raise UsageError(
                f"{self.shape} and {other.shape} do not fit into one expression of at most {LEAVES} leaves and "
                f"{INSTRUCTIONS} instructions",
                fits="a MapBlock of one of them first",
            )
        leaves = list(self.leaves)
        for leaf in other.leaves:
            if leaf not in leaves:
                leaves.append(leaf)
        by = len(self.instructions)
        places = {i: leaves.index(leaf) for i, leaf in enumerate(other.leaves)}
        moved = tuple(instruction.moved(places, by) for instruction in other.instructions)
        right = other._last + by if other.instructions else places[0]
        joined = Instruction(code, self._last, right, a=alpha)
        big = other if other._takes_gate(self) else self
        return replace(big, leaves=tuple(leaves), instructions=(*self.instructions, *moved, joined))


def _activation(function: str, given: Mapping[str, Any]) -> tuple[str, tuple[float, ...]]:
    """The instruction of an activation, and its numbers."""
    if function == "relu6":
        return "hardtanh", (0.0, 6.0)
    if function in ("clamp", "clamp_min", "clamp_max"):
        low, high = given.get("min"), given.get("max")
        return "clamp", (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    if function == "selu":
        return "elu", (_SELU[0] * _SELU[1], _SELU[1], 1.0)
    if function == "celu":
        return "elu", (given["alpha"], 1.0, 1.0 / given["alpha"])
    if function == "elu":
        return "elu", (given["alpha"] * given["scale"], given["scale"], given["input_scale"])
    if function == "gelu":
        return ("gelu_tanh" if given["approximate"] == "tanh" else "gelu"), ()
    if function == "rrelu":
        return "leaky_relu", ((given["lower"] + given["upper"]) / 2,)
    return function, tuple(float(given[name]) for name in ACTIVATIONS[function])
