"""Sliding windows as a view: every window of a tensor as a dimension of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Shape, first_shape
from pellucid.ops.field import Reach, Window
from pellucid.ops.moves import Move
from pellucid.ops.terms import Call, Index, Places, flat, one_place


@dataclass(frozen=True)
class Unfold(Move):
    """The windows along a dimension (``Tensor.unfold``): (..., H, ...) -> (..., P, ..., R), P = floor((H - R) / s) + 1.

    Number (p, r) of the result is number s p + r of the tensor: windows that overlap hold the same numbers.
    """

    targets: ClassVar[tuple[str, ...]] = ("aten.unfold.default",)
    kind: ClassVar[str] = "shape"
    is_view: ClassVar[bool] = True
    dim: int = 0
    size: int = 1
    step: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        rank = len(first_shape(arguments))
        return cls(int(arguments["dimension"]) % rank, int(arguments["size"]), int(arguments["step"]))

    @property
    def window(self) -> Window:
        """What slides."""
        return Window(self.size, self.step)

    def describe(self) -> str:
        return f"Windows of {self.size} along dimension {self.dim}" + (f", step {self.step}" if self.step > 1 else "")

    def shape(self, arguments: Arguments) -> Shape:
        x = first_shape(arguments)
        return (*x[: self.dim], self.window.outputs(x[self.dim]), *x[self.dim + 1 :], self.size)

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        """Any number of window p may see what the window holds: s p to s p + R - 1."""
        return reaches[0].read(self.dim, Fraction(self.step), Fraction(0), Fraction(self.size - 1))

    def source(self, at: Index, call: Call) -> tuple[str, int]:
        """The number s p + r."""
        slot, index = self.origin(call), list(at[:-1])
        index[self.dim] = at[self.dim] * self.step + at[-1]
        return slot, one_place(call.array(slot).shape, tuple(index))

    def readers(self, of: str, at: Index, call: Call) -> list[tuple[str, Places]]:
        """The windows that hold a number, each at another tap."""
        out = call.result.shape
        windows, taps = self.window.readers(at[self.dim], out[self.dim])
        found = [
            flat(out, *(windows[i] if d == self.dim else k for d, k in enumerate(at)), tap)
            for i, tap in enumerate(taps)
        ]
        return [("gradient", np.concatenate(found))] if found else []
