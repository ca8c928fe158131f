"""``pellucid runs``: the runs in a folder, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: pellucid runs --compare --html compare.html"


def runs(
    root: Annotated[Path, typer.Argument(help="The folder of run folders.")] = Path("runs"),
    compare: Annotated[bool, typer.Option("--compare", help="Show the settings in which the runs differ.")] = False,
    only: Annotated[list[str] | None, typer.Option("--run", help="Only this run, by name; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the curves of all to this file.")] = None,
) -> None:
    """List runs: network, data, epochs, state, accuracy; compare their settings and curves."""
    raise NotImplementedError
