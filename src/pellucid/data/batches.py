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

_POOL_BYTES = 1 << 30  # pictures that take no more than this are kept in memory in the form that is cut from fastest
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

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the network is called with."""
        return (self.images,)

    @property
    def count(self) -> int:
        """Over how many things the means of loss and accuracy are taken: pictures."""
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
        self._pool = _pool(split, self.device)
        self._prefetch = (0 if self._pool is not None else 2) if prefetch is None else prefetch

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
        padded = self._scratch()
        for step in range(start, len(self)):
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self._batch(indices, draws.at(indices), padded)

    def _batch(self, indices: NDArray[np.int64], draws: Draws, padded: torch.Tensor | None) -> Batch:
        chosen = self.augment
        if draws.affine is not None:
            source = self._gather(indices)
            only_inside = not (chosen.rotation or chosen.scale or chosen.crop)
            pictures = augmenting.resample(source, draws.affine, "border" if only_inside else "zeros")
        elif padded is not None:
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

    def _scratch(self) -> torch.Tensor | None:
        """Memory for the padded pictures of a batch, where pictures are moved by rows."""
        crop = int(self.augment.crop)
        if self.augment.is_affine or not (crop or self.augment.flip):
            return None
        height, width = self.preprocess.image_size
        shape = (min(self.batch_size, len(self.split)), self.preprocess.channels, height + 2 * crop, width + 2 * crop)
        return torch.zeros(shape, dtype=torch.uint8, device=self.device)

    def _gather(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """The pictures at these indices as uint8 (n, C, H, W) on the device."""
        if self._pool is not None:
            return self._pool.index_select(0, torch.from_numpy(indices).to(self.device))
        planes = np.asarray(self.split.images).transpose(0, 3, 1, 2)
        pictures = torch.from_numpy(np.ascontiguousarray(planes[indices]))
        if self.device.type == "cuda":
            return pictures.pin_memory().to(self.device, non_blocking=True)
        return pictures.to(self.device)


def _pool(split: Split, device: torch.device) -> torch.Tensor | None:
    """All pictures as contiguous (N, C, H, W) on the device; None where they are too many."""
    planes = np.asarray(split.images).transpose(0, 3, 1, 2)
    on_gpu = device.type == "cuda"
    if planes.nbytes > (_SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0] if on_gpu else _POOL_BYTES):
        return None
    if device.type == "cpu" and planes.flags.c_contiguous and planes.flags.writeable:
        return torch.from_numpy(planes)  # as they are: nothing here writes to them
    pool = torch.empty(planes.shape, dtype=torch.uint8, device=device)
    first = 0
    for chunk in split.chunks():
        part = torch.from_numpy(chunk if chunk.flags.writeable else chunk.copy()).to(device)
        pool[first : first + len(chunk)] = part.permute(0, 3, 1, 2)
        first += len(chunk)
    return pool


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
