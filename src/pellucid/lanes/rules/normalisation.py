"""Normalisations within a picture."""

from __future__ import annotations

from typing import Any

import torch

from pellucid import ops
from pellucid.graph import Node, Ref
from pellucid.lanes.blocks.layer_norm import GroupNormBlock, LayerNormBlock
from pellucid.lanes.blocks.local_response_norm import LocalResponse, LocalResponseNormBlock
from pellucid.lanes.lowering import AXES, Entry, Lowering, Refused, Results, Seen

__all__ = ["RULES"]


def _names(lowering: Lowering, arguments: dict[str, Any]) -> tuple[str | None, str | None]:
    """Of the weight and the bias."""
    weight, bias = (arguments.get(key) for key in ("weight", "bias"))
    return (
        None if weight is None else lowering.parameter(weight),
        None if bias is None else lowering.parameter(bias),
    )


def _result(node: Node, made: Seen) -> Entry:
    """The native forms give mean and inverse deviation besides, which only PyTorch's own way back reads."""
    return Results((made, None, None)) if node.target.startswith("aten.native_") else made


def layer_norm(lowering: Lowering, node: Node) -> Entry:
    """Over the channels of each pixel, over the whole picture, or, without weights, over each channel's pixels."""
    arguments = node.by_name()
    weight, bias = _names(lowering, arguments)
    axes = lowering.seen(arguments["input"]).axes
    sizes = dict(zip(axes, node.shape(lowering.build.batch)[1:], strict=True))
    over = axes[-node.op.over :]  # type: ignore[attr-defined]
    if node.op.over > len(axes):  # type: ignore[attr-defined]
        raise Refused("it normalises over the batch")
    normed = [axis for axis in over if sizes[axis] > 1]
    others = {axis for axis in axes if sizes[axis] > 1} - set(normed)
    channels = "C" in over and set(normed) <= {"C"}
    whole = not others and normed == sorted(normed)
    each = others <= {"C"} and "C" not in over and weight is None and bias is None
    if not channels and not whole and not each:
        raise Refused(f"it normalises over the dimensions {' '.join(over)} of {' '.join(axes)}")
    centred = node.op.centred  # type: ignore[attr-defined]
    eps = arguments.get("eps")
    eps = torch.finfo(torch.float32).eps if eps is None else float(eps)
    value = lowering.value(arguments["input"], axes)
    out = lowering.output(node, [value], [weight, bias], axes)
    if channels:
        lowering.add(LayerNormBlock(value, out, weight, bias, eps=eps, centred=centred), node)
    else:
        groups = 1 if whole else value.channels
        elementwise = weight is not None or bias is not None
        block = GroupNormBlock(
            value, out, weight, bias, groups=groups, eps=eps, elementwise=elementwise, centred=centred
        )
        lowering.add(block, node)
    return _result(node, Seen(out, axes))


def group_norm(lowering: Lowering, node: Node) -> Entry:
    """Groups of channels, over all their pixels."""
    arguments = node.by_name()
    groups = node.op.groups  # type: ignore[attr-defined]
    return _result(node, _grouped(lowering, node, arguments, groups))


def instance_norm(lowering: Lowering, node: Node) -> Entry:
    """Each channel over its own pixels."""
    arguments = node.by_name()
    if arguments.get("running_mean") is not None or not arguments.get("use_input_stats", True):
        raise Refused("it keeps running statistics")
    return _grouped(lowering, node, arguments, 0)


def _grouped(lowering: Lowering, node: Node, arguments: dict[str, Any], groups: int) -> Seen:
    weight, bias = _names(lowering, arguments)
    value = lowering.value(arguments["input"])
    axes = AXES[len(node.dims) - 1]
    out = lowering.output(node, [value], [weight, bias])
    block = GroupNormBlock(value, out, weight, bias, groups=groups or value.channels, eps=float(arguments["eps"]))
    lowering.add(block, node)
    return Seen(out, axes)


def local_response(lowering: Lowering, node: Node, match: LocalResponse) -> Entry:
    """The division that ends a local response norm; its other nodes need no steps."""
    value = lowering.value(Ref(match.source))
    out = lowering.output(node, [value], ())
    block = LocalResponseNormBlock(value, out, match)
    block.nodes = tuple(sorted(match.nodes - {node.name}))
    lowering.add(block, node)
    return Seen(out, AXES[len(node.dims) - 1])


RULES: dict[type, Any] = {
    ops.LayerNorm: layer_norm,
    ops.GroupNorm: group_norm,
    ops.InstanceNorm: instance_norm,
    LocalResponse: local_response,
}
