"""Convolutions, transposed ones, and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pellucid import ops
from pellucid.graph import Node
from pellucid.lanes.blocks.convolution import ConvolutionBlock, Geometry, candidates
from pellucid.lanes.blocks.linear import LinearBlock
from pellucid.lanes.lowering import Entry, Lowering, Refused, Seen
from pellucid.lanes.values import Value

__all__ = ["RULES"]


def convolution(lowering: Lowering, node: Node) -> Entry:
    """Of one or two spatial dimensions."""
    return _window(lowering, node, [before for before, _ in node.op.padding], turned=False)  # type: ignore[attr-defined]


def transposed(lowering: Lowering, node: Node) -> Entry:
    """The way back of a convolution as a layer: kernels (C, K / groups, R, S)."""
    return _window(lowering, node, node.op.padding, turned=True)  # type: ignore[attr-defined]


def _window(lowering: Lowering, node: Node, pad: Sequence[int], *, turned: bool) -> Entry:
    """A convolution, or one turned around: its input is then what the convolution's output would be."""
    op: Any = node.op
    arguments = node.by_name()
    axes = len(op.kernel)
    value, order = lowering.value(arguments["input"]), lowering.seen(arguments["input"]).axes
    if axes > 2 or len(order) != axes + 1:
        raise Refused("only one and two spatial dimensions have kernels")
    weight, bias = _weights(lowering, arguments)
    out = lowering.output(node, [value], [weight, bias])
    x, y = (out, value) if turned else (value, out)
    geometry = Geometry(
        C=x.channels,
        H=x.height,
        W=x.width,
        K=y.channels,
        P=y.height,
        Q=y.width,
        R=op.kernel[-2] if axes == 2 else 1,
        S=op.kernel[-1],
        stride=_pair(op.stride, 1),
        pad=_pair(pad, 0),
        dilation=_pair(op.dilation, 1),
        groups=op.groups,
        transposed=turned,
    )
    _convolution_block(lowering, node, geometry, value, out, weight, bias)
    return Seen(out, order)


def linear(lowering: Lowering, node: Node) -> Entry:
    """Over features (N, I), or over the channels at each pixel where these are the last dimension."""
    arguments = node.by_name()
    seen = lowering.seen(arguments["input"])
    if seen.axes[-1] != "C":
        raise Refused("its features are not the channels of a feature map")
    weight, bias = _weights(lowering, arguments)
    if len(lowering.parameter_shape(weight)) != 2:
        raise Refused("its weight is no matrix")
    value = lowering.value(arguments["input"], seen.axes)
    out = lowering.output(node, [value], [weight, bias], seen.axes)
    if value.height * value.width == 1:
        lowering.add(LinearBlock(value, out, weight, bias), node)
        return Seen(out, seen.axes)
    geometry = Geometry(
        value.channels, value.height, value.width, out.channels, value.height, value.width, 1, 1
    )  # a linear layer at each pixel is a 1 x 1 convolution
    _convolution_block(lowering, node, geometry, value, out, weight, bias)
    return Seen(out, seen.axes)


def _convolution_block(
    lowering: Lowering, node: Node, geometry: Geometry, value: Value, out: Value, weight: str, bias: str | None
) -> None:
    algorithms: dict[Any, str] = {}
    for direction in ("forward", "input gradient", "weight gradient"):
        algorithms[direction] = lowering.choose(geometry, direction, candidates(geometry, direction), lowering.build)
    lowering.add(ConvolutionBlock(geometry, value, out, weight, bias, algorithms), node)


def _weights(lowering: Lowering, arguments: dict[str, Any]) -> tuple[str, str | None]:
    bias = arguments.get("bias")
    return lowering.parameter(arguments["weight"]), None if bias is None else lowering.parameter(bias)


def _pair(values: Any, missing: int) -> tuple[int, int]:
    """(rows, columns): a signal has one row."""
    listed = list(values)
    return (listed[0], listed[1]) if len(listed) == 2 else (missing, listed[0])


RULES = {
    ops.Convolution: convolution,
    ops.TransposedConvolution: transposed,
    ops.Linear: linear,
}
