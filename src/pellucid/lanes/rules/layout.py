"""Operations that only say how numbers are to be seen: shapes, orders, parts, joins of channels."""

from __future__ import annotations

from typing import Any

from pellucid import ops
from pellucid.graph import Node
from pellucid.lanes.blocks.moves import CopyBlock, SliceBlock
from pellucid.lanes.lowering import AXES, Entry, Lowering, Refused, Results, Seen
from pellucid.lanes.values import Value

__all__ = ["RULES"]

_SAME = ("aten.clone.default", "aten.alias.default", "aten.contiguous.default", "aten.detach.default")


def bookkeeping(lowering: Lowering, node: Node) -> Entry:
    """Copies that change nothing, and taking one of several results."""
    if node.target in _SAME[:3]:
        return lowering.seen(node.arguments[0])
    if node.target != "getitem":
        raise Refused(f"there is no kernel for {node.target}")
    source, index = node.arguments
    part = lowering.results(source).parts[index]
    if part is None:
        if not lowering.readers[node.name]:  # such as running statistics: the block has brought them up to date
            return Results(())
        raise Refused("this result is what PyTorch keeps for its own way back")
    found: Entry = part
    return found


def reshape(lowering: Lowering, node: Node) -> Entry:
    """Dimensions joined or split behind the batch: the same memory."""
    seen = lowering.seen(node.arguments[0])
    shape = node.shape(lowering.build.batch)
    if not shape or shape[0] != lowering.build.batch or not 2 <= len(shape) <= 4:
        raise Refused(f"the shape {shape} is no batch of feature maps")
    before = lowering.shape(node.arguments[0])
    if _without_ones(before[1:], seen.axes) == _without_ones(shape[1:], AXES[len(shape) - 1]):
        content = seen.content  # only dimensions of size 1 come and go, such as those of a pooled map
        if not isinstance(content, Value):
            content = lowering.value(node.arguments[0], seen.axes)
        return Seen(_as_shape(content, shape), AXES[len(shape) - 1])
    value = lowering.value(node.arguments[0])
    return Seen(_as_shape(value, shape), AXES[len(shape) - 1])


def _without_ones(sizes: tuple[int, ...], axes: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(axis, size) for axis, size in zip(axes, sizes, strict=True) if size != 1]


def _as_shape(value: Value, shape: tuple[int, ...]) -> Value:
    sizes = dict(zip(AXES[len(shape) - 1], shape[1:], strict=True))
    return value.reshaped(sizes["C"], sizes.get("H", 1), sizes.get("W", 1))


def permute(lowering: Lowering, node: Node) -> Entry:
    """Another order of the dimensions: nothing moves, only what each is called."""
    order = node.op.order  # type: ignore[attr-defined]
    if order[0] != 0:
        raise Refused("the batch does not stay first")
    seen = lowering.seen(node.arguments[0])
    return Seen(seen.content, tuple(seen.axes[dim - 1] for dim in order[1:]))


def concatenation(lowering: Lowering, node: Node) -> Entry:
    """Channels behind channels. Parts that own their memory are computed where they belong; others are copied."""
    axes = AXES.get(len(node.shape(lowering.build.batch)) - 1)
    dim = node.op.dim  # type: ignore[attr-defined]
    given = node.arguments[0]
    order = lowering.seen(given[0]).axes
    if axes is None or dim == 0 or order[dim - 1] != "C":
        raise Refused("it joins along another dimension than the channels")
    parts = [lowering.value(part, order) for part in given]
    out = lowering.output(node, parts, (), order)
    first, moved = 0, []
    for part in parts:
        into = out.channels_of(first, part.channels)
        if part.is_whole:
            part.storage.parent, part.storage.start = out.storage, into.offset
        else:
            moved.append((part, into))
        first += part.channels
    for source, target in moved:
        lowering.add(CopyBlock(source, target), node)
    return Seen(out, order)


def part(lowering: Lowering, node: Node) -> Entry:
    """Some of the channels: the same memory."""
    arguments = node.by_name()
    seen = lowering.seen(node.arguments[0])
    dim = node.op.dim  # type: ignore[attr-defined]
    call = node.op.call  # type: ignore[attr-defined]
    if dim == 0 or seen.axes[dim - 1] != "C" or call in ("select", "unbind"):
        raise Refused("it takes parts along another dimension than the channels")
    value = lowering.value(node.arguments[0], seen.axes)
    sizes = _sizes(call, arguments, value.channels)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return Results(tuple(Seen(value.channels_of(a, n), seen.axes) for a, n in zip(starts, sizes, strict=True)))


def _sizes(call: str, arguments: dict[str, Any], channels: int) -> list[int]:
    if call == "split_with_sizes":
        return [int(size) for size in arguments["split_sizes"]]
    size = -(-channels // int(arguments["chunks"])) if call == "chunk" else int(arguments["split_size"])
    return [min(size, channels - start) for start in range(0, channels, size)]


def slices(lowering: Lowering, node: Node) -> Entry:
    """A run of channels is the same memory; of rows or columns it is a copy."""
    seen = lowering.seen(node.arguments[0])
    op = node.op
    dim, start, step = op.dim, op.start, op.step  # type: ignore[attr-defined]
    shape = node.shape(lowering.build.batch)
    if shape == lowering.shape(node.arguments[0]):
        return seen
    if dim == 0:
        raise Refused("it takes a slice of the batch")
    value, axis = lowering.value(node.arguments[0], seen.axes), seen.axes[dim - 1]
    if axis == "C" and step == 1:
        return Seen(value.channels_of(start, shape[dim]), seen.axes)
    out = lowering.output(node, [value], (), seen.axes)
    along = "CHW".index(axis)
    starts, steps = [0, 0, 0], [1, 1, 1]
    starts[along], steps[along] = start, step
    lowering.add(SliceBlock(value, out, (starts[0], starts[1], starts[2]), (steps[0], steps[1], steps[2])), node)
    return Seen(out, seen.axes)


RULES = {
    ops.Bookkeeping: bookkeeping,
    ops.Reshape: reshape,
    ops.Permute: permute,
    ops.Concatenation: concatenation,
    ops.Part: part,
    ops.Slice: slices,
}
