"""Pooling: maximum, average, sums and means over windows, adaptive and global."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, first_shape, per_axis, times
from pellucid.ops.field import Reach, Window


@dataclass(frozen=True)
class Pooling(Op):
    """A window that slides over each feature map by itself: (N, C, H, W) -> (N, C, P, Q)."""

    kind: ClassVar[str] = "pooling"
    word: ClassVar[str] = "Pooling"
    kernel: tuple[int, ...] = (2, 2)
    stride: tuple[int, ...] = (2, 2)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    ceil_mode: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(**_window_settings(arguments))

    @property
    def windows(self) -> tuple[Window, ...]:
        """One for each spatial axis."""
        rows = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(Window(k, s, p, p, d) for k, s, p, d in rows)

    def describe(self) -> str:
        parts = [f"{self.word} {times(self.kernel)}"]
        if self.stride != self.kernel:
            parts.append(f"stride {self.stride[0]}")
        if any(self.padding):
            parts.append(f"padding {self.padding[0]}")
        if any(d != 1 for d in self.dilation):
            parts.append(f"dilation {self.dilation[0]}")
        if self.ceil_mode:
            parts.append("ceil mode")
        return ", ".join(parts)

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        axes = len(self.kernel)
        sizes = (w.outputs(n, ceil_mode=self.ceil_mode) for w, n in zip(self.windows, x[-axes:], strict=True))
        return (*x[:-axes], *sizes)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].windowed(self.windows, first=len(out) - len(self.kernel))


@dataclass(frozen=True)
class MaxPooling(Pooling):
    """The largest number of each window. Minimum pooling is -max(-x), as two more nodes say."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.max_pool1d.default",
        "aten.max_pool2d.default",
        "aten.max_pool3d.default",
        "aten.max_pool1d_with_indices.default",
        "aten.max_pool2d_with_indices.default",
        "aten.max_pool3d_with_indices.default",
    )
    word: ClassVar[str] = "Max pooling"

    @property
    def name(self) -> str:
        return "max_pool"


@dataclass(frozen=True)
class AveragePooling(Pooling):
    """The mean of each window; with ``include_pad`` the padding counts as zeros, with ``divisor`` the sum is divided by
    that (1 gives sum pooling)."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.avg_pool1d.default",
        "aten.avg_pool2d.default",
        "aten.avg_pool3d.default",
    )
    word: ClassVar[str] = "Average pooling"
    include_pad: bool = True
    divisor: int | None = None

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        divisor = arguments.get("divisor_override")
        include = bool(arguments.get("count_include_pad", True))
        return cls(**_window_settings(arguments), include_pad=include, divisor=divisor)

    @property
    def name(self) -> str:
        return "avg_pool"

    def describe(self) -> str:
        text = super().describe()
        if self.divisor == 1:
            return text.replace("Average", "Sum", 1)
        return text + (", without padding in the mean" if any(self.padding) and not self.include_pad else "")


@dataclass(frozen=True)
class AdaptivePooling(Op):
    """Windows that divide each map into P x Q parts: output i is over floor(i H / P) to ceil((i + 1) H / P) - 1."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.adaptive_avg_pool1d.default",
        "aten.adaptive_avg_pool2d.default",
        "aten.adaptive_avg_pool3d.default",
        "aten._adaptive_avg_pool2d.default",
        "aten._adaptive_avg_pool3d.default",
        "aten.adaptive_max_pool1d.default",
        "aten.adaptive_max_pool2d.default",
        "aten.adaptive_max_pool3d.default",
    )
    kind: ClassVar[str] = "pooling"
    size: tuple[int, ...] = (1, 1)

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        size = arguments["output_size"]
        return cls(tuple(size) if not isinstance(size, int) else (size,))

    @property
    def name(self) -> str:
        return "adaptive_pool"

    def describe(self) -> str:
        return "Global pooling" if set(self.size) == {1} else f"Adaptive pooling to {times(self.size)}"

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        return (*x[: len(x) - len(self.size)], *self.size)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        x = first_shape(arguments)
        first = len(x) - len(self.size)
        reach = reaches[0]
        for dim, (n, p) in enumerate(zip(x[first:], self.size, strict=True), start=first):
            if dim not in reach.dims:
                continue
            if p == 1 and n > 1:
                reach = reach.lost([dim])
            elif p != n:
                factor = Fraction(n, p)
                # floor(i n/p) >= i n/p - (p-1)/p and ceil((i+1) n/p) - 1 <= i n/p + n/p - 1/p
                low, high = (Fraction(0), factor - 1) if n % p == 0 else (Fraction(1 - p, p), factor - Fraction(1, p))
                reach = Reach({**reach.dims, dim: reach.dims[dim].placed(factor, low, high)}, reach.unbounded)
        return reach


@dataclass(frozen=True)
class Reduction(Op):
    """A sum, mean, maximum or minimum over whole dimensions: global pooling, where these are the spatial ones."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.mean.dim",
        "aten.mean.default",
        "aten.sum.dim_IntList",
        "aten.sum.default",
        "aten.amax.default",
        "aten.amin.default",
        "aten.max.dim",
        "aten.min.dim",
        "aten.max.default",
        "aten.min.default",
        "aten.var.correction",
        "aten.std.correction",
        "aten.linalg_vector_norm.default",
        "aten.logsumexp.default",
        "aten.argmax.default",
        "aten.prod.dim_int",
        "aten.any.dim",
        "aten.any.default",
        "aten.all.dim",
        "aten.all.default",
        "aten.var_mean.correction",
        "aten.var_mean.dim",
        "aten.std_mean.correction",
        "aten.std_mean.dim",
        "aten.var.dim",
        "aten.std.dim",
    )
    kind: ClassVar[str] = "pooling"
    word: str = "mean"
    dims: tuple[int, ...] | None = None
    keep: bool = False

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rank = len(first_shape(arguments))
        given: Any = arguments.get("dim")
        listed = [given] if isinstance(given, int) else list(given or [])
        dims = tuple(sorted(int(d) % rank for d in listed)) or tuple(range(rank))
        return cls(call, dims, bool(arguments.get("keepdim", False)))

    @property
    def name(self) -> str:
        return self.word

    def describe(self) -> str:
        return (
            f"{self.word.capitalize()} over {'dimension' if len(self.dims or ()) == 1 else 'dimensions'} "
            + ", ".join(map(str, self.dims or ()))
        )

    def shape(self, arguments: Arguments) -> Shape:
        x, gone = first_shape(arguments), self.dims or ()
        return tuple(1 if i in gone else n for i, n in enumerate(x) if self.keep or i not in gone)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        rank, gone = len(first_shape(arguments)), self.dims or ()
        kept = [dim for dim in range(rank) if dim not in gone]
        where = {dim: dim if self.keep else i for i, dim in enumerate(kept)}
        return reaches[0].renamed(where)


def _window_settings(arguments: Arguments) -> dict[str, Any]:
    kernel = tuple(arguments["kernel_size"]) if not isinstance(arguments["kernel_size"], int) else None
    axes = len(kernel) if kernel and len(kernel) > 1 else len(first_shape(arguments)) - 2
    sizes = per_axis(arguments["kernel_size"], max(1, axes))
    axes = len(sizes)
    return {
        "kernel": sizes,
        "stride": per_axis(arguments.get("stride") or sizes, axes),
        "padding": per_axis(arguments.get("padding", 0), axes),
        "dilation": per_axis(arguments.get("dilation", 1), axes),
        "ceil_mode": bool(arguments.get("ceil_mode", False)),
    }
