"""What a number sees of the picture: what it may see, by the kernels and strides (theoretical), and what it does see,
by its gradient (effective; Luo, Li, Urtasun & Zemel, "Understanding the effective receptive field", 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, prod, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph, Node
from pellucid.look.projection import recorded
from pellucid.look.support import seen
from pellucid.look.walk import Inputs, back, first, gradient, tensors_of
from pellucid.ops import Reach

Ends = tuple[tuple[int, int], ...]  # the first and the last pixel of each axis
MOST = 0.9545  # of the energy: what lies within two deviations of a normal distribution, as in the paper


@dataclass(frozen=True)
class TheoreticalField:
    """What a number may see.

    whole: the first and the last pixel along each axis; below 0 and past the end lies padding. inside: the part in the
    picture (last < first where it lies in the padding alone). mask: bool (H, W), the pixels that it may see: dilated
    kernels leave holes in the box. everything: nothing bounds it, so the box is the picture.
    """

    node: str
    index: tuple[int, ...]
    whole: Ends
    inside: Ends
    mask: NDArray[np.bool_]
    everything: bool = False

    @property
    def padding(self) -> float:
        """The share of the box that lies in the padding."""
        return 1 - prod(_sizes(self.inside)) / max(1, prod(_sizes(self.whole)))


@dataclass(frozen=True)
class EffectiveField:
    """What a number does see, for the pictures that were shown.

    theoretical: what it may see. support: bool (H, W), the pixels with a gradient other than 0 in any channel of any
    picture. energy: float64 (H, W), the mean over pictures of the squared gradient, summed over channels. within: the
    share of the energy in the theoretical box (of what the number's own picture gets); NaN where there is no energy, as
    behind a ReLU that gives 0. core: the smallest box around the middle of the theoretical one that holds 95.45 % of
    the energy, as far out on every side; None without energy. strong: how many pixels have a gradient of at least
    1 - 95.45 % of the largest (the paper's count, whose root is its size of the field). elsewhere: the share of all
    energy that goes to other pictures of the batch, where batch normalisation couples them.
    """

    theoretical: TheoreticalField
    support: NDArray[np.bool_]
    energy: NDArray[np.float64]
    within: float
    core: Ends | None
    strong: int
    elsewhere: float = 0.0

    @property
    def size(self) -> float:
        """The side of a square (for a picture) of as many pixels as are strong."""
        return float(self.strong ** (1 / max(1, self.energy.ndim)))


def couples(graph: Graph, node: str) -> bool:
    """Whether a node's numbers depend on all pictures of the batch: whether a batch normalisation in training lies on
    the way to it."""
    return node in coupled(graph)


def coupled(graph: Graph) -> frozenset[str]:
    """The nodes whose numbers depend on all pictures of the batch."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op.couples_batch or any(name in found for name in node.inputs):
            found.add(node.name)
    return frozenset(found)


def bounds(reach: Reach, index: Sequence[int], picture: Sequence[int]) -> Ends:
    """The first and the last pixel that a number may see along each axis, padding included.

    Args:
        index: of the number in its tensor, the picture first. picture: the sizes of the axes, (H, W).
    """
    ends: list[tuple[int, int]] = [(0, size - 1) for size in picture]
    for dim, axis in reach.dims.items():
        ends[axis.of] = axis.box(index[dim])
    return tuple(ends)


def clipped(ends: Ends, picture: Sequence[int]) -> Ends:
    """The part inside the picture; last < first where there is none."""
    return tuple((max(0, low), min(size - 1, high)) for (low, high), size in zip(ends, picture, strict=True))


def theoretical_field(graph: Graph, node: str, index: Sequence[int]) -> TheoreticalField:
    """What a number may see of the graph's first input, (N, C, H, W) or with any other number of axes.

    Args:
        node: whose number. index: where, without the picture: (channel, y, x), or (feature,) of a dense layer.

    The box is that of the receptive field in ``graph.account()``; where a batch normalisation in training couples all
    places, it is the picture. The mask knows of no channels: it holds what any channel's number at that place may see.

    Raises:
        UsageError: for a place that there is not, or a graph whose first input has no places.
    """
    picture = _picture(graph)
    place = _checked(graph[node], index)
    field = graph.account()[node].field
    if field is None:  # it depends on no picture
        nothing = ((0, -1),) * len(picture)
        return TheoreticalField(node, place, nothing, nothing, np.zeros(picture, np.bool_))
    if couples(graph, node):
        whole = bounds(Reach(), (0, *place), picture)
        return TheoreticalField(node, place, whole, whole, np.ones(picture, np.bool_), True)
    ends = bounds(field.reach, (0, *place), picture)
    mask = seen(graph, node, place, field.reach.dims, picture)
    return TheoreticalField(node, place, ends, clipped(ends, picture), mask, field.unbounded)


def effective_field(
    graph: Graph, inputs: Inputs, node: str, index: Sequence[int], *, values: Mapping[str, Any] | None = None
) -> EffectiveField:
    """What a number does see: the gradient of the number at ``index`` of each picture with respect to that picture.

    Args:
        inputs: pictures (N, C, H, W); the more, the less the field depends on what is in them. The paper takes random
            ones.
        node, index: as for ``theoretical_field``.
        values: the record of a run of these pictures, where there is one.

    Raises:
        UsageError: for a place that there is not.
    """
    theoretical = theoretical_field(graph, node, index)
    _check_pictures(graph, inputs)
    values = recorded(graph, inputs, node, values)
    value = first(values[node])
    if couples(graph, node):
        gradients, elsewhere = _coupled(graph, values, inputs, node, value, theoretical.index)
    else:
        signal = torch.zeros_like(value)
        signal[(slice(None), *theoretical.index)] = 1  # type: ignore[index]
        gradients, elsewhere = back(graph, values, inputs, {node: signal}, gradient), 0.0
    energy: NDArray[np.float64] = gradients.double().square().sum(1).mean(0).cpu().numpy()
    support = (gradients != 0).any(1).any(0).cpu().numpy()
    total = float(energy.sum())
    outside = energy.copy()
    outside[tuple(slice(low, high + 1) for low, high in theoretical.inside)] = 0
    return EffectiveField(
        theoretical=theoretical,
        support=support,
        energy=energy,
        within=1 - float(outside.sum()) / total if total else float("nan"),
        core=_core(energy, theoretical) if total else None,
        strong=int((np.sqrt(energy) >= (1 - MOST) * sqrt(energy.max())).sum()) if total else 0,
        elsewhere=elsewhere,
    )


def _coupled(
    graph: Graph, values: Mapping[str, Any], inputs: Inputs, node: str, value: Tensor, place: tuple[int, ...]
) -> tuple[Tensor, float]:
    """Picture by picture: the gradient of its number with respect to itself, and the share of energy of the others."""
    own: list[Tensor] = []
    whole = 0.0
    for i in range(len(value)):
        signal = torch.zeros_like(value)
        signal[(i, *place)] = 1
        found = back(graph, values, inputs, {node: signal}, gradient)
        own.append(found[i])
        whole += float(found.double().square().sum())
    gradients = torch.stack(own)
    kept = float(gradients.double().square().sum())
    return gradients, 1 - kept / whole if whole else 0.0


def _core(energy: NDArray[np.float64], field: TheoreticalField) -> Ends:
    """The smallest box around the middle that holds most of the energy. Half a pixel further at a time: the middle of
    an even box lies between two pixels."""
    middles = [(low + high) / 2 for low, high in field.whole]
    grids = np.indices(energy.shape)
    distance = np.max([abs(grid - middle) for grid, middle in zip(grids, middles, strict=True)], axis=0)
    order = np.argsort(distance, axis=None, kind="stable")
    held = np.cumsum(energy.reshape(-1)[order])
    reach = float(distance.reshape(-1)[order][np.searchsorted(held, MOST * held[-1])])
    ends = tuple((ceil(middle - reach), floor(middle + reach)) for middle in middles)
    return clipped(ends, energy.shape)


def _check_pictures(graph: Graph, inputs: Inputs) -> None:
    given, known = tuple(tensors_of(inputs)[0].shape), graph.inputs[0].shape(1)
    if given[1:] != known[1:] or not given[0]:
        raise UsageError(
            f"the pictures are {_by(given)}, and the network was captured with N x {_by(known[1:])}",
            fits="one picture or more of that size",
        )


def _picture(graph: Graph) -> tuple[int, ...]:
    """(H, W) of the first input."""
    shape = graph.inputs[0].shape(1)
    if len(shape) < 3:
        raise UsageError(f"a field needs pictures, (N, C, H, W), and this network is given (N, {_by(shape[1:])})")
    return shape[2:]


def _checked(node: Node, index: Sequence[int]) -> tuple[int, ...]:
    place, shape = tuple(int(i) for i in index), node.shape(1)[1:]
    if len(place) != len(shape) or not all(-n <= i < n for i, n in zip(place, shape, strict=True)):
        raise UsageError(f"'{node.name}' has no number at {place}", fits=f"an index within {shape}")
    return tuple(i % n for i, n in zip(place, shape, strict=True))


def _sizes(ends: Ends) -> list[int]:
    return [max(0, high - low + 1) for low, high in ends]


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
