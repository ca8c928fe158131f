"""The block of an expression: it writes the result, perhaps pooled, and on the way back reaches all leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pellucid.errors import UsageError
from pellucid.lanes.blocks.base import Block
from pellucid.lanes.blocks.expression import CODES, LEAVES, Expression, Leaf

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Base, Memory, Value

__all__ = ["MapBlock", "Pooling"]

_KINDS = {"max": 1, "average": 2, "plane": 3}
_QUICK = frozenset("identity relu hardtanh clamp leaky_relu threshold linear add mul maximum minimum prelu".split())
_MOST_TAPS = 32  # kMapMostTaps of native/lanes/map.h


@dataclass(frozen=True)
class Pooling:
    """Windows that do not overlap (stride = size, no padding, what does not fill one is dropped).

    kind: the "max" or the "average" of each window, or the average of the whole "plane", where the sizes do not count.
    """

    kind: Literal["max", "average", "plane"]
    height: int = 1
    width: int = 1

    @staticmethod
    def fits(kind: str, height: int, width: int) -> bool:
        """Whether a map may end in it."""
        return kind == "plane" or (kind in _KINDS and height * width <= _MOST_TAPS)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Of what it leaves of a plane."""
        return (1, 1) if self.kind == "plane" else (height // self.height, width // self.width)


class MapBlock(Block):
    """output = pooling of an expression. Nothing else is kept: the way back computes it again from the leaves."""

    recalls = True

    def __init__(
        self,
        expression: Expression,
        output: Value,
        pooling: Pooling | None = None,
        *,
        name: str = "",
        nodes: tuple[str, ...] = (),
    ) -> None:
        self.expression, self.pooling = expression, pooling
        height, width = expression.height, expression.width
        if pooling is not None and not Pooling.fits(pooling.kind, pooling.height, pooling.width):
            raise UsageError(f"windows of more than {_MOST_TAPS} numbers are no part of a map")
        shape = (expression.channels, *(pooling.shape(height, width) if pooling else (height, width)))
        if output.shape != shape:
            raise UsageError(f"the expression's result is {shape}, not {output.shape}")
        self.name, self.nodes, self.outputs = name or output.name, nodes, (output,)
        self.inputs = tuple(leaf.value for leaf in expression.leaves if leaf.value is not None)
        named = (name for leaf in expression.leaves for name in (leaf.parameter, leaf.scale, leaf.shift))
        self.parameters = tuple(dict.fromkeys(filter(None, named)))
        self.algorithm = "map"
        # What pooling leaves is small, and reading all of its source again is not.
        self.remakes = pooling is None and all(step.code in _QUICK for step in expression.instructions)

    def forward(self, build: Build) -> None:
        self.write(build, self.outputs[0])

    def write(self, build: Build, output: Value) -> None:
        leaves = [self._leaf(build, leaf) for leaf in self.expression.leaves]
        build.kernel("map_forward", y=output, **self._fields(build, leaves))

    def backward(self, build: Build) -> None:
        (output,) = self.outputs
        gradient = build.gradient(output)
        channels, found = self.expression.channels, dict[Leaf, _Way]()
        for leaf in sorted(self.expression.leaves, key=lambda leaf: leaf.norm is None):
            splits = self._adds_first and any(way.factors is not None for way in found.values())
            writes = True
            if splits and leaf.is_plain and leaf.value is not None and build.wants(leaf.value):
                writes = not build.hands_on_gradient(output, leaf.value)
            found[leaf] = _Way(build, leaf, channels, writes)
        ways = [found[leaf] for leaf in self.expression.leaves]
        if not any(way.is_needed for way in ways):
            return
        leaves = [self._leaf(build, leaf) | way.fields for leaf, way in zip(self.expression.leaves, ways, strict=True)]
        fields = self._fields(build, leaves)
        norms = [way for way in ways if way.factors is not None]
        if norms:
            pooled = output if self._sums_over_pooled else None
            sums = fields | {"leaves": [leaf | {"gradient": None} for leaf in leaves]}
            if self._adds_first:  # what the second pass begins with is left in place of dL/dy
                sums |= {"middle": gradient, "middle_register": len(leaves)}
                fields |= {"instructions": fields["instructions"][:1], "instruction_count": 1}
            build.kernel("map_backward_sums", y=pooled, dy=gradient, **sums)
            for way in norms:
                way.finish(build)
        others = [way for way in ways if way.factors is None]
        if any(way.gradient is not None for way in ways) or any(way.sums is not None for way in others):
            build.kernel("map_backward", dy=gradient, **fields)
        for way in others:
            way.finish(build)

    @property
    def _adds_first(self) -> bool:
        """Whether it is the activation of a sum of two feature maps: then the gradient of the sum is the same for both,
        and once it is there nothing else is read again but what is normalised."""
        if self.pooling is not None or len(self.expression.instructions) != 2 or len(self.expression.leaves) != 2:
            return False
        added, last = self.expression.instructions
        maps = all(
            leaf.value is not None and leaf.value.shape == self.expression.shape for leaf in self.expression.leaves
        )
        return maps and (added.code, added.a) == ("add", 1.0) and CODES[last.code] < CODES["add"]

    @property
    def _sums_over_pooled(self) -> bool:
        """Whether a batch norm's sums can be taken over the pooled map: of a ReLU, or nothing, under max pooling."""
        codes = [instruction.code for instruction in self.expression.instructions]
        is_max = self.pooling is not None and self.pooling.kind == "max"
        return is_max and len(self.expression.leaves) == 1 and codes in ([], ["relu"])

    def _fields(self, build: Build, leaves: list[dict[str, Any]]) -> dict[str, Any]:
        channels, height, width = self.expression.shape
        by = len(self.expression.leaves) - LEAVES
        instructions = [
            {
                "code": CODES[i.code],
                "left": i.left + (by if i.left >= LEAVES else 0),
                "right": i.right + (by if i.right >= LEAVES else 0),
                "stream": i.stream,
                "seed": i.seed,
                "a": i.a,
                "b": i.b,
                "c": i.c,
            }
            for i in self.expression.instructions
        ]
        pooling = self.pooling
        return {
            "leaves": leaves,
            "instructions": instructions,
            "leaf_count": len(leaves),
            "instruction_count": len(instructions),
            "G": build.groups,
            "live": build.live,
            "C": channels,
            "H": height,
            "W": width,
            "pool": _KINDS[pooling.kind] if pooling else 0,
            "pool_h": pooling.height if pooling else 1,
            "pool_w": pooling.width if pooling else 1,
        }

    def _leaf(self, build: Build, leaf: Leaf) -> dict[str, Any]:
        if leaf.value is None:
            return {"x": build.parameter(leaf.parameter), "kind": 3 if leaf.shared else 2}
        is_gate = leaf.value.shape != self.expression.shape
        found: dict[str, Any] = {"x": build.recalled(leaf.value), "kind": int(is_gate)}
        if leaf.norm is not None:
            found |= {"scale": leaf.norm.scale, "shift": leaf.norm.shift, "mean": leaf.norm.mean}
            found["inverse_deviation"] = leaf.norm.inverse_deviation
        if leaf.scale:
            found["scale"] = build.parameter(leaf.scale)
        if leaf.shift:
            found["shift"] = build.parameter(leaf.shift)
        return found


class _Way:
    """How the gradient reaches one leaf: where it is written, and the sums that its parameters need."""

    def __init__(self, build: Build, leaf: Leaf, channels: int, writes: bool = True) -> None:
        self.leaf, self._channels, self._floats = leaf, channels, 2 * channels * build.lanes
        self._wanted = [name for name in (leaf.parameter, leaf.scale, leaf.shift) if name and build.wants(name)]
        self.sums: Memory | None = None
        self.factors: Memory | None = None
        self.gradient: Value | None = None
        accumulate = 0
        if leaf.norm is not None:
            self.sums, self.factors = leaf.norm.begin_backward(build)
        elif self._wanted:
            self.sums = build.memory(f"sums of {self._wanted[0]}", build.slots * self._floats)
        if writes and leaf.value is not None and build.wants(leaf.value):
            self.gradient, accumulate = build.adds_gradient(leaf.value)
        self.fields: dict[str, Any] = {
            "gradient": self.gradient,
            "accumulate": accumulate,
            "factors": self.factors,
            "sums": self.sums,
            "sums_slot": self._floats,
        }

    @property
    def is_needed(self) -> bool:
        """Whether anything of the leaf wants a gradient."""
        return self.gradient is not None or self.sums is not None

    def finish(self, build: Build) -> None:
        """The sums are taken: make parameters' gradients of them."""
        if self.leaf.norm is not None and self.sums is not None:
            self.leaf.norm.finish_backward(build)
        elif self._wanted:
            shift = self.leaf.parameter or self.leaf.shift
            build.kernel(
                "map_parameter_gradients",
                units=1 if self.leaf.shared else -(-self._channels // 16),
                sums=self.sums,
                sums_slot=self._floats,
                scale_gradient=_gradient(build, self.leaf.scale),
                shift_gradient=_gradient(build, shift),
                slots=build.slots,
                C=self._channels,
                shared=int(self.leaf.shared),
            )


def _gradient(build: Build, name: str) -> Base | None:
    return build.parameter_gradient(name) if name and build.wants(name) else None
