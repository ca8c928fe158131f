"""Inception: several kernel sizes side by side (Szegedy et al., "Going deeper with convolutions", 2014).

With batch normalisation after every convolution (Ioffe & Szegedy 2015), and 3x3 kernels where the paper's third branch
has 5x5, as the widely published weights have them.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.nets.parts import at_least, initialize


class ConvolutionNormRelu(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: (N, C, H, W) -> (N, K, H', W')."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Figure 2(b): 1x1; 1x1 then 3x3; 1x1 then a larger one; pooling then 1x1; all four concatenated."""

    def __init__(self, before: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.branch1 = ConvolutionNormRelu(before, one, 1)
        self.branch2 = nn.Sequential(
            ConvolutionNormRelu(before, three[0], 1), ConvolutionNormRelu(three[0], three[1], 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            ConvolutionNormRelu(before, five[0], 1), ConvolutionNormRelu(five[0], five[1], 3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), ConvolutionNormRelu(before, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, one + three[1] + five[1] + pool, H, W)"""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """Table 1 without the auxiliary heads; the names are those of the widely published ImageNet weights."""

    def __init__(self, classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = ConvolutionNormRelu(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = ConvolutionNormRelu(64, 64, 1)
        self.conv3 = ConvolutionNormRelu(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.maxpool4(self.inception4e(self.inception4d(x)))
        x = self.inception5b(self.inception5a(x))
        return cast(Tensor, self.fc(self.dropout(torch.flatten(self.avgpool(x), 1))))


class Mixed(nn.Module):
    """1x1 beside 3x3, concatenated: the block of the small network."""

    def __init__(self, before: int, one: int, three: int) -> None:
        super().__init__()
        self.one = ConvolutionNormRelu(before, one, 1)
        self.three = ConvolutionNormRelu(before, three, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, one + three, H, W)"""
        return torch.cat([self.one(x), self.three(x)], 1)


class Halved(nn.Module):
    """A 3x3 convolution of stride 2 beside a 3x3 max-pooling of stride 2, concatenated."""

    def __init__(self, before: int, three: int) -> None:
        super().__init__()
        self.three = ConvolutionNormRelu(before, three, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) -> (N, before + three, H / 2, W / 2)"""
        return torch.cat([self.three(x), self.pool(x)], 1)


def inception(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, dropout: float = 0.2
) -> GoogLeNet:
    """GoogLeNet with batch normalisation: 6,624,904 parameters for 1,000 classes.

    The widely published weights were trained on pixels scaled to -1 ... 1 (mean and deviation 0.5 in each channel).
    """
    at_least("inception", image_size, 15)
    return GoogLeNet(classes, in_channels, dropout)


def inception_small(
    classes: int = 10, in_channels: int = 3, image_size: int | tuple[int, int] = 32, dropout: float = 0.0
) -> nn.Sequential:
    """The small Inception for 32x32 pictures: (N, C, H, W) -> (N, classes).

    Figure 3 of Zhang, Bengio, Hardt, Recht & Vinyals, "Understanding deep learning requires rethinking generalization"
    (2016). The paper's 1,649,402 parameters (Table 1), and the 1,712 scales of the batch normalisations, which it
    leaves out.
    """
    at_least("inception_small", image_size, 1)
    network = nn.Sequential(
        ConvolutionNormRelu(in_channels, 96, 3, padding=1),
        Mixed(96, 32, 32),
        Mixed(64, 32, 48),
        Halved(80, 80),
        Mixed(160, 112, 48),
        Mixed(160, 96, 64),
        Mixed(160, 80, 80),
        Mixed(160, 48, 96),
        Halved(144, 96),
        Mixed(240, 176, 160),
        Mixed(336, 176, 160),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(336, classes),
    )
    initialize(network)
    return network
