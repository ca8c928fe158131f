"""Arrays of any usual form, made into the one form that Pellucid keeps: uint8 (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Data, Labels, Numbered, Pixels, Split
from pellucid.data.split import assign
from pellucid.errors import ShapeError, UsageError

_USUAL_CHANNELS = (1, 3, 4)


def build(
    cls: type[Data],
    images: Any,
    labels: Any,
    classes: Sequence[str] | None,
    *,
    validation: float | tuple[Any, Any] | None,
    test: float | tuple[Any, Any] | None,
    layout: str | None,
    seed: int,
) -> Data:
    """See `Data.from_arrays`."""
    notes: list[str] = []
    pixels = as_pixels(images, layout, notes)
    targets, names = as_labels(labels, classes)
    if len(targets) != len(pixels):
        raise ShapeError(f"{len(pixels)} images but {len(targets)} labels", fits="one label an image")
    splits: dict[str, Split] = {}
    shares: dict[str, float] = {}
    for name, given in (("validation", validation), ("test", test)):
        if isinstance(given, tuple):
            own, _ = as_labels(given[1], names)
            own_pixels = as_pixels(given[0], layout, notes)
            splits[name] = Split(own_pixels, own, Numbered(name, len(own_pixels)))
        elif given:
            shares[name] = float(given)
    train = Split(pixels, targets, Numbered("train", len(pixels)))
    if shares:
        parts = set_aside(train, shares, seed)
        train, splits = parts.pop("train"), splits | parts
    if not len(train):
        raise UsageError("there is no training image", fits="at least one image")
    return cls(names, train, splits.get("validation"), splits.get("test"), notes=tuple(dict.fromkeys(notes)))


def as_pixels(images: Any, layout: str | None, notes: list[str]) -> Pixels:
    """Images as uint8 (N, H, W, C); a view where nothing has to be converted."""
    is_tensor = hasattr(images, "detach")
    array = np.asarray(images.detach().cpu().numpy() if is_tensor else images)
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim != 4:
        raise ShapeError(f"images have shape {array.shape}", fits="(N, H, W), (N, H, W, C) or (N, C, H, W)")
    elif (layout or _layout(array.shape, is_tensor)) == "NCHW":
        array = array.transpose(0, 2, 3, 1)
    return array if array.dtype == np.uint8 else to_uint8(array, notes)


def _layout(shape: tuple[int, ...], is_tensor: bool) -> str:
    """Where the channels are. When both ends could be, tensors have them first and arrays last, as is usual."""
    first, last = shape[1] in _USUAL_CHANNELS, shape[3] in _USUAL_CHANNELS
    if not first and not last:
        raise ShapeError(
            f"images of shape {shape} have {shape[1]} or {shape[3]} channels, neither of them 1, 3 or 4",
            try_='layout="NHWC" or layout="NCHW"',
        )
    return "NCHW" if first and (is_tensor or not last) else "NHWC"


def to_uint8(array: NDArray[Any], notes: list[str]) -> Pixels:
    """Numbers of 0..1 (floats) or 0..255 as uint8, rounded. Raises UsageError for any other range."""
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= 0 and high <= 255):  # written so that NaN is refused too
        raise UsageError(
            f"pixels run from {low:.4g} to {high:.4g}",
            fits="0 to 255, or 0 to 1 for floats; give pixels before normalising them (Pellucid normalises itself)",
        )
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and high <= 1):
        notes.append("float pixels of 0 to 1 are kept as 8-bit numbers, rounded to the nearest of 256 steps")
        return (array * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    if array.dtype.kind == "f":
        return (array + np.float32(0.5)).astype(np.uint8)
    return array.astype(np.uint8)


def as_labels(labels: Any, classes: Sequence[str] | None) -> tuple[Labels, tuple[str, ...]]:
    """Labels as int64 (N,), and the classes' names."""
    array = np.asarray(labels.detach().cpu().numpy() if hasattr(labels, "detach") else labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(
            f"labels have shape {array.shape}",
            fits="(N,): one class number or name an image; labels.argmax(1) if they are one-hot",
        )
    if array.dtype.kind in "UO":
        return _from_names([str(name) for name in array.tolist()], classes)
    if array.dtype.kind not in "iub" and not np.array_equal(array, np.trunc(array)):
        raise UsageError(f"labels are {array.dtype}, and not whole numbers", fits="class numbers 0, 1, 2, ... or names")
    numbers = array.astype(np.int64)
    if classes is None:
        count = int(numbers.max()) + 1 if len(numbers) else 0
        classes = [str(i) for i in range(count)]
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(classes):
        raise UsageError(
            f"labels run from {numbers.min()} to {numbers.max()}, but there are {len(classes)} classes",
            fits=f"labels 0 to {len(classes) - 1}",
        )
    return numbers, tuple(classes)


def _from_names(labels: list[str], classes: Sequence[str] | None) -> tuple[Labels, tuple[str, ...]]:
    names = tuple(classes) if classes is not None else tuple(sorted(set(labels)))
    number = {name: i for i, name in enumerate(names)}
    strange = sorted(set(labels) - set(names))
    if strange:
        raise UsageError(
            f"{len(strange)} label(s) are not among the classes: {', '.join(strange[:5])}", classes=", ".join(names)
        )
    return np.array([number[label] for label in labels], np.int64), names


def set_aside(split: Split, shares: dict[str, float], seed: int) -> dict[str, Split]:
    """The split in parts: its shares, stratified by class and with exact duplicates kept together, and "train"."""
    rest = 1.0 - sum(shares.values())
    if min(shares.values()) < 0 or rest <= 0:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise UsageError(f"nothing is left to train on: {listed}", fits="shares that are together less than 1")
    digests = [blake2b(picture, digest_size=16).digest() for chunk in split.chunks() for picture in chunk]
    parts = np.array(assign(split.labels, digests, seed=seed, shares={"train": rest, **shares}))
    return {name: split.take(np.flatnonzero(parts == name)) for name in ("train", *shares)}
