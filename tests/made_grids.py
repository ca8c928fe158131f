"""Grids as they are left by training, made in a moment: ways of training that differ, that do not, that diverged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.train import Axis, Settings, grid_plan, plan_of, read_log
from pellucid.train.grid_plan import State, label_of
from tests.made_runs import PLAIN_CLASSES, measured, write_run

DIVERGED = "failed: DivergedError"
TWO_NETS = (Axis("net", ("lenet", "mlp")), Axis("optimizer", ("sgd", "adam")))


def place(values: Mapping[str, Any]) -> Settings:
    """Settings of training, and the rest as the network's own."""
    own = {name: value for name, value in values.items() if name in Settings.model_fields}
    rest = {name: value for name, value in values.items() if name not in own}
    return Settings.parse({"epochs": 8, **own, "net_settings": rest})


def write_grid(
    folder: Path,
    axes: Sequence[Axis] = TWO_NETS,
    *,
    seeds: int = 3,
    skill: Mapping[str, float] | None = None,
    diverged: Sequence[str] = (),
    missing: Sequence[str] = (),
    validation: Mapping[str, float] | None = None,
    choose: Sequence[str] = (),
    classes: Sequence[str] = PLAIN_CLASSES,
    data: str = "animals",
) -> Path:
    """A grid folder. ``skill``: of each way of training, by its label; ``diverged``, ``missing``: cells by name;
    ``validation``: the accuracy after the last epoch, by label."""
    plan = plan_of(data, axes, seeds, place, choose)
    folder.mkdir(parents=True)
    ended = []
    for i, cell in enumerate(plan.cells):
        if cell.name in missing:
            continue
        label, lost = label_of(cell.values), cell.name in diverged
        result = measured(classes, 400, seed=i, skill=(skill or {}).get(label, 2.2))
        write_run(
            folder / cell.name,
            classes=classes,
            data=data,
            done=3 if lost else None,
            end=DIVERGED if lost else "finished",
            result=None if lost else result,
            **{name: value for name, value in cell.settings.model_dump().items() if name not in ("epochs",)},
        )
        if validation is not None and label in validation:
            _set_last(folder / cell.name, validation[label] + 0.001 * cell.seed)
        ended.append(cell.name)
    counts = {label_of(cell.values): 1000 * (i + 1) for i, cell in enumerate(plan.cells)}
    grid_plan.write(folder, State(plan, counts, ended))
    return folder


def _set_last(folder: Path, accuracy: float) -> None:
    """Let the last epoch be the best, with this accuracy on validation, and all before below it."""
    records = read_log(folder)
    epochs = [record for record in records if record["kind"] == "epoch"]
    for record in epochs:
        record["validation_accuracy"] = accuracy - 0.01 * (epochs[-1]["epoch"] - record["epoch"])
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
