"""``start`` and ``resume``: what ``pellucid train`` does, in one call each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from pellucid import nets
from pellucid.cache import replace_synced
from pellucid.draw import write_report
from pellucid.errors import PellucidError, UsageError
from pellucid.train import runfolder, tasks, tensorboard
from pellucid.train.execution import device_of
from pellucid.train.fitting import fit
from pellucid.train.inputs import Prepared, origin_of
from pellucid.train.listeners import History, Listener
from pellucid.train.model import Model
from pellucid.train.record import read_run
from pellucid.train.settings import Settings
from pellucid.train.task import DataLike, Measured


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    folder: Path
    reason: str
    split: str
    measured: Measured | None

    def __str__(self) -> str:
        lines = []
        if self.measured is not None:
            lines.append(f"{self.split} {self.measured.headline()}")
        if self.reason.startswith("interrupted"):
            lines.append(f"{self.reason}; go on with: pellucid train --resume {self.folder}")
        lines.append(f"run folder  {self.folder}")
        if (self.folder / "report.html").is_file():
            lines.append(f"report      {self.folder / 'report.html'}")
        return "\n".join(lines)


def start(
    where: str | Path, settings: Settings, *, folder: Path | None = None, listeners: Sequence[Listener] = ()
) -> Finished:
    """Load the data, make the network, train it in a new run folder, measure it, write the report.

    Raises:
        UsageError, DataError, ShapeError, DivergedError, CheckpointError: with one clear sentence each.
    """
    device_of(settings.device)  # whatever does not fit is said before a folder is made
    if settings.tensorboard:
        tensorboard.require()
    task = tasks.recognised(where, settings.task)
    net_name = task.net if settings.net == "auto" else settings.net
    nets.signature(net_name)  # a wrong name is said before the data are read
    settings = settings.with_values(
        task=task.name, net=net_name, task_settings=task.options(settings).model_dump(mode="json")
    )
    data = task.load(str(where), settings)
    model = Model(settings.net, task=task.name, **settings.net_settings)
    model.settings = settings
    net = model.build(data)
    if settings.weights is not None:
        nets.load_weights(net, settings.weights)
    there = folder is not None and folder.exists()
    made = runfolder.create(folder, settings.net)
    try:
        history = fit(
            model, Prepared(data, origin=origin_of(where)), made, resume=False, listeners=listeners, progress=True
        )
    except PellucidError:
        if not there:
            runfolder.remove_if_empty(made)  # what does not fit together leaves nothing behind
        raise
    return finish(model, data, made, history)


def resume(
    folder: str | Path,
    *,
    data: DataLike | None = None,
    net: nn.Module | None = None,
    listeners: Sequence[Listener] = (),
) -> Finished:
    """Go on with a run where it stopped; the result is that of a run that never stopped, to the bit.

    Args:
        folder: the run folder.
        data: the data, where the run was given arrays.
        net: the network, where the run was given a module.

    Raises:
        CheckpointError: where the folder is no run, has no good checkpoint, or the data have changed since.
    """
    path = Path(folder)
    config = runfolder.read_config(path)
    settings = Settings.parse({name: _tupled(value) for name, value in config["settings"].items()})
    if data is None and config["data"] == "given:arrays":
        raise UsageError(f"the run in {path} was given arrays", fits="pellucid.train.resume(folder, data=...)")
    if net is None and settings.net == "given:module":
        raise UsageError(f"the run in {path} was given a module", fits="pellucid.train.resume(folder, net=...)")
    data = data if data is not None else tasks.task(settings.task).load(config["data"], settings)
    named = {} if net is not None else settings.net_settings
    model = Model(net if net is not None else settings.net, task=settings.task, **named)
    model.settings = settings
    history = fit(model, Prepared(data, origin=config["data"]), path, resume=True, listeners=listeners, progress=True)
    return finish(model, data, path, history)


def finish(model: Model, data: DataLike, folder: Path, history: History) -> Finished:
    """Measure the best weights on the test split (else validation), and write metrics and report."""
    split_name = "test" if len(data.splits.get("test", ())) else "validation"
    split = data.splits.get(split_name)
    measured, body = None, None
    if split is not None and not history.reason.startswith("interrupted"):
        best = Model.load(folder, net=model.net if model.settings.net == "given:module" else None)
        best.settings = model.settings
        if model.engine is not None:
            best.take_engine(model.engine)
        measured = model.task.measure(best, split)
        record = {"split": split_name, **measured.to_json()}
        replace_synced(folder / "metrics.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
        body = model.task.report(folder, read_run(folder), best, split)
    write_report(folder, read_run(folder), body)
    if model.settings.tensorboard and measured is not None:
        epochs = read_run(folder).epochs  # history has those of this process alone
        tensorboard.add_measured(folder, split_name, measured, epochs[-1]["step"] if epochs else 0)
    return Finished(folder, history.reason, split_name, measured)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
