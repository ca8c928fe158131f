"""``pellucid fetch``: download a known data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: pellucid fetch cifar10"


def fetch(
    name: Annotated[str, typer.Argument(help="fashion-mnist, mnist or cifar10.")],
    to: Annotated[Path | None, typer.Option(help="The folder to put it in; else the user's cache.")] = None,
) -> None:
    """Download a known data set from its official address; a broken download goes on where it stopped."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from pellucid import data

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()) as bars:
        tasks: dict[str, int] = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done, total=total)  # type: ignore[arg-type]

        folder = data.fetch(name, to=to, progress=show)
    print(f"{name} is in {folder}")
