"""MobileNet: convolutions taken apart into a filter for each channel and a 1x1 mixture of channels.

Version 1: Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications", 2017.
Version 2: Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: inverted residuals and linear bottlenecks", 2018.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.nets.parts import at_least, initialize, small_stem

# Table 1 of version 1: stride of the depthwise convolution, channels of the pointwise one behind it.
_SEPARABLE = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024))
# Table 2 of version 2: expansion t, channels c, repeats n, stride of the first s.
_INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def separable(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """A depthwise separable convolution (2017, Figure 3, right): (N, before, H, W) -> (N, after, H / s, W / s).

    A 3x3 kernel for each channel, then 1x1 kernels over all channels, each with batch normalisation and ReLU. In place
    of 9 before after weights it has 9 before + before after: 1 / after + 1 / 9 of them (section 3.1).
    """
    return nn.Sequential(
        nn.Conv2d(before, before, 3, stride, padding=1, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.ReLU(inplace=True),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 up, depthwise 3x3, 1x1 down without an activation, and the shortcut between the narrow ends (Figure 3 b)."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = before * expansion
        self.adds = stride == 1 and before == after
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_unit(before, width, 1))
        layers += [
            _unit(width, width, 3, stride, groups=width),
            nn.Conv2d(width, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, after, H / stride, W / stride)"""
        out = self.conv(x)
        return cast(Tensor, out + x if self.adds else out)


class MobileNet(nn.Module):
    """``features`` and ``classifier``; version 2 bears the names of the widely published ImageNet weights."""

    def __init__(self, features: nn.Sequential, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
        initialize(self)
        nn.init.normal_(cast(nn.Linear, self.classifier[1]).weight, 0, 0.01)
        nn.init.zeros_(cast(nn.Linear, self.classifier[1]).bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return cast(Tensor, self.classifier(torch.flatten(x, 1)))


def _unit(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(inplace=True),
    )


def mobilenet_v1(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    dropout: float = 0.001,
    stem: str = "auto",
) -> MobileNet:
    """MobileNet 1.0 (Table 1 of version 1): 4,231,976 parameters for 1,000 classes.

    ``features.0`` is the first convolution, ``features.1`` to ``features.13`` are separable ones. The table gives the
    last of them stride 2; as its sizes and everyone's networks have it, it is 1. ``stem`` as in mobilenet_v2.
    """
    at_least("mobilenet_v1", image_size, 1)
    small = small_stem(stem, image_size)
    first = nn.Conv2d(in_channels, 32, 3, stride=1 if small else 2, padding=1, bias=False)
    blocks = [nn.Sequential(first, nn.BatchNorm2d(32), nn.ReLU(inplace=True))]
    before = 32
    for i, (stride, after) in enumerate(_SEPARABLE):
        blocks.append(separable(before, after, 1 if small and i == 1 else stride))
        before = after
    return MobileNet(nn.Sequential(*blocks), before, classes, dropout)


def mobilenet_v2(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    dropout: float = 0.2,
    stem: str = "auto",
) -> MobileNet:
    """MobileNetV2 1.0 (Table 2): 3,504,872 parameters for 1,000 classes.

    ``stem="imagenet"`` halves the picture five times, as the paper does; ``"small"`` leaves out the first two of the
    five, for pictures of 32x32; ``"auto"`` takes the small one up to 64 pixels.
    """
    at_least("mobilenet_v2", image_size, 1)
    small = small_stem(stem, image_size)
    blocks: list[nn.Module] = [_unit(in_channels, 32, 3, stride=1 if small else 2)]
    before = 32
    for stage, (expansion, after, repeats, stride) in enumerate(_INVERTED):
        for i in range(repeats):
            halves = stride == 2 and not i and not (small and stage == 1)
            blocks.append(InvertedResidual(before, after, 2 if halves else 1, expansion))
            before = after
    blocks.append(_unit(before, 1280, 1))
    return MobileNet(nn.Sequential(*blocks), 1280, classes, dropout)
