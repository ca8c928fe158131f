"""Convolution and transposed convolution: which kernels compute each pass, and what memory they need.

Every pass is described by the geometry of a forward convolution from x [C, H, W] to y [K, P, Q]. A transposed
convolution is its input gradient: it reads y and writes x, and its own way back is the forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build, Where
    from pellucid.lanes.values import Base, Memory, Value

__all__ = ["ConvolutionBlock", "Geometry", "Pass", "candidates", "default_algorithm"]

Pass = Literal["forward", "input gradient", "weight gradient"]
Pair = tuple[int, int]

_PARTIAL_FLOATS = 150_000  # of weights: beyond, partial sums for each slot cost more than a barrier
_PARTIAL_PIXELS = 64  # of an output: below, there is too little to sum for each slot
_TINY_FLOATS = 10_000
_UNIT_KERNELS = 128  # of a weight's gradient by blocks of kernels, at most
_WINOGRAD_BY_GROUPS = 64 * 64  # C K: beyond, parts of the batch are fewer than slots
_WINOGRAD_WIDE = 200 * 200  # C K: beyond, transformed weights go once through the caches for all groups
_WIDE_FLOATS = 32 << 20  # of transformed numbers between the stages: a larger batch is done in several ranges of groups


@dataclass(frozen=True)
class Geometry:
    """A convolution [C, H, W] -> [K, P, Q] with R x S kernels. pad: before rows and columns; groups: of channels.

    transposed: whether the layer goes the other way, from [K, P, Q] to [C, H, W].
    """

    C: int
    H: int
    W: int
    K: int
    P: int
    Q: int
    R: int
    S: int
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    transposed: bool = False

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.K * (self.C // self.groups) * self.R * self.S

    @property
    def is_depthwise(self) -> bool:
        """Whether every input channel has kernels of its own."""
        return self.groups == self.C and self.groups > 1

    @property
    def suits_winograd(self) -> bool:
        """Whether it is 3 x 3 with stride 1 over all channels."""
        plain = self.stride == (1, 1) and self.dilation == (1, 1) and self.groups == 1
        return plain and (self.R, self.S) == (3, 3) and max(self.pad) <= 2 and not self.transposed

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one picture, as the textbook counts them: with those by padding."""
        return self.weights * self.P * self.Q

    def fields(self, build: Build) -> dict[str, Any]:
        """The kernels' arguments."""
        pairs = {"stride": self.stride, "dilation": self.dilation}
        more = {f"{name}_{axis}": pair[i] for name, pair in pairs.items() for i, axis in enumerate("hw")}
        return {**self.winograd_fields(build), **more, "R": self.R, "S": self.S, "conv_groups": self.groups}

    def winograd_fields(self, build: Build) -> dict[str, Any]:
        """The arguments of Winograd's kernels, which know one kernel size and stride only."""
        sizes = {letter: getattr(self, letter) for letter in "CHWKPQ"}
        return {**sizes, "pad_h": self.pad[0], "pad_w": self.pad[1], "G": build.groups, "live": build.live}


def candidates(geometry: Geometry, direction: Pass) -> list[str]:
    """The algorithms that compute a pass, the default first."""
    if geometry.is_depthwise and not geometry.transposed:
        return ["depthwise", "direct"]
    found = ["direct"]
    if direction == "weight gradient":
        n, pixels = geometry.weights, geometry.P * geometry.Q
        found.append("direct by blocks")
        if n > _PARTIAL_FLOATS or (pixels < _PARTIAL_PIXELS and n > _TINY_FLOATS):
            found.reverse()
    if geometry.suits_winograd:
        least = 64 if direction == "weight gradient" else 32
        pays = min(geometry.C, geometry.K) >= least and min(geometry.P, geometry.Q) >= 4
        winograd = ["winograd 4x4", "winograd 2x2"]
        large = geometry.C * geometry.K >= _WINOGRAD_WIDE
        if large or geometry.C * geometry.K >= _WINOGRAD_BY_GROUPS:
            winograd.insert(0 if large else 1, "winograd wide 4x4")
        found = [*winograd, *found] if pays else [*found, *winograd]
    return found


def default_algorithm(geometry: Geometry, direction: Pass) -> str:
    """What is taken where nothing was measured."""
    return candidates(geometry, direction)[0]


