"""What moved a number, told by gradients and by covering parts of the picture. Beside the deconvnet, on the same API.

Every function takes a captured graph and pictures (N, C, H, W), and either a ``target`` (a class, for all pictures or
one for each; by default the class that the network gives the most) or a ``node`` with ``channel``, ``index`` and
``keep`` (see ``projection.aim``). Take a graph captured in evaluation: in training, dropout and the batch have a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError
from pellucid.graph.ir import Graph, Node, Size
from pellucid.look.deconvnet import made
from pellucid.look.field import couples
from pellucid.look.occlusion import occlusion
from pellucid.look.projection import Aim, PerPicture, Projection, aim, named, recorded
from pellucid.look.variation import Variations, parts
from pellucid.look.walk import Inputs, Rule, Step, back, first, gradient, up_to

__all__ = ["grad_cam", "guided", "guided_backpropagation", "integrated_gradients", "occlusion", "saliency"]

SALIENCY = "Simonyan, Vedaldi & Zisserman, Deep inside convolutional networks (2013)"
GUIDED = "Springenberg, Dosovitskiy, Brox & Riedmiller, Striving for simplicity (2014)"
GRAD_CAM = "Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization (2016)"
INTEGRATED = "Sundararajan, Taly & Yan, Axiomatic attribution for deep networks (2017)"

Record = Mapping[str, Any]


def guided(step: Step) -> Tensor | None:
    """The rule of guided backpropagation (section 3.4): at a rectifier the part of the signal above zero, times the
    rectifier's derivative. Of a ReLU that is what both the forward pass and the deconvnet let through."""
    return step.product(step.signal.clamp(min=0)) if step.node.op.rectifies else None


def saliency(
    graph: Graph,
    inputs: Inputs,
    target: PerPicture | None = None,
    *,
    node: str | None = None,
    channel: PerPicture | None = None,
    index: Any = None,
    keep: str = "strongest",
    values: Record | None = None,
) -> Projection:
    """How much the number changes with each number of the picture: the magnitude of its gradient, (N, C, H, W)
    (Simonyan et al. 2013, section 3; ``Projection.map`` is their map, the largest over the channels).

    Raises:
        UsageError: for a target, node or place that there is not.
    """
    chosen, value, image = _sent_down(graph, inputs, gradient, target, node, channel, index, keep, values)
    return made("saliency", SALIENCY, chosen, value, image.abs())


def guided_backpropagation(
    graph: Graph,
    inputs: Inputs,
    target: PerPicture | None = None,
    *,
    node: str | None = None,
    channel: PerPicture | None = None,
    index: Any = None,
    keep: str = "strongest",
    values: Record | None = None,
) -> Projection:
    """The gradient, of which rectifiers let only what is above zero pass (Springenberg et al. 2014): (N, C, H, W).

    Which operations are rectifiers, ``look.deconvnet`` says; ReLUs that are functions or in place are among them.

    Raises:
        UsageError: for a target, node or place that there is not.
    """
    chosen, value, image = _sent_down(graph, inputs, guided, target, node, channel, index, keep, values)
    return made("guided backpropagation", GUIDED, chosen, value, image)


def grad_cam(
    graph: Graph,
    inputs: Inputs,
    target: PerPicture | None = None,
    *,
    node: str | None = None,
    output: str | None = None,
    values: Record | None = None,
) -> Projection:
    """Where a layer's maps speak for a class: ReLU(sum over k of a_k A^k), with a_k the mean over places of the
    gradient of the class's output with respect to map A^k (Selvaraju et al. 2016, equations 1 and 2). (N, 1, H, W):
    upsampled to the picture, bilinear.

    Args:
        output: whose channels the classes are; by default what the graph returns.
        node: whose maps A (N, K, P, Q) are; by default the last that has more than one place.

    ``facts``: ``at`` the node, ``map`` (N, P, Q) before upsampling, ``weights`` (N, K) the a_k.

    Raises:
        UsageError: for a target that there is not, or a node without maps, or that the output does not depend on.
    """
    output = output or graph.outputs[0]
    values = recorded(graph, inputs, output, values)
    at = _with_maps(graph, values, output, node)
    chosen = aim(graph, values, inputs, output, channel=target)
    value, maps = first(values[output]).detach(), first(values[at]).detach()
    ones = chosen.ones(value)
    slopes = _each_alone(graph, values, inputs, output, ones, gradient, to=at)
    weights = slopes.mean((2, 3))
    small = (weights[:, :, None, None] * maps).sum(1, keepdim=True).clamp(min=0)
    size = tuple(graph.inputs[0].shape(1)[2:])
    image = torch.nn.functional.interpolate(small, size, mode="bilinear", align_corners=False)
    facts = {"at": at, "map": _array(small[:, 0]), "weights": _array(weights)}
    return made("Grad-CAM", GRAD_CAM, chosen, value, image, **facts)


