"""Pooling, reductions over maps, padding, resizing."""

from __future__ import annotations

from typing import Any

from pellucid import ops
from pellucid.graph import Node
from pellucid.lanes.blocks import moves, pooling, resize
from pellucid.lanes.blocks.expression import Expression
from pellucid.lanes.blocks.map import Pooling
from pellucid.lanes.lowering import Entry, Lowering, Refused, Results, Seen
from pellucid.lanes.values import Value

__all__ = ["RULES"]


def max_pooling(lowering: Lowering, node: Node) -> Entry:
    """Part of the map before it where its windows do not overlap."""
    op: Any = node.op
    made = _in_map(lowering, node, "max", op, plain=not any(op.padding) and set(op.dilation) == {1})
    if made is None:
        source, axes = _maps(lowering, node)
        out = lowering.output(node, [source], ())
        lowering.add(pooling.MaxPoolBlock(source, out, op.kernel, op.stride, op.padding, op.dilation), node)
        made = Seen(out, axes)
    return Results((made, None)) if "with_indices" in node.target else made


def average_pooling(lowering: Lowering, node: Node) -> Entry:
    """Of windows; part of the map before it where they do not overlap."""
    op: Any = node.op
    made = _in_map(lowering, node, "average", op, plain=not any(op.padding) and op.divisor is None)
    if made is not None:
        return made
    source, axes = _maps(lowering, node)
    out = lowering.output(node, [source], ())
    block = pooling.AveragePoolBlock(
        source, out, op.kernel, op.stride, op.padding, include_pad=op.include_pad, divisor=op.divisor
    )
    lowering.add(block, node)
    return Seen(out, axes)


def _maps(lowering: Lowering, node: Node) -> tuple[Value, tuple[str, ...]]:
    """The feature maps that a window slides over. Raises Refused for volumes."""
    given = node.arguments[0]
    axes = lowering.seen(given).axes
    kernel = getattr(node.op, "kernel", getattr(node.op, "size", (1, 1)))
    if len(kernel) != len(axes) - 1:
        raise Refused("only maps and signals are pooled")
    return lowering.value(given), axes


def _in_map(lowering: Lowering, node: Node, kind: Any, op: Any, *, plain: bool) -> Seen | None:
    """As the end of an expression that is not yet computed."""
    given = node.arguments[0]
    content, axes = lowering.seen(given).content, lowering.seen(given).axes
    if not isinstance(content, Expression) or axes != ("C", "H", "W") or not plain or op.ceil_mode:
        return None
    if tuple(op.kernel) != tuple(op.stride) or not Pooling.fits(kind, *op.kernel):
        return None
    shape = node.shape(lowering.build.batch)[1:]
    return Seen(lowering.pooled(content, node, Pooling(kind, *op.kernel), (shape[0], shape[1], shape[2])), axes)


def adaptive_pooling(lowering: Lowering, node: Node) -> Entry:
    """To a size; to one place, it is the average of the whole map."""
    op: Any = node.op
    given = node.arguments[0]
    seen = lowering.seen(given)
    several = "max" in node.target
    if isinstance(seen.content, Expression) and seen.axes == ("C", "H", "W") and set(op.size) == {1} and not op.largest:
        out = lowering.pooled(seen.content, node, Pooling("plane"), (seen.content.channels, 1, 1))
        return Seen(out, seen.axes)
    source, axes = _maps(lowering, node)
    out = lowering.output(node, [source], ())
    lowering.add(pooling.AdaptivePoolBlock(source, out, largest=op.largest), node)
    made = Seen(out, axes)
    return Results((made, None)) if several else made


