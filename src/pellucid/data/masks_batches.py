"""Batches of pictures and masks, changed together: a function of (seed, epoch, step), with no state to save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data import augment as augmenting
from pellucid.data.augment import Augment, Draws
from pellucid.data.batches import _pool
from pellucid.data.masks import MaskSplit
from pellucid.data.masks_decode import VOID
from pellucid.data.preprocess import Preprocess
from pellucid.data.random import permutation
from pellucid.errors import ShapeError, UsageError


@dataclass
class MaskBatch:
    """images: float32 (N, C, H, W). targets: int64 (N, H, W), the class of each pixel, 255 where there is none.
    indices: int64 (N,), where in the split they came from."""

    images: torch.Tensor
    targets: torch.Tensor
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        """What the network is called with."""
        return (self.images,)

    @property
    def labels(self) -> torch.Tensor:
        """What the outputs are compared with: the targets."""
        return self.targets

    @cached_property
    def count(self) -> int:
        """Over how many things the means of loss and accuracy are taken: pixels that are not void, at least 1."""
        return max(1, int((self.targets != VOID).sum()))


class MaskBatches:
    """The batches of a split, epoch by epoch.

    Whatever moves a picture (mirror, crop, resized crop, scale, rotation) moves its mask by the same numbers: pictures
    are interpolated, masks take the nearest label, and what comes from outside of the picture is black and void.
    Colour and holes change the picture alone.
    """

    def __init__(
        self,
        split: MaskSplit,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}", fits="1 or more")
        wanted = (*preprocess.image_size, preprocess.channels)
        if tuple(split.images.shape[1:]) != wanted:
            found, expected = (" x ".join(map(str, shape)) for shape in (split.images.shape[1:], wanted))
            raise ShapeError(f"pictures are {found}, the network was made for {expected} (H x W x C)")
        self.split, self.preprocess, self.batch_size, self.seed = split, preprocess, batch_size, seed
        self.augment, self.shuffle, self.drop_last = augment or Augment(), shuffle, drop_last
        if self.augment.mixup:
            raise UsageError("mixup blends labels, and a mask has one for each pixel", fits="mixup=0")
        self.device = torch.device(device)
        self._pictures = _pool(split, self.device)  # type: ignore[arg-type]  # of pictures alone, which both have
        # Masks are kept one higher: 0 is void, and so is all that comes from outside.
        self._masks = torch.from_numpy(np.asarray(split.masks) + np.uint8(1)).to(self.device)[:, None]

    def __len__(self) -> int:
        """Steps in an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def epoch(self, number: int, start: int = 0) -> Iterator[MaskBatch]:
        """The batches of epoch ``number``, from step ``start`` on."""
        count = len(self.split)
        order = permutation(self.seed, number, count) if self.shuffle else np.arange(count)
        draws = augmenting.draw(self.augment, self.seed, number, count, self.preprocess.image_size)
        for step in range(start, len(self)):
            indices = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield self._batch(indices, draws.at(indices))

    def _batch(self, indices: NDArray[np.int64], draws: Draws) -> MaskBatch:
        pictures, masks = self._moved(indices, draws)
        if draws.color is not None:
            pictures = augmenting.recolor(pictures, draws.color, augmenting.mean_grey(self._gather(indices)))
        images = self.preprocess.normalise(pictures)
        if draws.hole is not None:
            augmenting.cut_out(images, draws.hole, int(self.augment.cutout))
        targets = masks[:, 0].long() - 1
        return MaskBatch(images, targets.masked_fill_(targets < 0, VOID), indices)

    def _moved(self, indices: NDArray[np.int64], draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (n, C, H, W) and masks (n, 1, H, W), each class one higher and 0 for void."""
        chosen = self.augment
        if draws.affine is not None:
            only_inside = not (chosen.rotation or chosen.scale or chosen.crop)
            pictures = augmenting.resample(self._gather(indices), draws.affine, "border" if only_inside else "zeros")
            return pictures, augmenting.resample(self._labels(indices), draws.affine, "zeros", "nearest")
        if not (chosen.crop or chosen.flip):
            return self._gather(indices), self._labels(indices)
        crop = int(chosen.crop)
        height, width = (side + 2 * crop for side in self.preprocess.image_size)
        scratch = (
            torch.zeros((len(indices), channels, height, width), dtype=torch.uint8, device=self.device)
            for channels in (self.preprocess.channels, 1)
        )
        pictures, masks = (
            augmenting.shift_and_mirror(gather, indices, draws, crop, padded)
            for gather, padded in zip((self._gather, self._labels), scratch, strict=True)
        )
        return pictures, masks

    def _gather(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """The pictures at these indices as uint8 (n, C, H, W) on the device."""
        if self._pictures is not None:
            return self._pictures.index_select(0, torch.from_numpy(indices).to(self.device))
        planes = np.asarray(self.split.images).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(planes[indices])).to(self.device)

    def _labels(self, indices: NDArray[np.int64]) -> torch.Tensor:
        return self._masks.index_select(0, torch.from_numpy(indices).to(self.device))
