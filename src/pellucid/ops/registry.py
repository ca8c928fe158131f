"""Which class describes an operator of PyTorch: found by its name, from the classes themselves."""

from __future__ import annotations

from functools import cache

from pellucid.ops import (
    activation,
    arithmetic,
    convolution,
    dense,
    dropout,
    layout,
    loss,
    normalisation,
    part,
    pooling,
    recurrent,
    reduction,
    resize,
    softmax,
    unfold,
)
from pellucid.ops.base import Arguments, Op, Opaque

_FAMILIES = (
    activation,
    arithmetic,
    convolution,
    dense,
    dropout,
    layout,
    loss,
    normalisation,
    part,
    pooling,
    recurrent,
    reduction,
    resize,
    softmax,
    unfold,
)


@cache
def _by_target() -> dict[str, type[Op]]:
    found: dict[str, type[Op]] = {}
    for family in _FAMILIES:
        for value in vars(family).values():
            if isinstance(value, type) and issubclass(value, Op) and value.__module__ == family.__name__:
                found |= dict.fromkeys(value.targets, value)
    return found


def op_for(target: str, arguments: Arguments) -> Op:
    """The operation of a call, with its settings; ``Opaque`` where nobody has described it with these arguments.

    Args:
        target: the operator's name, such as ``aten.conv2d.default``.
        arguments: of the call by name, tensors as ``TensorShape``.
    """
    kind = _by_target().get(target)
    call = target.removeprefix("aten.").split(".")[0]
    if kind is None:
        return Opaque(target)
    try:
        return kind.read(call, arguments)
    except (IndexError, KeyError, TypeError, ValueError):
        return Opaque(target)


def targets() -> list[str]:
    """The operators that are described, sorted."""
    return sorted(_by_target())
