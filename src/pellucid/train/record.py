"""A run folder as a record: what ``runs``, reports and comparisons read. A crashed run has one too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.train import tasks
from pellucid.train.log import read_log
from pellucid.train.runfolder import is_locked, read_config, read_environment
from pellucid.train.task import Task


@dataclass(frozen=True)
class RunRecord:
    """One run.

    ``state`` is finished, stopped early, running, interrupted, began (nothing is logged yet), or failed with the error.
    """

    name: str
    folder: str
    state: str
    data: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    environment: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]
    steps: tuple[dict[str, Any], ...]
    split: str
    measured: Any  # the task's record of what was measured at the end, or None

    @property
    def seconds(self) -> float:
        """Time in epochs that are done."""
        return float(sum(epoch.get("seconds") or 0.0 for epoch in self.epochs))

    @property
    def task(self) -> Task:
        """What was learned."""
        return tasks.task(self.settings.get("task"))

    @property
    def score(self) -> float | None:
        """The task's main figure (``task.score``), measured at the end, else after the last epoch."""
        if self.measured is not None:
            return float(self.measured.score)
        value = self.epochs[-1].get(f"{self.measured_on}_{self.task.score}") if self.epochs else None
        return float(value) if value is not None else None

    @property
    def measured_on(self) -> str | None:
        """The split of which ``score`` is."""
        if self.measured is not None:
            return self.split
        last = self.epochs[-1] if self.epochs else {}
        return next((name for name in ("validation", "test") if f"{name}_{self.task.score}" in last), None)


def read_run(folder: Path) -> RunRecord:
    """The record of a run folder, finished or not.

    Raises:
        CheckpointError: where the folder is no run.
    """
    config = read_config(folder)
    log = read_log(folder)
    split, measured = _metrics(folder, dict(config["settings"]).get("task"))
    return RunRecord(
        name=folder.name or folder.resolve().name,
        folder=str(folder),
        state=_state(folder, log),
        data=str(config.get("data", "")),
        settings=dict(config["settings"]),
        classes=tuple(map(str, config.get("classes") or ())),
        environment=read_environment(folder),
        epochs=tuple(record for record in log if record.get("kind") == "epoch"),
        steps=tuple(record for record in log if record.get("kind") == "step"),
        split=split,
        measured=measured,
    )


def _metrics(folder: Path, task: str | None) -> tuple[str, Any]:
    try:
        record = json.loads((folder / "metrics.json").read_text("utf-8"))
        return str(record["split"]), tasks.task(task).read_measured(record)
    except (OSError, ValueError, KeyError, TypeError):
        return "", None


def _state(folder: Path, log: list[dict[str, Any]]) -> str:
    last = log[-1] if log else {}
    if last.get("kind") == "end":
        reason = str(last.get("reason", "finished"))
        return "interrupted" if reason.startswith("interrupted") else reason
    if is_locked(folder):
        return "running"
    return "interrupted" if log else "began"
