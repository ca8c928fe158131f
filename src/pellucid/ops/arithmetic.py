"""Arithmetic number by number, with broadcasting: the joins of residual networks and gates, and all that is like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, tensor_shapes
from pellucid.ops.field import Reach, joined

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
