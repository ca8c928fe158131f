"""One plan, eight kinds of layer: networks that differ in nothing but how a 3x3 layer is connected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from pellucid.errors import UsageError, unknown
from pellucid.nets.local import LocallyConnected2d
from pellucid.nets.mobilenet import separable
from pellucid.nets.parts import at_least, initialize, pair, several
from pellucid.nets.shufflenet import channel_shuffle

Side = tuple[int, int]


class ChannelShuffle(nn.Module):
    """``channel_shuffle`` as a layer."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, the channels of all groups dealt out in turns."""
        return channel_shuffle(x, self.groups)


def _standard(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False)]


def _grouped(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, groups=groups, bias=False)]


def _grouped_shuffled(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return [*_grouped(before, after, size, place, groups), ChannelShuffle(groups)]


def _depthwise(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, groups=before, bias=False)]


def _separable(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return list(separable(before, after))[:-2]  # the plan's own normalisation and activation follow


def _dilated(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    rate = 1 + place  # 1, then 2: two layers of rate 2 alone would leave out every other pixel
    return [nn.Conv2d(before, after, 3, padding=rate, dilation=rate, bias=False)]


def _local(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return [LocallyConnected2d(before, after, 3, size, padding=1, bias=False)]


def _transposed(before: int, after: int, size: Side, place: int, groups: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(before, after, 3, padding=1, bias=False)]


_KINDS: dict[str, Callable[[int, int, Side, int, int], list[nn.Module]]] = {
    "standard": _standard,
    "grouped": _grouped,
    "grouped_shuffled": _grouped_shuffled,
    "depthwise": _depthwise,
    "separable": _separable,
    "dilated": _dilated,
    "local": _local,
    "transposed": _transposed,
}
KINDS = tuple(_KINDS)


class VariantCNN(nn.Module):
    """``stem`` (a standard convolution, halved), ``stages`` of two layers each, halved between, an average, ``fc``."""

    def __init__(
        self, kind: str, classes: int, in_channels: int, image_size: Side, widths: Sequence[int], groups: int
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False), *_normalised(widths[0]), nn.MaxPool2d(2)
        )
        height, width = image_size[0] // 2, image_size[1] // 2
        before = widths[0]
        stages: list[nn.Module] = []
        for i, after in enumerate(widths):
            layers: list[nn.Module] = []
            if i:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            for place in range(2):
                layer = _KINDS[kind](before, after, (height, width), place, groups)
                layers.append(nn.Sequential(*layer, *_normalised(after)))
                before = after
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(before, classes)
        initialize(self)
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):  # with stride 1 its fans are those of a convolution
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.stages(self.stem(x))
        return cast(Tensor, self.fc(x.mean((2, 3))))


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def variant_cnn(
    classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    kind: str = "standard",
    channels: int | Sequence[int] = (32, 64, 128),
    groups: int = 4,
) -> VariantCNN:
    """(N, C, H, W) -> (N, classes): for each number in ``channels`` a stage of two 3x3 layers of one kind.

    The kinds have depth, widths, poolings, normalisations and activations in common. ``standard`` is a convolution,
    ``grouped`` one of ``groups`` groups, ``grouped_shuffled`` the same with a channel shuffle behind it, ``depthwise``
    a group for each channel, ``separable`` that and a 1x1 convolution, ``dilated`` has holes of one pixel in the
    second layer of each stage, ``local`` shares no weights between places, and ``transposed`` is a transposed
    convolution of stride 1, which computes what a convolution does, with the kernels rotated.

    Raises:
        UsageError: for a kind that there is not, or channels that the groups do not divide.
        ShapeError: where the poolings leave nothing of the picture.
    """
    if kind not in _KINDS:
        raise unknown("kind", kind, _KINDS)
    widths = several("channels", channels)
    at_least("variant_cnn", image_size, 2 ** len(widths))
    if kind.startswith("grouped") and (groups < 1 or any(width % groups for width in widths)):
        raise UsageError(f"channels {list(widths)} are not divided by {groups} groups", fits="groups=4")
    if kind == "depthwise" and any(after % before for before, after in zip(widths, widths[1:], strict=False)):
        raise UsageError(f"channels {list(widths)}: a depthwise layer gives a whole number of each channel's maps")
    return VariantCNN(kind, classes, in_channels, pair(image_size), widths, groups)


def local_cnn(
    classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    channels: int | Sequence[int] = (32, 64),
) -> VariantCNN:
    """``variant_cnn`` of locally connected layers: as many products as convolutions have, and many more weights."""
    widths = several("channels", channels)
    at_least("local_cnn", image_size, 2 ** len(widths))
    return variant_cnn(classes, in_channels, image_size, "local", widths)
