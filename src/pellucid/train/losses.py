"""Losses by name. Targets are labels (N,), or after mixup probabilities (N, classes).

Each is a mean over the N pictures, weighted classes or not, so that the loss of a batch is the mean of the losses of
its parts: gradients accumulated over parts are those of one larger batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import unknown


class WeightedCrossEntropy(nn.Module):
    """-sum_k w_k t_k log p_k, with targets t smoothed. (PyTorch's own divides by the weights in the batch.)"""

    weight: Tensor

    def __init__(self, smoothing: float, weight: Tensor) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weight", weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, classes), targets -> the mean over N"""
        losses = F.cross_entropy(outputs, targets, weight=self.weight, label_smoothing=self.smoothing, reduction="sum")
        return losses / len(outputs)


class BinaryCrossEntropy(nn.Module):
    """Each class by itself against the rest (Wightman, Touvron & Jégou 2021, section 3), summed over classes."""

    weight: Tensor | None

    def __init__(self, classes: int, smoothing: float, weight: Tensor | None) -> None:
        super().__init__()
        self.classes, self.smoothing = classes, smoothing
        self.register_buffer("weight", weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, classes), targets -> the mean over N"""
        wanted = targets if targets.is_floating_point() else F.one_hot(targets, self.classes).to(outputs.dtype)
        wanted = wanted * (1 - self.smoothing) + self.smoothing / self.classes
        losses = F.binary_cross_entropy_with_logits(outputs, wanted, weight=self.weight, reduction="none")
        return losses.sum(1).mean()


class Focal(nn.Module):
    """-(1 - p)^2 log p of the right class: easy pictures count less (Lin et al. 2017, eq. 4, gamma = 2)."""

    weight: Tensor | None

    def __init__(self, classes: int, weight: Tensor | None) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("weight", weight)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, classes), targets -> the mean over N"""
        logarithms = F.log_softmax(outputs, 1)
        wanted = targets if targets.is_floating_point() else F.one_hot(targets, self.classes).to(outputs.dtype)
        if self.weight is not None:
            wanted = wanted * self.weight
        return -(wanted * (1 - logarithms.exp()) ** 2 * logarithms).sum(1).mean()


def make(name: str, classes: int, *, smoothing: float = 0.0, weight: Tensor | None = None) -> nn.Module:
    """A loss by name: (N, classes), targets -> a number.

    Args:
        name: cross_entropy, binary_cross_entropy or focal.
        classes: how many there are.
        smoothing: label smoothing (Szegedy et al. 2015, section 7); not for focal.
        weight: of each class, (classes,).
    """
    if name == "cross_entropy":
        if weight is not None:
            return WeightedCrossEntropy(smoothing, weight)
        return nn.CrossEntropyLoss(label_smoothing=smoothing)
    if name == "binary_cross_entropy":
        return BinaryCrossEntropy(classes, smoothing, weight)
    if name == "focal":
        return Focal(classes, weight)
    raise unknown("loss", name, ("binary_cross_entropy", "cross_entropy", "focal"))


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """N / (classes * N_k) for each class k, float32 (classes,); 0 for a class that does not occur."""
    counts = torch.bincount(labels, minlength=classes).double()
    weights = torch.where(counts > 0, labels.numel() / (classes * counts.clamp(min=1)), 0.0)
    return weights.float()
