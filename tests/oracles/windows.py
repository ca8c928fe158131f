"""Which input samples an output sample reads: a walk back through the taps of every layer, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence


def outputs(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """How many places a window has: slide it until it overhangs."""
    padded = list(range(-before, size + after))
    count, first = 0, 0
    while first + dilation * (kernel - 1) < len(padded):
        count, first = count + 1, first + stride
    return count


def reads(layers: Sequence[tuple[int, int, int, int]], index: int) -> set[int]:
    """The samples that output ``index`` reads through (kernel, stride, before, dilation) layers, the first first."""
    seen = {index}
    for kernel, stride, before, dilation in reversed(layers):
        seen = {i * stride - before + tap * dilation for i in seen for tap in range(kernel)}
    return seen
