"""``pellucid predict``: the classes of pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.errors import PellucidError, UsageError

if TYPE_CHECKING:
    from pellucid.train import Prediction

EXAMPLES = "Examples: pellucid predict runs/2026-11-24-1015-lenet cat.jpg | cat cat.jpg | pellucid predict RUN -"


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, its best/ folder, or a saved model.")],
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders of them, or - for one on standard input.")],
    form: Annotated[str, typer.Option("--format", help="text, csv or json.")] = "text",
    top: Annotated[int, typer.Option(min=1, help="How many classes to name for each picture.")] = 3,
) -> None:
    """Name the most probable classes of pictures. Exit code 1 where a picture could not be read."""
    if form not in ("text", "csv", "json"):
        raise UsageError(f"there is no format '{form}'", fits="--format text, csv or json")
    from pellucid.data import find_pictures
    from pellucid.train import Model

    model = Model.load(run)
    files = [item for given in pictures for item in ([given] if given == "-" else find_pictures(given))]
    if not files:
        raise UsageError(f"there is no picture in {', '.join(pictures)}")
    broken: list[PellucidError] = []
    predictions = list(model.predict_files([_named(file) for file in files], top=top, broken=broken))
    _FORMS[form](predictions)
    for error in broken:
        print(error, file=sys.stderr)
    if broken:
        raise typer.Exit(1)


def _named(file: str | Path) -> tuple[str, Path | bytes]:
    return ("-", sys.stdin.buffer.read()) if file == "-" else (str(file), Path(file))


def _text(predictions: list[Prediction]) -> None:
    for found in predictions:
        classes = ", ".join(f"{name} {probability:.2f}" for name, probability in found.top)
        print(f"{found.name}: {classes}")


def _csv(predictions: list[Prediction]) -> None:
    import csv

    writer = csv.writer(sys.stdout)
    writer.writerow(["picture", "rank", "class", "probability"])
    for found in predictions:
        for rank, (name, probability) in enumerate(found.top, start=1):
            writer.writerow([found.name, rank, name, f"{probability:.6f}"])


def _json(predictions: list[Prediction]) -> None:
    records = [
        {"picture": found.name, "classes": [{"class": n, "probability": p} for n, p in found.top]}
        for found in predictions
    ]
    print(json.dumps(records, ensure_ascii=False, indent=2))


_FORMS = {"text": _text, "csv": _csv, "json": _json}
