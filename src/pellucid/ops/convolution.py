"""Convolution (cross-correlation) in one to three dimensions, and its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape, per_axis, product, times
from pellucid.ops.field import Reach, Window


def _details(kernels: int, stride: Sequence[int], padding: object, dilation: Sequence[int], groups: int) -> str:
    parts = [f"{kernels} kernels"]
    if any(s != 1 for s in stride):
        parts.append(f"stride {stride[0] if len(set(stride)) == 1 else times(stride)}")
    if padding:
        parts.append(f"padding {padding}")
    if any(d != 1 for d in dilation):
        parts.append(f"dilation {dilation[0] if len(set(dilation)) == 1 else times(dilation)}")
    if groups != 1:
        parts.append(f"{groups} groups")
    return ", ".join(parts)


@dataclass(frozen=True)
class Convolution(Op):
    """Cross-correlation of feature maps with a bank of kernels, any number of spatial dimensions.

    (N, C, H, W) with weights (K, C / groups, R, S) -> (N, K, P, Q), P = floor((H + p - d (R - 1) - 1) / s) + 1.
    Dumoulin & Visin, A guide to convolution arithmetic (2016), relationships 1-6.
    """

    targets: ClassVar[tuple[str, ...]] = (
        "aten.conv1d.default",
        "aten.conv1d.padding",
        "aten.conv2d.default",
        "aten.conv2d.padding",
        "aten.conv3d.default",
        "aten.conv3d.padding",
        "aten.convolution.default",
    )
    kind: ClassVar[str] = "convolution"
    kernel: tuple[int, ...] = (1, 1)
    kernels: int = 1
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))  # before and after, for each axis
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Op:
        if arguments.get("transposed"):  # of ``aten.convolution``, which is both
            return TransposedConvolution.read(call, arguments)
        weight = arguments["weight"]
        kernel = tuple(weight[2:])
        axes = len(kernel)
        stride = per_axis(arguments.get("stride", 1), axes)
        dilation = per_axis(arguments.get("dilation", 1), axes)
        asked = arguments.get("padding", 0)
        if asked == "same":
            # The odd sample goes behind, as PyTorch has it.
            totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            padding = tuple((total // 2, total - total // 2) for total in totals)
        elif asked == "valid":
            padding = ((0, 0),) * axes
        else:
            padding = tuple((p, p) for p in per_axis(asked, axes))
        return cls(kernel, weight[0], stride, padding, dilation, int(arguments.get("groups", 1)))

    @property
    def windows(self) -> tuple[Window, ...]:
        """One for each spatial axis."""
        rows = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(Window(k, s, before, after, d) for k, s, (before, after), d in rows)

    def describe(self) -> str:
        padding = times([before for before, _ in self.padding]) if any(map(any, self.padding)) else ""
        if padding and len(set(self.padding)) == 1:
            before, after = self.padding[0]
            padding = str(before) if before == after else f"{before} before, {after} after"
        return f"Convolution {times(self.kernel)}, " + _details(
            self.kernels, self.stride, padding, self.dilation, self.groups
        )

    def shape(self, arguments: Arguments) -> Shape:
        x = arguments["input"]
        lead = x[: len(x) - len(self.kernel) - 1]
        sizes = x[len(x) - len(self.kernel) :]
        return (*lead, self.kernels, *(w.outputs(n) for w, n in zip(self.windows, sizes, strict=True)))

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        """Each output number is a sum over (C / groups) R S products."""
        return product(out) * product(arguments["weight"][1:])

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].windowed(self.windows, first=len(out) - len(self.kernel))


@dataclass(frozen=True)
class TransposedConvolution(Op):
    """The transpose of a convolution's linear map: each input number lays down a kernel.

    (N, C, H, W) with weights (C, K / groups, R, S) -> (N, K, P, Q), P = s (H - 1) - 2 p + d (R - 1) + extra + 1.
    """

    targets: ClassVar[tuple[str, ...]] = (
        "aten.conv_transpose1d.default",
        "aten.conv_transpose2d.input",
        "aten.conv_transpose3d.input",
    )
    kind: ClassVar[str] = "convolution"
    kernel: tuple[int, ...] = (1, 1)
    kernels: int = 1
    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    output_padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        weight = arguments["weight"]
        axes, groups = len(weight) - 2, int(arguments.get("groups", 1))
        named = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
        values = {name: per_axis(arguments.get(name, default), axes) for name, default in named.items()}
        return cls(kernel=tuple(weight[2:]), kernels=weight[1] * groups, groups=groups, **values)

    @property
    def name(self) -> str:
        return "transposed_convolution"

    @property
    def windows(self) -> tuple[Window, ...]:
        """Of the convolution that it transposes."""
        rows = zip(self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple(Window(k, s, p, p, d) for k, s, p, d in rows)

    def describe(self) -> str:
        padding = self.padding[0] if any(self.padding) else ""
        details = _details(self.kernels, self.stride, padding, self.dilation, self.groups)
        return f"Transposed convolution {times(self.kernel)}, {details}"

    def shape(self, arguments: Arguments) -> Shape:
        x = arguments["input"]
        axes = len(self.kernel)
        rows = zip(x[-axes:], self.windows, self.output_padding, strict=True)
        sizes = ((n - 1) * w.stride - 2 * w.before + w.span + extra for n, w, extra in rows)
        return (*x[: len(x) - axes - 1], self.kernels, *sizes)

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        """Each input number is multiplied by (K / groups) R S weights."""
        return product(arguments["input"]) * product(arguments["weight"][1:])

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].windowed(self.windows, first=len(out) - len(self.kernel), transposed=True)
