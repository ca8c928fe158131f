"""Operations that move numbers and compute none: reshape, permute, slice, pad, upsample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, first_shape, tensor_shapes
from pellucid.ops.field import Reach, joined


@dataclass(frozen=True)
class Reshape(Op):
    """The same numbers in the same order under another shape: flatten, view, squeeze, unsqueeze."""

    targets: ClassVar[tuple[str, ...]] = tuple(
        f"aten.{call}"
        for call in (
            "view.default reshape.default _unsafe_view.default flatten.using_ints unflatten.int squeeze.dim "
            "squeeze.dims squeeze.default unsqueeze.default view_as.default _reshape_alias.default"
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
        known = 1
        for n in size:
            known *= n if n != -1 else 1
        total = 1
        for n in x:
            total *= n
        return tuple(total // known if n == -1 else n for n in size)
    if "start_dim" in arguments or "end_dim" in arguments:
        first, last = int(arguments.get("start_dim", 0)) % len(x), int(arguments.get("end_dim", -1)) % len(x)
        merged = 1
        for n in x[first : last + 1]:
            merged *= n
        return (*x[:first], merged, *x[last + 1 :])
    dim = arguments.get("dim")
    return tuple(n for i, n in enumerate(x) if not (n == 1 and (dim is None or i in _listed(dim, len(x)))))


def _listed(dim: int | Sequence[int], rank: int) -> list[int]:
    return [d % rank for d in ([dim] if isinstance(dim, int) else dim)]


@dataclass(frozen=True)
class Permute(Op):
    """Dimensions in another order."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.permute.default",
        "aten.transpose.int",
        "aten.t.default",
        "aten.swapaxes.default",
        "aten.movedim.int",
        "aten.numpy_T.default",
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

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return _read_from(reaches[0], self.dim, Fraction(self.step), Fraction(self.start), Fraction(self.start))


@dataclass(frozen=True)
class Pick(Op):
    """Some entries of a tensor: one along a dimension, several by index, or the parts of a split."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.select.int",
        "aten.index_select.default",
        "aten.index.Tensor",
        "aten.gather.default",
        "aten.split.Tensor",
        "aten.split_with_sizes.default",
        "aten.chunk.default",
        "aten.unbind.int",
        "aten.roll.default",
        "aten.flip.default",
    )
    kind: ClassVar[str] = "shape"
    call: str = "select"
    dim: int | None = None

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        dim = arguments.get("dim", 0 if call in ("split", "split_with_sizes", "chunk", "unbind") else None)
        return cls(call, int(dim) % len(first_shape(arguments)) if isinstance(dim, int) else None)

    @property
    def name(self) -> str:
        return self.call

    def describe(self) -> str:
        return self.call.replace("_", " ").capitalize() + (
            f" along dimension {self.dim}" if self.dim is not None else ""
        )

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        rank = len(first_shape(arguments))
        if self.dim is None:
            return joined(reaches).lost()
        if self.call in ("select", "unbind"):
            kept = [dim for dim in range(rank) if dim != self.dim]
            return reaches[0].renamed({dim: i for i, dim in enumerate(kept)})
        return reaches[0].lost([self.dim])


@dataclass(frozen=True)
class Pad(Op):
    """Numbers put around a tensor: zeros, a constant, reflections or copies of the border."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.pad.default",
        "aten.constant_pad_nd.default",
        "aten.reflection_pad1d.default",
        "aten.reflection_pad2d.default",
        "aten.replication_pad1d.default",
        "aten.replication_pad2d.default",
        "aten.zero_pad2d.default",
    )
    kind: ClassVar[str] = "shape"
    pads: tuple[tuple[int, int], ...] = ()  # before and after, the last dimension first
    mode: str = "constant"

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        flat = [int(p) for p in arguments.get("pad", arguments.get("padding"))]
        mode = (
            str(arguments.get("mode", "constant"))
            if call == "pad"
            else call.partition("_pad")[0].replace("zero", "constant")
        )
        return cls(tuple(zip(flat[::2], flat[1::2], strict=True)), mode)

    def describe(self) -> str:
        kind = "" if self.mode == "constant" else f" by {self.mode}"
        return f"Pad {', '.join(f'{before}+{after}' for before, after in self.pads)}{kind}"

    def shape(self, arguments: Arguments) -> Shape:
        out = list(first_shape(arguments))
        for i, (before, after) in enumerate(self.pads):
            out[-1 - i] += before + after
        return tuple(out)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        reach = reaches[0]
        for i, (before, after) in enumerate(self.pads):
            dim = len(out) - 1 - i
            if self.mode in ("constant", "zero"):
                reach = _read_from(reach, dim, Fraction(1), Fraction(-before), Fraction(-before))
            elif before or after:
                # A reflection reads up to `before` on from the border, a wrap from anywhere.
                far = Fraction(before + after)
                reach = (
                    reach.lost([dim])
                    if self.mode == "circular"
                    else _read_from(reach, dim, Fraction(1), -before - far, -before + far)
                )
        return reach


