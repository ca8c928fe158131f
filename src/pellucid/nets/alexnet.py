"""AlexNet (Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", 2012)
and ZFNet (Zeiler & Fergus, "Visualizing and understanding convolutional networks", 2013)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.nets.parts import at_least, initialize


class AlexNet(nn.Module):
    """Five convolutions and three dense layers; a network of large kernels at the bottom.

    ``features``, ``avgpool`` and ``classifier`` bear the names of the widely published ImageNet weights.
    """

    def __init__(self, features: nn.Sequential, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.avgpool(self.features(x))
        return cast(Tensor, self.classifier(torch.flatten(x, 1)))


def alexnet(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, dropout: float = 0.5
) -> AlexNet:
    """AlexNet on one tower: 61,100,840 parameters for 1,000 classes.

    The widths are those of Krizhevsky's "One weird trick for parallelizing convolutional neural networks" (2014,
    section 5), as in the published weights: 64, 192, 384, 256 and 256 kernels, and no contrast normalisation.
    """
    at_least("alexnet", image_size, 63)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 64, kernel_size=11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(64, 192, kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(192, 384, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    return AlexNet(features, 256, classes, dropout)


def zfnet(
    classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, dropout: float = 0.5
) -> AlexNet:
    """ZFNet, Figure 3 of Zeiler & Fergus, "Visualizing and understanding convolutional networks" (2013).

    AlexNet with 7x7 kernels of stride 2 in the first layer and stride 2 in the second, found by looking at what the
    layers respond to. Contrast normalisation stands after the first two poolings, as in the paper. 62,357,608
    parameters for 1,000 classes.
    """
    at_least("zfnet", image_size, 53)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 96, kernel_size=7, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0),
        nn.Conv2d(96, 256, kernel_size=5, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0),
        nn.Conv2d(256, 384, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    network = AlexNet(features, 256, classes, dropout)
    initialize(network)
    return network
