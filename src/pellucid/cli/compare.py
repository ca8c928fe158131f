"""``pellucid compare``: a grid of networks, optimizers and settings over several seeds, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pellucid.errors import UsageError, unknown

if TYPE_CHECKING:
    from pellucid.train.grid_plan import Axis, Plan
    from pellucid.train.grid_record import Grid

EXAMPLES = (
    "Examples: pellucid compare fashion-mnist-small --nets lenet,mlp --optimizers sgd,adam --seeds 3 --epochs 3 | "
    "pellucid compare DATA --vary crop=0,4 | pellucid compare DATA --optimizers sgd,adam --set validation=0.1 "
    "--vary sgd:learning_rate=0.03,0.1,0.3 --vary adam:learning_rate=0.001,0.003 --choose learning_rate | "
    "pellucid compare --folder grid"
)
_ON_THE_PAGE = ("95% interval", "range")  # columns for which a terminal is too narrow


def compare(
    where: Annotated[
        str | None, typer.Argument(help="Data, as for train; left out, the grid in --folder goes on.")
    ] = None,
    nets: Annotated[str | None, typer.Option(help="Networks by name, with commas between them.")] = None,
    optimizers: Annotated[str | None, typer.Option(help="Optimizers by name, with commas between them.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each way of training; else 3.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="Any setting with its values: crop=0,4; or for one network or optimizer alone: "
            "adam:learning_rate=0.001,0.01. May be repeated."
        ),
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(help="Do not compare this setting's values: take the best on validation. May be repeated."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting of all: name=value; of one network or optimizer: mlp:dropout=0.2."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings for all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Times through the training data, the same for all.")] = None,
    task: Annotated[str | None, typer.Option(help="What to learn; else found from the data.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; else all cores.")] = None,
    folder: Annotated[Path, typer.Option(help="Of the grid: a run folder a cell, and compare.html.")] = Path("grid"),
) -> None:
    """Train a grid of networks, optimizers and settings over several seeds; say which differences exceed the noise.

    Stopped at any moment, the same command goes on. With more seeds or values the grid grows.
    """
    shared = {"epochs": epochs, "task": task, "threads": threads}
    common = {name: value for name, value in shared.items() if value is not None}
    plan = None
    if where is not None:
        axes = _axes({"net": nets, "optimizer": optimizers}, vary or [])
        plan = _plan(where, axes, 3 if seeds is None else seeds, choose or [], settings or [], config, common)
    else:
        given = {"nets": nets, "optimizers": optimizers, "seeds": seeds, "vary": vary, "choose": choose}
        extra = [name for name, value in {**given, "set": settings, "config": config, **common}.items() if value]
        if extra:
            raise UsageError(
                f"a grid that goes on keeps its plan; --{extra[0]} needs the data as well",
                fits=f"pellucid compare DATA --{extra[0]} ..., or pellucid compare --folder {folder}",
            )
    from pellucid.train.grid import PAGE, run_grid

    _print(run_grid(folder, plan, say=_say))
    print(f"page  {folder / PAGE}")


def _axes(named: Mapping[str, str | None], vary: Sequence[str]) -> list[Axis]:
    """What varies, from the options: networks, optimizers, then the rest in the order in which it was given."""
    from pellucid.train.grid_plan import Axis

    axes = [
        Axis(name, tuple(part.strip() for part in names.split(",")) if names.strip() else ())
        for name, names in named.items()
        if names is not None
    ]
    for pair in vary:
        name, only, values = _varied(pair)
        axes.append(Axis(name, values, only))
    if not axes:
        raise UsageError(
            "there is nothing to compare", fits="--nets lenet,mlp, --optimizers sgd,adam or --vary crop=0,4"
        )
    return axes


def _varied(pair: str) -> tuple[str, str | None, tuple[Any, ...]]:
    """``sgd:crop=0,4`` as ("crop", "sgd", (0, 4)); the values are a YAML list, so lists may stand in it."""
    from pellucid.cli.options import parse_settings

    name, equals, values = pair.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--vary takes a name and values; this is '{pair}'", fits="--vary crop=0,4")
    found = parse_settings([f"{name}=[{values}]"]).popitem()[1]
    only, _, setting = name.strip().rpartition(":")
    return setting, only or None, tuple(found)


def _plan(
    where: str,
    axes: Sequence[Axis],
    seeds: int,
    choose: Sequence[str],
    pairs: Sequence[str],
    config: Path | None,
    common: Mapping[str, Any],
) -> Plan:
    """The plan, every name and value in it checked before anything is read or written."""
    from pellucid.cli.options import parse_settings, read_settings
    from pellucid.cli.train import settings_of
    from pellucid.train.grid_plan import combinations, plan_of
    from pellucid.train.inputs import origin_of
    from pellucid.train.settings import OptimizerName

    given = {**read_settings(config), **parse_settings(pairs), **common}
    every = {name: value for name, value in given.items() if ":" not in name}
    of_some = {name: value for name, value in given.items() if ":" in name}
    if "seed" in {*every, *(axis.name for axis in axes)}:
        raise UsageError("seed cannot be set: a grid has each cell with the seeds 0, 1, 2 ...", fits="--seeds 3")
    varying = {axis.name for axis in axes} & set(every)
    if varying:
        name = sorted(varying)[0]
        raise UsageError(f"{name} is set and varies", fits=f"--set {name}=... or a list of its values, not both")
    for axis in axes:
        for value in axis.values if axis.name == "optimizer" else ():
            if value and value not in get_args(OptimizerName):
                raise unknown("optimizer", str(value), get_args(OptimizerName))
    known = {str(value) for values in combinations(axes) for value in values.values()}
    for name in of_some:
        if name.rpartition(":")[0] not in known:
            raise unknown("value of this grid", name.rpartition(":")[0], known)

    def place(values: Mapping[str, Any]) -> Any:
        taken = set(map(str, values.values()))
        own = {n.rpartition(":")[2]: v for n, v in of_some.items() if n.rpartition(":")[0] in taken}
        return settings_of(where, {**every, **own, **values})

    return plan_of(origin_of(where), axes, seeds, place, choose)


def _say(sentence: str) -> None:
    import sys

    print(sentence, file=sys.stderr, flush=True)


def _print(grid: Grid) -> None:
    """The table of scores, and what the grid shows."""
    from pellucid.cli.runs import print_table
    from pellucid.draw.grid_page import entry_rows, said
    from pellucid.draw.page import Number

    def plain(value: Any) -> Any:
        if isinstance(value, Number):
            return f"{value.value:,.{value.digits}f}"
        return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value

    rows = entry_rows(grid)
    heads = [head for head in rows[0] if head not in _ON_THE_PAGE]
    print_table(heads, [[plain(row[head]) for head in heads] for row in rows])
    for sentence in said(grid):
        print(sentence)
    for choice in grid.choices:
        edge = "; it is the end of what was tried" if choice.at_edge else ""
        print(f"{choice.entry}: {choice.chosen}, chosen by the validation split{edge}")