@dataclass(frozen=True)
class Upsample(Op):
    """Maps made larger: by the nearest number, or by a mean of the neighbours."""

    targets: ClassVar[tuple[str, ...]] = tuple(
        f"aten.{call}.{overload}"
        for call in (
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d "
            "upsample_bilinear2d upsample_linear1d upsample_trilinear3d upsample_bicubic2d"
        ).split()
        for overload in ("default", "vec")
    )
    kind: ClassVar[str] = "shape"
    mode: str = "nearest"

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(next(m for m in ("nearest", "bilinear", "trilinear", "bicubic", "linear") if m in call))

    def describe(self) -> str:
        return f"Upsample, {self.mode}"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        x = first_shape(arguments)
        reach = reaches[0]
        near = {"nearest": Fraction(1), "bicubic": Fraction(3)}.get(self.mode, Fraction(2))
        for dim in range(2, len(x)):
            factor = Fraction(x[dim], out[dim])
            reach = _read_from(reach, dim, factor, -near, near)
        return reach


@dataclass(frozen=True)
class PixelShuffle(Op):
    """Channels spread over space: (N, C r r, H, W) -> (N, C, r H, r W) (Shi et al. 2016, eq. 4)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.pixel_shuffle.default",)
    kind: ClassVar[str] = "shape"
    factor: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments["upscale_factor"]))

    @property
    def name(self) -> str:
        return "pixel_shuffle"

    def describe(self) -> str:
        return f"Pixel shuffle by {self.factor}"

    def shape(self, arguments: Arguments) -> Shape:
        *lead, channels, height, width = first_shape(arguments)
        r = self.factor
        return (*lead, channels // r**2, height * r, width * r)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        reach = reaches[0]
        for dim in (len(out) - 2, len(out) - 1):
            reach = _read_from(
                reach, dim, Fraction(1, self.factor), Fraction(1 - self.factor, self.factor), Fraction(0)
            )
        return reach


@dataclass(frozen=True)
class Expand(Op):
    """A dimension of 1 repeated without copying."""

    targets: ClassVar[tuple[str, ...]] = ("aten.expand.default", "aten.repeat.default", "aten.expand_as.default")
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True

    def describe(self) -> str:
        return "Expand"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        shape = tensor_shapes(arguments)[0]
        missing = len(out) - len(shape)
        reach = reaches[0].aligned(missing)
        return reach.lost([dim for dim in reach.dims if out[dim] != shape[dim - missing]])


@dataclass(frozen=True)
class Stack(Op):
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


@dataclass(frozen=True)
class Bookkeeping(Op):
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
        "aten.tril.default",
        "aten.triu.default",
    )
    kind: ClassVar[str] = "bookkeeping"
    is_view: ClassVar[bool] = True
    is_bookkeeping: ClassVar[bool] = True

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined(reaches)


def _read_from(reach: Reach, dim: int, factor: Fraction, low: Fraction, high: Fraction) -> Reach:
    """Output i of a dimension reads inputs factor * i + low to factor * i + high."""
    if dim not in reach.dims:
        return reach
    return Reach({**reach.dims, dim: reach.dims[dim].placed(factor, low, high)}, reach.unbounded)
