"""Where attention looks: the weights of every attention of a scene, as records; and of all layers together.

A weight is a number like any other: ``scene.at(record.path, (n, head, query, key))`` opens it into the softmax's share,
and that into query x key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ShapeError, UsageError
from pellucid.graph import Node
from pellucid.look.scene import Scene

_FUSED = "scaled_dot_product_attention"
_ON_THE_WAY = ("expand", "clone", "view", "reshape", "dropout", "getitem", "_to_copy")  # from a softmax to its product
_PRODUCTS = ("matmul", "bmm", "einsum")


@dataclass(frozen=True)
class AttentionWeights:
    """One attention: ``weights`` float32 (N, heads, queries, keys), each row of sum 1. ``path``: under which each
    opens; ``layer``: the call's name."""

    layer: str
    path: str
    weights: NDArray[np.float32]

    @property
    def mean(self) -> NDArray[np.float32]:
        """(N, queries, keys): the mean over heads."""
        mean: NDArray[np.float32] = self.weights.mean(1)
        return mean


def attention(scene: Scene) -> tuple[AttentionWeights, ...]:
    """The weights of every attention of a scene, in the order in which the network computes them.

    They are read from the captured graph: of PyTorch's fused attention, which returns no weights, they are made again
    from its queries and keys; where attention is written out, they are the softmax that a matrix product takes.

    Raises:
        UsageError: where the network has no attention.
    """
    graph = scene.network
    found = []
    for node in graph.shown:
        if node.target.partition(".")[2].startswith(_FUSED):
            found.append(_record(scene, node.name, f"{node.name}~weights"))
        elif "softmax" in node.target and len(node.shape(1)) in (3, 4) and _is_multiplied(graph.nodes, node):
            found.append(_record(scene, node.name, node.name))
    if not found:
        raise UsageError(
            f"{scene.lens.subject.name} has no attention: no scaled_dot_product_attention, and no softmax before a "
            "matrix product"
        )
    return tuple(found)


def rollout(layers: Sequence[AttentionWeights]) -> NDArray[np.float64]:
    """What each place of the last layer saw of each place of the input, (N, L, L), through layers of self-attention:
    the product of (A + I) / 2, A the mean over heads (Abnar & Zuidema 2020, section 3).

    Raises:
        ShapeError: where a layer looks at something else than itself.
    """
    shapes = {layer.mean.shape for layer in layers}
    if len(shapes) != 1 or next(iter(shapes))[1] != next(iter(shapes))[2]:
        raise ShapeError(
            f"attention of the shapes {', '.join(map(str, sorted(shapes)))} cannot be rolled out",
            fits="layers of self-attention over the same places",
        )
    seen = np.eye(next(iter(shapes))[1])[None]
    for layer in layers:
        seen = (layer.mean.astype(np.float64) + np.eye(layer.mean.shape[1])) / 2 @ seen
    return seen


def grid_of(places: int, height: int, width: int) -> tuple[int, int, int]:
    """How many tokens of a network stand before its patches, and the rows and columns of these, for a picture of
    height x width: the finest grid of the picture's proportions with no more than five tokens before it.

    Raises:
        ShapeError: where no such grid gives this many places.
    """
    for before in range(6):
        rows = math.isqrt(max(0, round((places - before) * height / width)))
        for count in (rows, rows + 1):
            if count and (places - before) % count == 0 and count * width == (places - before) // count * height:
                return before, count, (places - before) // count
    raise ShapeError(f"{places} places are no grid of patches of a picture of {height} x {width}")


def _record(scene: Scene, layer: str, path: str) -> AttentionWeights:
    weights = scene.values(path)
    return AttentionWeights(layer, path, weights[:, None] if weights.ndim == 3 else weights)


def _is_multiplied(nodes: Sequence[Node], softmax: Node) -> bool:
    """Whether a matrix product takes the softmax as its first factor, past what changes no number of it."""
    carried = {softmax.name}
    for node in nodes:
        taken = node.inputs
        if not carried.intersection(taken):
            continue
        operation = node.target.partition(".")[2]
        if operation.startswith(_PRODUCTS):
            return taken[0] in carried
        if any(name in operation or name in node.target for name in _ON_THE_WAY):
            carried.add(node.name)
    return False
