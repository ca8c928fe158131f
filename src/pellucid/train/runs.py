"""The runs in a folder, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import CheckpointError, UsageError
from pellucid.train.record import RunRecord, read_run


@dataclass(frozen=True)
class Comparison:
    """Runs, and the settings in which they differ: name -> one value a run."""

    runs: tuple[RunRecord, ...]
    differ: dict[str, tuple[Any, ...]]


def list_runs(root: str | Path) -> list[RunRecord]:
    """The runs below a folder, oldest first; a run folder itself gives that one. Other folders are passed over.

    Raises:
        UsageError: where there is no such folder, or no run in it.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", fits="the folder of runs, or a run folder")
    places = [folder] if (folder / "config.yaml").is_file() else sorted(folder.iterdir())
    found = []
    for place in places:
        if (place / "config.yaml").is_file():
            try:
                found.append(read_run(place))
            except CheckpointError:
                continue  # a folder with a config.yaml of something else
    if not found:
        raise UsageError(f"there is no run in {folder}", fits="pellucid train DATA makes one")
    return sorted(found, key=lambda run: (str(run.environment.get("began", "")), run.name))


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """The settings (and data) in which runs differ."""
    flat = [{"data": run.data, **_flattened(run.settings)} for run in runs]
    names = sorted({name for settings in flat for name in settings})
    values = {name: tuple(settings.get(name) for settings in flat) for name in names}
    return Comparison(tuple(runs), {name: row for name, row in values.items() if any(v != row[0] for v in row)})


def as_rows(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """One plain record a run: for a table or JSON."""
    return [
        {
            "run": run.name,
            "net": run.settings.get("net"),
            "data": Path(run.data).name,
            "epochs": f"{len(run.epochs)}/{run.settings.get('epochs')}",
            "state": run.state,
            "score": None if run.score is None or math.isnan(run.score) else round(run.score, 4),
            "of": run.task.score.replace("_", " "),
            "on": run.measured_on,
            "minutes": round(run.seconds / 60, 1),
        }
        for run in runs
    ]


def _flattened(settings: dict[str, Any]) -> dict[str, Any]:
    own = dict(settings.get("net_settings") or {})
    rest = {name: value for name, value in settings.items() if name != "net_settings"}
    return {**rest, **{f"net.{name}": value for name, value in own.items()}}
