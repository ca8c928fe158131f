"""Feature maps and kernels as pictures: numbers between 0 and 1 to be shown, with the range that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph, Node, Ref
from pellucid.look.walk import first
from pellucid.ops import Convolution, TransposedConvolution

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureMaps:
    """What a node made of a picture.

    maps: float32 (C, H, W), 0 for ``low`` and 1 for ``high``; a dense layer's features are maps of one place.
    low, high: float32 (C,), the range of each map (all the same where they share one). not_finite: how many numbers are
    NaN or infinite; they show as 0 and 1, NaN as 0.
    """

    node: str
    maps: Floats
    low: Floats
    high: Floats
    not_finite: int = 0


@dataclass(frozen=True)
class Kernels:
    """The kernels of a convolution.

    images: float32 (K, R, S, 3) in colour, where they lie over a picture's three colours, else (K, C, R, S). 0.5 is the
    weight 0; 0 and 1 are -``largest`` and ``largest``, the largest magnitude of all or, (K,), of each kernel.
    """

    node: str
    images: Floats
    largest: Floats
    colour: bool


def feature_maps(values: Mapping[str, Any], node: str, *, picture: int = 0, each: bool = False) -> FeatureMaps:
    """The maps of a node for one picture.

    Args:
        values: the record of a run.
        each: whether each map has its own range; else all share one, and bright in one is bright in another.

    Raises:
        UsageError: for a node or picture that is not on the record, or that has no maps.
    """
    if node not in values:
        raise UsageError(f"the value of '{node}' is not on the record", fits="graph.run(x, record=True)")
    value = first(values[node]).detach()
    if value.ndim not in (2, 3, 4):
        raise UsageError(f"'{node}' has no maps", found=f"shape {tuple(value.shape)}", fits="(N, C, H, W)")
    if not 0 <= picture < len(value):
        raise UsageError(f"there is no picture {picture}", fits=f"0 to {len(value) - 1}")
    maps = value[picture].float().cpu().numpy()
    maps = maps.reshape(len(maps), *(1,) * (3 - maps.ndim), *maps.shape[1:])
    finite = np.isfinite(maps)
    ends = [_ends(part, mask) for part, mask in (zip(maps, finite, strict=True) if each else [(maps, finite)])]
    low, high = (np.broadcast_to(np.array(side, np.float32), len(maps)).copy() for side in zip(*ends, strict=True))
    shape = (-1, 1, 1)
    span = np.where(high > low, high - low, 1).reshape(shape)
    shown = np.clip((maps - low.reshape(shape)) / span, 0, 1)
    return FeatureMaps(node, np.nan_to_num(shown).astype(np.float32), low, high, int((~finite).sum()))


def _ends(maps: Floats, finite: NDArray[np.bool_]) -> tuple[float, float]:
    """The least and the largest finite number; 0 and 0 where there is none."""
    numbers = maps[finite]
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)


def kernels(graph: Graph, node: str, *, values: Mapping[str, Any] | None = None, each: bool = False) -> Kernels:
    """The kernels of a convolution, or of a transposed one, as pictures.

    Args:
        values: a record, for kernels that the network computes (weight normalisation).
        each: whether each kernel has its own range.

    Raises:
        UsageError: for a node that is no convolution, or kernels that are computed and not on the record.
    """
    found = graph[node]
    if not isinstance(found.op, Convolution | TransposedConvolution):
        known = [own.name for own in graph.shown if isinstance(own.op, Convolution | TransposedConvolution)]
        raise UsageError(f"'{node}' is no convolution", known=", ".join(known))
    weight = _weight(graph, found, values or {})
    if weight.ndim == 3:
        weight = weight[:, :, None]
    if weight.ndim != 4:
        raise UsageError(f"the kernels of '{node}' have {weight.ndim - 2} axes", fits="one or two")
    if isinstance(found.op, TransposedConvolution):
        weight = _by_kernel(weight, found.op.groups)
    magnitudes = np.abs(weight)
    largest = np.asarray(magnitudes.max((1, 2, 3)) if each else magnitudes.max(), np.float32)
    scale = np.where(largest > 0, largest, 1).reshape(-1, 1, 1, 1)
    images = (weight / scale + 1) / 2
    colour = weight.shape[1] == 3 and found.inputs[0] == graph.inputs[0].name
    shown = images.transpose(0, 2, 3, 1) if colour else images
    return Kernels(node, np.ascontiguousarray(shown, np.float32), largest, colour)


def _weight(graph: Graph, node: Node, values: Mapping[str, Any]) -> Floats:
    given = node.by_name()["weight"]
    name = given.name if isinstance(given, Ref) else ""
    found = graph.tensors.get(name, values.get(name))
    if not isinstance(found, torch.Tensor):
        raise UsageError(f"the kernels of '{node.name}' are computed", fits="kernels(..., values=record of a run)")
    return np.asarray(found.detach().float().cpu().numpy())


def _by_kernel(weight: Floats, groups: int) -> Floats:
    """Of a transposed convolution, (C, K / groups, R, S), as (K, C / groups, R, S)."""
    channels, kernels_each, *size = weight.shape
    split = weight.reshape(groups, channels // groups, kernels_each, *size)
    return split.transpose(0, 2, 1, 3, 4).reshape(groups * kernels_each, channels // groups, *size)
