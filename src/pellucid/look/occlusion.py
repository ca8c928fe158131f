"""What a number falls by when parts of the picture are covered (Zeiler & Fergus 2013, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph
from pellucid.look.deconvnet import PAPER, made
from pellucid.look.projection import PerPicture, Projection
from pellucid.look.variation import Variations, parts
from pellucid.look.walk import Inputs

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Patches:
    """Patches that move over a picture: their size, how far they move, how many there are along each axis, and the
    pixels of each. The last of a row may reach over the edge."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    grid: tuple[int, ...]
    boxes: tuple[Box, ...]

    @classmethod
    def over(cls, picture: tuple[int, ...], size: Any, stride: Any) -> Patches:
        """Raises UsageError for patches that are larger than the picture or leave gaps."""
        sizes = _each(max(1, min(picture) // 8) if size is None else size, len(picture))
        strides = _each([max(1, n // 2) for n in sizes] if stride is None else stride, len(picture))
        if any(n < 1 or n > side for n, side in zip(sizes, picture, strict=True)):
            raise UsageError(f"the patch is {sizes} and the picture {picture}", fits="a patch within the picture")
        if any(s < 1 or s > n for s, n in zip(strides, sizes, strict=True)):
            raise UsageError(
                f"the stride is {strides} and the patch {sizes}", fits="a stride from 1 to the patch's size"
            )
        rows = zip(picture, sizes, strides, strict=True)
        grid = tuple(-(-(side - n) // s) + 1 for side, n, s in rows)
        boxes = tuple(
            tuple(slice(i * s, i * s + n) for i, n, s in zip(place, sizes, strides, strict=True))
            for place in product(*map(range, grid))
        )
        return cls(sizes, strides, grid, boxes)


def _each(given: Any, axes: int) -> tuple[int, ...]:
    """One number for each axis."""
    numbers = (given,) * axes if isinstance(given, int) else tuple(given)
    if len(numbers) != axes:
        raise UsageError(f"{len(numbers)} numbers were given for {axes} axes", fits=f"one, or {axes}")
    return numbers


def occlusion(
    graph: Graph,
    inputs: Inputs,
    target: PerPicture | None = None,
    *,
    node: str | None = None,
    channel: PerPicture | None = None,
    index: Any = None,
    keep: str = "strongest",
    patch: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    fill: float | Sequence[float] = 0.0,
    batch: int = 64,
) -> Projection:
    """How much the number falls when a patch of the picture is covered: for each place the mean fall over the patches
    that cover it, (N, 1, H, W).

    Args:
        target, node, channel, index, keep: which number; see ``look.attribution``.
        patch: its size, (R, S) or one number; by default an eighth of the picture.
        stride: how far it moves; by default half the patch.
        fill: what it is filled with, one number or one a channel: 0 is the mean colour of normalised pictures.
        batch: how many pictures to run at a time.

    ``facts``: ``patch``, ``stride``, and ``falls`` (N, P, Q): by how much the number fell with the patch at each place,
    the first in the corner of the picture.

    Raises:
        UsageError: for a target, node or place that there is not, for patches that do not fit, and for a graph in
            training whose numbers depend on the other pictures of the batch or on chance.
    """
    varied = Variations.of(graph, inputs, target, node, channel, index, keep)
    pictures = varied.pictures
    patches = Patches.over(tuple(pictures.shape[2:]), patch, stride)
    before = varied.chosen.values(varied.value).double()
    colour = _colour(fill, pictures)
    falls = torch.zeros((len(pictures), len(patches.boxes)), dtype=torch.float64, device=pictures.device)
    for some in parts([(n, i) for n in range(len(pictures)) for i in range(len(patches.boxes))], batch):
        owners, boxes = [n for n, _ in some], [i for _, i in some]
        covered = pictures[owners]
        for row, i in enumerate(boxes):
            covered[row][(slice(None), *patches.boxes[i])] = colour
        falls[owners, boxes] = before[owners] - varied.numbers(covered, owners)
    image = _spread(falls, patches, tuple(pictures.shape[2:]))
    facts = {
        "patch": patches.size,
        "stride": patches.stride,
        "falls": falls.view(-1, *patches.grid).float().cpu().numpy(),
    }
    return made("occlusion", PAPER, varied.chosen, varied.value, image, **facts)


def _colour(fill: float | Sequence[float], pictures: Tensor) -> Tensor:
    """What to cover with, (C, 1, 1). Raises UsageError for another number of channels."""
    colour = torch.as_tensor(fill, dtype=pictures.dtype, device=pictures.device).reshape(-1)
    if len(colour) not in (1, pictures.shape[1]):
        raise UsageError(f"the fill has {len(colour)} numbers, the picture {pictures.shape[1]} channels")
    return colour.view(-1, *[1] * (pictures.ndim - 2))


def _spread(falls: Tensor, patches: Patches, picture: tuple[int, ...]) -> Tensor:
    """For each place the mean over the patches on it: (N, patches) -> (N, 1, H, W)."""
    total = torch.zeros((len(falls), 1, *picture), dtype=falls.dtype, device=falls.device)
    count = torch.zeros(picture, dtype=falls.dtype, device=falls.device)
    for fall, box in zip(falls.unbind(1), patches.boxes, strict=True):
        total[(slice(None), slice(None), *box)] += fall.view(-1, *[1] * (len(picture) + 1))
        count[box] += 1
    return total / count
