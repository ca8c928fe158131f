"""Batches: which pictures, in what order, changed how. A function of (seed, epoch, step), with no state to save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data import augment as augmenting
from pellucid.data.augment import Augment, Draws
from pellucid.data.dataset import Split
from pellucid.data.prefetch import ahead
from pellucid.data.preprocess import Preprocess
from pellucid.data.random import permutation
from pellucid.errors import ShapeError, UsageError

_COPY_BYTES = 1 << 31  # pictures in memory are copied once into planes if that takes no more than this
_SHARE_OF_DEVICE = 0.4  # of the accelerator's free memory that pictures may take


@dataclass
class Batch:
    """images: float32 (N, C, H, W). targets: labels, int64 (N,), or after mixup float32 (N, classes), rows of sum 1.
    labels: int64 (N,), the pictures' own. indices: int64 (N,), where in the split they came from."""

    images: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


class Batches:
    """The batches of a split, epoch by epoch.

    The batch at (epoch, step) is the same whatever was asked for before, on any number of threads. On an accelerator
    the pictures move there once if they fit, and are augmented there. `prefetch` batches are prepared ahead by a
    thread; None: 2 where pictures come from a large file or must travel to an accelerator, else 0.
    """

    def __init__(
        self,
        split: Split,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
        prefetch: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", fits="1 or more")
        wanted = (*preprocess.image_size, preprocess.channels)
        if tuple(split.images.shape[1:]) != wanted:
            raise ShapeError(
                f"pictures are {_by(split.images.shape[1:])}, the network was made for {_by(wanted)} (H x W x C)",
                fits=f"load(..., image_size={preprocess.image_size}, channels={preprocess.channels})",
            )
        self.split, self.preprocess, self.batch_size, self.seed = split, preprocess, batch_size, seed
        self.augment, self.shuffle, self.drop_last = augment or Augment(), shuffle, drop_last
        self.device = torch.device(device)
        self._planes, self._resident = _planes(split, self.device)
        from_file = isinstance(split.images, np.memmap) and split.images.nbytes > _COPY_BYTES
        slow = self._resident is None and (from_file or self.device.type != "cpu")
        self._prefetch = (2 if slow else 0) if prefetch is None else prefetch

    def __len__(self) -> int:
        """Steps in an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number`, from step `start` on."""
        batches = self._make(number, start)
        return ahead(batches, self._prefetch) if self._prefetch else batches

    def _make(self, number: int, start: int) -> Iterator[Batch]:
        count = len(self.split)
        order = permutation(self.seed, number, count) if self.shuffle else np.arange(count)
        draws = augmenting.draw(self.augment, self.seed, number, count, self.preprocess.image_size)
        crop = int(self.augment.crop)
        height, width = self.preprocess.image_size
        shape = (min(self.batch_size, count), self.preprocess.channels, height + 2 * crop, width + 2 * crop)
        moves = draws.flip is not None or draws.corner is not None
        padded = torch.zeros(shape if moves else 0, dtype=torch.uint8, device=self.device)
        for step in range(start, len(self)):
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self._batch(indices, draws.at(indices), padded)

    def _batch(self, indices: NDArray[np.int64], draws: Draws, padded: torch.Tensor) -> Batch:
        chosen = self.augment
        if draws.affine is not None:
            source = self._gather(indices)
            only_inside = not (chosen.rotation or chosen.scale or chosen.crop)
            pictures = augmenting.resample(source, draws.affine, "border" if only_inside else "zeros")
        elif draws.flip is not None or draws.corner is not None:
            pictures = augmenting.shift_and_mirror(self._gather, indices, draws, int(chosen.crop), padded)
        else:
            pictures = self._gather(indices)
        if draws.color is not None:
            pictures = augmenting.recolor(pictures, draws.color, augmenting.mean_grey(self._gather(indices)))
        images = self.preprocess.normalise(pictures)
        if draws.hole is not None:
            augmenting.cut_out(images, draws.hole, int(chosen.cutout))
        labels = torch.from_numpy(self.split.labels[indices]).to(self.device)
        targets = labels
        if draws.mix is not None:
            images, targets = augmenting.mix_up(images, labels, len(self.preprocess.classes), draws)
        return Batch(images, targets, labels, indices)

    def _gather(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """The pictures at these indices as uint8 (n, C, H, W) on the device."""
        if self._resident is not None:
            return self._resident.index_select(0, torch.from_numpy(indices).to(self.device))
        pictures = torch.from_numpy(np.ascontiguousarray(self._planes[indices]))
        if self.device.type == "cuda":
            return pictures.pin_memory().to(self.device, non_blocking=True)
        return pictures.to(self.device)


def _planes(split: Split, device: torch.device) -> tuple[NDArray[np.uint8], torch.Tensor | None]:
    """The split's pictures as (N, C, H, W), contiguous where that is cheap, and on the accelerator if they fit."""
    planes = np.asarray(split.images).transpose(0, 3, 1, 2)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if planes.nbytes < _SHARE_OF_DEVICE * free:
            resident = torch.empty(planes.shape, dtype=torch.uint8, device=device)
            first = 0
            for chunk in split.chunks():
                moved = torch.from_numpy(_writable(chunk)).to(device)
                resident[first : first + len(chunk)] = moved.permute(0, 3, 1, 2)
                first += len(chunk)
            return planes, resident
    in_memory = not isinstance(split.images, np.memmap)
    if in_memory and planes.nbytes <= _COPY_BYTES:
        planes = np.ascontiguousarray(planes)
    return planes, None


def _writable(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return array if array.flags.writeable else array.copy()


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
