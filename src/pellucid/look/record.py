"""A number and its terms as plain values: what pages and notebooks draw, and what JSON holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pellucid.look.number import Number, Part
    from pellucid.ops.terms import Floats, Group, Places

MOST_TERMS = 400  # beyond so many, the largest are listed and the rest is a sum
MOST_DRAWN = 4096  # numbers of a patch


def record_of(number: Number, most: int = MOST_TERMS, drawn: int = MOST_DRAWN) -> dict[str, Any]:
    """A number as plain values, with at most so many terms, and so many numbers of a patch.

    address, value, kind, path, shape, index, operation, formula, facts, missing, total, adds_up: see ``Number``.
    box: [[top, bottom], [left, right]] in the picture; box_with_padding. count: of terms. terms: all, or the ``most``
    largest (``rest`` has the count and sum of the others), each with product, role, value (of the source), factor,
    note, and the addresses ``source`` and ``weight``. patches: for each table that is a picture: shape [channels, rows,
    columns], and values, factors, products and outside (1 in the padding) as flat lists; where that is too much, of the
    channels of the largest magnitude, listed in ``channels``. ``sources`` and ``weights`` say where its values and
    factors stand (None where in no tensor): the ``address`` of the tensor, its ``shape``, and flat ``places`` in it, -1
    in the padding.
    """
    index = [int(i) for i in number.index]
    terms, rest = _terms(number, most)
    array = number.scene.recording.tensor(number.tied)
    return {
        "address": number.address,
        "value": plain(number.value),
        "kind": number.kind,
        "path": number.name,
        "shape": list(array.shape),
        "index": index,
        "operation": number.operation,
        "formula": number.formula,
        "facts": {name: plain(fact) for name, fact in number.facts.items()},
        "missing": number.missing,
        "total": plain(number.total),
        "adds_up": number.adds_up,
        "box": [list(axis) for axis in number.box],
        "box_with_padding": [list(axis) for axis in number.box_with_padding],
        "count": len(number.terms()),
        "terms": terms,
        "rest": rest,
        "patches": [
            patch
            for part in number.parts
            for group in part.terms.groups
            for patch in _patch(number, part, group, drawn)
        ],
    }


def _terms(number: Number, most: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    listed = number.terms()
    shown = list(listed) if len(listed) <= most else listed.largest(most)
    rows = [
        {
            "product": plain(term.product),
            "role": term.role,
            "value": None if term.source is None else plain(term.source.value),
            "factor": None if term.factor is None else plain(term.factor),
            "note": term.note,
            "source": None if term.source is None else term.source.address,
            "weight": None if term.weight is None else term.weight.address,
        }
        for term in shown
    ]
    left = len(listed) - len(shown)
    return rows, {"count": left, "sum": plain(number.total - sum(term.product for term in shown)) if left else 0.0}


def _patch(number: Number, part: Part, group: Group, most: int) -> list[dict[str, Any]]:
    """A table as a picture: at most ``most`` numbers, whole channels, the largest first."""
    if not group.shape or group.factors is None or not len(group):
        return []
    channels, window = group.shape[0], math.prod(group.shape[1:])
    order = np.argsort(-np.abs(group.products.reshape(channels, window)).sum(1), kind="stable")
    chosen = np.sort(order[: max(1, most // max(1, window))])
    values = part.values_of(group).reshape(channels, window)[chosen]

    def origin(slot: str, places: Places | None) -> dict[str, Any] | None:
        return None if places is None else _origin(number, part, slot, places.reshape(channels, window)[chosen])

    return [
        {
            "role": group.role,
            "slot": group.source,
            "shape": [len(chosen), *group.shape[1:]],
            "channels": chosen.tolist(),
            "of_channels": channels,
            "values": _listed(values),
            "factors": _listed(group.factors.reshape(channels, window)[chosen]),
            "products": _listed(group.products.reshape(channels, window)[chosen]),
            "outside": (_outside(group).reshape(channels, window)[chosen].reshape(-1)).tolist(),
            "sources": origin(group.source, group.places),
            "weights": origin(group.weight, group.weight_places),
        }
    ]


def _origin(number: Number, part: Part, slot: str, places: Places) -> dict[str, Any] | None:
    """Where the numbers of a table stand; None where all is padding, and for plain constants."""
    from pellucid.look.opening import number_behind

    inside = places[places >= 0]
    first = number_behind(number, part, slot, int(inside[0])) if slot and inside.size else None
    if first is None:
        return None
    shape = number.scene.recording.tensor(first.tied).shape
    return {"address": first.address.rpartition("[")[0], "shape": list(shape), "places": places.reshape(-1).tolist()}


def _outside(group: Group) -> Places:
    """1 for what stands in the padding."""
    found = np.zeros(len(group), np.int64)
    for places in (group.places, group.weight_places):
        if places is not None:
            found |= (places < 0).astype(np.int64)
    return found


def _listed(values: Floats) -> list[float | str]:
    """In six figures, which is what a person may read and a page draws."""
    flat = values.reshape(-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10.0 ** (5 - np.floor(np.log10(np.abs(flat))))
        rounded = np.where(np.isfinite(scale) & (scale > 0), np.round(flat * scale) / scale, flat)
    numbers: list[float | str] = rounded.tolist()
    return numbers if np.isfinite(rounded).all() else [plain(value) for value in rounded]


def plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they go as text."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else str(float(value))
    return value
