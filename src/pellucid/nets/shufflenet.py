"""ShuffleNet: cheap grouped 1x1 convolutions, and a shuffle of channels so that the groups still learn of one another.

Version 1: Zhang, Zhou, Lin & Sun, "ShuffleNet: an extremely efficient convolutional neural network ...", 2017.
Version 2: Ma, Zhang, Zheng & Sun, "ShuffleNet V2: practical guidelines for efficient CNN architecture design", 2018.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.parts import at_least, initialize, small_stem

_REPEATS = (4, 8, 4)  # units of the three stages, both versions
_V1_CHANNELS = {  # Table 1 of version 1, by the number of groups: the more groups, the wider at the same cost
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """(N, C, H, W) -> the same: the channels of all groups, dealt out in turns (2017, Figure 1).

    Channel ``i * groups + g`` of the result is channel ``g * C / groups + i``: as a table of ``groups`` rows, the
    channels are written row by row and read column by column.
    """
    return torch.channel_shuffle(x, groups)


class ShuffleUnit(nn.Module):
    """The unit of version 1 (Figure 2): grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, and the shortcut.

    With stride 1 the shortcut is added; with stride 2 it is averaged 3x3 and joined on, so that the branch makes only
    the channels that are new. The bottleneck has a quarter of the unit's channels.
    """

    def __init__(self, before: int, after: int, groups: int, stride: int, first_groups: int) -> None:
        super().__init__()
        width = after // 4
        made = after - before if stride == 2 else after
        self.groups = groups
        self.conv1 = nn.Conv2d(before, width, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, made, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(made)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)"""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(channel_shuffle(out, self.groups)))
        out = self.bn3(self.conv3(out))
        joined = out + x if self.shortcut is None else torch.cat((self.shortcut(x), out), 1)
        return cast(Tensor, self.relu(joined))


class ShuffleNetV1(nn.Module):
    """``conv1``, ``stage2`` to ``stage4``, ``fc`` (Table 1)."""

    def __init__(self, classes: int, in_channels: int, groups: int, small: bool) -> None:
        super().__init__()
        self.conv1 = _stem(in_channels, small)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        before = 24
        stages = []
        for stage, (after, repeats) in enumerate(zip(_V1_CHANNELS[groups], _REPEATS, strict=True)):
            units = []
            for i in range(repeats):
                # 24 channels are few: the first of all pointwise convolutions has no groups (section 3.2).
                first_groups = 1 if not stage and not i else groups
                units.append(ShuffleUnit(before, after, groups, 1 if i else 2, first_groups))
                before = after
            stages.append(nn.Sequential(*units))
        self.stage2, self.stage3, self.stage4 = stages
        self.fc = nn.Linear(before, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        return cast(Tensor, self.fc(x.mean((2, 3))))


class SplitUnit(nn.Module):
    """The unit of version 2 (Figure 3 c, d): half of the channels pass by, the other half is worked on, then shuffled.

    With stride 2 nothing is split: both branches work on all channels, and the result has twice as many.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        width = after // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                *_depthwise(before, stride),
                nn.Conv2d(before, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(before if stride == 2 else width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *_depthwise(width, stride),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)"""
        if self.stride == 2:
            return channel_shuffle(torch.cat((self.branch1(x), self.branch2(x)), 1), 2)
        passing, worked = x.chunk(2, 1)
        return channel_shuffle(torch.cat((passing, self.branch2(worked)), 1), 2)


class ShuffleNetV2(nn.Module):
    """``conv1``, ``stage2`` to ``stage4``, ``conv5`` and ``fc`` bear the names of the published ImageNet weights."""

    def __init__(self, widths: tuple[int, int, int], classes: int, in_channels: int, small: bool) -> None:
        super().__init__()
        self.conv1 = _stem(in_channels, small)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        before = 24
        stages = []
        for after, repeats in zip(widths, _REPEATS, strict=True):
            units = [SplitUnit(before, after, 2), *(SplitUnit(after, after, 1) for _ in range(repeats - 1))]
            stages.append(nn.Sequential(*units))
            before = after
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = nn.Sequential(nn.Conv2d(before, 1024, 1, bias=False), nn.BatchNorm2d(1024), nn.ReLU(inplace=True))
        self.fc = nn.Linear(1024, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return cast(Tensor, self.fc(x.mean((2, 3))))


def _stem(in_channels: int, small: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, 24, 3, stride=1 if small else 2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(24), nn.ReLU(inplace=True))


def _depthwise(channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """A 3x3 kernel for each channel, and its normalisation; no activation follows."""
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return conv, nn.BatchNorm2d(channels)


def shufflenet_v1(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    groups: int = 3,
    stem: str = "auto",
) -> ShuffleNetV1:
    """ShuffleNet 1x (Table 1 of version 1): 1,865,728 parameters with 3 groups and 1,000 classes. ``stem`` as below.

    Raises:
        UsageError: for a number of groups that the table does not have: 1, 2, 3, 4 and 8 are there.
    """
    at_least("shufflenet_v1", image_size, 1)
    if groups not in _V1_CHANNELS:
        raise UsageError(f"shufflenet_v1 has no column for {groups} groups", fits="groups=1, 2, 3, 4 or 8")
    return ShuffleNetV1(classes, in_channels, groups, small_stem(stem, image_size))


def shufflenet_v2_x0_5(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, stem: str = "auto"
) -> ShuffleNetV2:
    """ShuffleNet V2 0.5x (Table 5): 1,366,792 parameters for 1,000 classes. ``stem`` as in shufflenet_v2_x1_0."""
    at_least("shufflenet_v2_x0_5", image_size, 1)
    return ShuffleNetV2((48, 96, 192), classes, in_channels, small_stem(stem, image_size))


def shufflenet_v2_x1_0(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, stem: str = "auto"
) -> ShuffleNetV2:
    """ShuffleNet V2 1x (Table 5): 2,278,604 parameters for 1,000 classes.

    ``stem="imagenet"`` halves the picture twice before the first stage, as the paper does; ``"small"`` not at all, for
    pictures of 32x32; ``"auto"`` takes the small one up to 64 pixels.
    """
    at_least("shufflenet_v2_x1_0", image_size, 1)
    return ShuffleNetV2((116, 232, 464), classes, in_channels, small_stem(stem, image_size))
