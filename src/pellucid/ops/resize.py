"""Maps made larger or smaller: padding, upsampling, channels spread over space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import floor
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, first_shape
from pellucid.ops.field import Reach
from pellucid.ops.interpolation import Shares, shares
from pellucid.ops.moves import Along, Move, reads_of_padding, shuffled, unshuffled
from pellucid.ops.terms import Call, Group, Index, Places, Terms, flat, one_place, scaled


@dataclass(frozen=True)
class Pad(Move):
    """Numbers put around a tensor: zeros, a constant, reflections or copies of the border."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.pad.default",
        "aten.constant_pad_nd.default",
        "aten.reflection_pad1d.default",
        "aten.reflection_pad2d.default",
        "aten.reflection_pad3d.default",
        "aten.replication_pad1d.default",
        "aten.replication_pad2d.default",
        "aten.replication_pad3d.default",
        "aten.zero_pad2d.default",
    )
    kind: ClassVar[str] = "shape"
    pads: tuple[tuple[int, int], ...] = ()  # before and after, the last dimension first
    mode: str = "constant"

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        flat = [int(p) for p in arguments.get("pad", arguments.get("padding"))]
        words = {"constant": "constant", "zero": "constant", "reflection": "reflect", "replication": "replicate"}
        mode = str(arguments.get("mode", "constant")) if call == "pad" else words[call.partition("_pad")[0]]
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
            if self.mode == "constant":
                reach = reach.read(dim, Fraction(1), Fraction(-before), Fraction(-before))
            elif self.mode == "circular" and (before or after):
                reach = reach.lost([dim])
            elif before or after:
                # Output i stands at i - before. In front, a reflection reads up to 2 `before` further on, a copy of the
                # border up to `before`; behind, as far back.
                far = 2 if self.mode == "reflect" else 1
                low, high = -before - far * max(0, after), -before + far * max(0, before)
                reach = reach.read(dim, Fraction(1), Fraction(low), Fraction(high))
        return reach

    def along(self, call: Call) -> Sequence[Along]:
        along = list(super().along(call))
        for i, (before, after) in enumerate(self.pads):
            dim = len(along) - 1 - i
            along[dim] = Along(dim, reads_of_padding(len(along[dim].reads), before, after, self.mode))
        return along

    def terms(self, at: Index, call: Call) -> Terms:
        """The number that was read; in the padding the constant."""
        slot, place = self.source(at, call)
        if place >= 0:
            return super().terms(at, call)
        value = float(call.arguments.get("value") or 0.0)
        table = Group("padding", np.array([value], np.float64), slot, np.array([place]), note=f"a constant, {value:g}")
        return Terms((table,), "a number of the padding")


