"""``pellucid runs``: the runs in a folder, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.errors import unknown

if TYPE_CHECKING:
    from pellucid.train import RunRecord

EXAMPLES = "Example: pellucid runs --compare --html compare.html"


def runs(
    root: Annotated[Path, typer.Argument(help="The folder of run folders.")] = Path("runs"),
    compare: Annotated[bool, typer.Option("--compare", help="Show the settings in which the runs differ.")] = False,
    only: Annotated[list[str] | None, typer.Option("--run", help="Only this run, by name; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the curves of all to this file.")] = None,
) -> None:
    """List runs: network, data, epochs, state, accuracy; compare their settings and curves."""
    from pellucid.train import runs as records

    found = _chosen(records.list_runs(root), only or [])
    comparison = records.compare(found)
    rows = records.as_rows(found)
    if as_json:
        differ = {name: list(values) for name, values in comparison.differ.items()}
        print(json.dumps({"runs": rows, **({"differ": differ} if compare else {})}, ensure_ascii=False, indent=2))
    else:
        print_table(list(rows[0]), [list(row.values()) for row in rows])
        if compare:
            print_table(["setting", *(run.name for run in found)], [[n, *v] for n, v in comparison.differ.items()])
    if html is not None:
        from pellucid.draw import compare_page

        html.write_text(compare_page(comparison, rows), "utf-8")


def _chosen(found: list[RunRecord], only: list[str]) -> list[RunRecord]:
    by_name = {run.name: run for run in found}
    for name in only:
        if name not in by_name:
            raise unknown("run", name, by_name)
    return [by_name[name] for name in only] if only else found


def print_table(heads: list[str], rows: list[list[Any]]) -> None:
    """A table for a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(heads):
        drawn.add_column(name, overflow="fold", no_wrap=i == 0)
    for row in rows:
        drawn.add_row(*(Text("" if value is None else str(value)) for value in row))
    Console().print(drawn)
