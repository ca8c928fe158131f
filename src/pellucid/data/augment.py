"""Augmentation of whole batches, from numbers that belong to each sample.

`draw` makes every sample's numbers for an epoch at once; the functions below it turn a batch of pictures by them. One
picture's outcome depends on its own numbers alone (mixup: and on its batch), never on workers, threads or history.
The order: mirror, crop, resized crop, scale and rotate, colour, (normalise), cut out, mix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.random import Purpose, beta_symmetric, integers, uniform, words
from pellucid.errors import UsageError

_ASPECT = math.log(4 / 3)  # resized crops are between 3:4 and 4:3 of the picture's own aspect
_GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, as in Pillow's "L"

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Gather = Callable[[Indices], torch.Tensor]
"""The pictures at these indices, uint8 (n, C, H, W), on the device."""


@dataclass(frozen=True)
class Augment:
    """What to change about training pictures; 0 or False leaves it out.

    crop          pad by so many black pixels on each side and cut out the original size anywhere
    resized_crop  cut out a box of at least this share of the area, stretched to the whole (Szegedy et al. 2015); 0 to 1
    flip          mirror left and right, half of the time
    rotation      turn by up to so many degrees either way
    scale         enlarge or shrink by a factor between 1 / (1 + scale) and 1 + scale
    color         brightness, contrast and saturation each times a factor between 1 - color and 1 + color
    cutout        a square of this side in pixels becomes the mean colour (DeVries & Taylor 2017)
    mixup         blend pairs of pictures and labels with weights from Beta(mixup, mixup) (Zhang et al. 2018)
    """

    crop: int = 0
    resized_crop: float = 0.0
    flip: bool = False
    rotation: float = 0.0
    scale: float = 0.0
    color: float = 0.0
    cutout: int = 0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        highest = {"resized_crop": 1.0, "rotation": 180.0, "color": 1.0}
        for item in fields(self):
            value = getattr(self, item.name)
            top = highest.get(item.name, math.inf)
            if not 0 <= value <= top or not math.isfinite(value):
                raise UsageError(f"augmentation {item.name} is {value}", fits=f"0 (off) to {top:g}")
        for name in ("crop", "cutout"):
            if int(getattr(self, name)) != getattr(self, name):
                raise UsageError(f"augmentation {name} is {getattr(self, name)}", fits="a whole number of pixels")

    @property
    def is_affine(self) -> bool:
        """Whether pictures have to be resampled, rather than only shifted and mirrored."""
        return bool(self.resized_crop or self.rotation or self.scale)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Augment:
        return cls(**values)


@dataclass(frozen=True)
class Draws:
    """The numbers of one epoch, one row a sample; None where the augmentation does not need them."""

    flip: NDArray[np.bool_] | None = None  # (N,)
    corner: Indices | None = None  # (N, 2): top and left of the crop, in the padded picture
    affine: Floats | None = None  # (N, 2, 3): see `affine`
    color: Floats | None = None  # (N, 3): brightness, contrast, saturation
    hole: Indices | None = None  # (N, 2): row and column of the hole's middle
    mix: Floats | None = None  # (N,): the weight of the picture itself
    order: Indices | None = None  # (N,): decides who is mixed with whom

    def at(self, indices: Indices) -> Draws:
        """The rows of these samples."""
        return Draws(**{name: value[indices] for name, value in vars(self).items() if value is not None})


def draw(augment: Augment, seed: int, epoch: int, count: int, size: tuple[int, int]) -> Draws:
    """The numbers of an epoch for `count` pictures of size (H, W)."""
    key = (seed, epoch)
    flip = uniform(*key, Purpose.FLIP, count)[:, 0] < 0.5 if augment.flip else None
    corner = integers(2 * int(augment.crop) + 1, *key, Purpose.CROP, count, 2) if augment.crop else None
    color = hole = mix = order = None
    if augment.color:
        color = 1 + augment.color * (2 * uniform(*key, Purpose.COLOR, count, 3) - 1)
    if augment.cutout:
        hole = (uniform(*key, Purpose.CUTOUT, count, 2) * size).astype(np.int64)
    if augment.mixup:
        mix = beta_symmetric(uniform(*key, Purpose.MIXUP, count)[:, 0], augment.mixup)
        order = words(*key, Purpose.MIXUP, count)[:, 1].astype(np.int64)
    if augment.is_affine:
        return Draws(None, None, affine(augment, seed, epoch, count, size, flip, corner), color, hole, mix, order)
    return Draws(flip, corner, None, color, hole, mix, order)


def affine(
    augment: Augment,
    seed: int,
    epoch: int,
    count: int,
    size: tuple[int, int],
    flip: NDArray[np.bool_] | None,
    corner: Indices | None,
) -> Floats:
    """Where each output pixel looks, (N, 2, 3): input (x, y) = A (u, v, 1).

    (u, v) is the output pixel's middle, in pixels from the picture's middle (right and down); (x, y) are pixels from
    the input's upper left corner, whose first pixel has its middle at (1/2, 1/2).
    """
    height, width = size
    angle = np.deg2rad(augment.rotation) * (2 * uniform(seed, epoch, Purpose.ROTATION, count)[:, 0] - 1)
    zoom = np.exp(math.log1p(augment.scale) * (2 * uniform(seed, epoch, Purpose.SCALE, count)[:, 0] - 1))
    box_w = box_h = np.ones(count)
    middle_x, middle_y = np.full(count, width / 2), np.full(count, height / 2)
    if augment.resized_crop:
        u = uniform(seed, epoch, Purpose.RESIZED_CROP, count, 4)
        area = augment.resized_crop + (1 - augment.resized_crop) * u[:, 0]
        aspect = np.exp(_ASPECT * (2 * u[:, 1] - 1))
        box_w, box_h = np.minimum(np.sqrt(area * aspect), 1), np.minimum(np.sqrt(area / aspect), 1)
        middle_x = width * (box_w / 2 + u[:, 2] * (1 - box_w))
        middle_y = height * (box_h / 2 + u[:, 3] * (1 - box_h))
    if corner is not None:
        middle_x = middle_x + corner[:, 1] - augment.crop
        middle_y = middle_y + corner[:, 0] - augment.crop
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    matrix = np.stack(
        [np.stack([box_w * cos, box_w * sin, middle_x], -1), np.stack([-box_h * sin, box_h * cos, middle_y], -1)], 1
    )
    if flip is not None:
        matrix[flip, 0] = np.array([0, 0, width]) - matrix[flip, 0]
    return matrix


def shift_and_mirror(gather: Gather, indices: Indices, draws: Draws, crop: int, padded: torch.Tensor) -> torch.Tensor:
    """Pictures mirrored and cropped by copying rows, uint8 (n, C, H, W).

    padded: contiguous scratch memory (>= n, C, H + 2 crop, W + 2 crop) whose margins are 0. Pictures to be mirrored are
    fetched first, so that each part is written into it by one copy; the crop then picks rows of W bytes out of it by
    their addresses, and puts the pictures back in their order on the way.
    """
    count = len(indices)
    order = np.arange(count) if draws.flip is None else np.argsort(~draws.flip, kind="stable")
    mirrored = 0 if draws.flip is None else int(draws.flip.sum())
    pictures = gather(indices[order])
    channels, height, width = pictures.shape[1:]
    inner = padded[:count, :, crop : crop + height, crop : crop + width]
    inner[:mirrored].copy_(pictures[:mirrored].flip(3))
    inner[mirrored:].copy_(pictures[mirrored:])

    full_height, full_width = padded.shape[2:]
    first = np.empty(count, np.int64)  # the address of each picture's window
    first[order] = np.arange(count) * (channels * full_height * full_width)
    if draws.corner is not None:
        first += draws.corner @ np.array([full_width, 1])
    line = (np.arange(channels)[:, None] * full_height + np.arange(height)).reshape(-1) * full_width
    kind = torch.int32 if padded.numel() < 2**31 else torch.int64  # half the bytes to write and read again
    start = torch.from_numpy(first).to(kind)[:, None] + torch.from_numpy(line).to(kind)  # (n, C H): of each of its rows
    every_row = padded.as_strided((padded.numel() - width + 1, width), (1, 1))  # the W bytes from each address on
    return every_row.index_select(0, start.view(-1).to(padded.device)).view(count, channels, height, width)


def resample(pictures: torch.Tensor, matrix: Floats, outside: str, mode: str = "bilinear") -> torch.Tensor:
    """Pictures (n, C, H, W) looked up through `affine` with bilinear interpolation, float32.

    outside: "zeros" (black) or "border" (the nearest edge pixel). mode: "nearest" for labels, between which there is
    nothing.
    """
    count, _, height, width = pictures.shape
    to_unit = np.array([[2 / width], [2 / height]])  # grid_sample calls the left edge -1 and the right edge 1
    unit = matrix * to_unit
    unit[:, :, 2] -= 1
    a = torch.from_numpy(unit.astype(np.float32)).to(pictures.device)
    u = torch.arange(width, device=pictures.device) - (width - 1) / 2
    v = torch.arange(height, device=pictures.device) - (height - 1) / 2
    grid = torch.empty(count, height, width, 2, device=pictures.device)
    for axis in (0, 1):
        along, across, at = (a[:, axis, k].view(-1, 1, 1) for k in range(3))
        torch.add(along * u.view(1, 1, -1), across * v.view(1, -1, 1) + at, out=grid[..., axis])
    return torch.nn.functional.grid_sample(pictures.float(), grid, mode=mode, padding_mode=outside, align_corners=False)


def recolor(pictures: torch.Tensor, factors: Floats, mean_grey: torch.Tensor) -> torch.Tensor:
    """Brightness b, contrast c about the mean grey m, saturation s about each pixel's grey g; float32, 0..255.

    x -> s (c b x + (1 - c) b m) + (1 - s) (c b g + (1 - c) b m)  =  s c b x + (1 - s) c b g + (1 - c) b m.
    pictures: (n, C, H, W), 0..255. mean_grey: (n,), float64.
    """
    b, c, s = (torch.from_numpy(factors[:, k]).to(pictures.device) for k in range(3))
    own, grey, flat = (
        value.float().view(-1, 1, 1, 1) for value in (s * c * b, (1 - s) * c * b, (1 - c) * b * mean_grey)
    )
    x = pictures.float()
    weights = _GREY if x.shape[1] == 3 else (1 / x.shape[1],) * x.shape[1]
    lightness = x[:, :1] * weights[0]
    for channel in range(1, x.shape[1]):
        lightness = lightness + x[:, channel : channel + 1] * weights[channel]
    return (x * own).add_(lightness * grey + flat).clamp_(0, 255)


def mean_grey(pictures: torch.Tensor) -> torch.Tensor:
    """The mean grey of each uint8 picture (n, C, H, W), float64 (n,), from exact whole-number sums."""
    sums = pictures.sum((2, 3), dtype=torch.int64).double() / (pictures.shape[2] * pictures.shape[3])
    weights = _GREY if pictures.shape[1] == 3 else (1 / pictures.shape[1],) * pictures.shape[1]
    total = sums[:, 0] * weights[0]
    for channel in range(1, pictures.shape[1]):
        total = total + sums[:, channel] * weights[channel]
    return total


def cut_out(images: torch.Tensor, middle: Indices, side: int) -> torch.Tensor:
    """A square of `side` pixels around each middle becomes 0, in place; what lies beyond the picture is lost."""
    height, width = images.shape[2:]
    first = torch.from_numpy(middle - side // 2).to(images.device)
    rows = torch.arange(height, device=images.device) - first[:, :1]  # (n, H): 0 .. side-1 inside
    columns = torch.arange(width, device=images.device) - first[:, 1:]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return images.masked_fill_(inside[:, None], 0.0)


def mix_up(images: torch.Tensor, labels: torch.Tensor, classes: int, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture w x + (1 - w) x' and its target w y + (1 - w) y', x' the next one around a random ring of the batch.

    Returns images (n, C, H, W) and targets float32 (n, classes).
    """
    if draws.mix is None or draws.order is None:
        raise UsageError("there are no numbers to mix by", fits="draws of an Augment with mixup > 0")
    ring = np.argsort(draws.order, kind="stable")
    partner = np.empty_like(ring)
    partner[ring] = np.roll(ring, -1)
    other = torch.from_numpy(partner).to(images.device)
    weight = torch.from_numpy(draws.mix.astype(np.float32)).to(images.device)
    rest = 1 - weight
    one_hot = torch.nn.functional.one_hot(labels, classes).float()
    targets = one_hot * weight[:, None] + one_hot[other] * rest[:, None]
    images = images * weight.view(-1, 1, 1, 1) + images[other].mul_(rest.view(-1, 1, 1, 1))
    return images, targets
