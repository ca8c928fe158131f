"""From uint8 pictures to what a network eats, the same way in training, evaluation and prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from pellucid.data.dataset import Data, Pixels, Split
from pellucid.data.resize import Fit, read_picture
from pellucid.errors import ShapeError, UsageError

_SMALLEST_STD = 1 / 255  # a channel that never changes is not divided by zero
_CACHED_ELEMENTS = 1 << 18  # of float32: 1 MiB, so that the second and third pass over a block find it in the cache


@dataclass(frozen=True)
class Preprocess:
    """What turns a picture into a network's input; saved beside the weights.

    image_size: (H, W) of the input. channels: 1 (grey) or 3 (RGB) for files; arrays may have others.
    mean, std: per channel, in units where white is 1. classes: names of the outputs.
    fit: how a picture of another size is brought to (H, W): see `pellucid.data.resize.Fit`.
    shorter: with fit="crop", the length in pixels that the picture's shorter side is scaled to before the middle is cut
    out (256 for the usual ImageNet weights at 224); None: just large enough to fill (H, W).
    """

    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()
    fit: str = "crop"
    shorter: int | None = None

    def __post_init__(self) -> None:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ShapeError(f"{self.channels} channels, but {len(self.mean)} means and {len(self.std)} deviations")
        if min(self.std, default=1) <= 0:
            raise UsageError(f"a standard deviation is {min(self.std)}", fits="more than 0")

    @classmethod
    def of(cls, data: Data) -> Preprocess:
        """The preprocessing for a data set: mean and deviation of each channel over its training pictures."""
        mean, std = channel_statistics(data.train)
        return cls(data.image_size, data.channels, mean, std, data.classes, fit=str(data.facts.get("fit", "crop")))

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back exactly (floats by their shortest decimal that round-trips)."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | str) -> Preprocess:
        read = json.loads(values) if isinstance(values, str) else dict(values)
        for name in ("image_size", "mean", "std", "classes"):
            read[name] = tuple(read[name])
        return cls(**read)

    @cached_property
    def _scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 (1, C, H, W) each: (x / 255 - mean) / std == x * scale + shift, for x of 0..255. Spread out over the
        picture, they meet it element by element, which is what runs fastest."""
        mean, std = np.array(self.mean), np.array(self.std)
        shape = (1, self.channels, *self.image_size)
        scale, shift = (
            torch.from_numpy(values.astype(np.float32)).view(1, -1, 1, 1).expand(shape).contiguous()
            for values in (1 / (255 * std), -mean / std)
        )
        return scale, shift

    def tensor(self, images: Any) -> torch.Tensor:
        """uint8 (N, H, W, C), array or tensor, as normalised float32 (N, C, H, W). One picture (H, W, C) is N = 1."""
        pixels = images if isinstance(images, torch.Tensor) else torch.from_numpy(_writable(np.asarray(images)))
        if pixels.dim() == 3:
            pixels = pixels[None]
        wanted = (*self.image_size, self.channels)
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != wanted or pixels.dtype != torch.uint8:
            raise ShapeError(
                f"pictures are {pixels.dtype} of shape {tuple(pixels.shape)}",
                fits=f"torch.uint8 of shape (N, {wanted[0]}, {wanted[1]}, {wanted[2]})",
            )
        return self.normalise(pixels.permute(0, 3, 1, 2))

    def normalise(self, planes: torch.Tensor) -> torch.Tensor:
        """Pixels of 0..255, (N, C, H, W) of uint8 or float32, as float32 of mean 0 and deviation 1: a new tensor.

        One multiply-add an element, so the result does not depend on the number of threads.
        """
        scale, shift = (values.to(planes.device) for values in self._scale_and_shift)
        out = torch.empty(planes.shape, dtype=torch.float32, device=planes.device)
        elements = planes.numel() if planes.is_cuda else _CACHED_ELEMENTS * torch.get_num_threads()
        block = max(1, elements // max(1, shift.numel()))
        for part, pixels in zip(torch.split(out, block), torch.split(planes, block), strict=True):
            torch.addcmul(shift, part.copy_(pixels), scale, out=part)
        return out

    def picture(self, picture: Any) -> Pixels:
        """Anything that is one picture (encoded bytes, a path, a PIL image, an array (H, W) or (H, W, C)) as uint8
        (H, W, C), brought to the network's size in the way the training pictures were. Raises DecodeError."""
        return read_picture(picture, Fit(self.fit, self.image_size, self.shorter), self.channels)


def _writable(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """torch warns about arrays that it must not write to; it never writes to ours, but cannot know."""
    return array if array.flags.writeable else array.copy()


def channel_statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, where white is 1.

    From whole-number sums of x and x² (a histogram of the 256 levels), so exact and the same on every machine.
    """
    if not len(split):
        raise UsageError("there are no training pictures to take the mean of")
    counts = np.zeros((split.channels, 256), np.int64)
    for chunk in split.chunks():
        for channel in range(split.channels):
            counts[channel] += np.bincount(chunk[..., channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    variance = counts @ levels**2 / total - mean**2
    std = np.maximum(np.sqrt(np.maximum(variance, 0)), _SMALLEST_STD)
    return tuple(mean.tolist()), tuple(std.tolist())
