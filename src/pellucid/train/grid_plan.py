"""The plan of a grid: which settings vary, every cell that follows from it, and ``grid.json``, which keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from pellucid.cache import replace_synced
from pellucid.errors import CheckpointError, UsageError, unknown
from pellucid.train.settings import Settings

FILE = "grid.json"
FORMAT = 1
_BARE = ("net", "optimizer")  # their values name themselves; of others the setting is named as well
_LONGEST = 200  # characters of a cell's name, which is a folder's


@dataclass(frozen=True)
class Axis:
    """A setting that varies, and its values; with ``only``, in those cells alone where another axis has this value."""

    name: str
    values: tuple[Any, ...]
    only: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a grid. ``values`` are those of the axes, the seed apart."""

    name: str
    values: dict[str, Any]
    seed: int
    settings: Settings


@dataclass(frozen=True)
class Plan:
    """A grid: its data, as an absolute path or a known name, its cells in the order in which they run, and the axes
    whose values are not compared, but chosen by the validation split."""

    data: str
    cells: tuple[Cell, ...]
    choose: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that there are."""
        return tuple(dict.fromkeys(cell.seed for cell in self.cells))


@dataclass
class State:
    """What ``grid.json`` holds: the plan, the parameters of each combination's network, and the cells that are over."""

    plan: Plan
    parameters: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)


