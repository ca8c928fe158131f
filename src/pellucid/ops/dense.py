"""Products of matrices: dense layers, matrix products, embeddings, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, first_shape, product, tensor_shapes
from pellucid.ops.field import Reach, joined


@dataclass(frozen=True)
class Linear(Op):
    """y = W x + b on the last dimension: (..., I) with weights (O, I) -> (..., O)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.linear.default",)
    kind: ClassVar[str] = "linear"
    inputs: int = 1
    outputs: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        outputs, inputs = arguments["weight"]
        return cls(inputs, outputs)

    def describe(self) -> str:
        return f"Linear {self.inputs:,} to {self.outputs:,}"

    def shape(self, arguments: Arguments) -> Shape:
        return (*first_shape(arguments)[:-1], self.outputs)

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        return product(out) * self.inputs

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost([len(out) - 1])


@dataclass(frozen=True)
class MatrixProduct(Op):
    """(..., n, k) times (..., k, m) -> (..., n, m), with an addition in ``addmm`` and ``baddbmm``."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.matmul.default",
        "aten.mm.default",
        "aten.bmm.default",
        "aten.addmm.default",
        "aten.baddbmm.default",
        "aten.mv.default",
        "aten.dot.default",
    )
    kind: ClassVar[str] = "linear"
    inner: int = 1
    adds: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        shapes = tensor_shapes(arguments)
        adds = call in ("addmm", "baddbmm")
        return cls(shapes[1 if adds else 0][-1], adds)

    @property
    def name(self) -> str:
        return "matmul"

    def describe(self) -> str:
        return f"Matrix product over {self.inner:,}"

    def shape(self, arguments: Arguments) -> Shape:
        left, right = tensor_shapes(arguments)[1:3] if self.adds else tensor_shapes(arguments)[:2]
        rank = max(len(left), len(right)) - 2
        leads = [(1,) * (rank - len(s) + 2) + tuple(s[:-2]) for s in (left, right)]
        lead = tuple(max(sizes) for sizes in zip(*leads, strict=True)) if rank > 0 else ()
        rows = left[-2:-1] if len(left) > 1 else ()
        columns = right[-1:] if len(right) > 1 else ()
        return (*lead, *rows, *columns)

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        return product(out) * self.inner

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined([reach.lost() for reach in reaches])


@dataclass(frozen=True)
class Embedding(Op):
    """Row i of a table for each whole number i: (...) with a table (V, D) -> (..., D)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.embedding.default",)
    kind: ClassVar[str] = "linear"
    rows: int = 1
    width: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rows, width = arguments["weight"]
        return cls(rows, width)

    def describe(self) -> str:
        return f"Embedding of {self.rows:,} in {self.width:,}"

    def shape(self, arguments: Arguments) -> Shape:
        return (*arguments["indices"], self.width)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined(reaches)


@dataclass(frozen=True)
class Attention(Op):
    """softmax(Q K^T / sqrt(E)) V (Vaswani et al. 2017, eq. 1): (..., L, E), (..., S, E), (..., S, D) -> (..., L, D)."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.scaled_dot_product_attention.default",
        "aten._scaled_dot_product_flash_attention_for_cpu.default",
        "aten._scaled_dot_product_flash_attention.default",
        "aten._scaled_dot_product_efficient_attention.default",
        "aten._scaled_dot_product_attention_math.default",
        "aten._scaled_dot_product_fused_attention_overrideable.default",
    )
    kind: ClassVar[str] = "attention"
    causal: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(bool(arguments.get("is_causal", False)))

    def describe(self) -> str:
        return "Attention, scaled dot-product" + (", causal" if self.causal else "")

    def shape(self, arguments: Arguments) -> Shape:
        return (*arguments["query"][:-1], arguments["value"][-1])

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        """Scores: L S E products for each head; weighted values: L S D."""
        queries: Shape = arguments["query"]
        keys: Shape = arguments["key"]
        return product(queries) * keys[-2] + product(out) * keys[-2]

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined([reach.lost() for reach in reaches])