def integrated_gradients(
    graph: Graph,
    inputs: Inputs,
    target: PerPicture | None = None,
    *,
    node: str | None = None,
    channel: PerPicture | None = None,
    index: Any = None,
    keep: str = "strongest",
    baseline: float | Tensor = 0.0,
    steps: int = 50,
    batch: int = 32,
) -> Projection:
    """What each number of the picture adds on the straight way from a baseline: (x - x') times the mean gradient along
    it (Sundararajan et al. 2017, equation 1), (N, C, H, W).

    Args:
        baseline: x', a number (0, the mean colour of normalised pictures) or pictures (1 or N, C, H, W).
        steps: the places on the way, in the middles of as many equal parts.
        batch: how many pictures to run at a time.

    ``facts``: ``baseline_value`` (N,), ``steps``, and ``gap`` (N,): by how much the parts miss the number's growth from
    the baseline to the picture, which they should sum to (completeness, proposition 1). More steps make it smaller.

    Raises:
        UsageError: for a target, node or place that there is not, and for a graph in training whose numbers depend on
            the other pictures of the batch or on chance.
    """
    if steps < 1:
        raise UsageError(f"steps is {steps}", fits="1 or more")
    varied = Variations.of(graph, inputs, target, node, channel, index, keep)
    pictures = varied.pictures
    start = _baseline(baseline, pictures)
    every = range(len(pictures))
    total = torch.zeros_like(pictures, dtype=torch.float64)
    for some in parts([(n, (step + 0.5) / steps) for n in every for step in range(steps)], batch):
        owners = [n for n, _ in some]
        shares = torch.tensor([share for _, share in some], dtype=pictures.dtype, device=pictures.device)
        way = start[owners] + shares.view(-1, *[1] * (pictures.ndim - 1)) * (pictures - start)[owners]
        total.index_add_(0, torch.tensor(owners, device=total.device), varied.slopes(way, owners).double())
    image = (pictures - start).double() * total / steps
    at_start = torch.cat([varied.numbers(start[list(some)], some) for some in parts(every, batch)])
    growth = varied.chosen.values(varied.value).double() - at_start
    gap = image.flatten(1).sum(1) - growth
    facts = {"baseline_value": _array(at_start), "steps": steps, "gap": _array(gap)}
    return made("integrated gradients", INTEGRATED, varied.chosen, varied.value, image, **facts)


def _sent_down(
    graph: Graph,
    inputs: Inputs,
    rule: Rule,
    target: PerPicture | None,
    node: str | None,
    channel: PerPicture | None,
    index: Any,
    keep: str,
    values: Record | None,
) -> tuple[Aim, Tensor, Tensor]:
    """The numbers that are meant, the node's value, and a signal of 1 at each number sent down to its picture."""
    name, channel = named(graph, target, node, channel)
    values = recorded(graph, inputs, name, values)
    chosen = aim(graph, values, inputs, name, channel=channel, index=index, keep=keep)
    value = first(values[name]).detach()
    return chosen, value, _each_alone(graph, values, inputs, name, chosen.ones(value), rule)


def _each_alone(
    graph: Graph, values: Record, inputs: Inputs, node: str, signal: Tensor, rule: Rule, to: str | None = None
) -> Tensor:
    """A signal down to the pictures, each picture's by itself where the batch couples them: what the number of one
    picture owes to another is left out."""
    if len(signal) == 1 or not couples(graph, node):
        return back(graph, values, inputs, {node: signal}, rule, to=to)
    rows = []
    for n in range(len(signal)):
        alone = torch.zeros_like(signal)
        alone[n] = signal[n]
        rows.append(back(graph, values, inputs, {node: alone}, rule, to=to)[n])
    return torch.stack(rows)


def _with_maps(graph: Graph, values: Record, output: str, node: str | None) -> str:
    """The node whose maps are meant: a given one, or the last with more than one place on the way to the output."""
    part = up_to(graph, output)
    if node is None:
        found = [
            own.name
            for own in part.nodes
            if _makes_maps(own) and own.name != output and first(values[own.name]).is_floating_point()
        ]
        if not found:
            raise UsageError(f"no node on the way to '{output}' has maps", fits="a convolutional network")
        return found[-1]
    shape = graph[node].shape(1)
    if len(shape) != 4 or node not in {own.name for own in part.nodes}:
        raise UsageError(f"Grad-CAM needs maps (N, K, P, Q) on the way to '{output}', and '{node}' is {shape}")
    return node


def _makes_maps(node: Node) -> bool:
    """Whether it computes maps of more than one place; not scores of attention, nor maps that are only moved about."""
    shape = node.shape(1)
    is_map = len(shape) == 4 and shape[2] * shape[3] > 1 and isinstance(node.dims[0], Size)
    return is_map and not node.hidden and node.op.kind not in ("attention", "linear", "shape")


def _baseline(baseline: float | Tensor, pictures: Tensor) -> Tensor:
    """x', (N, C, H, W). Raises UsageError where it does not fit the pictures."""
    start = torch.as_tensor(baseline, dtype=pictures.dtype, device=pictures.device).detach()
    try:
        return start.expand(pictures.shape)
    except RuntimeError:
        raise UsageError(
            f"the baseline is {tuple(start.shape)} and the pictures {tuple(pictures.shape)}",
            fits="one number, or pictures",
        ) from None


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().float().cpu().numpy())
