"""Dilated convolutions: a field that doubles with every layer, and no picture that shrinks.

Yu & Koltun, "Multi-scale context aggregation by dilated convolutions", 2016.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError, unknown
from pellucid.nets.parts import at_least, initialize, pair

_LARGEST = 64  # pixels a side, of the maps that the module looks at
DILATIONS = (1, 1, 2, 4, 8, 16, 1)  # Table 1; a 1x1 convolution follows
_WIDTHS = {  # channels behind each of the eight layers, in multiples of those that come in
    "basic": (1, 1, 1, 1, 1, 1, 1, 1),
    "large": (2, 2, 4, 8, 16, 32, 32, 1),
}


class ContextModule(nn.Sequential):
    """The context module (Table 1): (N, C, H, W) -> (N, C, H, W), every number with a field of 67 x 67.

    Seven 3x3 convolutions of dilation 1, 1, 2, 4, 8, 16, 1, each padded by its dilation and followed by ReLU, and a
    1x1 convolution with nothing behind it. Their fields are 3, 5, 9, 17, 33, 65, 67 and 67 wide. The size ``basic``
    has C channels all the way, ``large`` 2, 2, 4, 8, 16, 32, 32 and 1 times C.

    It starts as the identity for what is not negative: see ``identity``.
    """

    def __init__(self, channels: int, size: str = "basic", deviation: float = 0.0) -> None:
        super().__init__()
        if size not in _WIDTHS:
            raise unknown("size of a context module", size, _WIDTHS)
        if channels < 1:
            raise UsageError(f"a context module of {channels} channels has nothing to look at", fits="channels=1")
        before = channels
        for i, times in enumerate(_WIDTHS[size]):
            after = channels * times
            if i < len(DILATIONS):
                rate = DILATIONS[i]
                self.append(nn.Conv2d(before, after, 3, padding=rate, dilation=rate))
                self.append(nn.ReLU(inplace=True))
            else:
                self.append(nn.Conv2d(before, after, 1))
            before = after
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                identity(layer, channels, deviation)


@torch.no_grad()
def identity(layer: nn.Conv2d, channels: int, deviation: float = 0.0) -> None:
    """Set a convolution to pass on what it is given (eq. 4 and, where layers differ in width, eq. 5).

    The output b and the input a of a layer with c(i) and c(i + 1) channels belong to the same of the module's C
    channels where floor(a C / c(i)) = floor(b C / c(i + 1)). There the weight in the middle of the kernel is
    C / c(i + 1), so that the copies of a channel add up to it; all others are normal noise of a small deviation.
    """
    weight = layer.weight
    after, before, height, width = weight.shape
    nn.init.normal_(weight, 0, deviation) if deviation else nn.init.zeros_(weight)
    of_input = torch.arange(before) * channels // before
    of_output = torch.arange(after) * channels // after
    same = of_output[:, None] == of_input[None, :]
    middle = weight[:, :, height // 2, width // 2]
    middle[same] = channels / after
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class DilatedCNN(nn.Module):
    """A small classifier around a context module: a 3x3 convolution, the module, an average, one dense layer."""

    def __init__(self, classes: int, in_channels: int, width: int, size: str, halvings: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *(nn.MaxPool2d(2) for _ in range(halvings)),
        )
        initialize(self)
        self.context = ContextModule(width, size, deviation=0.1 / width)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)"""
        x = self.norm(self.context(self.stem(x)))
        return cast(Tensor, self.fc(nn.functional.relu(x).mean((2, 3))))


def dilated_cnn(
    classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    width: int = 32,
    size: str = "basic",
) -> DilatedCNN:
    """(N, C, H, W) -> (N, classes) with a context module of ``width`` channels.

    Pictures of up to 64 pixels keep their size to the end; larger ones are halved until their larger side is, before
    the module.

    Raises:
        UsageError: for a ``size`` that is not ``basic`` or ``large``, or a width below 1.
    """
    if width < 1:
        raise UsageError(f"width of dilated_cnn is {width}", fits="a whole number from 1 on")
    halvings = 0
    while max(pair(image_size)) // 2**halvings > _LARGEST:
        halvings += 1
    at_least("dilated_cnn", image_size, 2**halvings)
    return DilatedCNN(classes, in_channels, width, size, halvings)