@dataclass(frozen=True)
class Upsample(Op):
    """Maps made larger or smaller: by the nearest number, or by a mean of the neighbours.

    Output i stands at f i of the input (nearest), at f (i + 1/2) - 1/2, or with ``align_corners`` at
    i (n - 1) / (outputs - 1), where f is the inverse of the scale that was asked for, else inputs / outputs.
    """

    targets: ClassVar[tuple[str, ...]] = tuple(
        f"aten.{call}.{overload}"
        for call in (
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
            "_upsample_nearest_exact2d _upsample_nearest_exact3d upsample_bilinear2d upsample_linear1d "
            "upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"
        ).split()
        for overload in ("default", "vec")
    )
    kind: ClassVar[str] = "shape"
    mode: str = "nearest"
    scales: tuple[float | None, ...] = ()
    corners: bool = False
    smooths: bool = False  # antialiasing: a wider window when the map is made smaller

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        modes = ("nearest_exact", "nearest", "bilinear", "trilinear", "bicubic", "linear")
        axes = len(first_shape(arguments)) - 2
        listed = arguments.get("scale_factors")
        single = [arguments.get(name) for name in ("scales_d", "scales_h", "scales_w", "scales")]
        found = listed or [scale for scale in single if scale is not None]
        scales = tuple(map(float, found)) if len(found) == axes else (None,) * axes
        mode = next(mode for mode in modes if mode in call)
        return cls(mode, scales, bool(arguments.get("align_corners", False)), call.endswith("_aa"))

    def describe(self) -> str:
        known = [f"{scale:g}" for scale in self.scales if scale is not None]
        by = f" by {known[0] if len(set(known)) == 1 else 'x'.join(known)}" if known else ""
        return f"Upsample{by}, {self.mode.replace('_', ' ')}"

    def shape(self, arguments: Arguments) -> Shape:
        x, size = first_shape(arguments), arguments.get("output_size")
        if size is None:
            size = [floor(n * (scale or 1.0)) for n, scale in zip(x[2:], self.scales, strict=True)]
        return (*x[:2], *map(int, size))

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        x, reach = first_shape(arguments), reaches[0]
        for dim, scale in enumerate(self.scales, start=2):
            factor = Fraction(x[dim], out[dim]) if not scale else 1 / Fraction(scale).limit_denominator(10_000)
            reach = reach.read(dim, *self._reads(factor, x[dim], out[dim]))
        return reach

    def _reads(self, factor: Fraction, inputs: int, outputs: int) -> tuple[Fraction, Fraction, Fraction]:
        """Output i reads inputs f i + low to f i + high. What is rounded down falls short of a whole number of
        denominators by one of them at most."""
        if self.mode == "nearest":
            return factor, Fraction(1, factor.denominator) - 1, Fraction(0)
        if self.mode == "nearest_exact":
            middle = factor / 2
            return factor, middle + Fraction(1, middle.denominator) - 1, middle
        if self.corners:
            factor, middle = Fraction(inputs - 1, max(1, outputs - 1)), Fraction(0)
        else:
            middle = (factor - 1) / 2
        near = Fraction(2 if self.mode == "bicubic" else 1)
        if self.smooths:
            near *= max(Fraction(1), factor)
        else:
            near -= Fraction(1, 2 * factor.denominator)
        return factor, middle - near, middle + near

    def terms(self, at: Index, call: Call) -> Terms:
        """The neighbours times their shares, the product of the shares along each axis."""
        slot = call.slots()[0]
        read = [own.of_output(p) for own, p in zip(self._shares(call), at[2:], strict=True)]
        places = flat(call.array(slot).shape, *at[:2], *(samples for samples, _ in read))
        if self.mode.startswith("nearest"):
            return Terms((scaled("copy", call, slot, places, 1.0),), "the nearest number of the input")
        table = scaled("product", call, slot, places, _outer([weights for _, weights in read]), "share of a neighbour")
        return Terms((table,), "sum of neighbours x shares")

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The gradients of all numbers that a number has a share in, times its shares."""
        read = [own.of_input(p) for own, p in zip(self._shares(call, back=True), at[2:], strict=True)]
        places = flat(call.result.shape, *at[:2], *(outputs for outputs, _ in read))
        role = "copy" if self.mode.startswith("nearest") else "product"
        weights = _outer([weights for _, weights in read])
        return Terms(
            (scaled(role, call, "gradient", places, weights, "share"),), "sum of the output's gradient x share"
        )

    def _shares(self, call: Call, *, back: bool = False) -> list[Shares]:
        """For each axis. Where the nearest numbers make a map of 1 or 2 times the size by a scale that is not quite 1
        or 2, PyTorch takes it for 1 or 2 on the way back, and on the way forth in two dimensions."""
        x = call.array(call.slots()[0])
        precision: Any = np.float64 if x.dtype == np.float64 else np.float32
        found = []
        for inputs, outputs, scale in zip(x.shape[2:], call.result.shape[2:], self.scales, strict=True):
            if self.mode == "nearest" and (back or len(self.scales) == 2) and outputs in (inputs, 2 * inputs):
                scale = None
            given = {"corners": self.corners, "smooths": self.smooths, "precision": precision}
            found.append(shares(self.mode, inputs, outputs, scale, **given))
        return found


def _outer(weights: Sequence[Any]) -> Any:
    """All products of one number of each, the last runs fastest."""
    return reduce(np.multiply.outer, weights).reshape(-1)


@dataclass(frozen=True)
class PixelShuffle(Move):
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
            reach = reach.read(dim, Fraction(1, self.factor), Fraction(1 - self.factor, self.factor), Fraction(0))
        return reach

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        slot = self.origin(call)
        return slot, one_place(call.array(slot).shape, shuffled(at, self.factor))

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        return [("gradient", np.array([one_place(call.result.shape, unshuffled(at, self.factor))]))]


@dataclass(frozen=True)
class PixelUnshuffle(Move):
    """Space put into channels: (N, C, r H, r W) -> (N, C r r, H, W), the way back."""

    targets: ClassVar[tuple[str, ...]] = ("aten.pixel_unshuffle.default",)
    kind: ClassVar[str] = "shape"
    factor: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments["downscale_factor"]))

    @property
    def name(self) -> str:
        return "pixel_unshuffle"

    def describe(self) -> str:
        return f"Pixel unshuffle by {self.factor}"

    def shape(self, arguments: Arguments) -> Shape:
        *lead, channels, height, width = first_shape(arguments)
        r = self.factor
        return (*lead, channels * r**2, height // r, width // r)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        reach = reaches[0]
        for dim in (len(out) - 2, len(out) - 1):
            reach = reach.read(dim, Fraction(self.factor), Fraction(0), Fraction(self.factor - 1))
        return reach

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        slot = self.origin(call)
        return slot, one_place(call.array(slot).shape, unshuffled(at, self.factor))

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        return [("gradient", np.array([one_place(call.result.shape, shuffled(at, self.factor))]))]
