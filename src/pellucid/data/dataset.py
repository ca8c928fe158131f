"""What a data set is once it has been read: classes, and pictures with labels in up to three splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from pellucid.data.source import Skipped

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures and their labels.

    images: uint8 (N, H, W, C), in memory or mapped from a file; often a view of memory that holds (N, C, H, W), which
    is what batches are cut from fastest. labels: int64 (N,). names: what to call each picture, one a picture.
    """

    images: Pixels
    labels: Labels
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ShapeError(
                f"images are {self.images.dtype} of shape {self.images.shape}", fits="uint8 of shape (N, H, W, C)"
            )
        if self.labels.shape != (len(self.images),) or len(self.names) != len(self.images):
            raise ShapeError(
                f"{len(self.images)} images, {self.labels.shape} labels and {len(self.names)} names do not fit together"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W)"""
        return self.images.shape[1], self.images.shape[2]

    @property
    def channels(self) -> int:
        return int(self.images.shape[3])

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The samples at these indices, in this order (their pixels are copied)."""
        return Split(self.images[indices], self.labels[indices], [self.names[i] for i in indices.tolist()])

    def chunks(self) -> Iterator[Pixels]:
        """The images in order, some megabytes at a time, each chunk contiguous in (N, H, W, C)."""
        step = max(1, _CHUNK_BYTES // max(1, self.images[:1].nbytes))
        for first in range(0, len(self), step):
            yield np.ascontiguousarray(self.images[first : first + step])


class Numbered(Sequence[str]):
    """The names "test:0", "test:1", ... of pictures that have none, without a list of them."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix, self._count = prefix, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"picture {index} of {self._count}")
        return f"{self._prefix}:{index % self._count}"


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: `train` to learn from, `validation` to choose by, `test` to measure once."""

    classes: tuple[str, ...]
    train: Split
    validation: Split | None = None
    test: Split | None = None
    origin: str = "arrays"
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """How files were decoded (``fit``, ``channels``): what a later prediction must do the same way."""

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            if split.images.shape[1:] != self.train.images.shape[1:]:
                raise ShapeError(
                    f"the {name} images are {split.images.shape[1:]}, "
                    f"the training images {self.train.images.shape[1:]}",
                    fits="one size (height, width, channels) for all splits",
                )
            if len(split) and not 0 <= split.labels.min() <= split.labels.max() < len(self.classes):
                raise UsageError(
                    f"the {name} labels run from {split.labels.min()} to {split.labels.max()}, "
                    f"but there are {len(self.classes)} classes",
                    fits=f"labels 0 to {len(self.classes) - 1}",
                )

    @property
    def splits(self) -> dict[str, Split]:
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
        """SHA-256 over pixels, labels, classes and splits: two sets with the same one train the same network."""
        digest = hashlib.sha256(b"pellucid data 1\n")
        digest.update("\0".join(self.classes).encode() + b"\n")
        for name, split in self.splits.items():
            digest.update(f"{name} {split.images.shape}\n".encode())
            for chunk in split.chunks():
                digest.update(chunk.data)
            digest.update(np.ascontiguousarray(split.labels, "<i8").data)
        return digest.hexdigest()

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        classes: Sequence[str] | None = None,
        *,
        validation: float | tuple[Any, Any] | None = None,
        test: float | tuple[Any, Any] | None = None,
        layout: str | None = None,
        seed: int = 0,
    ) -> Data:
        """A data set from NumPy arrays or torch tensors.

        images: (N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or float in 0..1 or 0..255 (kept as uint8, rounded).
        labels: (N,) whole numbers, or strings. `layout` ("NHWC" or "NCHW") settles shapes that could be either.
        `validation` and `test` are (images, labels) of their own, or the share of `images` to set aside (stratified).
        Raises ShapeError or UsageError that names what does not fit.
        """
        from pellucid.data.from_arrays import build

        return build(cls, images, labels, classes, validation=validation, test=test, layout=layout, seed=seed)
