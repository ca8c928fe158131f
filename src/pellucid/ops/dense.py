"""Products of matrices: dense layers, matrix products, embeddings, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.attention import NO_SUM, Heads, attention_gradient, attention_terms, score_terms, weight_terms
from pellucid.ops.base import Arguments, Op, Shape, first_shape, product, tensor_shapes
from pellucid.ops.contraction import Contraction, einsum_letters, matrix_letters
from pellucid.ops.field import Reach, joined
from pellucid.ops.moves import copied
from pellucid.ops.terms import Array, Call, Index, Places, Terms, flat, scaled, single, weighted


@dataclass(frozen=True)
class Linear(Op):
    """y = W x + b on the last dimension: (..., I) with weights (O, I) -> (..., O)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.linear.default",)
    kind: ClassVar[str] = "linear"
    inputs: int = 1
    outputs: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        *outputs, inputs = arguments["weight"]
        return cls(inputs, *outputs)

    def describe(self) -> str:
        return f"Linear {self.inputs:,} to {self.outputs:,}"

    def shape(self, arguments: Arguments) -> Shape:
        rows = first_shape(arguments)[:-1]
        return (*rows, self.outputs) if len(arguments["weight"]) > 1 else rows

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        return product(out) * self.inputs

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost([len(out) - 1])

    def terms(self, at: Index, call: Call) -> Terms:
        """y[o] = sum over i of x[i] w[o, i], plus the bias."""
        weight = call.array("weight")
        lead, row = (at[:-1], at[-1:]) if weight.ndim > 1 else (at, ())
        units = np.arange(self.inputs)
        places = flat(call.array("input").shape, *lead, units)
        groups = [weighted("product", call, "input", places, "weight", flat(weight.shape, *row, units))]
        if call.optional("bias") is not None:
            groups.append(single("bias", call, "bias", row[0] if row else 0))
        return Terms(tuple(groups), "sum of input x weight" + (" + bias" if len(groups) > 1 else ""))

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of the input comes back through the transposed matrix; that of the weight is gradient x input,
        summed over all rows."""
        x, weight, out = call.array("input").shape, call.array("weight"), call.result.shape
        outputs = [np.arange(self.outputs)] if weight.ndim > 1 else []
        if of == "input":
            gradients = flat(out, *at[:-1], *outputs)
            table = weighted("product", call, "gradient", gradients, "weight", flat(weight.shape, *outputs, at[-1]))
            return Terms((table,), "sum of the output's gradient x weight")
        rows = [np.arange(n) for n in x[:-1]]
        if of == "weight":
            gradients = flat(out, *rows, *at[:-1])
            table = weighted("product", call, "gradient", gradients, "input", flat(x, *rows, [at[-1]]))
            return Terms((table,), "sum of the output's gradient x input")
        if of == "bias":
            table = scaled("product", call, "gradient", flat(out, *rows, *at), 1.0)
            return Terms((table,), "sum of the output's gradient")
        return None


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
        "aten.vdot.default",
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
        rank = max(len(left), len(right), 2) - 2
        leads = [(1,) * (rank - len(s[:-2])) + tuple(s[:-2]) for s in (left, right)]
        lead = tuple(max(sizes) for sizes in zip(*leads, strict=True))
        rows = left[-2:-1] if len(left) > 1 else ()
        columns = right[-1:] if len(right) > 1 else ()
        return (*lead, *rows, *columns)

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        return product(out) * self.inner

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined([reach.lost() for reach in reaches])

    def terms(self, at: Index, call: Call) -> Terms:
        """y[n, m] = sum over k of a[n, k] b[k, m], by alpha, plus what is added, by beta."""
        groups = [self._contraction(call).group(at, call)]
        formula, beta = "sum of row x column", call.arguments.get("beta", 1)
        if self.adds and beta != 0:  # at 0, PyTorch does not look at it
            addend = call.slots()[0]
            place = _spread(call.array(addend).shape, call.result.shape, at)
            groups.append(scaled("addend", call, addend, place, float(beta), "" if beta == 1 else f"{beta:g}"))
            formula += " + addend"
        return Terms(tuple(groups), formula)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """What comes back to one factor is the output's gradient times the other; to the addend the gradient itself."""
        contraction = self._contraction(call)
        if of in contraction.slots:
            group = contraction.gradient_group(contraction.slots.index(of), at, call)
            return Terms((group,), "sum of the output's gradient x the other matrix")
        own, out = call.array(of).shape, call.result.shape
        fixed = (None,) * (len(out) - len(own)) + tuple(i if n > 1 else None for i, n in zip(at, own, strict=True))
        places = flat(out, *(np.arange(n) if i is None else i for i, n in zip(fixed, out, strict=True)))
        table = scaled("product", call, "gradient", places, float(call.arguments.get("beta", 1)))
        return Terms((table,), "sum of the output's gradient")

    def _contraction(self, call: Call) -> Contraction:
        left, right = call.slots()[1:3] if self.adds else call.slots()[:2]
        *letters, out = matrix_letters(call.array(left).ndim, call.array(right).ndim)
        return Contraction((left, right), tuple(letters), out, float(call.arguments.get("alpha", 1)))


