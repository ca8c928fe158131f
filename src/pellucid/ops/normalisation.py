"""Normalisation: over the batch, over layers, groups and single maps.

Local response normalisation is no operation of its own in PyTorch: it arrives as squares, an average pooling over
channels and a power, each described where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pellucid.ops.base import Arguments, Op, Shape
from pellucid.ops.field import Reach


@dataclass(frozen=True)
class BatchNorm(Op):
    """y = (x - mean) / sqrt(variance + eps) * scale + shift, per channel (Ioffe & Szegedy 2015, algorithm 1).

    In training, mean and variance are those of the batch, which couples all pictures and places; the receptive field
    leaves that coupling out, as is usual.
    """

    targets: ClassVar[tuple[str, ...]] = (
        "aten.batch_norm.default",
        "aten._native_batch_norm_legit_functional.default",
        "aten._native_batch_norm_legit.no_stats",
        "aten._native_batch_norm_legit_no_training.default",
        "aten._batch_norm_with_update_functional.default",
        "aten._batch_norm_no_update.default",
        "aten.native_batch_norm.default",
    )
    kind: ClassVar[str] = "normalisation"
    training: bool = False
    eps: float = 1e-5

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        training = bool(arguments.get("training", "no_training" not in call and "no_update" not in call))
        return cls(training, float(arguments.get("eps", 1e-5)))

    @property
    def name(self) -> str:
        return "batch_norm"

    @property
    def couples_batch(self) -> bool:
        return self.training

    def describe(self) -> str:
        return "Batch normalisation" + (", by the batch" if self.training else "")

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0]


@dataclass(frozen=True)
class LayerNorm(Op):
    """The numbers of the last dimensions get mean 0 and variance 1, then scale and shift (Ba et al. 2016)."""

    targets: ClassVar[tuple[str, ...]] = (
        "aten.layer_norm.default",
        "aten.native_layer_norm.default",
        "aten.rms_norm.default",
    )
    kind: ClassVar[str] = "normalisation"
    over: int = 1  # how many of the last dimensions

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(len(arguments["normalized_shape"]))

    @property
    def name(self) -> str:
        return "layer_norm"

    def describe(self) -> str:
        return f"Layer normalisation over the last {self.over}" if self.over > 1 else "Layer normalisation"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost(range(len(out) - self.over, len(out)))


@dataclass(frozen=True)
class GroupNorm(Op):
    """Groups of channels of each picture get mean 0 and variance 1 (Wu & He 2018): every place sees the whole map."""

    targets: ClassVar[tuple[str, ...]] = ("aten.group_norm.default", "aten.native_group_norm.default")
    kind: ClassVar[str] = "normalisation"
    groups: int = 1

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        return cls(int(arguments.get("num_groups", arguments.get("group", 1))))

    @property
    def name(self) -> str:
        return "group_norm"

    def describe(self) -> str:
        return f"Group normalisation, {self.groups} groups"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost()


@dataclass(frozen=True)
class InstanceNorm(Op):
    """Each map of each picture gets mean 0 and variance 1 (Ulyanov et al. 2016): every place sees the whole map."""

    targets: ClassVar[tuple[str, ...]] = ("aten.instance_norm.default",)
    kind: ClassVar[str] = "normalisation"

    @property
    def name(self) -> str:
        return "instance_norm"

    def describe(self) -> str:
        return "Instance normalisation"

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return reaches[0].lost()
