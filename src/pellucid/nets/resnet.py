"""ResNet: layers that learn what to add (He, Zhang, Ren & Sun, "Deep residual learning ...", 2015)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.errors import unknown
from pellucid.nets.parts import at_least, initialize, pair


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut (Figure 5, left): y = relu(f(x) + x)."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, width, H / stride, W / stride)"""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return cast(Tensor, self.relu(out + (x if self.downsample is None else self.downsample(x))))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, and the shortcut (Figure 5, right); the stride is in the 3x3, as in published weights."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(before, width * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, 4 width, H / stride, W / stride)"""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return cast(Tensor, self.relu(out + (x if self.downsample is None else self.downsample(x))))


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential | None:
    """Option B of the paper: a projection where the shapes differ, else the identity."""
    if stride == 1 and before == after:
        return None
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class ResNet(nn.Module):
    """``conv1`` to ``fc`` bear the names of the widely published ImageNet weights."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, ...], classes: int, in_channels: int, stem: str
    ) -> None:
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(in_channels, 64, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        before = 64
        stages = []
        for i, depth in enumerate(depths):
            width = 64 * 2**i
            blocks = []
            for j in range(depth):
                blocks.append(block(before, width, stride=2 if i and not j else 1))
                before = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


def _resnet(
    block: type[BasicBlock | Bottleneck],
    depths: tuple[int, ...],
    classes: int,
    in_channels: int,
    image_size: int | tuple[int, int],
    stem: str,
) -> ResNet:
    at_least("a residual network", image_size, 1)
    if stem not in ("auto", "imagenet", "small"):
        raise unknown("stem", stem, ("auto", "imagenet", "small"))
    if stem == "auto":
        stem = "small" if max(pair(image_size)) <= 64 else "imagenet"
    return ResNet(block, depths, classes, in_channels, stem)


def resnet18(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, stem: str = "auto"
) -> ResNet:
    """ResNet-18 (Table 1): 11,689,512 parameters for 1,000 classes.

    ``stem="imagenet"`` is the paper's 7x7 convolution of stride 2 and pooling; ``"small"`` one 3x3 convolution, for
    pictures of 32x32; ``"auto"`` takes the small one up to 64 pixels.
    """
    return _resnet(BasicBlock, (2, 2, 2, 2), classes, in_channels, image_size, stem)


def resnet34(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, stem: str = "auto"
) -> ResNet:
    """ResNet-34 (Table 1): 21,797,672 parameters for 1,000 classes. ``stem`` as in resnet18."""
    return _resnet(BasicBlock, (3, 4, 6, 3), classes, in_channels, image_size, stem)


def resnet50(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, stem: str = "auto"
) -> ResNet:
    """ResNet-50 (Table 1): 25,557,032 parameters for 1,000 classes. ``stem`` as in resnet18."""
    return _resnet(Bottleneck, (3, 4, 6, 3), classes, in_channels, image_size, stem)


def resnet101(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, stem: str = "auto"
) -> ResNet:
    """ResNet-101 (Table 1): 44,549,160 parameters for 1,000 classes. ``stem`` as in resnet18."""
    return _resnet(Bottleneck, (3, 4, 23, 3), classes, in_channels, image_size, stem)