def reduction(lowering: Lowering, node: Node) -> Entry:
    """Mean, sum or extreme over channels, rows, columns."""
    op: Any = node.op
    given = node.arguments[0]
    if node.target.endswith(".dim") and op.word in ("max", "min"):
        raise Refused("it gives the places as well")
    seen = lowering.seen(given)
    shape = node.shape(lowering.build.batch)
    dims = op.dims
    if dims is None or 0 in dims or not shape or op.word not in ("mean", "sum", "amax", "amin"):
        raise Refused(f"there is no kernel for {node.target} over these dimensions")
    gone = "".join(sorted(seen.axes[dim - 1] for dim in dims))
    kept = tuple(axis for axis in seen.axes if axis not in gone)
    content = seen.content
    if isinstance(content, Expression) and gone == "HW" and op.word == "mean":
        out = lowering.pooled(content, node, Pooling("plane"), (content.channels, 1, 1))
        return Seen(out, seen.axes if op.keep else kept)
    source = lowering.value(given, seen.axes)
    if not pooling.MeanBlock.reduces(gone, source.shape):
        raise Refused(f"there is no kernel for {op.word} over {gone}")
    if not op.keep and kept != tuple("CHW"[: len(kept)]) and kept != ("C", "W"):
        raise Refused("what it leaves is no batch of feature maps")
    sizes = [1 if axis in gone else size for axis, size in zip("CHW", source.shape, strict=True)]
    out = lowering.output_of(node, sizes, [source])
    lowering.add(pooling.MeanBlock(source, out, gone, op.word), node)
    return Seen(out, seen.axes if op.keep else kept)


def pad(lowering: Lowering, node: Node) -> Entry:
    """Before and behind rows, columns or channels."""
    op: Any = node.op
    source = lowering.value(node.arguments[0])
    if op.mode not in moves.PAD_MODES:
        raise Refused(f"there is no kernel for padding by {op.mode}")
    value = node.by_name().get("value") or 0.0
    out = lowering.output(node, [source], ())
    lowering.add(moves.PadBlock(source, out, op.pads, op.mode, float(value)), node)
    return Seen(out, lowering.seen(node.arguments[0]).axes)


def upsample(lowering: Lowering, node: Node) -> Entry:
    """Nearest or bilinear."""
    op: Any = node.op
    source = lowering.value(node.arguments[0])
    if op.mode not in resize.UPSAMPLE_MODES or op.smooths:
        raise Refused(f"there is no kernel for {node.target} by {op.mode}")
    out = lowering.output(node, [source], ())
    lowering.add(resize.UpsampleBlock(source, out, op.mode, op.scales, corners=op.corners), node)
    return Seen(out, lowering.seen(node.arguments[0]).axes)


def pixel_shuffle(lowering: Lowering, node: Node) -> Entry:
    """Channels to pixels, and back."""
    op: Any = node.op
    source = lowering.value(node.arguments[0])
    out = lowering.output(node, [source], ())
    back = isinstance(op, ops.PixelUnshuffle)
    lowering.add(resize.PixelShuffleBlock(source, out, op.factor, back=back), node)
    return Seen(out, lowering.seen(node.arguments[0]).axes)


def pick(lowering: Lowering, node: Node) -> Entry:
    """A shuffle of channels between groups."""
    if node.target != "aten.channel_shuffle.default":
        raise Refused(f"there is no kernel for {node.target}")
    source = lowering.value(node.arguments[0])
    out = lowering.output(node, [source], ())
    lowering.add(moves.ShuffleBlock(source, out, int(node.arguments[1])), node)
    return Seen(out, lowering.seen(node.arguments[0]).axes)


def softmax(lowering: Lowering, node: Node) -> Entry:
    """Over channels."""
    op: Any = node.op
    seen = lowering.seen(node.arguments[0])
    if op.dim == 0 or seen.axes[op.dim - 1] != "C" or op.safe:
        raise Refused("it is over another dimension than the channels")
    source = lowering.value(node.arguments[0], seen.axes)
    out = lowering.output(node, [source], (), seen.axes)
    lowering.add(pooling.SoftmaxBlock(source, out, logarithm=op.logarithm), node)
    return Seen(out, seen.axes)


RULES = {
    ops.MaxPooling: max_pooling,
    ops.AveragePooling: average_pooling,
    ops.AdaptivePooling: adaptive_pooling,
    ops.Reduction: reduction,
    ops.Pad: pad,
    ops.Upsample: upsample,
    ops.PixelShuffle: pixel_shuffle,
    ops.PixelUnshuffle: pixel_shuffle,
    ops.Pick: pick,
    ops.Softmax: softmax,
}
