"""``pellucid predict``: what a network says of things: the classes of pictures, or what its task gives."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.errors import PellucidError, UsageError

if TYPE_CHECKING:
    from pellucid.train.task import Answer

EXAMPLES = "Examples: pellucid predict runs/2026-11-24-1015-lenet cat.jpg | cat cat.jpg | pellucid predict RUN -"


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, its best/ folder, or a saved model.")],
    things: Annotated[
        list[str],
        typer.Argument(help="Pictures, folders of them, or - for one on standard input; or what else it reads."),
    ],
    form: Annotated[str, typer.Option("--format", help="text, csv or json.")] = "text",
    top: Annotated[int, typer.Option(min=1, help="How many classes to name for each picture.")] = 3,
    settings: Annotated[list[str] | None, typer.Option("--set", help="An option of the task: name=value.")] = None,
) -> None:
    """Say what a network makes of pictures: their most probable classes. Exit code 1 where one could not be read."""
    if form not in ("text", "csv", "json"):
        raise UsageError(f"there is no format '{form}'", fits="--format text, csv or json")
    from pellucid.cli.options import parse_settings
    from pellucid.train import Model
    from pellucid.train.task import Asked

    model = Model.load(run)
    asked = Asked(tuple(things), top, parse_settings(settings or []), sys.stdin.buffer.read)
    broken: list[PellucidError] = []
    found = list(model.task.answers(model, asked, broken))
    if model.engine is not None and sys.stderr.isatty():  # whoever pipes wants the answers alone
        print(model.engine, file=sys.stderr)
    _FORMS[form](found)
    for error in broken:
        print(error, file=sys.stderr)
    if broken:
        raise typer.Exit(1)


def _text(answers: list[Answer]) -> None:
    for found in answers:
        print(f"{found.name}: {found.text}")


def _csv(answers: list[Answer]) -> None:
    import csv

    rows = [row for found in answers for row in found.rows]
    writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)


def _json(answers: list[Answer]) -> None:
    print(json.dumps([found.record for found in answers], ensure_ascii=False, indent=2))


_FORMS = {"text": _text, "csv": _csv, "json": _json}
