"""Feature maps copied, cut, padded and put into another order: numbers moved, none computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Value

__all__ = ["PAD_MODES", "CopyBlock", "PadBlock", "ShuffleBlock", "SliceBlock"]

PAD_MODES = ("constant", "reflect", "replicate", "circular")  # in the order of native/lanes/moves.h
Triple = tuple[int, int, int]


class SliceBlock(Block):
    """Output (k, p, q) reads input start + step (k, p, q): slices, every n-th place, other orders.

    Args:
        starts: of C, H and W. steps: of each; -1 from the last place on turns the order round. What lies outside of the
            input is 0, and its gradient goes nowhere.
    """

    algorithm = "slice"

    def __init__(self, source: Value, output: Value, starts: Triple = (0, 0, 0), steps: Triple = (1, 1, 1)) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.starts, self.steps = starts, steps
        self._extra: dict[str, Any] = {}

    def _fields(self, build: Build) -> dict[str, Any]:
        sizes = dict(zip("CHWKPQ", (*self.inputs[0].shape, *self.outputs[0].shape), strict=True))
        starts = {f"start_{axis}": start for axis, start in zip("chw", self.starts, strict=True)}
        steps = {f"step_{axis}": step for axis, step in zip("chw", self.steps, strict=True)}
        return {**sizes, **starts, **steps, **self._extra, "G": build.groups, "live": build.live}

    def forward(self, build: Build) -> None:
        build.kernel("move_forward", x=self.inputs[0], y=self.outputs[0], **self._fields(build))

    def backward(self, build: Build) -> None:
        if not build.wants(self.inputs[0]):
            return
        gradient = build.gradient(self.outputs[0])
        into, accumulate = build.adds_gradient(self.inputs[0])
        build.kernel("move_backward", x=into, y=gradient, accumulate=accumulate, **self._fields(build))


class CopyBlock(SliceBlock):
    """The same numbers in another place, such as a part of a concatenation that could not be computed there."""

    algorithm = "copy"

    def __init__(self, source: Value, output: Value) -> None:
        super().__init__(source, output)


class ShuffleBlock(SliceBlock):
    """Channels dealt out: of ``groups`` runs of channels the first of each, then the second of each, and so on."""

    algorithm = "channel shuffle"

    def __init__(self, source: Value, output: Value, groups: int) -> None:
        super().__init__(source, output)
        self._extra = {"shuffle": groups}


class PadBlock(SliceBlock):
    """Numbers put around a map, or (below 0) cut off.

    Args:
        pads: before and after, the last dimension first, as ``ops.Pad`` has them: of W, H and C.
        mode: one of ``PAD_MODES``; channels can only be padded with a constant. value: that constant.
    """

    algorithm = "pad"

    def __init__(
        self,
        source: Value,
        output: Value,
        pads: Sequence[tuple[int, int]],
        mode: str = "constant",
        value: float = 0.0,
    ) -> None:
        before = [pad[0] for pad in pads] + [0] * 3
        super().__init__(source, output, (-before[2], -before[1], -before[0]))
        self._extra = {"mode": PAD_MODES.index(mode), "value": value}
