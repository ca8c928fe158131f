"""Cross-entropy over pixels, without void, classes weighted or not."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

VOID = 255


class PixelCrossEntropy(nn.Module):
    """The mean over pixels that are not void of -w_k log p_k, k the class of the pixel, targets smoothed.

    Divided by the number of those pixels, weighted classes or not, so that the loss of a batch is the mean of the
    losses of its parts. (PyTorch's own divides by the weights in the batch.)
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weight", weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, K, H, W), (N, H, W) int64 -> the mean"""
        losses = F.cross_entropy(
            outputs, targets, weight=self.weight, ignore_index=VOID, label_smoothing=self.smoothing, reduction="sum"
        )
        return losses / (targets != VOID).sum().clamp(min=1)


def class_weights(kind: str, counts: NDArray[np.int64]) -> Tensor | None:
    """A weight for each class, float32 (K,); 0 for a class that does not occur; None for ``none``.

    ``balanced``: pixels / (K pixels of the class), so that every class counts the same in all. ``root``: the root of
    that, scaled so that the mean weight of a pixel is 1. ``median_frequency``: the frequency of a class is its share of
    the pixels of those pictures that it is in; the weight is the median frequency over it (Eigen & Fergus 2015, section
    6.3.2).

    Args:
        kind: none, balanced, root or median_frequency.
        counts: pixels of each class in each training picture, (N, K).
    """
    if kind == "none":
        return None
    total = counts.sum(0).astype(np.float64)
    if kind == "median_frequency":
        pixels = ((counts > 0) * counts.sum(1, keepdims=True)).sum(0)
        frequency = total / np.maximum(pixels, 1)
        wanted = np.median(frequency[total > 0])
        weights = np.where(total > 0, wanted / np.maximum(frequency, 1e-300), 0.0)
    else:
        weights = np.where(total > 0, total.sum() / (len(total) * np.maximum(total, 1)), 0.0)
        if kind == "root":
            weights = np.sqrt(weights)
            weights = weights * total.sum() / (weights * total).sum()
    return torch.from_numpy(weights.astype(np.float32))
