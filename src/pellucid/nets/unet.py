"""U-Net: down to what is there, up to where it is, with the maps of the way down beside those of the way up.

Ronneberger, Fischer & Brox, "U-Net: convolutional networks for biomedical image segmentation" (2015).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.parts import initialize


class DoubleConvolution(nn.Sequential):
    """Twice a 3x3 convolution and ReLU: (N, before, H, W) -> (N, after, H, W).

    Padded by 1 where the paper pads nothing and cuts the maps of the way down, so that sizes stay.
    """

    def __init__(self, before: int, after: int, batch_norm: bool, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for width in (before, after):
            layers.append(nn.Conv2d(width, after, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU(inplace=True))
        if dropout:
            layers.append(nn.Dropout2d(dropout))
        super().__init__(*layers)


class UNet(nn.Module):
    """Figure 1 of the paper: (N, C, H, W) -> (N, classes, H, W), pictures of any size.

    An odd side is pooled with the border's window half outside, and the map that comes back one larger is cut, so that
    nothing of the picture is lost or made up. ``stem`` halves the picture before all else, by a convolution of stride
    2, and at the end every pixel's scores are interpolated between those of the half.
    """

    def __init__(
        self, classes: int, in_channels: int, channels: int, depth: int, batch_norm: bool, dropout: float, stem: bool
    ) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(depth + 1)]
        self.stem = _stem(in_channels, channels, batch_norm) if stem else nn.Identity()
        first = channels if stem else in_channels
        befores = [first, *widths[:-1]]
        drops = [dropout if level >= depth - 1 else 0.0 for level in range(depth + 1)]
        self.down = nn.ModuleList(
            DoubleConvolution(before, after, batch_norm, drop)
            for before, after, drop in zip(befores, widths, drops, strict=True)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1]))
        self.merge = nn.ModuleList(DoubleConvolution(2 * width, width, batch_norm) for width in reversed(widths[:-1]))
        self.score = nn.Conv2d(channels, classes, 1)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes, H, W)"""
        size = x.shape[2:]
        x = self.stem(x)
        passed: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            passed.append(x)
        passed.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            beside = passed.pop()
            x = merge(torch.cat([beside, cut(up(x), beside.shape[2:])], 1))
        x = self.score(x)
        if isinstance(self.stem, nn.Identity):
            return x
        return cut(nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), size)


def _stem(in_channels: int, channels: int, batch_norm: bool) -> nn.Sequential:
    """A 3x3 convolution of stride 2: (N, C, H, W) -> (N, channels, H / 2, W / 2), halves rounded up."""
    norm: list[nn.Module] = [nn.BatchNorm2d(channels)] if batch_norm else []
    convolution = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=not batch_norm)
    return nn.Sequential(convolution, *norm, nn.ReLU(inplace=True))


def cut(x: Tensor, size: torch.Size) -> Tensor:
    """The upper left (H, W) of maps that may be larger."""
    height, width = size
    return x if x.shape[2:] == size else x[..., :height, :width]


def unet(
    classes: int = 2,
    in_channels: int = 1,
    channels: int = 64,
    depth: int = 4,
    batch_norm: bool = False,
    dropout: float = 0.0,
    stem: bool = False,
) -> UNet:
    """U-Net with the paper's widths: 64 channels, doubled at each of four halvings, and 2x2 transposed convolutions.

    31,030,658 parameters for two classes and grey pictures. (The 31,031,685 that are often quoted are those of a widely
    copied version, which has a 3x3 convolution to two maps before one 1x1 kernel.) ``dropout`` leaves out whole maps at
    the two lowest levels (the paper: at the end of the way down).

    Raises:
        UsageError: for no channels, or a depth below 1.
    """
    if channels < 1 or depth < 1:
        raise UsageError(f"a U-Net of {channels} channels and depth {depth} is none", fits="at least 1 each")
    return UNet(classes, in_channels, channels, depth, batch_norm, dropout, stem)


def unet_small(
    classes: int = 2,
    in_channels: int = 3,
    channels: int = 32,
    depth: int = 4,
    batch_norm: bool = True,
    dropout: float = 0.1,
    stem: bool = True,
) -> UNet:
    """A U-Net for a processor without an accelerator: half the width on half the picture, with batch normalisation."""
    return unet(classes, in_channels, channels, depth, batch_norm, dropout, stem)
