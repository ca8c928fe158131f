"""The learning-rate range test (Smith, "Cyclical learning rates for training neural networks", 2015, section 3.3)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from pellucid.errors import UsageError
from pellucid.train import inputs, optimizers
from pellucid.train.execution import left_as_found
from pellucid.train.fitting import build
from pellucid.train.loop import Loop

if TYPE_CHECKING:
    from pellucid.train.model import Model

_SMOOTH = 0.9
_BLOWN_UP = 4.0


@dataclass(frozen=True)
class Found:
    """rates and smoothed losses of the steps that were tried, and the rate where the loss fell fastest."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_learning_rate(
    model: Model, data: Any, labels: Any = None, *, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
) -> Found:
    """Train a copy with a rate that grows by the same factor each step, until the loss blows up.

    The model itself is left as it was. The suggestion is where the smoothed loss fell fastest over the logarithm of the
    rate.

    Raises:
        UsageError: where the rates are no range.
    """
    if not 0 < lowest < highest or steps < 10:
        raise UsageError(
            f"{steps} steps from {lowest} to {highest} are no range", fits="0 < lowest < highest, 10 steps"
        )
    trial = copy.deepcopy(model)
    trial.learn_of(data)
    with left_as_found():
        loop = build(trial, inputs.prepare(data, labels, trial.settings, trial.task), [], None, None)
        rates, losses = _rise(loop, lowest, highest, steps)
    return Found(tuple(rates), tuple(losses), _steepest(rates, losses))


def _rise(loop: Loop, lowest: float, highest: float, steps: int) -> tuple[list[float], list[float]]:
    """The rates that were tried, and the smoothed loss after each."""
    optimizer = optimizers.make(loop.settings.optimizer, loop.net, learning_rate=lowest)
    growth = (highest / lowest) ** (1 / (steps - 1))
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    loop.net.train()
    for step, batch in enumerate(islice(_forever(loop.batches), steps)):
        rate = lowest * growth**step
        for group in optimizer.param_groups:
            group["lr"] = rate
        with loop.execution.precision():
            outputs = loop.execution.run(loop.net, batch)
            loss = loop.loss(outputs, batch.targets.to(loop.execution.device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average = _SMOOTH * average + (1 - _SMOOTH) * float(loss.detach())
        smoothed = average / (1 - _SMOOTH ** (step + 1))
        if not math.isfinite(smoothed) or (losses and smoothed > _BLOWN_UP * min(losses)):
            break
        rates.append(rate)
        losses.append(smoothed)
    return rates, losses


def _steepest(rates: list[float], losses: list[float]) -> float:
    if len(losses) < 3:
        return rates[0] if rates else 0.0
    falls = [(losses[i + 1] - losses[i - 1], rates[i]) for i in range(1, len(losses) - 1)]
    return min(falls)[1]


def _forever(batches: Any) -> Any:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1
