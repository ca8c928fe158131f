"""Which input channels reach which output channels: what groups keep apart, and a shuffle brings together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.graph import Graph, capture
from pellucid.look.walk import Step, back, first, record

_AT_ONCE = 32  # output channels that are followed in one walk
_ELEMENTWISE = ("activation", "dropout")
_ACROSS = ("softmax", "glu")  # activations whose results read several numbers


@dataclass(frozen=True)
class Mixing:
    """What reaches what.

    node, source: the output channels are those of ``node``, the input channels those of ``source``. reaches: bool
    (output channels, input channels), whether any number of the one depends on any number of the other.
    """

    node: str
    source: str
    reaches: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """The share of all pairs that are joined: 1 / groups where groups never mix, 1 where all channels do."""
        return float(self.reaches.mean()) if self.reaches.size else 0.0

    @property
    def islands(self) -> int:
        """Into how many parts the channels fall that have nothing to do with one another."""
        left = self.reaches.copy()
        found = int((~left.any(0)).sum() + (~left.any(1)).sum())  # channels without any road
        while left.any():
            rows = np.arange(len(left)) == int(left.any(1).argmax())
            columns = left[rows].any(0)
            while not np.array_equal(joined := left[:, columns].any(1), rows):
                rows, columns = joined, left[joined].any(0)
            left[rows] = False
            found += 1
        return found

    def __str__(self) -> str:
        rows, columns = self.reaches.shape
        return (
            f"{self.source} ({columns} channels) -> {self.node} ({rows}): {self.share:.0%} of all pairs are joined, "
            f"in {self.islands} island{'s' if self.islands > 1 else ''}"
        )


def channel_mixing(
    network: nn.Module | Graph,
    node: str | None = None,
    source: str | None = None,
    *,
    input_size: Sequence[int] | None = None,
) -> Mixing:
    """Which channels of an earlier node (or of the picture) can reach each channel of a later one.

    A signal at all places of one output channel is sent back through the captured network. All weights are put
    to random positive numbers, activations and normalisations pass on what they get: so nothing is negative, nothing
    cancels, and what arrives is above 0 exactly where there is a road of weights. What the weights happen to be, or
    which ReLU is closed for some picture, plays no part. (Operations that mix channels by other means than sums, such
    as a softmax over them, are followed by their own derivative.)

    Args:
        network: a module, captured in evaluation; or a graph.
        node: whose channels are asked about, dimension 1 of its value; by default the last that has places.
        source: a node before it; by default the picture.
        input_size: of a module's picture, (C, H, W).

    Raises:
        UsageError: for a node that there is not or that has no channels, a module without ``input_size``, or a source
            that is not a picture or a node.
    """
    graph = _graph(network, input_size)
    node, source = node or _last_with_places(graph), source or graph.inputs[0].name
    channels = _channels(graph, node)
    graph = _positive(graph)
    chunk = min(channels, _AT_ONCE)
    picture = torch.rand(graph.inputs[0].shape(chunk), generator=torch.Generator().manual_seed(0)) + 0.5
    values = record(graph, picture, node)
    if source not in values and source != graph.inputs[0].name:
        graph[source]
        raise UsageError(f"'{node}' does not depend on '{source}'", fits="a source before the node")
    rows: list[NDArray[np.bool_]] = []
    for begin in range(0, channels, chunk):
        signal = torch.zeros_like(first(values[node]))
        count = min(chunk, channels - begin)
        for i in range(count):
            signal[i, begin + i] = 1
        arrived = back(graph, values, picture, {node: signal}, _onward, to=source)
        rows += list((arrived[:count] != 0).flatten(2).any(2).numpy())
    return Mixing(node, source, np.stack(rows))


def _graph(network: nn.Module | Graph, input_size: Sequence[int] | None) -> Graph:
    if isinstance(network, Graph):
        return network
    if input_size is None:
        raise UsageError("how large is the picture?", fits="input_size=(3, 32, 32)")
    return capture(network, tuple(input_size))


def _last_with_places(graph: Graph) -> str:
    for node in reversed(graph.nodes):
        if not node.hidden and len(node.dims) == 4:
            return node.name
    raise UsageError("the network has no node with maps, (N, C, H, W)", fits="the name of a node")


def _channels(graph: Graph, node: str) -> int:
    shape = graph[node].shape(1)
    if len(shape) < 2:
        raise UsageError(f"'{node}' has no channels: its shape is {shape}", fits="a node of maps or features")
    return shape[1]


def _positive(graph: Graph) -> Graph:
    """The same network with every number that it learned or keeps above 0, of a size that keeps maps near 1."""
    generator = torch.Generator().manual_seed(1)

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        terms = max(1, tensor[0].numel()) if tensor.ndim > 1 else 1
        return ((torch.rand(tensor.shape, generator=generator) + 0.5) / terms).to(tensor.dtype)

    return replace(graph, tensors={name: drawn(tensor.detach().cpu()) for name, tensor in graph.tensors.items()})


def _onward(step: Step) -> Tensor | None:
    """Activations, dropout and batch normalisations keep channels apart and let pass whatever comes."""
    kind, target = step.node.op.kind, step.node.target
    apart = kind in _ELEMENTWISE and not any(word in target for word in _ACROSS)
    return step.signal if apart or (kind == "normalisation" and "batch_norm" in target) else None
