"""Parts of a tensor: slices, selections, splits, and picks by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Shape, dimensions, first_shape
from pellucid.ops.field import Reach, joined
from pellucid.ops.moves import Along, Move
from pellucid.ops.picks import picked, pickers
from pellucid.ops.terms import Call, Group, Index, Places, Terms, flat, one_place


@dataclass(frozen=True)
class Slice(Move):
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
        return cls(dim, _start(arguments, x[dim]), int(arguments.get("step", 1)))

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

    def along(self, call: Call) -> Sequence[Along]:
        """The start is read anew: counted from the end, it depends on the size of the batch."""
        along = list(super().along(call))
        start = _start(call.arguments, len(along[self.dim].reads))
        along[self.dim] = Along(self.dim, start + self.step * np.arange(call.result.shape[self.dim]))
        return along


def _start(arguments: Arguments, size: int) -> int:
    """Where a slice of a dimension begins, counted from its front."""
    start = int(arguments.get("start") or 0)
    return max(0, start + size) if start < 0 else min(start, size)


@dataclass(frozen=True)
class Part(Move):
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

    def along(self, call: Call) -> Sequence[Along]:
        """Of the part that the call asks about: where it begins, and for each other dimension the dimension itself."""
        shape = call.array(self.origin(call)).shape
        if self.call in ("select", "unbind"):
            place = int(call.arguments["index"]) % shape[self.dim] if self.call == "select" else call.which
            fixed = Along(None, np.array([place]))
            return [fixed if d == self.dim else Along(d - (d > self.dim), np.arange(n)) for d, n in enumerate(shape)]
        start = sum(part.shape[self.dim] for part in call.results[: call.which])
        along = [Along(d, np.arange(n)) for d, n in enumerate(shape)]
        along[self.dim] = Along(self.dim, start + np.arange(call.result.shape[self.dim]))
        return along

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        """One number of one part."""
        if self.call == "select":
            return super().readers(of, at, call)
        (before, place, after), along = (at[: self.dim], at[self.dim], at[self.dim + 1 :]), self.dim
        if self.call == "unbind":
            return [(f"gradient[{place}]", flat(call.results[place].shape, *before, *after))]
        ends = np.cumsum([part.shape[along] for part in call.results])
        which = int(np.searchsorted(ends, place, side="right"))
        within = place - (int(ends[which - 1]) if which else 0)
        return [(f"gradient[{which}]", flat(call.results[which].shape, *before, within, *after))]


@dataclass(frozen=True)
class Pick(Move):
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
        return cls(call, tuple(dimensions(dim, max(1, rank))) if dim not in (None, []) else None)

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

    def along(self, call: Call) -> Sequence[Along]:
        """Of what is turned round, rolled, shuffled or selected along whole dimensions."""
        along = list(super().along(call))
        for dim, reads in self._turned(call):
            along[dim] = Along(dim, along[dim].reads[reads])
        return along

    def _turned(self, call: Call) -> list[tuple[int, Places]]:
        """For each dimension that is read in another order, that order."""
        shape, dims = call.array(self.origin(call)).shape, self.dims or ()
        if self.call == "flip":
            return [(dim, np.arange(shape[dim])[::-1]) for dim in dims]
        if self.call == "roll":
            shifts = call.arguments["shifts"]
            steps = [shifts] if isinstance(shifts, int) else shifts
            pairs = zip(dims, steps, strict=True)
            return [(dim, (np.arange(shape[dim]) - step) % max(1, shape[dim])) for dim, step in pairs]
        if self.call == "index_select":
            return [(dim, np.atleast_1d(call.array("index"))) for dim in dims]
        if self.call == "channel_shuffle":
            groups = int(call.arguments["groups"])
            return [(1, np.arange(shape[1]).reshape(groups, -1).T.reshape(-1))]
        return []

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        slot = self.origin(call)
        x = call.array(slot).shape
        if self.call == "roll" and self.dims is None:  # all numbers as one line
            shift = _single(call.arguments["shifts"])
            return slot, (one_place(x, at) - shift) % call.result.size
        if self.call == "index":
            return slot, one_place(x, picked(x, call.arguments["indices"], at))
        if self.call in ("gather", "topk", "sort"):
            (dim,) = self.dims or (0,)
            order = call.array("index") if self.call == "gather" else call.results[1]
            return slot, int(flat(x, *at[:dim], int(order[at]), *at[dim + 1 :])[0]) if x else 0
        return super().source(at, call)

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        if of != self.origin(call):
            return []
        x, out = call.array(of).shape, call.results[0].shape
        if self.call == "roll" and self.dims is None:
            place = (one_place(x, at) + _single(call.arguments["shifts"])) % call.result.size
            return [("gradient", np.array([place]))]
        if self.call == "index":
            return [("gradient", pickers(x, call.arguments["indices"], at, out))]
        if self.call in ("gather", "topk", "sort"):
            (dim,) = self.dims or (0,)
            order = call.array("index") if self.call == "gather" else call.results[1]
            if not x:
                return [("gradient[0]", np.zeros(1, np.int64))]
            line = flat(out, *at[:dim], np.arange(out[dim]), *at[dim + 1 :])
            line = line[line >= 0]
            return [("gradient[0]", line[order.reshape(-1)[line] == at[dim]])]
        return super().readers(of, at, call)

    def terms(self, at: Index, call: Call) -> Terms:
        """Of the second result of ``topk`` and ``sort``: the place of the number that stands there."""
        if not call.which:
            return super().terms(at, call)
        slot, place = self.source(at, call)
        products = np.array([call.result[at]], np.float64)
        table = Group("place", products, slot, np.array([place]), note="where it stood")
        return Terms((table,), "the place of a number, in order of size")


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


def _single(shifts: int | Sequence[int]) -> int:
    """The one shift of a tensor that is rolled as one line."""
    return int(shifts if isinstance(shifts, int) else shifts[0])
