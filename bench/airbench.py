"""The network of airbench94 and its first weights, as published.

Keller Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498: sections 3.1 to 3.3 and the
listing of airbench94. In float32, with PyTorch's own layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (64, 256, 256)
WHITENING_KERNEL, WHITENING_EPSILON = 2, 5e-4
BATCH_NORM_MOMENTUM, BATCH_NORM_EPSILON = 0.4, 1e-12  # PyTorch's momentum: 1 - 0.6 of the listing
SCALING = 1 / 9


class Scale(nn.Module):
    """x times a number that is not learned."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation of which only the bias is learned."""
    layer = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
    layer.weight.requires_grad_(False)
    return layer


def convolution(before: int, after: int) -> nn.Conv2d:
    """3x3 without bias; the first kernels hand their inputs on unchanged (dirac), as far as there are inputs."""
    layer = nn.Conv2d(before, after, kernel_size=3, padding="same", bias=False)
    nn.init.dirac_(layer.weight[: layer.weight.shape[1]])
    return layer


def group(before: int, after: int) -> nn.Sequential:
    """(N, before, H, W) -> (N, after, H / 2, W / 2): convolution, pooling, norm, GELU, convolution, norm, GELU."""
    return nn.Sequential(
        convolution(before, after),
        nn.MaxPool2d(2),
        norm(after),
        nn.GELU(),
        convolution(after, after),
        norm(after),
        nn.GELU(),
    )


def airbench(classes: int = 10, in_channels: int = 3) -> nn.Sequential:
    """(N, C, 32, 32) -> (N, classes): 2x2 whitening to 8 C channels, three groups, 3x3 max-pooling, a linear layer / 9.

    32 -> 31 -> 15 -> 7 -> 3 -> 1 pixels a side, or 28 -> 27 -> 13 -> 6 -> 3 -> 1. The whitening's kernels are never
    learned (`whiten` fills them); its bias is, and starts at zero. Colour pictures and ten classes: 1,971,352 numbers
    that are learned.
    """
    before = 2 * in_channels * WHITENING_KERNEL**2
    first = nn.Conv2d(in_channels, before, kernel_size=WHITENING_KERNEL, padding=0, bias=True)
    first.weight.requires_grad_(False)
    if first.bias is not None:
        nn.init.zeros_(first.bias)
    groups = []
    for after in WIDTHS:
        groups.append(group(before, after))
        before = after
    return nn.Sequential(
        first,
        nn.GELU(),
        *groups,
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(before, classes, bias=False),
        Scale(SCALING),
    )


@torch.no_grad()
def whiten(net: nn.Sequential, pictures: Tensor) -> None:
    """Fill the first layer: eigenvectors of the patches' covariance over the roots of the eigenvalues, and negatives.

    pictures: (N, C, H, W), normalised; the listing takes the first 5,000 of the training set.
    """
    first = net[0]
    if not isinstance(first, nn.Conv2d):
        raise TypeError(f"the first layer is {type(first).__name__}, not a convolution")
    channels, side = pictures.shape[1], WHITENING_KERNEL
    patches = (
        pictures.unfold(2, side, 1).unfold(3, side, 1).transpose(1, 3).reshape(-1, channels * side * side).double()
    )
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    scaled = (vectors / torch.sqrt(values + WHITENING_EPSILON)).T.flip(0)  # the largest first
    first.weight.copy_(torch.cat((scaled, -scaled)).reshape(first.weight.shape).float())
