"""Deconvnets: what in a picture a number was strong for (Zeiler & Fergus, "Visualizing and understanding convolutional
networks", 2013, section 2.1).

One activation, or one map, is kept and all else set to 0; that signal goes down to the pixels through what the network
did, turned round:

- A convolution or a dense layer: its transpose, without the bias. A max-pooling: each number goes back to the place
  that won on the record (the paper's switches); where windows overlap, what comes to one place is summed.
- A rectifier (ReLU, and what stands in its place: ReLU6, clamps from 0, leaky ReLUs, ELU, SELU, GELU, SiLU, Mish,
  Softplus, Hardswish): the signal is rectified, whatever the forward pass let through. The paper's reason, that
  features are never negative and neither should be what is reconstructed from them, holds for these nearly.
- Batch normalisation: multiplied by scale / deviation, also in training, where mean and deviation are taken as given.
- Adding: the same signal goes down every branch; concatenation: each branch gets its part; where roads meet again, what
  comes down them is summed. Average pooling spreads the signal evenly.
- All else (sigmoid, tanh, softmax, products, attention, other normalisations): the vector-Jacobian product, which is to
  say what the operation is near the numbers that the record holds. A saturated sigmoid so passes little. A ReLU that is
  written as arithmetic, such as ``x * (x > 0)``, is arithmetic.

What is kept and what is sent down is found in the captured graph, not in modules, so that ``F.relu`` and ``x.relu_()``
are treated as ``nn.ReLU``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.graph.ir import Graph
from pellucid.look.projection import Aim, PerPicture, Projection, aim, recorded
from pellucid.look.walk import Inputs, Rule, Step, back, first

PAPER = "Zeiler & Fergus, Visualizing and understanding convolutional networks (2013)"


def deconvolution(step: Step) -> Tensor | None:
    """The rule of a deconvnet: rectifiers rectify the signal, the statistics of a batch are taken as given."""
    if step.node.op.rectifies:
        return step.signal.clamp(min=0)
    if step.node.op.couples_batch:
        return _scaled(step)
    return None


def _scaled(step: Step) -> Tensor | None:
    """By scale / deviation of the batch: the record of a batch normalisation is (result, mean, 1 / deviation, ...)."""
    if not isinstance(step.value, list | tuple):
        return None
    inverse, scale = step.value[2].detach(), step.argument("weight")
    factor: Tensor = inverse if scale is None else inverse * scale
    return step.signal * factor.reshape(1, -1, *[1] * (step.signal.ndim - 2))


def project(
    graph: Graph,
    values: Mapping[str, Any],
    inputs: Inputs,
    node: str,
    signal: Tensor,
    rule: Rule = deconvolution,
) -> Tensor:
    """A signal at a node, of the shape of its value, down to the pixels: (N, C, H, W).

    Args:
        values: the record of a run, ``graph.run(x, record=True)``, or of the nodes on the road.
        inputs: what the run was given.
        rule: ``deconvolution``, ``attribution.guided``, ``walk.gradient``, or one's own.
    """
    return back(graph, values, inputs, {node: signal}, rule)


def deconvnet(
    graph: Graph,
    inputs: Inputs,
    node: str,
    *,
    channel: PerPicture | None = None,
    index: Any = None,
    keep: str = "strongest",
    values: Mapping[str, Any] | None = None,
) -> Projection:
    """What a node's number was strong for: it alone is kept and sent down to the pixels.

    Args:
        graph: the network. inputs: pictures (N, C, H, W).
        node: a layer's output; of a module with a ReLU behind it, that of the ReLU shows what the paper shows.
        channel, index, keep: which number of each picture, or which map (``keep="map"``): by default the strongest
            activation of the channel, or of the node. See ``projection.aim``.
        values: the record of a run of these inputs, where there is one.

    Raises:
        UsageError: for a node, channel or place that there is not.
    """
    graph[node]
    values = recorded(graph, inputs, node, values)
    with torch.no_grad():
        chosen = aim(graph, values, inputs, node, channel=channel, index=index, keep=keep)
        value = first(values[node]).detach()
        image = project(graph, values, inputs, node, chosen.kept(value))
    return made("deconvnet", PAPER, chosen, value, image)


def made(method: str, paper: str, chosen: Aim, value: Tensor, image: Tensor, **facts: Any) -> Projection:
    """A record of tensors."""
    return Projection(
        method=method,
        paper=paper,
        node=chosen.node,
        index=chosen.index,
        value=chosen.values(value).float().cpu().numpy(),
        image=image.detach().float().cpu().numpy(),
        facts=facts,
    )
