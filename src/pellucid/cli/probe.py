"""``pellucid probe``: how far a trained network tolerates changes of its pictures, as a page of curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.look.probe_record import Probe

EXAMPLES = (
    "Examples: pellucid probe runs/2026-11-24-1015-lenet fashion-mnist | "
    "pellucid probe RUN DATA --against RUN-WITH-AUGMENTATION --change rotation --change shift=0,1,2,4 --html both.html"
)


def probe(
    run: Annotated[Path, typer.Argument(help="A run folder, its best/ folder, or a saved model.")],
    where: Annotated[str, typer.Argument(help="A folder of pictures, a file of them, or a known name.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="Another run, drawn in the same diagrams; may be repeated.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this change: shift, scale, rotation, brightness, blur or noise; with sizes of your own as "
            "rotation=-30,0,30. May be repeated."
        ),
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Only this layer's features, by its name in `summary`; may be repeated.")
    ] = None,
    pictures: Annotated[
        int, typer.Option(min=1, help="How many pictures of the split, evenly spread, at most.")
    ] = 1000,
    split: Annotated[str, typer.Option(help="test, validation, train, or all.")] = "test",
    html: Annotated[Path | None, typer.Option(help="The page to write; else probe.html in the run folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
) -> None:
    """Change pictures by steps: how accuracy falls, and how each layer's features change or follow."""
    changes = parse_changes(change or [])
    from pellucid.draw.probe_page import check_place, write_probe_page
    from pellucid.look.changes import chosen_changes
    from pellucid.train import Model

    runs = [run, *(against or [])]
    models = [Model.load(one) for one in runs]
    for model in models:
        if model.preprocess is not None:
            chosen_changes(changes, model.preprocess.image_size)  # a wrong one is said before anything is read
    file = html if html is not None else run / "probe.html"
    check_place(file)
    options = {"changes": changes, "layers": layer or None, "pictures": pictures, "split": split}
    found = _probed(dict(zip(_names(runs), models, strict=True)), where, options)
    write_probe_page(file, found)
    if as_json:
        print(json.dumps({"runs": [one.to_json() for one in found]}, ensure_ascii=False, indent=2))
    else:
        print("\n".join([*(one.text() for one in found), f"the page is in {file}"]))


def parse_changes(given: Sequence[str]) -> dict[str, list[float] | None] | None:
    """``["shift", "scale=0.5,2"]`` as {"shift": None, "scale": [0.5, 2.0]}; None where nothing was given.

    Raises:
        UsageError: where a size is no number.
    """
    changes: dict[str, list[float] | None] = {}
    for item in given:
        name, equals, sizes = item.partition("=")
        try:
            changes[name.strip()] = [float(size) for size in sizes.split(",")] if equals else None
        except ValueError:
            raise UsageError(
                f"the sizes of --change {item} are no numbers", fits="numbers with commas, such as rotation=-30,0,30"
            ) from None
    return changes or None


def _probed(models: dict[str, Any], where: str, options: dict[str, Any]) -> list[Probe]:
    """Every network on the same pictures, with progress on standard error."""
    from pellucid.look.probing import probe as measure

    found: list[Probe] = []
    for name, model in models.items():
        shown = [sample.number for sample in found[0].samples] if found else None
        with _progress(name) as told:
            found.append(measure(model, where, name=name, shown=shown, progress=told, **options))
    return found


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar in a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bars:
        task = bars.add_task(f"{name}: passes through the network", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _names(runs: Sequence[Path]) -> list[str]:
    """What to call the runs: their folders; the paths as they were given where two folders have one name."""
    folders = [path.resolve() for path in runs]
    short = [(folder.parent if folder.name == "best" else folder).name for folder in folders]
    names = short if len(set(short)) == len(short) else [str(path) for path in runs]
    if len(set(names)) < len(names):
        raise UsageError(f"the run {runs[0]} is given twice", fits="another run to compare with")
    return names
