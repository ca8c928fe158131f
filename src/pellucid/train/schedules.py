"""How the learning rate goes over a run: pure functions of the step, so that a resumed run needs no state of them."""

from __future__ import annotations

import math

from pellucid.errors import unknown

_START, _END = 25.0, 1e4  # one cycle begins at 1/25 of the highest rate and ends at 1/10,000 of where it began
NAMES = ("constant", "cosine", "inverse_square_root", "one_cycle", "step")


def factor(name: str, step: int, total: int, warmup: float = 0.0) -> float:
    """The learning rate at a step, as a share of the highest.

    Args:
        name: ``constant``; ``step`` (a tenth after half the run, a hundredth after three quarters, He et al. 2015);
            ``cosine`` (Loshchilov & Hutter 2016, eq. 5, without restarts); ``one_cycle`` (Smith & Topin 2017, with
            cosine arcs); ``inverse_square_root`` (Vaswani et al. 2017, eq. 3: up in a line, then down with the root of
            the step; the paper's highest rate is 1 / sqrt(width x steps of warmup)).
        step: from 0 to ``total`` - 1.
        total: steps of the whole run.
        warmup: share of the run in which the rate rises: in one cycle an arc, else a line.

    Raises:
        UsageError: for another name.
    """
    if name == "one_cycle":
        return _one_cycle(step, total, warmup)
    rising = warmup * total
    if step + 1 < rising:
        return (step + 1) / rising
    if name == "constant":
        return 1.0
    if name == "inverse_square_root":
        return math.sqrt(max(1.0, rising) / (step + 1))
    if name == "step":
        return 0.1 ** sum(step >= share * total for share in (0.5, 0.75))
    if name == "cosine":
        done = (step - rising) / max(1.0, total - rising)
        return (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2
    raise unknown("schedule", name, NAMES)


def _one_cycle(step: int, total: int, warmup: float) -> float:
    top = warmup * total - 1
    if step <= top:
        return _arc(1 / _START, 1.0, step / top if top > 0 else 1.0)
    return _arc(1.0, 1 / (_START * _END), (step - max(top, 0)) / max(1.0, total - 1 - max(top, 0)))


def _arc(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
