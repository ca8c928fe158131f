"""Pictures with a mask each: a label for every pixel. What the data set is, and how it is read from files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Pixels
from pellucid.data.load import _broken, _digests, _header, _limited, _splits
from pellucid.data.masks_decode import VOID, Labels, Mask, meaning, read_mask, resize_mask
from pellucid.data.masks_files import Listing, find_pairs
from pellucid.data.resize import Fit
from pellucid.data.source import Entry, Skipped, Source, refuse_if_too_many_broken
from pellucid.data.store import Decoding, Progress, decoded
from pellucid.errors import DataError, DecodeError, ShapeError, UsageError

_LONGEST = 256  # pixels of the longer side that pictures keep, or are brought to
_MULTIPLE = 16
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class MaskSplit:
    """Pictures and their masks.

    images: uint8 (N, H, W, C), in memory or mapped from a file. masks: uint8 (N, H, W), the class of each pixel, 255
    where there is none (void). names: what to call each picture.
    """

    images: Pixels
    masks: Mask
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ShapeError(
                f"images are {self.images.dtype} of shape {self.images.shape}", fits="uint8 of shape (N, H, W, C)"
            )
        if self.masks.shape != self.images.shape[:3] or self.masks.dtype != np.uint8:
            raise ShapeError(
                f"masks are {self.masks.dtype} of shape {self.masks.shape}",
                fits=f"uint8 of shape {self.images.shape[:3]}, as the images have it",
            )
        if len(self.names) != len(self.images):
            raise ShapeError(f"{len(self.images)} images and {len(self.names)} names do not fit together")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        return int(self.images.shape[3])

    def take(self, indices: Any) -> MaskSplit:
        """The pictures at these indices, in this order (copied)."""
        chosen = np.asarray(indices)
        return MaskSplit(self.images[chosen], self.masks[chosen], [self.names[i] for i in chosen.tolist()])

    def chunks(self) -> Iterator[Pixels]:
        """The images in order, some megabytes at a time, each chunk contiguous in (N, H, W, C)."""
        step = max(1, _CHUNK_BYTES // max(1, self.images[:1].nbytes))
        for first in range(0, len(self), step):
            yield np.ascontiguousarray(self.images[first : first + step])

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Pixels of each class in each picture, (N, classes)."""
        flat = self.masks.reshape(len(self), -1)
        return np.stack([np.bincount(mask, minlength=256)[:classes] for mask in flat]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class MaskData:
    """A data set for segmentation: `train` to learn from, `validation` to choose by, `test` to measure once."""

    task: ClassVar[str] = "segmentation"
    classes: tuple[str, ...]
    train: MaskSplit
    validation: MaskSplit | None = None
    test: MaskSplit | None = None
    origin: str = "arrays"
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How files were read: ``fit``, and ``scale``, the pixels that one pixel of a file has become."""

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            if split.images.shape[1:] != self.train.images.shape[1:]:
                raise ShapeError(
                    f"the {name} images are {split.images.shape[1:]}, "
                    f"the training images {self.train.images.shape[1:]}",
                    fits="one size (height, width, channels) for all splits",
                )
            labels = np.unique(split.masks)
            labels = labels[labels != VOID]
            if len(labels) and labels.max() >= len(self.classes):
                raise UsageError(
                    f"the {name} masks have the label {labels.max()}, but there are {len(self.classes)} classes",
                    fits=f"labels 0 to {len(self.classes) - 1}, and {VOID} for void",
                )

    @property
    def splits(self) -> dict[str, MaskSplit]:
        """The splits that there are, by name."""
        three = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in three.items() if split is not None}

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.train.image_size

    @property
    def channels(self) -> int:
        return self.train.channels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over pixels, masks, classes and splits: two sets with the same one train the same network."""
        digest = hashlib.sha256(b"pellucid masks 1\n")
        digest.update("\0".join(self.classes).encode() + b"\n")
        for name, split in self.splits.items():
            digest.update(f"{name} {split.images.shape}\n".encode())
            for chunk in split.chunks():
                digest.update(chunk.data)
            digest.update(np.ascontiguousarray(split.masks).data)
        return digest.hexdigest()


def load_masks(
    where: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "crop",
    seed: int = 0,
    validation: float | None = None,
    limit: int | None = None,
    void: int | None = None,
    classes: Sequence[str] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> MaskData:
    """Read pictures and masks: a folder (or a zip or tar of one) with ``images/`` and ``masks/`` of the same names, at
    its top or below train, val and test, and perhaps a ``classes.txt`` with the name of each label, from 0 on.

    image_size: (H, W), or one number for both. Left out, pictures that all have one size of at most 256 pixels a side
    keep it; others are brought to the median size, its longer side shrunk to 256, both sides multiples of 16.
    channels, fit, validation, limit, seed, cache, progress: as for ``pellucid.data.load``.
    void: a label that is no class; see ``masks_decode.meaning`` for what is found without.
    classes: names of the labels, where there is no classes.txt.

    Raises DataError where a picture has no mask or a mask no picture, sizes differ, labels are in no list, a mask is a
    photo, or more than a tenth of the files cannot be decoded; UsageError for settings that do not fit.
    """
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}", fits="1 (grey) or 3 (colour)")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}", fits="1 or more pictures")
    listing = find_pairs(where)
    notes = list(listing.notes)
    entries = [Entry(pair.name, 0, pair.split) for pair in listing.pairs]
    source = Source(
        listing.origin,
        "masks",
        ("picture",),
        entries,
        read=lambda i: listing.pairs[i].picture.read_bytes(),
    )
    everyone = _limited(source, limit, seed)
    members = _splits(source, everyone, validation, seed, lambda: _digests(source, everyone), notes)
    order = np.concatenate(list(members.values()))
    sizes, grey = _headers(source, order)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size or _choose(sizes)
    wanted = Fit(fit, size)
    few = channels or (1 if grey else 3)
    found = decoded(source, order.tolist(), Decoding(wanted, few), cache=cache, progress=progress)
    masks, counts, good, broken = _masks(listing, found.kept, dict(zip(order.tolist(), sizes, strict=True)), wanted)
    kept = found.kept[good]
    files = [listing.called(listing.pairs[i].mask) for i in kept.tolist()]
    names = listing.names or (tuple(classes) if classes is not None else None)
    labels = meaning(names, counts, files, void)
    masks = labels.lookup[masks]
    images = found.images if len(kept) == len(found.kept) else found.images[good]
    skipped = (*found.skipped, *broken)
    splits = _dealt(members, kept, images, masks, [entry.name for entry in entries])
    return MaskData(
        labels.classes,
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        origin=str(where),
        skipped=skipped,
        notes=(*notes, *labels.notes, *_absent(labels, splits["train"]), *_broken(skipped), *found.notes),
        facts={"fit": fit, "scale": _scale(sizes, wanted)},
    )


