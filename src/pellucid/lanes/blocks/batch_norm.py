"""Batch normalisation: the batch's statistics become a scale and a shift that the next map applies as it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import UsageError
from pellucid.lanes.blocks.base import Block
from pellucid.lanes.blocks.expression import Leaf

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Memory, Value

__all__ = ["BatchNormBlock"]

_BLOCK = 16  # channels of a unit


class BatchNormBlock(Block):
    """Makes scale and shift of a feature map; ``leaf()`` is the normalised map, for exactly one expression.

    Forward measures the map (unless the convolution that wrote it did: ``measured``) and brings the running statistics
    up to date. Backward belongs to the MapBlock of that expression, which takes sums over the batch and then asks for
    the factors that the input's gradient needs. So it must come after this block.

    Args:
        input: what is normalised.
        weight, bias, running_mean, running_var: names of parameters and buffers, or None.
        training: whether the batch's statistics are taken; without running ones they always are.
        momentum: of the running statistics.
        eps: added to the variance.
    """

    recalls = True

    def __init__(
        self,
        input: Value,
        weight: str | None,
        bias: str | None,
        running_mean: str | None,
        running_var: str | None,
        *,
        training: bool,
        momentum: float = 0.1,
        eps: float = 1e-5,
        name: str = "",
        nodes: tuple[str, ...] = (),
    ) -> None:
        if not training and (running_mean is None or running_var is None):
            training, running_mean, running_var = True, None, None
        self.input, self.weight, self.bias = input, weight, bias
        self.running_mean, self.running_var = running_mean, running_var
        self.training, self.momentum, self.eps = training, momentum, eps
        self.name, self.nodes, self.inputs = name or f"norm of {input.name}", nodes, (input,)
        self.parameters = tuple(filter(None, (weight, bias)))
        self.algorithm = "batch norm"
        self._measured: Memory | None = None
        self._given = False

    def leaf(self) -> Leaf:
        """The normalised feature map."""
        return Leaf(self.input, norm=self)

    def measured(self, build: Build) -> Memory:
        """Memory [G][C][3][L] for the statistics of the input, asked for by the block that writes it and measures as it
        writes, in its ``forward``; in training only."""
        self._given = True
        return self._statistics(build)

    def _statistics(self, build: Build) -> Memory:
        if self._measured is None:
            floats = build.groups * self.input.channels * 3 * build.lanes
            self._measured = build.memory(f"statistics of {self.input.name}", floats)
        return self._measured

    def forward(self, build: Build) -> None:
        channels = self.input.channels
        memory = build.memory(f"{self.name} mean, inverse deviation, scale, shift", 4 * channels)
        self.mean, self.inverse_deviation, self.scale, self.shift = (memory.at(i * channels) for i in range(4))
        statistics = self._statistics(build) if self.training else None
        if self.training and not self._given:
            build.kernel("batch_norm_statistics", x=self.input, statistics=statistics, **self._sizes(build))
        build.kernel(
            "batch_norm_finish",
            units=-(-channels // _BLOCK),
            statistics=statistics,
            weight=build.parameter(self.weight) if self.weight else None,
            bias=build.parameter(self.bias) if self.bias else None,
            running_mean=build.parameter(self.running_mean) if self.running_mean else None,
            running_var=build.parameter(self.running_var) if self.running_var else None,
            momentum=self.momentum,
            eps=self.eps,
            **self._made(build),
        )

    def backward(self, build: Build) -> None:
        """Nothing: the MapBlock of the leaf calls what follows, after it has taken the sums."""

    def begin_backward(self, build: Build) -> tuple[Memory | None, Memory | None]:
        """Memory for the sums [slots][C][2][L], and for the factors [C][2] if dL/d(input) needs them."""
        wants_input = build.wants(self.input) and self.training
        self._sums: Memory | None = None
        self._factors: Memory | None = None
        if wants_input or any(build.wants(name) for name in self.parameters):
            floats = build.slots * self.input.channels * 2 * build.lanes
            self._sums = build.memory(f"{self.name} sums", floats)
        if wants_input:
            self._factors = build.memory(f"{self.name} factors", 2 * self.input.channels)
        return self._sums, self._factors

    def finish_backward(self, build: Build) -> None:
        """The sums are taken: make the factors and the parameters' gradients of them."""
        if self._sums is None:
            raise UsageError(f"{self.name} has no sums: begin_backward comes first")
        weight = self.weight if self.weight and build.wants(self.weight) else None
        bias = self.bias if self.bias and build.wants(self.bias) else None
        build.kernel(
            "batch_norm_backward_finish",
            units=-(-self.input.channels // _BLOCK),
            sums=self._sums,
            sums_slot=self.input.channels * 2 * build.lanes,
            slots=build.slots,
            factors=self._factors,
            weight_gradient=build.parameter_gradient(weight) if weight else None,
            bias_gradient=build.parameter_gradient(bias) if bias else None,
            **self._made(build),
        )

    def _made(self, build: Build) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "inverse_deviation": self.inverse_deviation,
            "scale": self.scale,
            "shift": self.shift,
            "training": int(self.training),
            **self._sizes(build),
        }

    def _sizes(self, build: Build) -> dict[str, Any]:
        pixels = self.input.height * self.input.width
        return {"G": build.groups, "live": build.live, "C": self.input.channels, "M": pixels}
