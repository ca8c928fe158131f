"""How a number opens: the call that made it, or, for a gradient, the calls that use the number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.look.local import local_terms
from pellucid.look.recording import Tied
from pellucid.ops.terms import Terms, constant

if TYPE_CHECKING:
    from pellucid.look.number import Number, Part


def parts_of(number: Number) -> tuple[Part, ...]:
    """The tables behind a number."""
    return _of_gradient(number) if number.of_gradient else _of_value(number)


def number_behind(number: Number, part: Part, slot: str, place: int) -> Number | None:
    """The number at a flat place of a slot of a part's call; None where the slot holds a plain constant."""
    from pellucid.look.number import Number

    recording, node = number.scene.recording, part.node
    name, bracket, rest = slot.partition("[")
    if node is None:
        return None
    of_gradient = name == "gradient"
    if name in ("gradient", "result"):
        tied = Tied(node.name, int(rest[:-1]) if bracket else number.which if not of_gradient else 0)
    else:
        tied = recording.behind(node, slot)
    shape = recording.tensor(tied).shape
    index = tuple(int(i) for i in np.unravel_index(place, tuple(shape))) if len(shape) else ()
    return Number(number.scene, tied.name, index, tied.which, of_gradient)


def _of_value(number: Number) -> tuple[Part, ...]:
    from pellucid.look.number import Part

    inner = number.scene.recording.inner_of(number.name)
    if inner is not None:
        call = number.scene.recording.call(inner[0])
        return (Part(inner[0].op.inside_terms(inner[1], number.index, call), inner[0], call),)
    node = number.node
    if node is None:
        behind = number.scene.pixel_terms(number) if number.kind == "pixel" else None
        return (Part(behind),) if behind is not None else ()
    if not node.inputs:
        return (Part(Terms((constant("constant", number.value),), "a constant of the network"), node),)
    call = number.scene.recording.call(node, number.which)
    return (Part(node.op.terms(number.index, call), node, call),)


def _of_gradient(number: Number) -> tuple[Part, ...]:
    """The chain rule: what each call that uses the number adds, and 1 for the loss itself."""
    from pellucid.look.number import Part

    scene, recording = number.scene, number.scene.recording
    parts = []
    if number.tied == recording.tied(scene.graph.outputs[0]):
        parts.append(Part(Terms((constant("the loss itself", 1.0),), "dL/dL = 1")))
    if not recording.tensor(number.tied).requires_grad:
        return tuple(parts)
    for node, slot in recording.users(number.tied):
        if any(recording.gradient(Tied(node.name, k)).any() for k in recording.results(node)):  # else it adds nothing
            call = recording.call(node, gradients=True)
            terms = node.op.terms_of_gradient(slot, number.index, call)
            if terms is None:
                terms = local_terms(recording, node, slot, number.index)
            parts.append(Part(terms, node, call))
    return tuple(parts)
