"""``start`` and ``resume``: what ``pellucid train`` does, in one call each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pellucid import nets
from pellucid.data import Data, Split
from pellucid.errors import UsageError
from pellucid.train import runfolder, tensorboard
from pellucid.train.checkpoint import replace_synced
from pellucid.train.execution import device_of
from pellucid.train.fitting import fit
from pellucid.train.inputs import Prepared, load_for, origin_of
from pellucid.train.listeners import History, Listener
from pellucid.train.measure import Measured, measure
from pellucid.train.model import Model
from pellucid.train.predictions import probabilities_of
from pellucid.train.record import read_run
from pellucid.train.settings import Settings


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
            lines.append(f"{self.split} accuracy {self.measured.accuracy:.4f} on {self.measured.n:,} pictures")
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
    data = load_for(str(where), settings)
    model = Model(settings.net, **settings.net_settings)
    model.settings = settings
    net = model.build(data)
    if settings.weights is not None:
        nets.load_weights(net, settings.weights)
    made = runfolder.create(folder, settings.net)
    history = fit(
        model, Prepared(data, origin=origin_of(where)), made, resume=False, listeners=listeners, progress=True
    )
    return finish(model, data, made, history)


def resume(
    folder: str | Path,
    *,
    data: Data | None = None,
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
    data = data if data is not None else load_for(config["data"], settings)
    model = Model(net if net is not None else settings.net, **({} if net is not None else settings.net_settings))
    model.settings = settings
    history = fit(model, Prepared(data, origin=config["data"]), path, resume=True, listeners=listeners, progress=True)
    return finish(model, data, path, history)


def finish(model: Model, data: Data, folder: Path, history: History) -> Finished:
    """Measure the best weights on the test split (else validation), and write metrics and report."""
    split_name = "test" if data.test is not None and len(data.test) else "validation"
    split = data.splits.get(split_name)
    measured = None
    if split is not None and not history.reason.startswith("interrupted"):
        best = Model.load(folder, net=model.net if model.settings.net == "given:module" else None)
        best.settings = model.settings
        probabilities = probabilities_of(best.outputs(split))
        measured = measure(probabilities, split.labels, split.names, data.classes)
        record = {"split": split_name, **measured.to_json()}
        replace_synced(folder / "metrics.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
    _write_report(folder, split, measured)
    if model.settings.tensorboard and measured is not None:
        epochs = read_run(folder).epochs  # history has those of this process alone
        tensorboard.add_measured(folder, split_name, measured, epochs[-1]["step"] if epochs else 0)
    return Finished(folder, history.reason, split_name, measured)


def _write_report(folder: Path, split: Split | None, measured: Measured | None) -> None:
    from pellucid.draw import write_report

    indices = [mistake.index for mistake in measured.mistakes] if measured is not None else []
    pictures = {index: np.asarray(split.images[index]) for index in indices} if split is not None else {}
    write_report(folder, read_run(folder), pictures)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
