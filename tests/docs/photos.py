"""A folder of pictures as a user has one: a folder per class, made of the embedded Fashion-MNIST pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

CLASSES = ("Trouser", "Bag", "Ankle boot")


def write_photos(folder: Path, each: int = 40) -> None:
    """Write ``each`` PNG files of 28x28 grey pixels for each of three classes under ``folder``."""
    from pellucid import data

    train = data.load("fashion-mnist-small").train
    classes = data.load("fashion-mnist-small").classes
    for name in CLASSES:
        (folder / name.lower().replace(" ", "-")).mkdir(parents=True)
        indices = [i for i, label in enumerate(train.labels) if classes[int(label)] == name][:each]
        for i in indices:
            Image.fromarray(train.images[i, :, :, 0]).save(folder / name.lower().replace(" ", "-") / f"{i:04d}.png")
