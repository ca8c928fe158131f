"""Normalisations within a picture: layer norm, group norm, instance norm, RMS norm."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pellucid.lanes.blocks.base import Block

if TYPE_CHECKING:
    from pellucid.lanes.build import Build
    from pellucid.lanes.values import Memory, Value

__all__ = ["GroupNormBlock", "LayerNormBlock"]

_SUMS_OF_A_UNIT = 4096  # of the kernel sum_slots


class _NormBlock(Block):
    """Sets of numbers of one picture get mean 0 and variance 1, then a weight and a bias.

    Mean and inverse deviation of each set are kept for the way back, nothing else.
    """

    kernel = ""

    def __init__(self, source: Value, output: Value, weight: str | None, bias: str | None) -> None:
        self.name, self.inputs, self.outputs = output.name, (source,), (output,)
        self.weight, self.bias = weight, bias
        self.parameters = tuple(name for name in (weight, bias) if name is not None)
        self._statistics: Memory | None = None

    @abstractmethod
    def _sets(self) -> int:
        """How many a picture has."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The kernel's own."""

    def _numbers(self) -> int:
        """Of the weight, and of the bias."""
        return self.inputs[0].channels

    def _fields(self, build: Build) -> dict[str, Any]:
        source = self.inputs[0]
        weight, bias = (build.parameter(name) if name else None for name in (self.weight, self.bias))
        sizes = {"G": build.groups, "live": build.live, "C": source.channels, "M": source.height * source.width}
        return {
            "x": source,
            "weight": weight,
            "bias": bias,
            "statistics": self._statistics,
            **sizes,
            **self._settings(),
        }

    def forward(self, build: Build) -> None:
        floats = build.groups * self._sets() * 2 * build.lanes
        self._statistics = build.memory(f"{self.name} statistics", floats)
        build.kernel(f"{self.kernel}_forward", y=self.outputs[0], **self._fields(build))

    def backward(self, build: Build) -> None:
        wanted = [(at, name) for at, name in enumerate((self.weight, self.bias)) if name and build.wants(name)]
        if not wanted and not build.wants(self.inputs[0]):
            return
        gradient = build.gradient(self.outputs[0])
        fields = self._fields(build)
        if build.wants(self.inputs[0]):
            fields["dx"], fields["accumulate"] = build.adds_gradient(self.inputs[0])
        n = self._numbers()
        if wanted:
            fields["sums"] = sums = build.memory(f"{self.name} sums", build.slots * 2 * n)
            fields["sums_slot"] = 2 * n
        build.kernel(f"{self.kernel}_gradient", y=gradient, **fields)
        for at, name in wanted:
            build.kernel(
                "sum_slots",
                units=-(-n // _SUMS_OF_A_UNIT),
                at="end",
                parts=sums.at(at * n),
                result=build.parameter_gradient(name),
                slot_floats=2 * n,
                n=n,
                slots=build.slots,
            )


class LayerNormBlock(_NormBlock):
    """Layer norm over the channels of each pixel, or over a vector of features.

    Args:
        weight, bias: names of parameters [C], or None.
        centred: False for the root mean square alone.
    """

    kernel = "pixel_norm"

    def __init__(
        self, source: Value, output: Value, weight: str | None, bias: str | None, *, eps: float, centred: bool = True
    ) -> None:
        super().__init__(source, output, weight, bias)
        self.eps, self.centred = eps, centred
        self.algorithm = "layer norm over channels" if centred else "RMS norm over channels"

    def _sets(self) -> int:
        return self.inputs[0].height * self.inputs[0].width

    def _settings(self) -> dict[str, Any]:
        return {"eps": self.eps, "centred": int(self.centred)}


class GroupNormBlock(_NormBlock):
    """Group norm; instance norm with as many groups as channels; layer norm over (C, H, W) with one.

    Args:
        weight, bias: names of parameters [C], with ``elementwise`` [C, H, W], or None.
        centred: False for the root mean square alone.
    """

    kernel = "group_norm"

    def __init__(
        self,
        source: Value,
        output: Value,
        weight: str | None,
        bias: str | None,
        *,
        groups: int,
        eps: float,
        elementwise: bool = False,
        centred: bool = True,
    ) -> None:
        super().__init__(source, output, weight, bias)
        self.groups, self.eps, self.elementwise, self.centred = groups, eps, elementwise, centred
        self.algorithm = f"norm of {groups} groups" if groups > 1 else "norm of the whole map"

    def _sets(self) -> int:
        return self.groups

    def _numbers(self) -> int:
        C, H, W = self.inputs[0].shape
        return C * H * W if self.elementwise else C

    def _settings(self) -> dict[str, Any]:
        flags = {"elementwise": int(self.elementwise), "centred": int(self.centred)}
        return {"norm_groups": self.groups, "eps": self.eps, **flags}
