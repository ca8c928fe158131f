"""A grid as a record: what its page, its table and JSON are made of. A grid that is under way has one too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations as pairs_of
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import CheckpointError
from pellucid.train import grid_plan
from pellucid.train.grid_plan import Cell, Plan, label_of, shown
from pellucid.train.grid_statistics import Difference, differences, interval, spread
from pellucid.train.record import RunRecord, read_run
from pellucid.train.runs import compare

DIVERGED = "failed: DivergedError"


@dataclass(frozen=True)
class Entry:
    """One way of training, with all its seeds.

    runs: those that have begun, in the order of seeds. scores: of those that were measured at the end. asked: how many
    seeds the plan has. parameters: of the network; None before it was built.
    """

    name: str
    values: dict[str, Any]
    runs: tuple[RunRecord, ...]
    scores: tuple[float, ...]
    asked: int
    parameters: int | None

    @property
    def diverged(self) -> int:
        """How many runs ended because their loss was no number any more."""
        return sum(run.state == DIVERGED for run in self.runs)

    @property
    def mean(self) -> float | None:
        """Of the scores, over seeds."""
        return float(np.mean(self.scores)) if self.scores else None

    @property
    def spread(self) -> float | None:
        """The standard deviation of the scores over seeds."""
        return spread(self.scores)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95% interval of the mean."""
        return interval(self.scores)

    @property
    def seconds(self) -> float | None:
        """Mean time in epochs, of the runs that were measured."""
        times = [run.seconds for run in self.runs if run.measured is not None]
        return float(np.mean(times)) if times else None


@dataclass(frozen=True)
class Choice:
    """What validation chose for one way of training.

    tried: each setting that was tried, by its name, with its mean validation score over seeds (of each run's best
    epoch), or None where none of its runs got there. at_edge: whether the best is the first or last of several numbers.
    """

    entry: str
    tried: tuple[tuple[str, float | None], ...]
    chosen: str
    at_edge: bool


@dataclass(frozen=True)
class Grid:
    """A grid of runs. entries: what is compared, in the plan's order. pairs: those that differ in one thing."""

    name: str
    data: str
    seeds: int
    cells: tuple[tuple[str, str], ...]  # name and state, of every one
    entries: tuple[Entry, ...]
    pairs: tuple[Difference, ...]
    choices: tuple[Choice, ...]
    differ: dict[str, tuple[Any, ...]]  # settings in which the entries differ, one value each that has begun
    score: str
    lower_is_better: bool
    things: str
    split: str

    @property
    def ended(self) -> int:
        """How many cells are over."""
        return sum(state in ("finished", "stopped early", "diverged") for _, state in self.cells)

    @property
    def ranked(self) -> list[Entry]:
        """The entries, the best mean score first; those without one last."""
        sign = 1 if self.lower_is_better else -1
        return sorted(self.entries, key=lambda entry: math.inf if entry.mean is None else sign * entry.mean)

    @property
    def visible(self) -> tuple[float, float] | None:
        """The smallest difference that could have been seen in the pair that spreads least, and in a middling pair."""
        known = [pair.visible for pair in self.pairs if pair.visible is not None]
        return (min(known), float(np.median(known))) if known else None


def read_grid(folder: str | Path) -> Grid:
    """The record of a grid, finished or not.

    Raises:
        CheckpointError: where the folder holds no grid.
    """
    root = Path(folder)
    state = grid_plan.read(root)
    plan = state.plan
    runs = {cell.name: _run(root / cell.name) for cell in plan.cells}
    every = _entries(plan, runs, state.parameters)
    entries, choices = _chosen(every, plan.choose)
    entries = _named_by_what_differs(entries)
    choices = [replace(choice, entry=entry.name) for choice, entry in zip(choices, entries, strict=bool(choices))]
    of_each = [entry.runs[0] for entry in entries if entry.runs]
    measured = [run for entry in entries for run in entry.runs if run.measured is not None]
    task = next((run.task for run in runs.values() if run is not None), None)
    return Grid(
        name=root.name or root.resolve().name,
        data=Path(plan.data).name,
        seeds=len(plan.seeds),
        cells=tuple((cell.name, _state(runs[cell.name], cell.name in state.ended)) for cell in plan.cells),
        entries=tuple(entries),
        pairs=tuple(_differences(entries)),
        choices=tuple(choices),
        differ={
            name: values
            for name, values in compare(of_each).differ.items()
            if name not in ("seed", "threads", "device")
        },
        score=task.score if task is not None else "score",
        lower_is_better=task.lower_is_better if task is not None else False,
        things=task.things if task is not None else "things",
        split=measured[0].split if measured else "test",
    )


