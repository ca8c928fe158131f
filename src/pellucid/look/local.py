"""The local derivative of one call by PyTorch's forward-mode differentiation: for operations whose gradient nobody has
written as terms. The record says that it came about so."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.graph import Node, Ref, Size
from pellucid.look.recording import Recording, Tied
from pellucid.ops.terms import Group, Terms

_NOTE = "the local derivative, from PyTorch"


def local_terms(recording: Recording, node: Node, slot: str, at: tuple[int, ...]) -> Terms:
    """What a call adds to dL/d(slot)[at], as dL/d(result) times d(result)/d(slot)[at], entry by entry of its results.

    Where PyTorch has no forward mode for the call, it is one number: what goes back through the call whole.
    """
    try:
        columns = _columns(recording, node, slot, at)
    except (RuntimeError, NotImplementedError):
        return _whole(recording, node, slot, at)
    groups = []
    for which, column in columns.items():
        gradient = recording.gradient(Tied(node.name, which)).reshape(-1).astype(np.float64)
        places = np.flatnonzero(column)
        products = gradient[places] * column[places]
        groups.append(Group("product", products, f"gradient[{which}]", places, column[places], note=_NOTE))
    return Terms(tuple(groups), "sum of the output's gradient x local derivative", {"derivative": _NOTE})


def _columns(recording: Recording, node: Node, slot: str, at: tuple[int, ...]) -> dict[int, Any]:
    """d(result)/d(slot)[at] for each result that can have a gradient, flat in float64."""
    import torch.autograd.forward_ad as forward

    held = recording.tensor(recording.behind(node, slot)).detach()
    tangent = torch.zeros_like(held)
    tangent[at] = 1
    with torch.no_grad(), forward.dual_level():
        returned = _called(recording, node, slot, forward.make_dual(held, tangent))  # type: ignore[no-untyped-call]
        results = returned if isinstance(returned, tuple | list) else (returned,)
        found = {}
        for which, result in enumerate(results):
            if isinstance(result, Tensor) and result.is_floating_point():
                column = forward.unpack_dual(result).tangent  # type: ignore[no-untyped-call]
                if column is not None:
                    found[which] = column.double().cpu().contiguous().numpy().reshape(-1)
    return found


def _whole(recording: Recording, node: Node, slot: str, at: tuple[int, ...]) -> Terms:
    leaf = recording.tensor(recording.behind(node, slot)).detach().requires_grad_()
    with torch.enable_grad():
        returned = _called(recording, node, slot, leaf)
        results = returned if isinstance(returned, tuple | list) else (returned,)
        pairs = [
            (result, torch.from_numpy(recording.gradient(Tied(node.name, which))).to(result))
            for which, result in enumerate(results)
            if isinstance(result, Tensor) and result.requires_grad
        ]
        outputs, weights = [result for result, _ in pairs], [weight for _, weight in pairs]
        (gradient,) = torch.autograd.grad(outputs, leaf, weights, allow_unused=True)
    value = 0.0 if gradient is None else float(gradient[at])
    group = Group("whole", np.array([value]), note=f"all that goes back through {node.op.describe()}")
    return Terms((group,), "what PyTorch sends back through the call", {"derivative": _NOTE})


def _called(recording: Recording, node: Node, slot: str, instead: Tensor) -> Any:
    """The call again, with another tensor in one slot."""
    name, bracket, rest = slot.partition("[")
    batch = int(recording.leaves[recording.graph.inputs[0].name].shape[0])

    def filled(value: Any) -> Any:
        if isinstance(value, Ref):
            held = recording.values.get(value.name, recording.leaves.get(value.name))
            return held.detach() if isinstance(held, Tensor) else held
        if isinstance(value, Size):
            return value.of(batch)
        return [filled(item) for item in value] if isinstance(value, list | tuple) else value

    by_name = {key: filled(value) for key, value in node.by_name().items()}
    if bracket:
        by_name[name][int(rest[:-1])] = instead
    else:
        by_name[name] = instead
    positional = list(by_name)[: len(node.arguments)]
    return node.call(*(by_name[key] for key in positional), **{k: by_name[k] for k in by_name if k not in positional})
