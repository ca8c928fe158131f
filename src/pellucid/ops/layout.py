"""Operations that move numbers and compute none: reshape, permute, expand, stack; and bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Shape, dimensions, first_shape, tensor_shapes
from pellucid.ops.field import Reach, joined
from pellucid.ops.moves import Along, Move, computed, gathered
from pellucid.ops.terms import Call, Index, Places, Terms, one_place


@dataclass(frozen=True)
class Reshape(Move):
    """The same numbers in the same order under another shape: flatten, view, squeeze, unsqueeze."""

    targets: ClassVar[tuple[str, ...]] = tuple(
        f"aten.{call}"
        for call in (
            "view.default reshape.default _unsafe_view.default flatten.using_ints unflatten.int squeeze.dim "
            "squeeze.dims squeeze.default _reshape_alias.default"
        ).split()
    )
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True
    flattens: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rank = len(first_shape(arguments))
        size = arguments.get("size", arguments.get("shape"))
        return cls(rank > 2 and (call == "flatten" or (size is not None and len(size) == 2)))

    @property
    def name(self) -> str:
        return "flatten" if self.flattens else "reshape"

    def describe(self) -> str:
        return "Flatten" if self.flattens else "Reshape"

    def shape(self, arguments: Arguments) -> Shape:
        return _reshaped(arguments)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].renamed(same_dimensions(first_shape(arguments), out))

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        """The order stays, so the flat place does."""
        return self.origin(call), one_place(call.result.shape, at)

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        return [("gradient", np.array([one_place(call.array(of).shape, at)]))]


@dataclass(frozen=True)
class Unsqueeze(Move):
    """A new dimension of one entry."""

    targets: ClassVar[tuple[str, ...]] = ("aten.unsqueeze.default",)
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True
    dim: int = 0

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments["dim"]) % (len(first_shape(arguments)) + 1))

    @property
    def name(self) -> str:
        return "reshape"

    def describe(self) -> str:
        return f"Reshape, new dimension {self.dim}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        return (*x[: self.dim], 1, *x[self.dim :])

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].renamed({dim: dim + (dim >= self.dim) for dim in range(len(out) - 1)})

    def along(self, call: Call) -> Sequence[Along]:
        sizes = call.array(self.origin(call)).shape
        return [Along(dim + (dim >= self.dim), np.arange(n)) for dim, n in enumerate(sizes)]


def same_dimensions(before: Shape, after: Shape) -> dict[int, int]:
    """Which dimensions a reshape leaves whole: old -> new.

    >>> same_dimensions((2, 6, 5, 5), (2, 2, 3, 5, 5))
    {0: 0, 2: 3, 3: 4}
    """
    same: dict[int, int] = {}
    i = j = 0
    while i < len(before) and j < len(after):
        if before[i] == after[j]:
            same[i] = j
            i, j = i + 1, j + 1
            continue
        if 1 in (before[i], after[j]):  # a dimension of one entry comes or goes
            i, j = i + (before[i] == 1), j + (after[j] == 1)
            continue
        left, right = before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right and i < len(before):
                left, i = left * before[i], i + 1
            elif j < len(after):
                right, j = right * after[j], j + 1
            else:
                return same
    return same


def _reshaped(arguments: Arguments) -> Shape:
    x = list(first_shape(arguments))
    if "size" in arguments or "shape" in arguments:
        size = [int(n) for n in arguments.get("size", arguments.get("shape"))]
        known = prod(n for n in size if n != -1)
        return tuple(prod(x) // known if n == -1 else n for n in size)
    if "start_dim" in arguments or "end_dim" in arguments:
        first, last = int(arguments.get("start_dim", 0)) % len(x), int(arguments.get("end_dim", -1)) % len(x)
        return (*x[:first], prod(x[first : last + 1]), *x[last + 1 :])
    dim = arguments.get("dim")
    return tuple(n for i, n in enumerate(x) if not (n == 1 and (dim is None or i in dimensions(dim, len(x)))))


@dataclass(frozen=True)
class Permute(Move):
    """Dimensions in another order."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.permute.default",
        "aten.transpose.int",
        "aten.t.default",
    )
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True
    order: tuple[int, ...] = ()

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rank = len(first_shape(arguments))
        if "dims" in arguments:
            return cls(tuple(int(d) % rank for d in arguments["dims"]))
        order = list(range(rank))
        first, second = int(arguments.get("dim0", 0)) % rank, int(arguments.get("dim1", rank - 1)) % rank
        order[first], order[second] = order[second], order[first]
        return cls(tuple(order))

    def describe(self) -> str:
        return f"Permute to {', '.join(map(str, self.order))}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        return tuple(x[dim] for dim in self.order)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].renamed({old: new for new, old in enumerate(self.order)})

    def along(self, call: Call) -> Sequence[Along]:
        sizes = call.array(self.origin(call)).shape
        return [Along(self.order.index(dim), np.arange(n)) for dim, n in enumerate(sizes)]


