"""A small convolutional network of today: blocks of convolution, normalisation, activation, pooling, dropout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pellucid.errors import UsageError
from pellucid.nets.parts import activation_layer, at_least, initialize, pair, pooling_layer, several

_MOST_CELLS = 8  # a side, before the dense layer


def basic_cnn(
    classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    channels: int | Sequence[int] | None = None,
    convolutions: int = 1,
    activation: str = "relu",
    pool: str = "max",
    dropout: float = 0.1,
    batch_norm: bool = True,
) -> nn.Sequential:
    """(N, C, H, W) -> (N, classes): a block for each number in ``channels``, then one dense layer.

    Left out, ``channels`` is 32, 64, 128, and 256 for every block more that a larger picture takes to be pooled to 8x8
    cells or fewer. A block is ``convolutions`` times (3x3 convolution padded by 1, batch normalisation, activation),
    2x2 pooling, and dropout. Where more than 8x8 cells are left all the same, they are averaged to 4x4 before
    the dense layer, which so has the same size whatever the picture's.

    Raises:
        ShapeError: where the poolings leave nothing of the picture.
        UsageError: for a block without convolutions, or an activation or pooling that does not exist.
    """
    channels = several("channels", channels) if channels is not None else _channels(image_size)
    if convolutions < 1:
        raise UsageError(f"convolutions is {convolutions}: a block has at least one", fits="convolutions=1")
    at_least("basic_cnn", image_size, 2 ** len(channels))
    blocks: list[nn.Module] = []
    before = in_channels
    for after in channels:
        blocks.append(_block(before, after, convolutions, activation, pool, dropout, batch_norm))
        before = after
    height, width = (side // 2 ** len(channels) for side in pair(image_size))
    if max(height, width) > _MOST_CELLS:
        blocks.append(nn.AdaptiveAvgPool2d(4))
        height = width = 4
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(before * height * width, classes))
    initialize(network)
    return network


def _channels(image_size: int | tuple[int, int]) -> tuple[int, ...]:
    channels: tuple[int, ...] = (32, 64, 128)
    height, width = pair(image_size)
    while max(height, width) // 2 ** len(channels) > _MOST_CELLS and min(height, width) >= 2 ** (len(channels) + 1):
        channels = (*channels, 256)
    return channels


def _block(
    before: int, after: int, convolutions: int, activation: str, pool: str, dropout: float, batch_norm: bool
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convolutions):
        layers.append(nn.Conv2d(after if i else before, after, kernel_size=3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(activation_layer(activation))
    layers.append(pooling_layer(pool, 2))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)
