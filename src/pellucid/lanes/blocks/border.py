"""Where feature maps enter the engine and leave it: from and to the order that PyTorch has them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.frame import Frame
    from pellucid.lanes.values import Value

__all__ = ["Enter", "Leave"]


class Enter(Block):
    """A tensor of PyTorch (N, ...) as a feature map."""

    def __init__(self, slot: str, output: Value) -> None:
        self.name, self.slot, self.outputs = slot, slot, (output,)
        self.algorithm = "to lanes"

    def forward(self, build: Build) -> None:
        (value,) = self.outputs
        build.kernel("to_lanes", plain=build.slot(self.slot), lanes=value, M=value.floats // build.lanes, N=build.batch)

    def backward(self, build: Build) -> None:
        (value,) = self.outputs
        build.host(self._make)
        plain = build.slot_gradient(self.slot)
        gradient = build.gradient(value)
        build.kernel(
            "from_lanes", plain=plain, lanes=gradient, M=value.floats // build.lanes, N=build.batch, accumulate=1
        )

    def _make(self, frame: Frame) -> None:
        frame.complete_gradient(self.slot)


class Leave(Block):
    """A feature map as a tensor of PyTorch."""

    recalls = True

    def __init__(self, value: Value, slot: str, shape: tuple[int, ...]) -> None:
        self.name, self.slot, self.inputs, self.shape = slot, slot, (value,), shape
        self.algorithm = "from lanes"

    def forward(self, build: Build) -> None:
        (value,) = self.inputs
        build.makes_slot(self.slot, self.shape)
        build.kernel(
            "from_lanes", plain=build.slot(self.slot), lanes=value, M=value.floats // build.lanes, N=build.batch
        )

    def backward(self, build: Build) -> None:
        (value,) = self.inputs
        if not value.needs_gradient:
            return
        if self.slot in build.inner_slots:
            build.host(self._complete)
        target, accumulate = build.adds_gradient(value)
        build.kernel(
            "to_lanes",
            plain=build.slot_gradient(self.slot),
            lanes=target,
            M=value.floats // build.lanes,
            N=build.batch,
            accumulate=accumulate,
            is_gradient=1,
        )

    def _complete(self, frame: Frame) -> None:
        """Where none of the parts that took the tensor had a gradient for it, it is 0."""
        frame.complete_gradient(self.slot)