class ConvolutionBlock(Block):
    """A convolution, or a transposed one, with or without bias.

    Args:
        weight: name of the parameter, [K, C / groups, R, S] in both cases.
        bias: name of the parameter, one number for each channel of the output, or None.
        algorithms: for each pass one of its candidates; what is missing is taken by default.
    """

    recalls = True

    def __init__(
        self,
        geometry: Geometry,
        source: Value,
        output: Value,
        weight: str,
        bias: str | None = None,
        algorithms: Mapping[Pass, str] | None = None,
    ) -> None:
        x, y = (output, source) if geometry.transposed else (source, output)
        if (x.shape, y.shape) != ((geometry.C, geometry.H, geometry.W), (geometry.K, geometry.P, geometry.Q)):
            raise ValueError(f"{x} and {y} are not the feature maps of {geometry}")
        self.geometry, self.weight, self.bias = geometry, weight, bias
        self.inputs, self.outputs = (source,), (output,)
        self.parameters = (weight,) if bias is None else (weight, bias)
        passes: tuple[Pass, ...] = ("forward", "input gradient", "weight gradient")
        given = algorithms or {}
        self.algorithms = {name: given.get(name) or default_algorithm(geometry, name) for name in passes}
        self.algorithm = ", ".join(dict.fromkeys(self.algorithms.values()))
        self._statistics: Memory | None = None

    def macs(self, batch: int) -> int:
        return self.geometry.macs * batch

    def offer_statistics(self, build: Build) -> Memory:
        """Sums of the output for batch statistics, [G][channels][3][L]; to be asked for before the forward pass."""
        (output,) = self.outputs
        if self._statistics is None:
            floats = build.groups * output.channels * 3 * build.lanes
            self._statistics = build.memory(f"statistics of {output.name}", floats)
        return self._statistics

    def measure_into(self, statistics: Memory) -> None:
        """Add up the sums of the output for batch statistics, [G][channels][3][L], as it is written."""
        self._statistics = statistics

    def forward(self, build: Build) -> None:
        (source,), (output,) = self.inputs, self.outputs
        bias = None if self.bias is None else build.parameter(self.bias)
        emit = self._input_gradient_pass if self.geometry.transposed else self._forward_pass
        x, y = (output, source) if self.geometry.transposed else (source, output)
        emit(build, x, y, bias=bias, statistics=self._statistics)

    def backward(self, build: Build) -> None:
        (source,), (output,) = self.inputs, self.outputs
        gradient = build.gradient(output)
        if build.wants(self.weight):
            given = build.recalled(source)
            x, y = (gradient, given) if self.geometry.transposed else (given, gradient)
            self._weight_gradient_pass(build, x, y)
        if self.bias is not None and build.wants(self.bias) and not self._bias_comes_with_weight(build):
            self._bias_gradient(build, gradient, self.bias)
        if source.needs_gradient:
            target, accumulate = build.adds_gradient(source)
            if self.geometry.transposed:
                self._forward_pass(build, gradient, target, accumulate=accumulate)
            else:
                self._input_gradient_pass(build, target, gradient, accumulate=accumulate)

    # -- the passes of the underlying convolution

    def _forward_pass(self, build: Build, x: Value, y: Value, **more: Any) -> None:
        self._pass(build, "forward", x=x, y=y, **more)

    def _input_gradient_pass(self, build: Build, x: Value, y: Value, **more: Any) -> None:
        self._pass(build, "input gradient", x=x, y=y, **more)

    def _pass(self, build: Build, direction: Pass, **more: Any) -> None:
        """One kernel by groups, after its weights were packed at the start of the program."""
        geometry, fields, algorithm = self.geometry, self.geometry.fields(build), self.algorithms[direction]
        suffix, weight = direction.replace(" ", "_"), build.parameter(self.weight)
        if algorithm == "depthwise":
            build.kernel(f"depthwise_{suffix}", w=weight, **fields, **more)
            return
        channels, pack = (geometry.K, "pack") if direction == "forward" else (geometry.C, "pack_transposed")
        family, floats = "direct", geometry.weights
        units = geometry.groups * -(-channels // geometry.groups // _block(build))
        if algorithm.startswith("winograd"):
            family, tile = "winograd", int(algorithm[-1])
            fields = {**geometry.winograd_fields(build), "tile": tile}
            floats = (tile + 2) ** 2 * _up(geometry.C, 4) * _up(geometry.K, 4)
            units = -(-channels // 32)
        packed = build.memory(f"packed {self.weight}", floats)
        packs: dict[str, Any] = {"units": units, "w": weight, "packed": packed, **fields}
        if algorithm.startswith("winograd wide"):
            self._winograd_wide(build, direction, {**fields, **more, "packed": packed}, packs, int(algorithm[-1]))
            return
        build.kernel(f"{family}_{pack}", at="start", **packs)
        build.kernel(f"{family}_{suffix}", packed=packed, **fields, **more)

    def _winograd_wide(
        self, build: Build, direction: Pass, fields: dict[str, Any], packs: dict[str, Any], tile: int
    ) -> None:
        """Transform, multiply, transform back: three stages over all groups, or over ranges of a large batch.

        The weights are packed where all threads meet anyway, so that their memory is only held while it is used.
        """
        g, back = self.geometry, direction == "input gradient"
        inputs, kernels, height, width = (g.K, g.C, g.H, g.W) if back else (g.C, g.K, g.P, g.Q)
        tiles, points = _tiles(height, width, tile), (tile + 2) ** 2
        most = min(build.groups, max(1, _WIDE_FLOATS // (points * tiles * max(inputs, kernels) * build.lanes)))
        memory: dict[str, Any] = {
            "points": build.memory(f"points of {self.weight}", points * (most * tiles * inputs + 1) * build.lanes),
            "products": build.memory(
                f"products of {self.weight}", points * (most * tiles * _up(kernels, 4) + 1) * build.lanes
            ),
        }
        for first, count in _ranges(build.groups, most):
            part = {**fields, "first_group": first, "group_count": count, "is_gradient": int(back)}
            units = None if count == build.groups else count  # by groups where it is all of them
            reads, writes = ("y", "x") if back else ("x", "y")
            build.kernel("winograd_wide_input", units=units, **_without(part, writes, "bias", "statistics"), **memory)
            if first == 0:
                build.kernel("winograd_pack_transposed" if back else "winograd_pack", **packs)
            build.kernel(
                "winograd_wide_products", units=points, **_without(part, "x", "y", "bias", "statistics"), **memory
            )
            build.kernel("winograd_wide_output", units=units, **_without(part, reads), **memory)

    def _weight_gradient_pass(self, build: Build, x: Value, y: Value) -> None:
        geometry, fields = self.geometry, self.geometry.fields(build)
        algorithm, n = self.algorithms["weight gradient"], self.geometry.weights
        with_bias = self._bias_comes_with_weight(build)
        result = build.parameter_gradient(self.weight)
        bias = build.parameter_gradient(self.bias) if with_bias and self.bias is not None else None
        if algorithm.startswith("winograd wide"):
            self._winograd_wide_weight_gradient(build, x, y, result, bias, int(algorithm[-1]))
            return
        if algorithm.startswith("winograd"):
            self._winograd_weight_gradient(build, x, y, result, bias, int(algorithm[-1]))
            return
        if algorithm == "direct by blocks":
            of_unit = _kernels_of_unit(geometry.K, build.threads)
            units = -(-geometry.K // of_unit)
            kernel = "direct_weight_gradient_blocks"
            build.kernel(kernel, units=units, x=x, y=y, w=result, bias=bias, variant=of_unit, **fields)
            return
        floats = n + (geometry.K if with_bias else 0)
        parts = build.memory(f"parts of d {self.weight}", build.slots * floats)
        kernel = "depthwise_weight_gradient" if algorithm == "depthwise" else "direct_weight_gradient"
        sums = parts.at(n) if with_bias else None
        build.kernel(kernel, x=x, y=y, w=parts, bias=sums, w_slot=floats, **fields)
        _sum_slots(build, parts, result, n, floats)
        if sums is not None and bias is not None:
            _sum_slots(build, sums, bias, geometry.K, floats)

    def _winograd_weight_gradient(
        self, build: Build, x: Value, y: Value, result: Base, bias: Base | None, tile: int
    ) -> None:
        """Products of transformed tiles, summed for parts of the batch, then transformed back."""
        geometry = self.geometry
        by_groups = geometry.C * geometry.K <= _WINOGRAD_BY_GROUPS
        count = build.slots if by_groups else min(build.groups, 2)
        floats = count * (tile + 2) ** 2 * geometry.K * _up(geometry.C, build.lanes)
        parts = build.memory(f"parts of d {self.weight}", floats)
        sums = None if bias is None else build.memory(f"parts of d {self.bias}", count * geometry.K)
        fields = {**geometry.winograd_fields(build), "tile": tile, "part_count": count}
        operands: dict[str, Any] = {"x": x, "y": y, "parts": parts, "bias": sums}
        if by_groups:
            build.kernel("winograd_weight_gradient", **operands, **fields)
        else:
            units = count * (tile // 2 + 1)
            build.kernel("winograd_weight_gradient_blocks", units=units, row_sets=1, **operands, **fields)
        finish_at: Where = "end" if by_groups else "here"
        build.kernel("winograd_weight_finish", units=geometry.K, at=finish_at, parts=parts, w=result, **fields)
        if sums is not None and bias is not None:
            _sum_slots(build, sums, bias, geometry.K, geometry.K, count)

    def _winograd_wide_weight_gradient(
        self, build: Build, x: Value, y: Value, result: Base, bias: Base | None, tile: int
    ) -> None:
        """The points of x and dL/dy of all groups, or of ranges of a large batch, then one product for each point."""
        g, lanes, points = self.geometry, build.lanes, (tile + 2) ** 2
        tiles, channels = _tiles(g.P, g.Q, tile), _up(g.C, lanes)
        most = min(build.groups, max(1, _WIDE_FLOATS // (points * tiles * max(channels, g.K) * lanes)))
        pictures = most * tiles * lanes
        memory: dict[str, Any] = {
            "points": build.memory(f"points of {self.weight}", points * (pictures * channels + lanes)),
            "products": build.memory(f"products of {self.weight}", points * (pictures * g.K + lanes)),
        }
        parts = build.memory(f"parts of d {self.weight}", points * g.K * channels)
        sums = None if bias is None else build.memory(f"parts of d {self.bias}", build.groups * g.K)
        fields = {**g.winograd_fields(build), "tile": tile, "part_count": 1}
        for first, count in _ranges(build.groups, most):
            part = {**fields, "first_group": first, "group_count": count, "accumulate": int(first > 0)}
            units = None if count == build.groups else count
            build.kernel("winograd_wide_turned_input", units=units, x=x, points=memory["points"], **part)
            build.kernel(
                "winograd_wide_output_gradient", units=units, y=y, bias=sums, products=memory["products"], **part
            )
            build.kernel("winograd_wide_weight_products", units=points, parts=parts, **memory, **part)
        build.kernel("winograd_weight_finish", units=g.K, parts=parts, w=result, **fields)
        if sums is not None and bias is not None:
            _sum_slots(build, sums, bias, g.K, g.K, build.groups)

    def _bias_comes_with_weight(self, build: Build) -> bool:
        """Whether the kernel of the weight's gradient gives that of the bias too: it does where it reads dL/dy."""
        both = self.bias is not None and build.wants(self.bias) and build.wants(self.weight)
        return both and not self.geometry.transposed

    def _bias_gradient(self, build: Build, gradient: Value, bias: str) -> None:
        channels = gradient.channels
        parts = build.memory(f"parts of d {bias}", build.slots * channels)
        sizes: dict[str, Any] = {"K": channels, "P": gradient.height, "Q": gradient.width}
        build.kernel("channel_sums", y=gradient, bias=parts, w_slot=channels, **sizes)
        _sum_slots(build, parts, build.parameter_gradient(bias), channels, channels)


def _block(build: Build) -> int:
    """Output channels of a register block of the direct kernels, kBlock of native/lanes/direct_block.h."""
    return 8 if build.lanes == 16 else 4


def _kernels_of_unit(kernels: int, threads: int) -> int:
    """How many of the weight's gradient one thread does at a time: as many for each thread, and at most 128 at once.

    Each unit turns all of x for itself, which many kernels pay for sooner.
    """
    rounds = -(-kernels // (threads * _UNIT_KERNELS))
    return _up(-(-kernels // (threads * rounds)), 8)


def _tiles(height: int, width: int, tile: int) -> int:
    """Of one feature map."""
    return -(-height // tile) * -(-width // tile)


def _ranges(groups: int, most: int) -> list[tuple[int, int]]:
    """Ranges (first, count) of groups, at most so many in each."""
    return [(first, min(most, groups - first)) for first in range(0, groups, most)]


def _without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields but those that a stage does not touch."""
    return {name: field for name, field in fields.items() if name not in names}


def _up(n: int, multiple: int) -> int:
    """A number rounded up to a multiple."""
    return -(-n // multiple) * multiple


def _sum_slots(build: Build, parts: Memory, result: Base, n: int, slot_floats: int, count: int | None = None) -> None:
    """result[n] = the sum of the parts, by default of one for each slot."""
    fields: dict[str, Any] = {"n": n, "slots": count or build.slots, "slot_floats": slot_floats}
    build.kernel("sum_slots", units=-(-n // 4096), at="end", parts=parts, result=result, **fields)
