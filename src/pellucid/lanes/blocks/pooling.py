"""Pooling, reductions over whole axes, and softmax over channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.errors import UsageError, unknown
from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Memory, Value

__all__ = ["REDUCTIONS", "AdaptivePoolBlock", "AveragePoolBlock", "MaxPoolBlock", "MeanBlock", "SoftmaxBlock"]

_BYTE = 255  # the largest window whose winners fit into bytes, one number being kept for "none"
REDUCTIONS = ("mean", "sum", "amax", "amin")


def _pair(given: tuple[int, ...], missing: int) -> tuple[int, int]:
    """Rows and columns; a signal has one row."""
    first, second = (missing, *given)[-2:]
    return first, second


class _Pool(Block):
    """Windows over [C, H, W] that make [C, P, Q].

    Args:
        kernel, stride, padding, dilation: for each spatial axis, one or two of them.
        adaptive: the windows divide the map into P x Q parts, and the rest of the settings says nothing.
    """

    def __init__(
        self,
        source: Value,
        output: Value,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...] = (0, 0),
        dilation: tuple[int, ...] = (1, 1),
        *,
        adaptive: bool = False,
    ) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.kernel, self.stride = _pair(kernel, 1), _pair(stride, 1)
        self.padding, self.dilation = _pair(padding, 0), _pair(dilation, 1)
        self.adaptive = adaptive

    @property
    def source(self) -> Value:
        """[C, H, W]."""
        return self.inputs[0]

    @property
    def output(self) -> Value:
        """[C, P, Q]."""
        return self.outputs[0]

    def _fields(self, build: Build) -> dict[str, Any]:
        """The kernels' arguments without pointers."""
        C, H, W = self.source.shape
        _, P, Q = self.output.shape
        fields: dict[str, Any] = {"C": C, "H": H, "W": W, "P": P, "Q": Q, "R": self.kernel[0], "S": self.kernel[1]}
        for axis, end in enumerate("hw"):
            pad = self.padding[axis]
            fields |= {f"stride_{end}": self.stride[axis], f"dilation_{end}": self.dilation[axis]}
            fields |= {f"pad_{end}": pad, f"after_{end}": pad}
        return fields | {"adaptive": int(self.adaptive), "G": build.groups, "live": build.live}


