"""Fully convolutional networks: VGG-16 with its dense layers as convolutions, and its map of scores made large again.

Long, Shelhamer & Darrell, "Fully convolutional networks for semantic segmentation" (2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.parts import initialize

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # of the five stages of VGG-16
_PADDING = 100  # of the first convolution, as in the paper's networks: so that 1 x 1 pictures have a map too
# Where the picture begins in a map of scores: what the paper's networks cut off in front. With the padding p of the
# first convolution the output of stride s begins at p - 65 - s / 2; poolings are cut to the map that they are added to.
_BEGINS = {32: _PADDING - 81, 16: _PADDING - 73, 8: _PADDING - 69}
_POOL4, _POOL3 = 5, 9


class FCN(nn.Module):
    """Figure 3 of the paper: (N, C, H, W) -> (N, classes, H, W), pictures of any size.

    ``features`` bears the names of VGG-16's weights; ``fc6`` and ``fc7`` are its dense layers as convolutions. The
    first convolution is padded by 100 and poolings keep what is left over (ceil mode), as in the paper; the map of
    scores is cut to the picture. Scores begin at 0; transposed convolutions begin with bilinear interpolation, of which
    the last stays as it is (section 4.1).
    """

    def __init__(self, stride: int, classes: int, in_channels: int, width: int, dense: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = []
        before = in_channels
        for count, after in zip(_CONVOLUTIONS, widths, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(before, after, 3, padding=1 if layers else _PADDING))
                layers.append(nn.ReLU(inplace=True))
                before = after
            layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.fc6 = nn.Conv2d(before, dense, 7)
        self.fc7 = nn.Conv2d(dense, dense, 1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        initialize(self)
        if stride <= 16:
            self.score_pool4 = _score(widths[3], classes)
            self.upscore2 = upsampling(classes, 2)
        if stride <= 8:
            self.score_pool3 = _score(widths[2], classes)
            self.upscore_pool4 = upsampling(classes, 2)
        self.score = _score(dense, classes)  # the last convolution: what learns where the head alone does
        self.upscore = upsampling(classes, stride, each=True)
        self.upscore.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes, H, W)"""
        size = x.shape[2:]
        pooled: list[Tensor] = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        x = self.dropout(self.relu(self.fc6(x)))
        x = self.score(self.dropout(self.relu(self.fc7(x))))
        if self.stride <= 16:
            x = self.upscore2(x)
            x = x + cut(self.score_pool4(pooled[3]), _POOL4, x.shape[2:])
        if self.stride <= 8:
            x = self.upscore_pool4(x)
            x = x + cut(self.score_pool3(pooled[2]), _POOL3, x.shape[2:])
        return cut(self.upscore(x), _BEGINS[self.stride], size)

    def adapted(self, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights of a VGG-16 classifier under the names of this network, and its own scores beside them; other
        weights as they are.

        The two large dense layers become fc6 (dense, C, 7, 7) and fc7 (dense, dense, 1, 1): the same numbers.
        """
        if "classifier.0.weight" not in given or "classifier.3.weight" not in given:
            return given
        taken = {name: value for name, value in given.items() if not name.startswith("classifier.")}
        for dense, name, layer in (("classifier.0", "fc6", self.fc6), ("classifier.3", "fc7", self.fc7)):
            weight = given[f"{dense}.weight"]
            fits = weight.numel() == layer.weight.numel()
            taken[f"{name}.weight"] = weight.reshape(layer.weight.shape) if fits else weight
            taken[f"{name}.bias"] = given[f"{dense}.bias"]
        own = {name: value for name, value in self.state_dict().items() if name.startswith(("score", "upscore"))}
        return {**own, **taken}


def _score(before: int, classes: int) -> nn.Conv2d:
    """A 1x1 convolution to the classes that begins at 0 (section 4.1)."""
    layer = nn.Conv2d(before, classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def upsampling(classes: int, by: int, each: bool = False) -> nn.ConvTranspose2d:
    """A transposed convolution with kernels of 2 ``by`` and that stride, which begins as bilinear interpolation of each
    map by itself: (N, K, H, W) -> (N, K, by (H + 1), by (W + 1)).

    each: whether every map has one kernel and can never do more, rather than K.
    """
    layer = nn.ConvTranspose2d(classes, classes, 2 * by, by, bias=False, groups=classes if each else 1)
    kernel = bilinear(2 * by)
    with torch.no_grad():
        layer.weight.zero_()
        for i in range(classes):
            layer.weight[i, 0 if each else i] = kernel
    return layer


def bilinear(size: int) -> Tensor:
    """The kernel (size, size) of bilinear interpolation by size / 2: a tent over each axis, multiplied.

    >>> bilinear(4)[0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    tent = 1 - (torch.arange(size) - (size - 1) / 2).abs() / (size / 2)
    return torch.outer(tent, tent)


def cut(x: Tensor, first: int, size: torch.Size) -> Tensor:
    """Rows and columns from ``first`` on, as many as (H, W)."""
    height, width = size
    return x[..., first : first + height, first : first + width]


def _fcn(stride: int, classes: int, in_channels: int, width: int, dense: int, dropout: float) -> FCN:
    if width < 1 or dense < 1:
        raise UsageError(f"fcn{stride}s with width {width} and {dense} dense maps is none", fits="at least 1 each")
    return FCN(stride, classes, in_channels, width, dense, dropout)


def fcn32s(classes: int = 21, in_channels: int = 3, width: int = 64, dense: int = 4096, dropout: float = 0.5) -> FCN:
    """The scores of fc7, one for every 32 pixels, interpolated. 134,432,597 parameters for 21 classes.

    ``width`` (of the first stage, 64 in VGG-16) and ``dense`` (of fc6 and fc7) make smaller ones, which no published
    weights fit.
    """
    return _fcn(32, classes, in_channels, width, dense, dropout)


def fcn16s(classes: int = 21, in_channels: int = 3, width: int = 64, dense: int = 4096, dropout: float = 0.5) -> FCN:
    """fcn32s with the scores of the fourth pooling added, one for every 16 pixels."""
    return _fcn(16, classes, in_channels, width, dense, dropout)


def fcn8s(classes: int = 21, in_channels: int = 3, width: int = 64, dense: int = 4096, dropout: float = 0.5) -> FCN:
    """fcn16s with the scores of the third pooling added, one for every 8 pixels."""
    return _fcn(8, classes, in_channels, width, dense, dropout)
