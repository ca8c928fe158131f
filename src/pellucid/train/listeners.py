"""What happens around the loop: each listener is told, none changes what is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pellucid.train.log import append


@dataclass(frozen=True)
class Start:
    """The run begins, or goes on after ``step``."""

    step: int
    epoch: int
    epochs: int
    steps_per_epoch: int
    resumed: bool = False


@dataclass(frozen=True)
class Step:
    """One step of the optimizer is done; steps count from 1."""

    step: int
    epoch: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """One epoch is done; epochs count from 1. ``measures`` are such as train_loss and validation_accuracy."""

    epoch: int
    step: int
    learning_rate: float
    seconds: float
    samples_per_second: float
    measures: Mapping[str, float] = field(default_factory=dict)
    best: bool = False


class Listener(Protocol):
    """What may be told; ``Quiet`` has a default for each."""

    def on_start(self, start: Start) -> None: ...
    def on_step(self, step: Step) -> None: ...
    def on_epoch(self, epoch: Epoch) -> None: ...
    def on_checkpoint(self, folder: Path) -> None: ...
    def on_message(self, sentence: str) -> None: ...
    def on_end(self, reason: str) -> None: ...


class Quiet:
    """A listener that does nothing: inherit from it and say what you want to hear."""

    def on_start(self, start: Start) -> None:
        """The run begins."""

    def on_step(self, step: Step) -> None:
        """A step is done."""

    def on_epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""

    def on_checkpoint(self, folder: Path) -> None:
        """A checkpoint is on disk."""

    def on_message(self, sentence: str) -> None:
        """Something that the user should know."""

    def on_end(self, reason: str) -> None:
        """The run ended: finished, stopped early, interrupted, or failed."""


class Logger(Quiet):
    """Writes ``log.jsonl`` into a run folder."""

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every
        self._step = 0

    def on_start(self, start: Start) -> None:
        self._step = start.step
        append(self._folder, {"kind": "resume" if start.resumed else "start", "step": start.step})

    def on_step(self, step: Step) -> None:
        self._step = step.step
        if step.step % self._every == 0:
            record = {"step": step.step, "epoch": step.epoch, "loss": step.loss, "learning_rate": step.learning_rate}
            append(self._folder, {"kind": "step", **record})

    def on_epoch(self, epoch: Epoch) -> None:
        append(self._folder, {"kind": "epoch", **_flat(epoch)})

    def on_end(self, reason: str) -> None:
        append(self._folder, {"kind": "end", "step": self._step, "reason": reason})


class History(Quiet):
    """Keeps the epochs' records: what ``fit`` returns."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.reason = ""

    def on_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(_flat(epoch))

    def on_message(self, sentence: str) -> None:
        self.messages.append(sentence)

    def on_end(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        last = {key: round(value, 4) for key, value in self.epochs[-1].items()} if self.epochs else {}
        return f"History({len(self.epochs)} epochs, last: {json.dumps(last)})"


def _flat(epoch: Epoch) -> dict[str, Any]:
    return {
        "epoch": epoch.epoch,
        "step": epoch.step,
        **epoch.measures,
        "learning_rate": epoch.learning_rate,
        "seconds": round(epoch.seconds, 3),
        "samples_per_second": round(epoch.samples_per_second, 1),
    }
