"""Why layers do not fit together: the failing layer, both shapes, the arithmetic, and what would fit."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor, nn

from pellucid.errors import ShapeError
from pellucid.graph.account import Account, account
from pellucid.graph.capture import as_found
from pellucid.graph.trace import Traced, trace
from pellucid.ops import Window
from pellucid.ops.base import per_axis

Shape = tuple[int, ...]


def misfit(module: nn.Module, examples: tuple[Tensor, ...], training: bool | None = None) -> tuple[Account, ShapeError]:
    """The rows up to the layer where a module fails on these examples, and what is wrong there.

    Raises:
        ShapeError: never for itself; it is returned. The module is left as it was.
    """
    with as_found(module, training):
        traced = trace(module, examples)
    counted = account(traced.partial, 1)
    missing = (f"{traced.path or 'the network'} and what comes after it",)
    rows = replace(counted, status="partial", missing=missing, specialized=False)
    return rows, _explain(module, traced, int(examples[0].shape[0]))


def _explain(module: nn.Module, traced: Traced, batch: int) -> ShapeError:
    path, given = traced.path, traced.given
    layer = module.get_submodule(path) if path else module
    name = f"{path or 'the network'} ({type(layer).__name__})"
    shapes = " and ".join(_text(shape, batch) for shape in given)
    found = _of_layer(layer, given[0]) if given else None
    if found is not None:
        message, facts = found
        return ShapeError(f"{name}: {message}", input=shapes, layer=str(layer), **facts)
    reason = str(traced.error).strip().splitlines()[0] if str(traced.error).strip() else type(traced.error).__name__
    return ShapeError(f"{name}: {reason}", input=shapes, fits="shapes that agree in all but the joined dimension")


def _of_layer(layer: nn.Module, given: Shape) -> tuple[str, dict[str, Any]] | None:
    if isinstance(layer, nn.Linear):
        return _linear(layer, given)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _convolution(layer, given)
    if isinstance(layer, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d | nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
        return _pooling(layer, given)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and len(given) > 1:
        return (
            f"it normalises {layer.num_features} channels and was given {given[1]}",
            {"fits": f"nn.{type(layer).__name__}({given[1]})"},
        )
    return None


def _linear(layer: nn.Linear, given: Shape) -> tuple[str, dict[str, Any]] | None:
    if given[-1] == layer.in_features:
        return None
    if len(given) > 2 and prod(given[1:]) == layer.in_features:
        return (
            f"it expects {layer.in_features:,} numbers and was given maps that have not been flattened",
            {
                "arithmetic": f"{' x '.join(map(str, given[1:]))} = {prod(given[1:]):,}",
                "fits": "nn.Flatten() before it",
            },
        )
    return (
        f"it expects {layer.in_features:,} numbers and was given {given[-1]:,}",
        {"fits": f"nn.Linear({given[-1]}, {layer.out_features})"},
    )


def _convolution(layer: Any, given: Shape) -> tuple[str, dict[str, Any]] | None:
    axes = len(layer.kernel_size)
    if len(given) not in (axes + 1, axes + 2):
        return (
            f"it expects {axes + 2} dimensions and was given {len(given)}",
            {"fits": f"(N, {layer.in_channels}, {', '.join('DHW'[3 - axes :])})"},
        )
    channels = given[-axes - 1]
    if channels != layer.in_channels:
        changed = f"nn.{type(layer).__name__}({channels}, {layer.out_channels}, ...)"
        return f"it expects {layer.in_channels} channels and was given {channels}", {"fits": changed}
    padding = (0,) * axes if isinstance(layer.padding, str) else layer.padding
    return _window(layer.kernel_size, layer.stride, padding, layer.dilation, given[-axes:])


def _pooling(layer: Any, given: Shape) -> tuple[str, dict[str, Any]] | None:
    axes = int(type(layer).__name__[-2])
    kernel = per_axis(layer.kernel_size, axes)
    dilation = per_axis(getattr(layer, "dilation", 1), axes)
    return _window(kernel, per_axis(layer.stride, axes), per_axis(layer.padding, axes), dilation, given[-axes:])


def _window(
    kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, sizes: Shape
) -> tuple[str, dict[str, Any]] | None:
    for axis, (k, s, p, d, n) in enumerate(zip(kernel, stride, padding, dilation, sizes, strict=True)):
        window = Window(k, s, p, p, d)
        if n + 2 * p < window.span:
            side = ("width", "height", "depth")[len(sizes) - 1 - axis]
            wanted = f"padding of {window.span - n - 2 * p} more in all, a smaller kernel, or larger pictures"
            spans = f"its window spans {window.span} samples (kernel={k}, dilation={d})"
            return (
                f"{spans} but the padded {side} has {n + 2 * p}",
                {"arithmetic": f"{n} + {p} before + {p} after = {n + 2 * p} < {window.span}", "fits": wanted},
            )
    return None


def _text(shape: Shape, batch: int) -> str:
    return "(" + ", ".join("N" if i == 0 and n == batch else str(n) for i, n in enumerate(shape)) + ")"
