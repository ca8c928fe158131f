"""Linear layers over the features of each picture.

A small layer goes by groups, so that it stays in one region with its neighbours and their features in the cache. A
large one, whose weights come from memory, goes by blocks of outputs for all groups at once: each weight is read once.
The weight's gradient always goes that way, and is written once: sums for each slot would cost more to add up than the
products themselves. A small layer's waits for the end of the pass, where it breaks no region.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build, Where
    from pellucid.lanes.values import Memory, Value

__all__ = ["LinearBlock"]

_WIDE_FLOATS = 65_536  # of weights: beyond, they do not stay in a core's cache beside everything else
_PANEL = 64  # features that stand together where the kernels exchange pictures and features
_OUTPUTS = 48  # of a unit, at most: blocks of registers are 6
_INPUTS = 512  # of a unit of the input's gradient, at most: whole panels, and pieces of rows that memory likes
_SMALL_MACS = 4_000_000  # of a weight's gradient: below, a second thread is hardly awake before the first is done
_MOST_UNITS = 8  # below, smaller blocks keep more threads busy


class LinearBlock(Block):
    """y = x w^T + bias for x [I, 1, 1] and y [O, 1, 1].

    Args:
        weight: name of the parameter, [O, I].
        bias: name of the parameter, [O], or None.
    """

    def __init__(self, source: Value, output: Value, weight: str, bias: str | None = None) -> None:
        self.weight, self.bias = weight, bias
        self.inputs, self.outputs = (source,), (output,)
        self.parameters = (weight,) if bias is None else (weight, bias)
        self._floats = source.channels * output.channels
        self._is_wide = self._floats > _WIDE_FLOATS
        self.algorithm = "linear by blocks" if self._is_wide else "linear"

    def macs(self, batch: int) -> int:
        return self._floats * batch

    def forward(self, build: Build) -> None:
        (source,), (output,) = self.inputs, self.outputs
        bias = None if self.bias is None else build.parameter(self.bias)
        self._emit(build, "linear_forward", _blocks(output.channels, 6, _OUTPUTS), x=source, y=output, bias=bias)

    def backward(self, build: Build) -> None:
        (source,), (output,) = self.inputs, self.outputs
        gradient = build.gradient(output)
        self._parameters_backward(build, source, gradient)
        if build.wants(source):
            target, accumulate = build.adds_gradient(source)
            more = {"x": target, "y": gradient, "accumulate": accumulate}
            self._emit(build, "linear_input_gradient", _blocks(source.channels, _PANEL, _INPUTS), **more)

    def _emit(self, build: Build, kernel: str, blocks: tuple[int, int], **more: Any) -> None:
        """A product with the weight: by groups, or by blocks of so many outputs."""
        more["w"] = build.parameter(self.weight)
        if self._is_wide:
            block, units = blocks
            build.kernel(f"{kernel}_blocks", units=units, block=block, **self._sizes(build), **more)
        else:
            build.kernel(kernel, **self._sizes(build), **more)

    def _parameters_backward(self, build: Build, source: Value, gradient: Value) -> None:
        wants_weight = build.wants(self.weight)
        wants_bias = self.bias is not None and build.wants(self.bias)
        if not wants_weight and not wants_bias:
            return
        weight = build.parameter_gradient(self.weight) if wants_weight else None
        bias = build.parameter_gradient(self.bias) if wants_bias and self.bias is not None else None
        packed: Memory | None = None
        where: Where = "here" if self._is_wide else "end"
        if weight is not None:
            panels = -(-source.channels // _PANEL)
            packed = build.memory(f"turned {source.name}", panels * _PANEL * build.groups * build.lanes)
            build.kernel("linear_pack", x=source, packed=packed, **self._sizes(build))
        is_small = self.macs(build.batch) <= _SMALL_MACS
        block, units = (gradient.channels, 1) if is_small else _blocks(gradient.channels, 6, _OUTPUTS)
        more: dict[str, Any] = {"y": gradient, "packed": packed, "w": weight, "bias": bias, **self._sizes(build)}
        build.kernel("linear_weight_gradient_blocks", units=units, block=block, at=where, **more)

    def _sizes(self, build: Build) -> dict[str, Any]:
        (source,), (output,) = self.inputs, self.outputs
        return {"G": build.groups, "I": source.channels, "O": output.channels}


def _blocks(count: int, step: int, most: int) -> tuple[int, int]:
    """The size of a block, a multiple of ``step``, and how many there are: some for every thread, each a good while."""
    block = max(step, min(most, count // _MOST_UNITS // step * step))
    return block, -(-count // block)
