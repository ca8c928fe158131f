"""Feature maps made larger or smaller, and channels spread over space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Value

__all__ = ["UPSAMPLE_MODES", "PixelShuffleBlock", "UpsampleBlock"]

# Mode (as ops.Upsample names it) -> its number in native/lanes/moves.h.
UPSAMPLE_MODES = {"nearest": 0, "nearest_exact": 1, "linear": 2, "bilinear": 2, "bicubic": 3}


class UpsampleBlock(Block):
    """A map of another size: the nearest numbers, or means of the neighbours.

    Args:
        mode: one of ``UPSAMPLE_MODES``.
        scales: outputs for each input, of each spatial axis, where a scale was asked for; None where a size was.
        corners: whether the first and the last places of both maps lie over one another.
    """

    def __init__(
        self,
        source: Value,
        output: Value,
        mode: str,
        scales: Sequence[float | None] = (None, None),
        *,
        corners: bool = False,
    ) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.mode, self.corners = mode, corners
        self.axes = len(scales)
        self.scales = (None, *scales)[-2:]
        self.algorithm = f"resize, {mode.replace('_', ' ')}"

    def _factor(self, axis: int, backward: bool) -> float:
        """Inputs for each output. Where the nearest numbers make a map of 1 or 2 times the size by a scale that is not
        quite 1 or 2, PyTorch takes it for 1 or 2 on the way back, and on the way forth in two dimensions."""
        inputs, outputs = self.inputs[0].shape[1 + axis], self.outputs[0].shape[1 + axis]
        if self.corners and not self.mode.startswith("nearest"):
            return (inputs - 1) / (outputs - 1) if outputs > 1 else 0.0
        scale = self.scales[axis]
        if self.mode == "nearest" and (backward or self.axes == 2) and outputs in (inputs, 2 * inputs):
            scale = None
        return 1 / scale if scale else inputs / outputs

    def _fields(self, build: Build, *, backward: bool) -> dict[str, Any]:
        sizes = dict(zip("CHWPQ", (*self.inputs[0].shape, *self.outputs[0].shape[1:]), strict=True))
        factors = {"factor_h": self._factor(0, backward), "factor_w": self._factor(1, backward)}
        settings = {"mode": UPSAMPLE_MODES[self.mode], "corners": int(self.corners)}
        return {**sizes, **factors, **settings, "G": build.groups, "live": build.live}

    def forward(self, build: Build) -> None:
        build.kernel("resize_forward", x=self.inputs[0], y=self.outputs[0], **self._fields(build, backward=False))

    def backward(self, build: Build) -> None:
        if not build.wants(self.inputs[0]):
            return
        gradient = build.gradient(self.outputs[0])
        into, accumulate = build.adds_gradient(self.inputs[0])
        fields = self._fields(build, backward=True) | {"accumulate": accumulate}
        build.kernel("resize_backward", x=into, y=gradient, **fields)


class PixelShuffleBlock(Block):
    """Channels spread over space, (C r r, H, W) to (C, r H, r W), or with ``back`` space put into channels."""

    def __init__(self, source: Value, output: Value, factor: int, *, back: bool = False) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.factor, self.back = factor, back
        self.algorithm = "pixel unshuffle" if back else "pixel shuffle"

    def _emit(self, build: Build, source: Value, output: Value, *, to_space: bool, accumulate: int) -> None:
        """One way or the other; the kernels call the map with more channels x."""
        x, y = (source, output) if to_space else (output, source)
        _, H, W = x.shape
        fields: dict[str, Any] = {
            "C": y.channels,
            "H": H,
            "W": W,
            "r": self.factor,
            "G": build.groups,
            "live": build.live,
        }
        kernel = "pixel_shuffle" if to_space else "pixel_unshuffle"
        build.kernel(kernel, x=x, y=y, accumulate=accumulate, **fields)

    def forward(self, build: Build) -> None:
        self._emit(build, self.inputs[0], self.outputs[0], to_space=not self.back, accumulate=0)

    def backward(self, build: Build) -> None:
        if not build.wants(self.inputs[0]):
            return
        gradient = build.gradient(self.outputs[0])
        into, accumulate = build.adds_gradient(self.inputs[0])
        self._emit(build, gradient, into, to_space=self.back, accumulate=accumulate)