def _run(folder: Path) -> RunRecord | None:
    try:
        return read_run(folder)
    except CheckpointError:
        return None


def _state(run: RunRecord | None, ended: bool) -> str:
    if run is None:
        return "to come"
    if run.state == DIVERGED:
        return "diverged"
    return run.state if ended or run.state not in ("finished", "stopped early") else "to be measured"


def _entries(plan: Plan, runs: Mapping[str, RunRecord | None], parameters: Mapping[str, int]) -> list[Entry]:
    """Every combination of the plan, with its seeds."""
    together: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        together.setdefault(label_of(cell.values), []).append(cell)
    found = []
    for name, cells in together.items():
        begun = [run for cell in cells if (run := runs[cell.name]) is not None]
        scores = [float(run.measured.score) for run in begun if run.measured is not None]
        kept = tuple(score for score in scores if math.isfinite(score))
        found.append(Entry(name, cells[0].values, tuple(begun), kept, len(cells), parameters.get(name)))
    return found


def _chosen(entries: Sequence[Entry], choose: Sequence[str]) -> tuple[list[Entry], list[Choice]]:
    """The entries that are compared: of those that differ in the chosen settings alone, the best on validation."""
    if not choose:
        return list(entries), []
    together: dict[str, list[Entry]] = {}
    for entry in entries:
        together.setdefault(label_of(_without(entry.values, choose)), []).append(entry)
    kept, choices = [], []
    for name, group in together.items():
        means = [_validation(entry) for entry in group]
        lower = next((run.task.lower_is_better for entry in group for run in entry.runs), False)
        known = [i for i, mean in enumerate(means) if mean is not None]
        best = min(known, key=lambda i: (1 if lower else -1) * (means[i] or 0.0), default=0)
        labels = [label_of({axis: value for axis, value in e.values.items() if axis in choose}) for e in group]
        chosen = group[best]
        kept.append(replace(chosen, name=name, values=_without(chosen.values, choose)))
        choices.append(
            Choice(name, tuple(zip(labels, means, strict=True)), labels[best], _at_edge(group, best, choose))
        )
    return kept, choices


def _without(values: Mapping[str, Any], choose: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in choose}


def _validation(entry: Entry) -> float | None:
    """The mean over seeds of the best epoch's validation score; None where a run diverged or none got there: settings
    that only sometimes work are not chosen."""
    if entry.diverged:
        return None
    bests = []
    for run in entry.runs:
        key = f"validation_{run.task.score}"
        values = [float(epoch[key]) for epoch in run.epochs if epoch.get(key) is not None]
        if values:
            bests.append(min(values) if run.task.lower_is_better else max(values))
    return float(np.mean(bests)) if bests else None


def _at_edge(group: Sequence[Entry], best: int, choose: Sequence[str]) -> bool:
    """Whether a chosen number is the smallest or largest that was tried: a better one may lie beyond."""
    for axis in choose:
        tried = sorted({e.values[axis] for e in group if isinstance(e.values.get(axis), int | float)})
        if len(tried) > 1 and group[best].values.get(axis) in (tried[0], tried[-1]):
            return True
    return False


def _named_by_what_differs(entries: Sequence[Entry]) -> list[Entry]:
    """The entries called by those values alone in which they differ."""
    names = list(dict.fromkeys(name for entry in entries for name in entry.values))
    same = [name for name in names if len({shown(entry.values.get(name)) for entry in entries}) == 1]
    if len(entries) < 2:
        return list(entries)
    return [replace(entry, name=label_of(_without(entry.values, same)) or entry.name) for entry in entries]


def _differences(entries: Sequence[Entry]) -> list[Difference]:
    """The pairs that differ in one thing, where each was measured and none diverged: a mean over those seeds that
    survived would flatter."""
    sound = sorted((e for e in entries if e.scores and not e.diverged), key=lambda e: -(e.mean or 0.0))
    pairs = [(one.name, other.name) for one, other in pairs_of(sound, 2) if _distance(one.values, other.values) == 1]
    return differences({entry.name: entry.scores for entry in sound}, pairs)


def _distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return sum(one.get(name) != other.get(name) for name in {*one, *other})
