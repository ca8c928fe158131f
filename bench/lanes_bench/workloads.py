"""The networks that are trained side by side, and how they are counted. Nothing here imports a framework by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn

CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """channels, size: of a picture. goal, stretch: how many times the best float32 peer's speed was asked of lanes.

    bf16: whether lanes was asked to be faster than PyTorch's best bf16, and to take half of PyTorch's memory.
    dropout: whether the network has any, so that losses of two engines are not the same number.
    """

    name: str
    channels: int
    size: int
    batch: int
    goal: float
    stretch: float
    bf16: bool = True
    dropout: bool = False


WORKLOADS = {
    work.name: work
    for work in (
        Workload("lenet", 1, 28, 128, 4.5, 7.0),
        Workload("basic_cnn", 3, 32, 128, 3.5, 5.0, dropout=True),
        Workload("airbench", 3, 32, 500, 2.5, 3.5),
        Workload("resnet18", 3, 32, 128, 2.5, 3.5),
        Workload("vgg11_bn", 3, 32, 128, 2.5, 3.5),
        Workload("inception_small", 3, 32, 128, 2.5, 4.0, bf16=False),
        Workload("mobilenet_v2_224", 3, 224, 32, 1.5, 3.0, bf16=False, dropout=True),
        Workload("resnet18_224", 3, 224, 32, 1.7, 2.5, bf16=False),
    )
}


TINY = Workload("tiny", 3, 16, 32, 0.0, 0.0)
"""Built and trained once before anything is counted: what a framework loads at its first step is not the network's."""


def network(work: Workload) -> nn.Module:
    """The workload's network with PyTorch's layers; the same numbers each time."""
    import torch

    torch.manual_seed(0)
    if work.name == "airbench":
        from airbench import airbench, whiten

        net = airbench(CLASSES)
        whiten(net, torch.from_numpy(pictures(work, 64)[0]))
        return net
    if work is TINY:
        from torch import nn

        layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1))
        return nn.Sequential(*layers, nn.Conv2d(8, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(8 * 36, CLASSES))
    from pellucid import nets

    makers: dict[str, Callable[..., nn.Module]] = {
        "lenet": nets.lenet,
        "basic_cnn": nets.basic_cnn,
        "resnet18": nets.resnet18,
        "resnet18_224": nets.resnet18,
        "inception_small": nets.inception_small,
        "mobilenet_v2_224": nets.mobilenet_v2,
    }
    if work.name == "vgg11_bn":
        return nets.vgg11(CLASSES, work.channels, work.size, batch_norm=True)
    return makers[work.name](CLASSES, work.channels, work.size)


def pictures(work: Workload, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W) float32 as after normalisation, smooth enough to be pictures, and (N,) int64 labels."""
    chance = np.random.default_rng(0)
    count = work.batch if count is None else count
    shape = (count, work.channels, work.size, work.size)
    images = chance.standard_normal(shape, np.float32)
    images += 2 * chance.standard_normal((count, work.channels, 1, work.size), np.float32)
    return images / np.float32(5**0.5), chance.integers(0, CLASSES, count)