def combinations(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Every combination of values, the last axis fastest.

    Raises:
        UsageError: for an axis without values, with one twice, or that varies a setting for the second time; or one
            that is only for a value that no other axis has.
    """
    for axis in axes:
        _check(axis)
    general = [axis for axis in axes if axis.only is None]
    known = [str(value) for axis in general for value in axis.values]
    taken: set[tuple[str, str | None]] = set()
    for axis in axes:
        if axis.only is not None and axis.only not in known:
            raise unknown("value of this grid", axis.only, known)
        if (axis.name, axis.only) in taken or (axis.only is not None and (axis.name, None) in taken):
            raise UsageError(f"{axis.name} varies twice", fits="all its values in one list")
        taken.add((axis.name, axis.only))
    found = []
    for values in product(*(axis.values for axis in general)):
        base = {axis.name: value for axis, value in zip(general, values, strict=True)}
        own = [axis for axis in axes if axis.only is not None and axis.only in map(str, base.values())]
        for more in product(*(axis.values for axis in own)):
            found.append({**base, **{axis.name: value for axis, value in zip(own, more, strict=True)}})
    return found


def plan_of(
    data: str,
    axes: Sequence[Axis],
    seeds: int,
    place: Callable[[Mapping[str, Any]], Settings],
    choose: Sequence[str] = (),
) -> Plan:
    """The plan of a grid: every combination with the seed 0, then with 1, and so on.

    Args:
        data: an absolute path or a known name.
        axes: what varies.
        seeds: how many there are of each combination.
        place: from the values of a cell, the seed among them, to its settings.
        choose: the axes whose values validation chooses.

    Raises:
        UsageError: for what ``combinations`` refuses, and what ``place`` does.
    """
    if seeds < 1:
        raise UsageError(f"a grid of {seeds} seeds has no cell", fits="--seeds 3")
    names = {axis.name for axis in axes}
    for name in choose:
        if name not in names:
            raise unknown("setting that varies", name, names)
    cells = [
        Cell(name_of(values, seed), values, seed, place({**values, "seed": seed}))
        for seed in range(seeds)
        for values in combinations(axes)
    ]
    seen: dict[str, Cell] = {}
    for cell in cells:
        if seen.setdefault(cell.name, cell) is not cell:
            raise UsageError(f"two cells of the grid are named {cell.name}: {seen[cell.name].values}, {cell.values}")
    return Plan(data, tuple(cells), tuple(choose))


def shown(value: Any) -> str:
    """A value as it is written in names and tables: 1e-05 is not to become 0.0000.

    >>> shown(1e-5), shown([32, 64]), shown(True)
    ('1e-05', '32+64', 'true')
    """
    if isinstance(value, list | tuple):
        return "+".join(map(shown, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def label_of(values: Mapping[str, Any]) -> str:
    """What a combination is called: ``lenet adam crop=4``."""
    return " ".join(shown(value) if name in _BARE else f"{name}={shown(value)}" for name, value in values.items())


def name_of(values: Mapping[str, Any], seed: int) -> str:
    """The folder of a cell: ``lenet-adam-crop=4-seed=0``."""
    name = "-".join([*label_of(values).split(), f"seed={seed}"])
    return re.sub(r"[^\w.=+-]", ".", name)[-_LONGEST:].lstrip(".-")


def to_json(state: State) -> dict[str, Any]:
    """Plain values, which ``from_json`` reads back."""
    cells = [
        {
            "name": cell.name,
            "values": cell.values,
            "seed": cell.seed,
            "settings": cell.settings.model_dump(mode="json", exclude_defaults=True),
        }
        for cell in state.plan.cells
    ]
    plan = {"data": state.plan.data, "choose": list(state.plan.choose), "cells": cells}
    return {"format": FORMAT, **plan, "parameters": state.parameters, "ended": state.ended}


def write(folder: Path, state: State) -> None:
    """Write ``grid.json``: a reader sees the one of before or this one."""
    text = json.dumps(to_json(state), indent=1, ensure_ascii=False)
    replace_synced(folder / FILE, text.encode())


def read(folder: Path) -> State:
    """What ``write`` wrote.

    Raises:
        CheckpointError: where the folder holds no grid, or its file is damaged.
    """
    fits = "pellucid compare DATA --nets ... --folder FOLDER makes one"
    try:
        record = json.loads((folder / FILE).read_text("utf-8"))
        if record["format"] != FORMAT:
            raise CheckpointError(f"{folder / FILE} has format {record['format']}; this Pellucid reads {FORMAT}")
        cells = [
            Cell(str(cell["name"]), dict(cell["values"]), int(cell["seed"]), Settings.parse(cell["settings"]))
            for cell in record["cells"]
        ]
        plan = Plan(str(record["data"]), tuple(cells), tuple(record["choose"]))
        return State(plan, dict(record["parameters"]), list(record["ended"]))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"there is no grid in {folder}", fits=fits) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / FILE} cannot be read: {error}", fits=fits) from None


def check_extends(folder: Path, old: Plan, new: Plan) -> None:
    """Raises UsageError unless every cell of the old plan is one of the new, with the same settings and data: a grid
    grows by seeds and values, and never loses or changes what was run."""
    fits = "the plan as it was, with more seeds or values if you like; or another --folder"
    if old.data != new.data:
        raise UsageError(f"the grid in {folder} is of other data", it_has=old.data, asked_for=new.data, fits=fits)
    cells = {cell.name: cell for cell in new.cells}
    lost = [cell.name for cell in old.cells if cell.name not in cells]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise UsageError(
            f"the grid in {folder} has cells that this plan has not: {', '.join(lost[:3])}{more}", fits=fits
        )
    for cell in old.cells:
        before, now = (one.settings.model_dump(mode="json") for one in (cell, cells[cell.name]))
        for name in before:
            if before[name] != now[name]:
                raise UsageError(
                    f"{name} is {before[name]} in the grid in {folder}, and {now[name]} in this plan",
                    cell=cell.name,
                    fits=fits,
                )


def _check(axis: Axis) -> None:
    if not axis.values:
        raise UsageError(f"there is nothing in the list of {axis.name}", fits="values with commas between them")
    for i, value in enumerate(axis.values):
        if value is None or value == "":
            raise UsageError(f"a value in the list of {axis.name} is empty", fits="values with commas between them")
        if value in axis.values[:i]:
            raise UsageError(f"{shown(value)} stands twice in the list of {axis.name}", fits="each value once")