@dataclass(frozen=True)
class Repeat(Move):
    """A tensor laid beside itself so many times along each dimension."""

    targets: ClassVar[tuple[str, ...]] = ("aten.repeat.default", "aten.tile.default")
    kind: ClassVar[str] = "shape"

    def shape(self, arguments: Arguments) -> Shape:
        x, times = first_shape(arguments), tuple(arguments.get("repeats", arguments.get("dims")))
        rank = max(len(x), len(times))
        padded, counts = (1,) * (rank - len(x)) + x, (1,) * (rank - len(times)) + times
        return tuple(n * int(count) for n, count in zip(padded, counts, strict=True))

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        shape = first_shape(arguments)
        reach = reaches[0].aligned(len(out) - len(shape))
        return reach.lost([dim for dim in reach.dims if out[dim] != shape[dim - len(out) + len(shape)]])

    def along(self, call: Call) -> Sequence[Along]:
        return _repeated(call.array(self.origin(call)).shape, call.result.shape)


@dataclass(frozen=True)
class Expand(Move):
    """A dimension of 1 repeated without copying."""

    targets: ClassVar[tuple[str, ...]] = ("aten.expand.default",)
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True

    def shape(self, arguments: Arguments) -> Shape:
        x, size = first_shape(arguments), arguments["size"]
        padded = (1,) * (len(size) - len(x)) + x
        return tuple(own if int(n) == -1 else int(n) for n, own in zip(size, padded, strict=True))

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        shape = tensor_shapes(arguments)[0]
        missing = len(out) - len(shape)
        reach = reaches[0].aligned(missing)
        return reach.lost([dim for dim in reach.dims if out[dim] != shape[dim - missing]])

    def along(self, call: Call) -> Sequence[Along]:
        return _repeated(call.array(self.origin(call)).shape, call.result.shape)


def _repeated(x: Shape, out: Shape) -> list[Along]:
    """The source over and over along every dimension, the last dimensions lying over one another."""
    missing = len(out) - len(x)
    return [Along(dim + missing, np.arange(out[dim + missing]) % max(1, n)) for dim, n in enumerate(x)]


@dataclass(frozen=True)
class Stack(Move):
    """Tensors of one shape along a new dimension."""

    targets: ClassVar[tuple[str, ...]] = ("aten.stack.default",)
    kind: ClassVar[str] = "join"
    dim: int = 0

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("dim", 0)) % (len(tensor_shapes(arguments)[0]) + 1))

    def shape(self, arguments: Arguments) -> Shape:
        shapes = tensor_shapes(arguments)
        return (*shapes[0][: self.dim], len(shapes), *shapes[0][self.dim :])

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        rank = len(out) - 1
        where = {dim: dim + (dim >= self.dim) for dim in range(rank)}
        return joined([reach.renamed(where) for reach in reaches])

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        """The index along the new dimension says which tensor."""
        slot = f"tensors[{at[self.dim]}]"
        return slot, one_place(call.array(slot).shape, (*at[: self.dim], *at[self.dim + 1 :]))

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        which = int(of.partition("[")[2][:-1])
        place = one_place(call.result.shape, (*at[: self.dim], which, *at[self.dim :]))
        return [("gradient", np.array([place]))]


@dataclass(frozen=True)
class Bookkeeping(Move):
    """What the capture needs and no author wrote: parts of a result, sizes, constants, copies without change."""

    targets: ClassVar[tuple[str, ...]] = (
        "getitem",
        "aten.alias.default",
        "aten.clone.default",
        "aten.detach.default",
        "aten.lift_fresh_copy.default",
        "aten.contiguous.default",
        "aten.arange.default",
        "aten.arange.start",
        "aten.arange.start_step",
        "aten.full.default",
        "aten.rand.default",
        "aten.randn.default",
        "aten.bernoulli.p",
        "aten.zeros.default",
        "aten.ones.default",
        "aten.scalar_tensor.default",
        "aten.empty.memory_format",
        "aten.new_empty.default",
        "aten.new_zeros.default",
        "aten.new_ones.default",
        "aten.new_full.default",
        "aten.empty_like.default",
        "aten.tril.default",
        "aten.triu.default",
    )
    kind: ClassVar[str] = "bookkeeping"
    is_view: ClassVar[bool] = True
    is_bookkeeping: ClassVar[bool] = True
    call: str = ""

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(call)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined(reaches)

    def origin(self, call: Call) -> str:
        """Of a part of a result: the result that it is a part of."""
        return f"input[{call.arguments['index']}]" if self.call == "getitem" else call.slots()[0]

    def terms(self, at: Index, call: Call) -> Terms:
        """Copies are copies; what is made new is a constant."""
        if self.call in ("tril", "triu") and not self._keeps(at, call):
            return computed(0.0, "outside of the triangle")
        if self.call in (*_COPIES, "tril", "triu"):
            return super().terms(at, call)
        return computed(float(call.result[at]), "drawn at random" if self.call in _DRAWN else "made new")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        if self.call == "detach":
            return Terms(formula="detached: no gradient goes back, so that it is 0")
        kept = self.call in _COPIES or (self.call in ("tril", "triu") and self._keeps(at, call))
        return gathered(call, self.readers(of, at, call) if kept else [])

    def _keeps(self, at: Index, call: Call) -> bool:
        """Whether a place lies in the triangle that is kept."""
        beyond = at[-1] - at[-2] - int(call.arguments.get("diagonal", 0))
        return beyond <= 0 if self.call == "tril" else beyond >= 0


_COPIES = ("getitem", "alias", "clone", "detach", "lift_fresh_copy", "contiguous")
_DRAWN = ("rand", "randn", "bernoulli")
