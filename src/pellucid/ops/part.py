"""Parts of a tensor: slices, selections, splits, and picks by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, dimensions, first_shape
from pellucid.ops.field import Reach, joined


@dataclass(frozen=True)
class Slice(Op):
    """Every ``step``-th entry from ``start`` on along a dimension."""

    targets: ClassVar[tuple[str, ...]] = ("aten.slice.Tensor", "aten.narrow.default")
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True
    dim: int = 0
    start: int = 0
    step: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        x = first_shape(arguments)
        dim = int(arguments.get("dim", 0)) % len(x)
        start = int(arguments.get("start") or 0)
        start = max(0, start + x[dim]) if start < 0 else min(start, x[dim])
        return cls(dim, start, int(arguments.get("step", 1)))

    def describe(self) -> str:
        return f"Slice of dimension {self.dim}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        if "length" in arguments:
            count = int(arguments["length"])
        else:
            end = arguments.get("end")
            end = x[self.dim] if end is None else int(end) + (x[self.dim] if int(end) < 0 else 0)
            count = -(-max(0, min(end, x[self.dim]) - self.start) // self.step)
        return (*x[: self.dim], count, *x[self.dim + 1 :])

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].read(self.dim, Fraction(self.step), Fraction(self.start), Fraction(self.start))


@dataclass(frozen=True)
class Part(Op):
    """One entry along a dimension, or the parts of a split (the shape is that of the first)."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.select.int",
        "aten.unbind.int",
        "aten.split.Tensor",
        "aten.split_with_sizes.default",
        "aten.chunk.default",
    )
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True
    call: str = "select"
    dim: int = 0

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(call, int(arguments.get("dim", 0)) % len(first_shape(arguments)))

    @property
    def name(self) -> str:
        return self.call.removesuffix("_with_sizes")

    def describe(self) -> str:
        return f"{self.name.capitalize()} along dimension {self.dim}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        before, n, after = x[: self.dim], x[self.dim], x[self.dim + 1 :]
        if self.call in ("select", "unbind"):
            return (*before, *after)
        if self.call == "split_with_sizes":
            return (*before, int(arguments["split_sizes"][0]), *after)
        size = -(-n // int(arguments["chunks"])) if self.call == "chunk" else int(arguments["split_size"])
        return (*before, min(size, n), *after)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        if self.call not in ("select", "unbind"):
            return reaches[0].lost([self.dim])
        kept = [dim for dim in range(len(first_shape(arguments))) if dim != self.dim]
        return reaches[0].renamed({dim: i for i, dim in enumerate(kept)})


@dataclass(frozen=True)
class Pick(Op):
    """Entries of a tensor in places that numbers say: by index, in order of size, turned round or about."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.index_select.default",
        "aten.index.Tensor",
        "aten.gather.default",
        "aten.roll.default",
        "aten.flip.default",
        "aten.topk.default",
        "aten.sort.default",
        "aten.channel_shuffle.default",
    )
    kind: ClassVar[str] = "shape"
    call: str = "index"
    dims: tuple[int, ...] | None = None

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rank = len(first_shape(arguments))
        if call == "channel_shuffle":
            return cls(call, (1,))
        dim = arguments.get("dim", arguments.get("dims", -1 if call in ("topk", "sort") else None))
        return cls(call, tuple(dimensions(dim, rank)) if dim not in (None, []) else None)

    @property
    def name(self) -> str:
        return self.call

    def describe(self) -> str:
        words = {"topk": "Largest", "index_select": "Index", "channel_shuffle": "Channel shuffle"}
        text = words.get(self.call, self.call.capitalize())
        return f"{text} along dimension {', '.join(map(str, self.dims))}" if self.dims else text

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        if self.call == "index":
            return _indexed(x, list(arguments["indices"]))
        if self.call == "gather":
            return tuple(arguments["index"])
        if self.call in ("index_select", "topk") and self.dims:
            (dim,) = self.dims
            count = int(arguments["k"]) if self.call == "topk" else arguments["index"][0]
            return (*x[:dim], count, *x[dim + 1 :])
        return x

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost(self.dims) if self.dims and len(reaches) == 1 else joined(reaches).lost()


def _indexed(x: Shape, indices: list[Shape | None]) -> Shape:
    """Of x[indices], where None stands for a whole dimension: the indices' common shape replaces their dimensions, in
    the place of the first where they are neighbours, else in front."""
    indices += [None] * (len(x) - len(indices))
    places = [i for i, index in enumerate(indices) if index is not None]
    shapes = [index for index in indices if index is not None]
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    common = tuple(max(sizes) for sizes in zip(*padded, strict=True))
    first = places[0] if places == list(range(places[0], places[-1] + 1)) else 0
    rest = [n for i, n in enumerate(x) if i not in places]
    return (*rest[:first], *common, *rest[first:])
