"""VGG: 3x3 convolutions all the way (Simonyan & Zisserman, "Very deep convolutional networks ...", 2014)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.errors import unknown
from pellucid.nets.parts import at_least, initialize, pair

# Table 1 of the paper: the convolutions between poolings, by their number of kernels.
_STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}


class VGG(nn.Module):
    """``features``, ``avgpool`` and ``classifier`` bear the names of the widely published ImageNet weights."""

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential, cells: int) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d(cells)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.avgpool(self.features(x))
        return cast(Tensor, self.classifier(torch.flatten(x, 1)))


def _vgg(
    depth: int,
    classes: int,
    in_channels: int,
    image_size: int | tuple[int, int],
    batch_norm: bool,
    dropout: float,
    top: str,
) -> VGG:
    at_least(f"vgg{depth}", image_size, 32)
    if top not in ("auto", "imagenet", "small"):
        raise unknown("top", top, ("auto", "imagenet", "small"))
    layers: list[nn.Module] = []
    before = in_channels
    for stage in _STAGES[depth]:
        for after in stage:
            layers.append(nn.Conv2d(before, after, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU(inplace=True))
            before = after
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    small = max(pair(image_size)) < 128 if top == "auto" else top == "small"
    network = VGG(nn.Sequential(*layers), _classifier(classes, dropout, small), 1 if small else 7)
    initialize(network)
    for layer in network.classifier:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.zeros_(layer.bias)
    return network


def _classifier(classes: int, dropout: float, small: bool) -> nn.Sequential:
    """Three dense layers as in the paper; one where the picture has shrunk to a single cell (32x32 pictures)."""
    if small:
        return nn.Sequential(nn.Linear(512, classes))
    return nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(4096, classes),
    )


def vgg11(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    batch_norm: bool = False,
    dropout: float = 0.5,
    top: str = "auto",
) -> VGG:
    """Configuration A: 8 convolutions. 132,863,336 parameters for 1,000 classes.

    ``top="imagenet"`` is the paper's three dense layers over 7x7 cells; ``"small"`` one dense layer over the averaged
    cell; ``"auto"`` takes the small one below 128 pixels. Dropout stands between the three layers alone.
    """
    return _vgg(11, classes, in_channels, image_size, batch_norm, dropout, top)


def vgg13(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    batch_norm: bool = False,
    dropout: float = 0.5,
    top: str = "auto",
) -> VGG:
    """Configuration B: 10 convolutions. 133,047,848 parameters for 1,000 classes. ``top`` as in vgg11."""
    return _vgg(13, classes, in_channels, image_size, batch_norm, dropout, top)


def vgg16(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    batch_norm: bool = False,
    dropout: float = 0.5,
    top: str = "auto",
) -> VGG:
    """Configuration D: 13 convolutions. 138,357,544 parameters for 1,000 classes. ``top`` as in vgg11."""
    return _vgg(16, classes, in_channels, image_size, batch_norm, dropout, top)


def vgg19(
    classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    batch_norm: bool = False,
    dropout: float = 0.5,
    top: str = "auto",
) -> VGG:
    """Configuration E: 16 convolutions. 143,667,240 parameters for 1,000 classes. ``top`` as in vgg11."""
    return _vgg(19, classes, in_channels, image_size, batch_norm, dropout, top)
