"""Terms of operations that choose: the winner's number as it stands, and nothing of the losers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pellucid.ops.terms import Array, Call, Group, Places, scaled

Mask = NDArray[np.bool_]


def idle(role: str, source: str, places: Places, note: str = "") -> Group:
    """Numbers that the result depends on, or might have, and that add nothing to it: also where they are infinite."""
    nothing = np.zeros(len(places), np.float64)
    return Group(role, nothing, source, places, nothing, note=note)


def first_largest(values: Array, outside: Mask) -> Places:
    """Which number of each row (rows, T) wins as in PyTorch's poolings: the first of the largest, but the last that is
    no number (NaN)."""
    lost = np.full((), -np.inf).astype(values.dtype) if values.dtype.kind == "f" else np.iinfo(values.dtype).min
    inside = np.where(outside, lost, values)
    best: Places = (~outside & (inside == inside.max(axis=1, keepdims=True))).argmax(axis=1)
    if values.dtype.kind != "f":
        return best
    broken = np.isnan(values) & ~outside
    last = values.shape[1] - 1 - broken[:, ::-1].argmax(axis=1)
    return np.where(broken.any(axis=1), last, best)


def winner_and_losers(call: Call, source: str, places: Places, won: Mask, note: str = "") -> tuple[Group, ...]:
    """The numbers at flat places: those that won share the result evenly, the others add nothing."""
    count = int(won.sum())
    share = note or (f"1/{count}: a tie" if count > 1 else "")
    groups = (
        scaled("winner", call, source, places[won], 1 / max(count, 1), share),
        idle("loser", source, places[~won]),
    )
    return tuple(group for group in groups if len(group))