class MaxPoolBlock(_Pool):
    """The largest number of each window. Its place in the window is kept for the way back, as one byte a number."""

    algorithm = "max pooling"
    _winners: Memory | None = None

    @property
    def _wide(self) -> bool:
        return self.kernel[0] * self.kernel[1] > _BYTE

    def forward(self, build: Build) -> None:
        self._winners = None
        if build.wants(self.source):
            numbers = build.groups * self.output.floats
            self._winners = build.memory(f"{self.name} winners", numbers if self._wide else -(-numbers // 4))
        fields = self._fields(build) | {"winners": self._winners, "wide_winners": int(self._wide)}
        build.kernel("max_pool_forward", x=self.source, y=self.output, **fields)

    def backward(self, build: Build) -> None:
        if not build.wants(self.source):
            return
        gradient = build.gradient(self.output)
        into, accumulate = build.adds_gradient(self.source)
        fields = self._fields(build) | {"winners": self._winners, "wide_winners": int(self._wide)}
        build.kernel("max_pool_backward", x=into, y=gradient, accumulate=accumulate, **fields)


class AveragePoolBlock(_Pool):
    """The mean of each window.

    Args:
        include_pad: whether the padding counts as zeros.
        divisor: what the sum is divided by instead of the number of places; 1 gives sum pooling.
    """

    algorithm = "average pooling"

    def __init__(
        self,
        source: Value,
        output: Value,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...] = (0, 0),
        *,
        include_pad: bool = True,
        divisor: int | None = None,
        adaptive: bool = False,
    ) -> None:
        super().__init__(source, output, kernel, stride, padding, adaptive=adaptive)
        self.include_pad, self.divisor = include_pad, divisor

    def _fields(self, build: Build) -> dict[str, Any]:
        return super()._fields(build) | {"include_pad": int(self.include_pad), "divisor": self.divisor or 0}

    def forward(self, build: Build) -> None:
        build.kernel("average_pool_forward", x=self.source, y=self.output, **self._fields(build))

    def backward(self, build: Build) -> None:
        if not build.wants(self.source):
            return
        gradient = build.gradient(self.output)
        into, accumulate = build.adds_gradient(self.source)
        build.kernel("average_pool_backward", x=into, y=gradient, accumulate=accumulate, **self._fields(build))


class AdaptivePoolBlock(Block):
    """The mean, or the largest number, of each of P x Q parts of a map, as large as the output says."""

    def __init__(self, source: Value, output: Value, *, largest: bool = False) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        largest_part = (source.height // output.height + 2, source.width // output.width + 2)
        self._block: Block
        if largest:
            self._block = MaxPoolBlock(source, output, largest_part, (1, 1), adaptive=True)
        elif (output.height, output.width) == (1, 1):
            self._block = MeanBlock(source, output, "HW")
        else:
            self._block = AveragePoolBlock(source, output, largest_part, (1, 1), adaptive=True)
        self.algorithm = f"adaptive {self._block.algorithm}"

    def forward(self, build: Build) -> None:
        self._block.forward(build)

    def backward(self, build: Build) -> None:
        self._block.backward(build)


class MeanBlock(Block):
    """A mean, sum, maximum (amax) or minimum (amin) over whole axes.

    Args:
        axes: those that go: "HW", "H", "W", "C", "CH" or "CHW" (of a vector of features only "C" says something).
        word: "mean", "sum", "amax" or "amin". The output has the same numbers whether PyTorch keeps the axes or not.
    """

    def __init__(self, source: Value, output: Value, axes: str, word: str = "mean") -> None:
        if not self.reduces(axes, source.shape):
            raise UsageError(f"there is no kernel that reduces {source.shape} over {axes}", fits="axes side by side")
        if word not in REDUCTIONS:
            raise unknown("reduction", word, REDUCTIONS)
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.axes, self.word = axes, word
        self.algorithm = f"{word} over {axes}"
        sizes = dict(zip("CHW", source.shape, strict=True))
        gone = [axis for axis in "CHW" if axis in axes and sizes[axis] > 1] or ["W"]
        first, last = "CHW".index(gone[0]), "CHW".index(gone[-1])
        self._parts = {"outer": 1, "count": 1, "inner": 1}
        for i, axis in enumerate("CHW"):
            self._parts["outer" if i < first else "count" if i <= last else "inner"] *= sizes[axis]

    @staticmethod
    def reduces(axes: str, shape: tuple[int, int, int]) -> bool:
        """Whether there is a kernel: axes that go stand beside one another."""
        kept = [axis not in axes for axis, size in zip("CHW", shape, strict=True) if size > 1]
        return sum(a != b for a, b in zip([True, *kept], [*kept, True], strict=True)) <= 2

    def _fields(self, build: Build) -> dict[str, Any]:
        scale = 1 / self._parts["count"] if self.word == "mean" else 1.0
        return self._parts | {"scale": scale, "least": int(self.word == "amin"), "G": build.groups, "live": build.live}

    def forward(self, build: Build) -> None:
        kernel = "reduce_sum_forward" if self.word in ("mean", "sum") else "reduce_max_forward"
        build.kernel(kernel, x=self.inputs[0], y=self.outputs[0], **self._fields(build))

    def backward(self, build: Build) -> None:
        source, output = self.inputs[0], self.outputs[0]
        if not build.wants(source):
            return
        gradient = build.gradient(output)
        into, accumulate = build.adds_gradient(source)
        fields = self._fields(build) | {"accumulate": accumulate}
        if self.word in ("mean", "sum"):
            build.kernel("reduce_sum_backward", x=into, y=gradient, **fields)
        else:
            build.kernel("reduce_max_backward", x=source, y=output, x_gradient=into, y_gradient=gradient, **fields)


class SoftmaxBlock(Block):
    """Softmax, or its logarithm, over the channels at each place of a map."""

    def __init__(self, source: Value, output: Value, *, logarithm: bool = False) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.logarithm = logarithm
        self.algorithm = "log softmax" if logarithm else "softmax"

    def _fields(self, build: Build) -> dict[str, Any]:
        C, H, W = self.inputs[0].shape
        sizes = {"C": C, "pixels": H * W, "logarithm": int(self.logarithm)}
        return sizes | {"G": build.groups, "live": build.live}

    def forward(self, build: Build) -> None:
        build.kernel("softmax_forward", x=self.inputs[0], y=self.outputs[0], **self._fields(build))

    def backward(self, build: Build) -> None:
        source, output = self.inputs[0], self.outputs[0]
        if not build.wants(source):
            return
        gradient = build.gradient(output)
        into, accumulate = build.adds_gradient(source)
        fields = self._fields(build) | {"accumulate": accumulate}
        build.kernel("softmax_backward", y=output, y_gradient=gradient, x_gradient=into, **fields)
