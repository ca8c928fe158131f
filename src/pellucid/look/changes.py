"""Changes of pictures, each by a size: shift, scale, rotation, brightness, blur, noise.

All are functions of pictures (N, C, H, W) of 0..255 as float32, before they are normalised; a size of ``neutral`` gives
the pictures themselves. Motions are look-ups: output pixel p reads the input at A p + b, between pixels bilinearly, and
beyond the edge the nearest pixel of the edge. Positions are (y, x), pixels have their middle at whole numbers. Where a
motion lands on whole pixels they are copied, bit by bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.random import Purpose, words
from pellucid.errors import UsageError, unknown

Floats = NDArray[np.float64]
Asked = Mapping[str, Iterable[float] | None] | Iterable[str] | None

_SAME = 1e-9  # of a pixel: what the arithmetic of positions may lose
_TAIL = 4.0  # deviations after which a Gaussian kernel is cut off
_SEED = 0


@dataclass(frozen=True)
class LookUp:
    """Where output positions look: input (y, x) = matrix (y, x) + offset."""

    matrix: Floats
    offset: Floats

    def __call__(self, positions: Floats) -> Floats:
        """Positions (..., 2) in the output as positions (..., 2) in the input."""
        return positions @ self.matrix.T + self.offset


class Change(ABC):
    """One way to change pictures. name: as it is asked for. unit: of its sizes. what: a sentence on what is done.
    neutral: the size that changes nothing. least, most: the sizes that make sense."""

    name: ClassVar[str]
    unit: ClassVar[str]
    what: ClassVar[str]
    neutral: ClassVar[float] = 0.0
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = math.inf

    @abstractmethod
    def sizes(self, side: int) -> tuple[float, ...]:
        """Those that are measured where none are asked for; ``side``: the shorter one of the pictures."""

    @abstractmethod
    def apply(self, pictures: Tensor, size: float, numbers: NDArray[np.int64]) -> Tensor:
        """Pictures (N, C, H, W) changed by a size. ``numbers``: of each picture in the sample, (N,), which chance and
        directions hang on; they hang on nothing else."""

    def checked(self, sizes: Iterable[float]) -> tuple[float, ...]:
        """Sizes in order, the neutral one among them. Raises UsageError for one that makes no sense."""
        given = [float(size) for size in sizes]
        for size in given:
            if not self.least <= size <= self.most or not math.isfinite(size):
                raise UsageError(
                    f"a {self.name} of {size:g} makes no sense", fits=f"{self.unit}, {self.least:g} to {self.most:g}"
                )
        return tuple(sorted({*given, self.neutral}))


class Motion(Change):
    """A change that moves pixels: the same can be done to a map of features. ways: how many directions it has; they
    are dealt out to the pictures in turn."""

    ways: ClassVar[int] = 1

    @abstractmethod
    def look_up(self, size: float, way: int, shape: tuple[int, int]) -> LookUp:
        """For pictures of shape (H, W)."""

    def apply(self, pictures: Tensor, size: float, numbers: NDArray[np.int64]) -> Tensor:
        shape = (pictures.shape[2], pictures.shape[3])
        places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(np.float64)
        out = torch.empty_like(pictures)
        for way, chosen in self.dealt(numbers):
            out[chosen] = looked_up(pictures[chosen], self.look_up(size, way, shape)(places))
        return out

    def dealt(self, numbers: NDArray[np.int64]) -> list[tuple[int, Tensor | slice]]:
        """Each direction that a picture moves in, and which of the pictures do."""
        if self.ways == 1:
            return [(0, slice(None))]
        whose = numbers % self.ways
        return [(int(way), torch.from_numpy(np.flatnonzero(whose == way))) for way in np.unique(whose)]


class Shift(Motion):
    """By whole pixels or parts of them, right, left, down, up and along the diagonals."""

    name = "shift"
    unit = "pixels"
    what = (
        "The picture is moved by so many pixels: right, left, down, up, or along a diagonal, and then by so many both "
        "ways. The eight directions are dealt out to the pictures in turn. What comes in from outside repeats the edge."
    )
    most = 4096.0
    ways = 8
    _DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))

    def sizes(self, side: int) -> tuple[float, ...]:
        return tuple(float(k) for k in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48) if k <= side // 4)

    def look_up(self, size: float, way: int, shape: tuple[int, int]) -> LookUp:
        return LookUp(np.eye(2), -size * np.array(self._DIRECTIONS[way], np.float64))


class Scale(Motion):
    """Enlarged (above 1) or shrunk (below) about the middle."""

    name = "scale"
    unit = "times"
    what = (
        "The picture is enlarged (above 1) or shrunk (below 1) about its middle, with bilinear interpolation. Around "
        "a shrunk picture its edge is repeated."
    )
    neutral = 1.0
    least = 0.05
    most = 20.0

    def sizes(self, side: int) -> tuple[float, ...]:
        return (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)

    def look_up(self, size: float, way: int, shape: tuple[int, int]) -> LookUp:
        return _about_middle(np.eye(2) / size, shape)


class Rotation(Motion):
    """Turned about the middle; positive degrees are counter-clockwise."""

    name = "rotation"
    unit = "degrees"
    what = (
        "The picture is turned about its middle by so many degrees, counter-clockwise where they are positive, with "
        "bilinear interpolation. What comes in from outside repeats the edge."
    )
    least = -360.0
    most = 360.0

    def sizes(self, side: int) -> tuple[float, ...]:
        angles = (10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 135.0, 180.0)
        return (*(-angle for angle in reversed(angles)), 0.0, *angles)

    def look_up(self, size: float, way: int, shape: tuple[int, int]) -> LookUp:
        quarters, rest = divmod(size, 90)
        cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
        for _ in range(int(quarters) % 4):  # exact where the angle is a right one
            cos, sin = -sin, cos
        return _about_middle(np.array([[cos, sin], [-sin, cos]]), shape)


class Brightness(Change):
    """Times a factor."""

    name = "brightness"
    unit = "times"
    what = "All values of the picture are multiplied by this factor; what goes beyond white is white."
    neutral = 1.0

    def sizes(self, side: int) -> tuple[float, ...]:
        return (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)

    def apply(self, pictures: Tensor, size: float, numbers: NDArray[np.int64]) -> Tensor:
        return (pictures * size).clamp_(0, 255)


class Blur(Change):
    """With a Gaussian of this deviation."""

    name = "blur"
    unit = "pixels"
    what = (
        "The picture is smoothed by a Gaussian of this standard deviation, in pixels; beyond the edge it is repeated."
    )
    most = 256.0

    def sizes(self, side: int) -> tuple[float, ...]:
        return tuple(s for s in (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0) if s <= max(1, side / 8))

    def apply(self, pictures: Tensor, size: float, numbers: NDArray[np.int64]) -> Tensor:
        height, width = pictures.shape[2:]
        down, across = (torch.from_numpy(_smoothing(n, size)).to(pictures) for n in (height, width))
        return down @ pictures @ across.T


class Noise(Change):
    """Gaussian, of this deviation, independent for each value."""

    name = "noise"
    unit = "grey levels"
    what = (
        "Gaussian noise of this standard deviation, in the 255 levels of grey, is added to each value by itself; what "
        "goes beyond black or white is cut. A picture gets the same noise at all sizes, times the size."
    )

    def sizes(self, side: int) -> tuple[float, ...]:
        return (0.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0)

    def apply(self, pictures: Tensor, size: float, numbers: NDArray[np.int64]) -> Tensor:
        count = math.prod(pictures.shape[1:])
        drawn = np.stack([standard_normals(int(number), count) for number in numbers])
        noise = torch.from_numpy(drawn.astype(np.float32)).view(pictures.shape).to(pictures.device)
        return noise.mul_(size).add_(pictures).clamp_(0, 255)


CHANGES: Mapping[str, Change] = {
    change.name: change for change in (Shift(), Scale(), Rotation(), Brightness(), Blur(), Noise())
}


def chosen_changes(asked: Asked, image_size: tuple[int, int]) -> list[tuple[Change, tuple[float, ...]]]:
    """The changes that were asked for with their sizes: all of them where nothing was, names with the usual sizes, or
    names -> sizes.

    Raises:
        UsageError: for a change that does not exist, or a size that makes no sense.
    """
    names = CHANGES if asked is None else [asked] if isinstance(asked, str) else asked
    sizes = dict(asked) if isinstance(asked, Mapping) else {}
    chosen = []
    for name in dict.fromkeys(names):
        if name not in CHANGES:
            raise unknown("change", name, CHANGES)
        change, own = CHANGES[name], sizes.get(name)
        chosen.append((change, change.checked(change.sizes(min(image_size)) if own is None else own)))
    return chosen


def looked_up(maps: Tensor, positions: Floats) -> Tensor:
    """Bilinear values of maps (N, C, H, W) at positions (..., 2) as (N, C, ...); beyond the edge those of the edge.

    A position at a whole number, up to the rounding of its arithmetic, gives the value there unchanged.
    """
    height, width = maps.shape[2:]
    whole = np.round(positions)
    exact = np.where(np.abs(positions - whole) < _SAME, whole, positions)
    y, x = (np.clip(exact[..., axis].reshape(-1), 0, n - 1) for axis, n in enumerate((height, width)))
    top, left = np.floor(y), np.floor(x)
    total: Tensor | None = None
    for row, of_row in ((top, 1 - (y - top)), (np.minimum(top + 1, height - 1), y - top)):
        for column, of_column in ((left, 1 - (x - left)), (np.minimum(left + 1, width - 1), x - left)):
            weight = of_row * of_column
            if not weight.any():
                continue
            part = at_places(maps, (row * width + column).astype(np.int64))
            if not (weight == 1).all():
                part *= torch.from_numpy(weight).to(part)
            total = part if total is None else total.add_(part)
    if total is None:  # no positions
        total = maps.flatten(2)[:, :, :0]
    return total.view(*maps.shape[:2], *positions.shape[:-1])


def at_places(maps: Tensor, index: NDArray[np.int64]) -> Tensor:
    """Of maps (N, C, H, W) the values at places (K,) of the flattened map, (N, C, K)."""
    rows = maps.reshape(-1, maps.shape[2] * maps.shape[3])  # two dimensions: PyTorch's way through three is slow
    return rows.index_select(1, torch.from_numpy(index).to(maps.device)).view(*maps.shape[:2], -1)


def standard_normals(number: int, count: int) -> Floats:
    """``count`` independent normal numbers that belong to picture ``number`` (Box & Muller 1958)."""
    drawn = words(_SEED, number, Purpose.NOISE, -(-count // 8)).reshape(-1, 2)
    first, second = ((drawn[:, i] + 0.5) * 2.0**-32 for i in (0, 1))
    radius = np.sqrt(-2 * np.log(first))
    pairs = np.stack([radius * np.cos(2 * np.pi * second), radius * np.sin(2 * np.pi * second)], -1)
    return pairs.reshape(-1)[:count]


def _about_middle(matrix: Floats, shape: tuple[int, int]) -> LookUp:
    middle = (np.array(shape, np.float64) - 1) / 2
    return LookUp(matrix, middle - matrix @ middle)


def _smoothing(n: int, deviation: float) -> Floats:
    """(n, n): row i holds the weights by which smoothed value i is summed; those beyond an end fall to the end."""
    if deviation == 0:
        return np.eye(n)
    reach = int(_TAIL * deviation + 0.5)
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / deviation) ** 2)
    matrix = np.zeros((n, n))
    where = np.clip(np.arange(n)[:, None] + steps, 0, n - 1)
    np.add.at(matrix, (np.arange(n)[:, None], where), kernel / kernel.sum())
    return matrix
