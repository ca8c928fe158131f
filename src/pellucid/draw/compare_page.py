"""Runs side by side on one page: a table, the settings in which they differ, and their curves over one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pellucid.draw.curves import SCRIPT, Series, curves, logged
from pellucid.draw.page import SORT, Number, page, table

if TYPE_CHECKING:
    from pellucid.train.runs import Comparison


def compare_page(comparison: Comparison, rows: list[dict[str, Any]]) -> str:
    """The page of a comparison; ``rows`` is one plain record a run."""
    parts = [
        "<h1>Runs side by side</h1>",
        table(list(rows[0]), [[_shown(name, value) for name, value in row.items()] for row in rows], sortable=True),
        "<h2>Settings in which they differ</h2>",
        settings_table([run.name for run in comparison.runs], comparison.differ),
        "<h2>Curves</h2>",
    ]
    scores = dict.fromkeys(run.task.score for run in comparison.runs)
    charts = []
    for what in (*scores, "loss"):
        found = [
            (split, logged(run.epochs, run.name, "epoch", f"{split}_{what}"))
            for run in comparison.runs
            for split in ("validation", "test")
        ]
        found = [(split, one) for split, one in found if one.x]
        splits = {split for split, _ in found}
        series = [
            Series(one.name if len(splits) == 1 else f"{one.name} ({split})", one.x, one.y) for split, one in found
        ]
        things = " or ".join(dict.fromkeys(run.task.things for run in comparison.runs))
        title = what.replace("_", " ").capitalize()
        charts.append(curves(title, f"on {' and '.join(sorted(splits)) or 'held-out'} {things}", series))
    parts.append(f'<div class="pair">{"".join(charts)}</div>')
    return page("Runs side by side", "\n".join(parts), script=SCRIPT + SORT)


def settings_table(names: Sequence[str], differ: Mapping[str, Sequence[Any]]) -> str:
    """The settings in which some things differ, a column for each of them; a sentence where they differ in none."""
    if not differ:
        return "<p>They differ in none.</p>"
    return table(["setting", *names], [[name, *(_plain(value) for value in values)] for name, values in differ.items()])


def _shown(name: str, value: Any) -> Any:
    return Number(value, 1) if name == "minutes" else value


def _plain(value: Any) -> str | None:
    """A setting as it is written: 1e-05 is not to become 0.0000."""
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)
