"""Arithmetic number by number, with broadcasting: the joins of residual networks and gates, and all that is like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, tensor_shapes
from pellucid.ops.broadcast import Meeting, readers_of
from pellucid.ops.elementwise import RULES, Rule
from pellucid.ops.field import Reach, joined
from pellucid.ops.functions import FUNCTIONS, function_gradient, function_terms
from pellucid.ops.terms import Call, Group, Index, Terms, one_place, single

_WORDS = {
    "add": "Add",
    "sub": "Subtract",
    "rsub": "Subtract from",
    "mul": "Multiply",
    "div": "Divide",
    "maximum": "Larger of two",
    "minimum": "Smaller of two",
    "pow": "Power",
}
_OTHERS = (
    "abs neg exp log log1p log2 sqrt rsqrt reciprocal sin cos square sign floor ceil round erf where eq ne lt gt le ge "
    "logical_not logical_and logical_or bitwise_not bitwise_and bitwise_or _to_copy to masked_fill remainder "
    "floor_divide expm1 isnan isinf nan_to_num rand_like randn_like zeros_like ones_like full_like "
    "fmod lerp atan2 atan tan sinh cosh asin acos trunc bitwise_xor logical_xor heaviside copysign addcmul addcdiv"
).split()
_OVERLOADS = (
    "default Tensor Scalar Tensor_Scalar Tensor_Tensor Scalar_Tensor self ScalarSelf ScalarOther dtype dtype_layout "
    "Tensor_mode Scalar_mode p"
).split()


@dataclass(frozen=True)
class Arithmetic(Op):
    """A function of the numbers at the same place of one or more tensors, of shapes that broadcast together."""

    targets: ClassVar[tuple[str, ...]] = tuple(
        f"aten.{call}.{overload}" for call in (*_WORDS, *_OTHERS) for overload in _OVERLOADS
    )
    kind: ClassVar[str] = "join"
    call: str = "add"
    operands: int = 2

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(call, len(tensor_shapes(arguments)))

    @property
    def name(self) -> str:
        return self.call.strip("_")

    def describe(self) -> str:
        word = _WORDS.get(self.call, self.name.replace("_", " ").capitalize())
        return f"{word} a number" if self.operands == 1 and self.call in ("add", "sub", "mul", "div") else word

    def shape(self, arguments: Arguments) -> Shape:
        shapes = tensor_shapes(arguments)
        rank = max(map(len, shapes))
        padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
        return tuple(max(sizes) if 0 not in sizes else 0 for sizes in zip(*padded, strict=True))

    def terms(self, at: Index, call: Call) -> Terms:
        """The numbers that meet here, as the rule of the operation joins them (``elementwise.RULES``)."""
        if self.call in FUNCTIONS:
            return function_terms(self.call, call, "self", at, call.arguments)
        rule = self._rule(call)
        here = np.array([one_place(call.result.shape, at)], np.int64)
        with np.errstate(all="ignore"):
            return Terms(tuple(rule.terms(Meeting(call, here))), rule.formula)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """dL/d(result) times the local derivative, summed over all results that read the number."""
        if self.call in FUNCTIONS:
            return function_gradient(self.call, call, "self", at, call.arguments)
        slope = self._rule(call).slopes.get(of)
        if slope is None or call.result.dtype.kind != "f":
            return Terms(formula="no gradient goes back")
        places = readers_of(call.array(of).shape, at, call.result.shape)
        gradients = call.array("gradient").reshape(-1)[places].astype(np.float64)
        with np.errstate(all="ignore"):
            found = slope(Meeting(call, places))
            factors = np.broadcast_to(np.asarray(found.factors, np.float64), gradients.shape)
            products = gradients * factors
        by = found.by if found.by is not None and found.by.places is not None else None
        weight, weight_places = (by.slot, by.places) if by else ("", None)
        table = Group("product", products, "gradient", places, factors, weight, weight_places, found.note)
        return Terms((table,), "the output's gradient x local derivative" + (", summed" if len(places) > 1 else ""))

    def _rule(self, call: Call) -> Rule:
        mode = call.arguments.get("rounding_mode")
        return RULES[self.call if mode is None else {"floor": "floor_divide", "trunc": "trunc_divide"}[mode]]


@dataclass(frozen=True)
class Concatenation(Op):
    """Tensors laid end to end along a dimension (channels, in Inception)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.cat.default", "aten.concat.default")
    kind: ClassVar[str] = "join"
    dim: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("dim", 0)) % len(tensor_shapes(arguments)[0]))

    @property
    def name(self) -> str:
        return "concat"

    def describe(self) -> str:
        return "Concatenate channels" if self.dim == 1 else f"Concatenate along dimension {self.dim}"

    def shape(self, arguments: Arguments) -> Shape:
        shapes = tensor_shapes(arguments)
        out = list(shapes[0])
        out[self.dim] = sum(shape[self.dim] for shape in shapes)
        return tuple(out)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined(reaches).lost([self.dim])

    def terms(self, at: Index, call: Call) -> Terms:
        """A copy of one number of one of the tensors."""
        slot, place = self._behind(at[self.dim], call)
        array = call.array(slot)
        own = one_place(array.shape, (*at[: self.dim], place, *at[self.dim + 1 :]))
        return Terms((single("copy", call, slot, own),), "a number of one of the tensors")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of the place where the number was laid."""
        before = sum(size for slot, size in self._sizes(call)[: self._slots(call).index(of)])
        place = one_place(call.result.shape, (*at[: self.dim], at[self.dim] + before, *at[self.dim + 1 :]))
        return Terms((single("copy", call, "gradient", place),), "the output's gradient at its place")

    def _slots(self, call: Call) -> list[str]:
        return [f"tensors[{i}]" for i in range(len(call.arguments["tensors"]))]

    def _sizes(self, call: Call) -> list[tuple[str, int]]:
        """How much of the dimension each tensor fills; an empty one may have any shape."""
        arrays = [(slot, call.array(slot)) for slot in self._slots(call)]
        return [(slot, array.shape[self.dim] if array.ndim == call.result.ndim else 0) for slot, array in arrays]

    def _behind(self, place: int, call: Call) -> tuple[str, int]:
        """The tensor that fills a place of the dimension, and the place in it."""
        for slot, size in self._sizes(call):
            if place < size:
                return slot, place
            place -= size
        raise IndexError(place)
