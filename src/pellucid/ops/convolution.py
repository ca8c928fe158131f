"""Convolution (cross-correlation) in one to three dimensions, and its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, per_axis, product, times
from pellucid.ops.field import Reach, Window
from pellucid.ops.terms import Call, Index, Terms, flat, scaled, single, weighted


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

    def terms(self, at: Index, call: Call) -> Terms:
        """y[n, k, p, q] = sum over c, r, s of x[n, c, s p - before + d r, ...] w[k, c, r, s], plus the bias."""
        weight, axes = call.array("weight"), len(self.kernel)
        lead, kernel, place = at[: -axes - 1], at[-axes - 1], at[-axes:]
        channels = np.arange(weight.shape[1])
        taps = [np.arange(k) for k in self.kernel]
        read = [p * w.stride - w.before + w.dilation * tap for p, w, tap in zip(place, self.windows, taps, strict=True)]
        first = kernel // (self.kernels // self.groups) * weight.shape[1]
        places = flat(call.array("input").shape, *lead, first + channels, *read)
        weights = flat(weight.shape, kernel, channels, *taps)
        drawn = (len(channels), *self.kernel)
        groups = [weighted("product", call, "input", places, "weight", weights, shape=drawn)]
        if call.optional("bias") is not None:
            groups.append(single("bias", call, "bias", kernel))
        return Terms(tuple(groups), "sum of input x kernel" + (" + bias" if len(groups) > 1 else ""))

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of the input is the full correlation of the output's gradient with the kernels rotated by 180
        degrees; that of the weight is the correlation of the input with the output's gradient."""
        if of == "input":
            return self._gradient_of_input(at, call)
        if of == "weight":
            return self._gradient_of_weight(at, call)
        if of == "bias":
            out, axes = call.result.shape, len(self.kernel)
            spans = [np.arange(n) for n in (*out[: -axes - 1], *out[-axes:])]
            ranges = [*spans[: len(out) - axes - 1], np.array(at), *spans[len(out) - axes - 1 :]]
            group = scaled("product", call, "gradient", flat(out, *ranges), 1.0)
            return Terms((group,), "sum of the output's gradient")
        return None

    def _gradient_of_input(self, at: Index, call: Call) -> Terms:
        weight, out, axes = call.array("weight"), call.result.shape, len(self.kernel)
        lead, channel, place = at[: -axes - 1], at[-axes - 1], at[-axes:]
        group, inside = divmod(channel, weight.shape[1])
        share = self.kernels // self.groups
        kernels = np.arange(group * share, (group + 1) * share)
        pairs = [w.readers(y, n) for w, y, n in zip(self.windows, place, out[-axes:], strict=True)]
        gradients = flat(out, *lead, kernels, *(outputs for outputs, _ in pairs))
        weights = flat(weight.shape, kernels, [inside], *(taps for _, taps in pairs))
        drawn = (len(kernels), *(len(taps) for _, taps in pairs))
        table = weighted("product", call, "gradient", gradients, "weight", weights, shape=drawn)
        return Terms((table,), "full correlation of the output's gradient with the kernel rotated by 180 degrees")

    def _gradient_of_weight(self, at: Index, call: Call) -> Terms:
        x, weight, out, axes = call.array("input").shape, call.array("weight"), call.result.shape, len(self.kernel)
        kernel, inside, tap = at[0], at[1], at[2:]
        channel = kernel // (self.kernels // self.groups) * weight.shape[1] + inside
        lead = [np.arange(n) for n in out[: -axes - 1]]
        places = [np.arange(n) for n in out[-axes:]]
        read = [p * w.stride - w.before + w.dilation * t for p, w, t in zip(places, self.windows, tap, strict=True)]
        gradients = flat(out, *lead, [kernel], *places)
        inputs = flat(x, *lead, [channel], *read)
        drawn = (int(np.prod(out[: -axes - 1])), *out[-axes:])
        table = weighted("product", call, "gradient", gradients, "input", inputs, shape=drawn)
        return Terms((table,), "correlation of the input with the output's gradient")


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

    def terms(self, at: Index, call: Call) -> Terms:
        """Each input number that lays its kernel over this place: y = sum over c, p of x[n, c, p] w[c, k, r]."""
        weight, x, axes = call.array("weight"), call.array("input").shape, len(self.kernel)
        lead, kernel, place = at[: -axes - 1], at[-axes - 1], at[-axes:]
        group, inside = divmod(kernel, weight.shape[1])
        share = weight.shape[0] // self.groups
        channels = np.arange(group * share, (group + 1) * share)
        pairs = [w.readers(y, n) for w, y, n in zip(self.windows, place, x[-axes:], strict=True)]
        places = flat(x, *lead, channels, *(inputs for inputs, _ in pairs))
        weights = flat(weight.shape, channels, [inside], *(taps for _, taps in pairs))
        groups = [weighted("product", call, "input", places, "weight", weights)]
        if call.optional("bias") is not None:
            groups.append(single("bias", call, "bias", kernel))
        return Terms(tuple(groups), "sum of input x kernel laid down" + (" + bias" if len(groups) > 1 else ""))

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradient of the input is the plain correlation of the output's gradient with the kernel."""
        weight, out, axes = call.array("weight"), call.result.shape, len(self.kernel)
        x = call.array("input").shape
        share = weight.shape[0] // self.groups
        if of == "input":
            lead, channel, place = at[: -axes - 1], at[-axes - 1], at[-axes:]
            kernels = np.arange(weight.shape[1])
            taps = [np.arange(k) for k in self.kernel]
            read = [p * w.stride - w.before + w.dilation * t for p, w, t in zip(place, self.windows, taps, strict=True)]
            first = channel // share * weight.shape[1]
            gradients = flat(out, *lead, first + kernels, *read)
            weights = flat(weight.shape, channel, kernels, *taps)
            table = weighted("product", call, "gradient", gradients, "weight", weights)
            return Terms((table,), "correlation of the output's gradient with the kernel")
        lead_all = [np.arange(n) for n in out[: -axes - 1]]
        if of == "weight":
            channel, inside, tap = at[0], at[1], at[2:]
            places = [np.arange(n) for n in x[-axes:]]
            laid = [p * w.stride - w.before + w.dilation * t for p, w, t in zip(places, self.windows, tap, strict=True)]
            gradients = flat(out, *lead_all, [channel // share * weight.shape[1] + inside], *laid)
            inputs = flat(x, *lead_all, [channel], *places)
            table = weighted("product", call, "gradient", gradients, "input", inputs)
            return Terms((table,), "correlation of the output's gradient with the input")
        if of == "bias":
            everywhere = [np.arange(n) for n in out[-axes:]]
            table = scaled("product", call, "gradient", flat(out, *lead_all, at[0], *everywhere), 1.0)
            return Terms((table,), "sum of the output's gradient")
        return None
