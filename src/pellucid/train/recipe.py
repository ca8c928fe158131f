"""The recipe: good values for whatever the user has not set, from the data and the network alone.

What it is and what it scored stands in docs/recipe.md.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pellucid.data import Augment, Data
from pellucid.train.settings import Settings

# The highest learning rate of the schedule at a batch of 128, for networks that start from random weights.
_RATES = {"sgd": 0.1, "momentum": 0.05, "adagrad": 0.02, "rmsprop": 0.002, "adam": 0.005, "adamw": 0.01, "muon": 0.02}
_DECAYS = {"adamw": 0.05, "muon": 0.05}  # decoupled; the others take the gradient of an L2 penalty
_FINE_TUNING = 0.1  # of the learning rate, where weights come from a file
_WITHOUT_NORM = 0.5  # of it, where nothing normalises the layers
_SMALL = 64  # up to this side, pictures are the small ones of benchmarks: shifted by pixels rather than resized


def resolve(settings: Settings, data: Data, net: nn.Module) -> Settings:
    """Settings with nothing left to choose. What the user has set stays as it is."""
    chosen: dict[str, Any] = {
        "batch_size": _batch_size(len(data.train)),
        "weight_decay": _DECAYS.get(settings.optimizer, 5e-4),
        "label_smoothing": 0.1 if settings.loss == "cross_entropy" else 0.0,
        "ema": 0.0,
        **_augmentation(data),
    }
    given = {name: value for name, value in settings.model_dump().items() if value is not None}
    batch_size = min(int(given.get("batch_size") or chosen["batch_size"]), len(data.train))
    chosen["learning_rate"] = _learning_rate(settings, net, batch_size)
    return Settings.parse({**settings.model_dump(), **chosen, **given, "batch_size": batch_size})


def augment(settings: Settings) -> Augment:
    """The augmentation that resolved settings ask for."""
    return Augment(
        crop=settings.crop or 0,
        resized_crop=settings.resized_crop or 0.0,
        flip=bool(settings.flip),
        rotation=settings.rotation or 0.0,
        scale=settings.scale or 0.0,
        color=settings.color or 0.0,
        cutout=settings.cutout or 0,
        mixup=settings.mixup or 0.0,
    )


def _batch_size(count: int) -> int:
    """128; smaller where an epoch would have fewer than 40 steps, but no smaller than 16."""
    size = 128
    while size > 16 and count // size < 40:
        size //= 2
    return size


def _learning_rate(settings: Settings, net: nn.Module, batch_size: int) -> float:
    rate = _RATES[settings.optimizer] * (batch_size / 128) ** 0.5
    norms = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
    if not any(isinstance(layer, norms) for layer in net.modules()):
        rate *= _WITHOUT_NORM
    if settings.weights is not None and not settings.freeze:
        rate *= _FINE_TUNING
    return float(f"{rate:.3g}")


def _augmentation(data: Data) -> dict[str, Any]:
    """Shifts for all; mirrors for what is no writing; boxes, colour and turns for photos."""
    height, width = data.image_size
    written = all(name.strip().isdecimal() or len(name.strip()) == 1 for name in data.classes)
    grey = data.channels == 1
    common = {"rotation": 0.0, "scale": 0.0, "color": 0.0, "cutout": 0, "mixup": 0.0, "resized_crop": 0.0}
    if max(height, width) <= _SMALL:
        small = 0 if grey else max(1, round(min(height, width) / 16))
        return {**common, "crop": small, "flip": not written}
    return {**common, "crop": 0, "flip": True, "resized_crop": 0.5, "rotation": 10.0, "color": 0.2}
