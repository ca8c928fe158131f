"""Small runs for the tests of training: synthetic pictures that can be learned, tiny networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.data import Data

CLASSES = ("dark", "light", "striped")


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 8, 8) of three kinds with noise, and labels."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 3, count)
    images = chance.integers(0, 90, (count, 8, 8))
    images[labels == 1] += 120
    images[labels == 2, ::2] += 150
    return images.astype(np.uint8), labels


@pytest.fixture
def data() -> Data:
    """60 pictures to learn from, 30 to choose by, 30 to test."""
    return Data.from_arrays(*pictures(60, 1), CLASSES, validation=pictures(30, 2), test=pictures(30, 3))


@pytest.fixture
def without_validation() -> Data:
    return Data.from_arrays(*pictures(60, 1), CLASSES, test=pictures(30, 3))


def tiny(dropout: float = 0.0, norm: bool = True) -> nn.Sequential:
    """(N, 1, 8, 8) -> (N, 3)"""
    torch.manual_seed(4)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, padding=1), *([nn.BatchNorm2d(4)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Dropout(dropout), nn.Flatten(), nn.Linear(64, 3))


PLAIN: dict[str, Any] = {
    "batch_size": 10,
    "channels_last": False,
    "engine": "torch",
    "threads": 1,
    "crop": 0,
    "flip": False,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "learning_rate": 0.01,
    "schedule": "constant",
    "warmup": 0.0,
}