def _spread(own: Sequence[int], out: Sequence[int], at: Index) -> Places:
    """The flat place that a number of the result reads in a tensor that is spread over the result (broadcasting)."""
    return flat(own, *(i if n > 1 else 0 for i, n in zip(at[len(out) - len(own) :], own, strict=True)))


@dataclass(frozen=True)
class Einsum(Op):
    """A sum of products by an equation of letters, such as ``nchw,ndhw->ncd``."""

    targets: ClassVar[tuple[str, ...]] = ("aten.einsum.default",)
    kind: ClassVar[str] = "linear"
    equation: str = ""

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(str(arguments["equation"]).replace(" ", ""))

    def describe(self) -> str:
        return f"Einsum {self.equation}"

    def shape(self, arguments: Arguments) -> Shape:
        sizes, hidden = self._sizes(arguments)
        left, arrow, right = self.equation.partition("->")
        if not arrow:
            plain = left.replace("...", "").replace(",", "")
            right = "..." + "".join(sorted(letter for letter in set(plain) if plain.count(letter) == 1))
        before, dots, after = right.partition("...")
        return (*(sizes[letter] for letter in before), *(hidden if dots else ()), *(sizes[letter] for letter in after))

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        """Of two tensors: one product for each combination of all indices. The order of more is PyTorch's to choose."""
        operands = len(tensor_shapes(arguments))
        sizes, hidden = self._sizes(arguments)
        return 0 if operands == 1 else product([*sizes.values(), *hidden]) if operands == 2 else None

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        """A letter of the result says where each tensor is read along it; along the others all of it is."""
        shapes = tensor_shapes(arguments)
        operands, result = einsum_letters(self.equation, [len(shape) for shape in shapes])
        found: list[Reach] = []
        for reach, letters, shape in zip(reaches, operands, shapes, strict=True):
            where = {
                dim: result.index(letter)
                for dim, letter in enumerate(letters)
                if result.count(letter) == letters.count(letter) == 1 and shape[dim] == out[result.index(letter)]
            }
            found.append(reach.renamed(where))
        return joined(found)

    def terms(self, at: Index, call: Call) -> Terms:
        """The products of one number of each tensor, over the letters that the result lacks."""
        return Terms((self._contraction(call).group(at, call),), f"sum of products by {self.equation}")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The output's gradient times one number of each other tensor, over the letters that this one lacks."""
        contraction = self._contraction(call)
        group = contraction.gradient_group(contraction.slots.index(of), at, call)
        return Terms((group,), f"sum of the output's gradient x the other tensors, by {self.equation}")

    def _contraction(self, call: Call) -> Contraction:
        slots = tuple(call.slots())
        return Contraction(slots, *einsum_letters(self.equation, [call.array(slot).ndim for slot in slots]))

    def _sizes(self, arguments: Arguments) -> tuple[dict[str, int], Shape]:
        """The size of each letter, and of what the dots stand for."""
        sizes: dict[str, int] = {}
        hidden: Shape = ()
        for term, shape in zip(self.equation.partition("->")[0].split(","), tensor_shapes(arguments), strict=True):
            before, _, after = term.partition("...")
            middle = tuple(shape[len(before) : len(shape) - len(after)])
            hidden = max(hidden, middle, key=len)
            for letter, n in (*zip(before, shape, strict=False), *zip(after[::-1], shape[::-1], strict=False)):
                sizes[letter] = max(n, sizes.get(letter, 1))
        return sizes, hidden


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

    def terms(self, at: Index, call: Call) -> Terms:
        """One number of the row that the index names."""
        row = int(call.array("indices")[at[:-1]])
        return copied(call, "weight", row * self.width + at[-1])

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradients of all places where the row stands; none of the row that pads."""
        row, column = at
        places = np.flatnonzero(call.array("indices").reshape(-1) == row)
        if row == int(call.arguments.get("padding_idx", -1)):
            return Terms(formula="the row that pads takes no gradient")
        by_count = bool(call.arguments.get("scale_grad_by_freq", False))
        factor, note = (1 / max(1, len(places)), "1 / count") if by_count else (1.0, "")
        table = scaled("copy", call, "gradient", places * self.width + column, factor, note)
        return Terms((table,), "sum of the gradients of its copies" + (" / count" if by_count else ""))


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
    inside: ClassVar[tuple[str, ...]] = ("weights", "scores")
    causal: bool = False
    adds_mask: bool = False  # whether even a mask of truth values is added, as numbers

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(bool(arguments.get("is_causal", False)), call == "_scaled_dot_product_attention_math")

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

    def terms(self, at: Index, call: Call) -> Terms:
        """The values of all keys times the weights that the query gives them."""
        return Terms(missing=NO_SUM) if call.which else attention_terms(self._heads(call), at)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """What comes back through the weights and their softmax."""
        return attention_gradient(self._heads(call), of, at)

    def inside_array(self, inner: str, call: Call) -> Array:
        """The weights, or the scores that they are the softmax of: (..., queries, keys)."""
        return self._heads(call).inner(inner)

    def inside_terms(self, inner: str, at: Index, call: Call) -> Terms:
        """A weight as the softmax of its score; a score as the sum of query x key terms, and of the mask."""
        return (weight_terms if inner == "weights" else score_terms)(self._heads(call), at)

    def _heads(self, call: Call) -> Heads:
        return Heads.of(call, adds_mask=self.adds_mask)