def _dealt(
    members: Mapping[str, NDArray[np.int64]],
    kept: NDArray[np.int64],
    images: Pixels,
    masks: Mask,
    names: Sequence[str],
) -> dict[str, MaskSplit]:
    splits, first = {}, 0
    for split, indices in members.items():
        own = kept[np.isin(kept, indices)]
        part = slice(first, first + len(own))
        splits[split] = MaskSplit(images[part], masks[part], [names[i] for i in own.tolist()])
        first += len(own)
    if not len(splits["train"]):
        raise DataError("there is no training picture that can be decoded")
    return splits


def _headers(source: Source, order: NDArray[np.int64]) -> tuple[list[tuple[int, int] | None], bool]:
    """(H, W) of each picture, upright, None where its header cannot be read; and whether all are grey."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: _header(source, i), order.tolist()))
    return [header[0] if header else None for header in found], all(header[1] for header in found if header)


def _choose(sizes: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    known = [size for size in sizes if size]
    if not known:
        return _LONGEST, _LONGEST
    if len(set(known)) == 1 and max(known[0]) <= _LONGEST:
        return known[0]
    height, width = (float(np.median([size[axis] for size in known])) for axis in (0, 1))
    by = min(1.0, _LONGEST / max(height, width))
    sides = (max(_MULTIPLE, round(side * by / _MULTIPLE) * _MULTIPLE) for side in (height, width))
    return next(sides), next(sides)


def _scale(sizes: Sequence[tuple[int, int] | None], fit: Fit) -> float:
    """The pixels that one pixel of a file has become, in the median."""
    found = [max(fit.size[0] / height, fit.size[1] / width) for height, width in filter(None, sizes)]
    return float(np.median(found)) if found else 1.0


def _masks(
    listing: Listing, kept: NDArray[np.int64], sizes: Mapping[int, tuple[int, int] | None], fit: Fit
) -> tuple[Mask, NDArray[np.int64], NDArray[np.int64], list[Skipped]]:
    """The masks (N, H, W) of the pictures that were decoded, labels as in their files; pixels of each label (N, 256) at
    the size of the file; which of ``kept`` they belong to; and the masks that cannot be decoded."""

    def one(entry: int) -> tuple[Mask, NDArray[np.int64]] | Skipped:
        pair = listing.pairs[entry]
        name = listing.called(pair.mask)
        try:
            labels = read_mask(pair.mask.read_bytes(), name, colors=listing.colors)
        except DecodeError as error:
            return Skipped(name, error.message.removeprefix(f"{name} "))
        except OSError as error:
            return Skipped(name, f"cannot be read: {error.strerror or error}")
        size = sizes[entry]
        if size is not None and labels.shape != size:
            raise DataError(
                f"the image {pair.name} is {size[0]} x {size[1]} and its mask {labels.shape[0]} x {labels.shape[1]}",
                fits="a mask with a label for each pixel of its image (height x width)",
            )
        return resize_mask(labels, fit), np.bincount(labels.reshape(-1), minlength=256).astype(np.int64)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, kept.tolist()))
    broken = [result for result in results if isinstance(result, Skipped)]
    refuse_if_too_many_broken(listing.origin, broken, len(results))
    good = np.array([i for i, result in enumerate(results) if not isinstance(result, Skipped)], np.int64)
    pairs = [result for result in results if not isinstance(result, Skipped)]
    if not pairs:
        raise DataError(f"no picture of {listing.origin} can be decoded together with its mask")
    return np.stack([mask for mask, _ in pairs]), np.stack([count for _, count in pairs]), good, broken


def _absent(labels: Labels, train: MaskSplit) -> list[str]:
    """A sentence where no training pixel is of some class: nobody can learn it."""
    counts = train.counts(len(labels.classes)).sum(0)
    absent = [name for name, count in zip(labels.classes, counts.tolist(), strict=True) if not count]
    return [f"the training masks have no pixel of {', '.join(absent)}"] if absent else []
