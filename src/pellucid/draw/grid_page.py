"""The page of a grid: curves with their spread over seeds, means, and which differences are larger than the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pellucid.draw.compare_page import settings_table
from pellucid.draw.curves import SCRIPT, Series, curves
from pellucid.draw.page import SORT, Number, cards, page, table, text

if TYPE_CHECKING:
    from pellucid.train.grid_record import Entry, Grid

_SPLITS = ("validation", "test")
_METHOD = (
    "Each pair is compared by Welch's t-test on its scores, one a seed; the p-values are Holm's over all the pairs, so "
    "that the chance of calling any difference real that is none is at most 5%. Compared are those that differ in one "
    "thing, and of which no run diverged. A difference could be seen from the size on that, with these spreads and so "
    "many seeds, would have been called larger at the level that the pair has in Holm's procedure. What spreads is "
    "what the seed decides: the first weights, the order, the augmentation, and which things are held out where a "
    "share is. Other things to test on would spread as well, and no number here knows of that."
)


def write_grid_page(file: Path, grid: Grid) -> Path:
    """Write the page; a reader sees the one of before or this one."""
    made = file.with_name(f".{file.name}.tmp")
    made.write_text(grid_page(grid), "utf-8")
    made.replace(file)
    return file


def grid_page(grid: Grid) -> str:
    """The page of a grid, finished or under way."""
    title = f"{len(grid.entries)} ways of training on {grid.data}"
    sections = [
        ("Scores", _scores(grid)),
        ("Curves", _curves(grid)),
        ("Larger than the noise?", _pairs(grid)),
        *([("Chosen on validation", _choices(grid))] if grid.choices else []),
        ("Settings in which they differ", settings_table([e.name for e in grid.entries if e.runs], grid.differ)),
        ("Runs", _runs(grid)),
    ]
    body = [
        f"<h1>{text(title)}</h1>",
        f'<p class="soft"><span class="badge">{text(_progress(grid))}</span> {text(grid.name)}</p>',
        *(f"<p>{text(sentence)}</p>" for sentence in said(grid)),
        cards(_cards(grid), first=True),
        *(f"<section><h2>{name}</h2>{inside}</section>" for name, inside in sections),
    ]
    return page(title, "\n".join(body), script=SCRIPT + SORT)


def said(grid: Grid) -> list[str]:
    """What the grid shows, in sentences."""
    sentences = []
    larger = sum(pair.is_larger for pair in grid.pairs)
    if grid.visible is None:
        sentences.append(
            "No difference can be called larger than the noise yet: two seeds at least of two ways of training that "
            "differ in one thing are needed."
        )
    else:
        least, middling = grid.visible
        between = "" if len(grid.pairs) == 1 else f", and in half of the pairs none below {middling:.2g}"
        found = f"{larger} of {len(grid.pairs)} differences {'is' if larger == 1 else 'are'} larger than the noise."
        if len(grid.pairs) == 1:
            found = "The difference is larger than the noise." if larger else "The difference may be noise."
        sentences.append(
            f"{found} With {grid.seeds} seeds, and as these runs spread, no difference in {_words(grid.score)} below "
            f"{least:.2g} could have been seen{between}, whether it is there or not."
        )
    diverged = [f"{entry.name} ({entry.diverged} of {entry.asked})" for entry in grid.entries if entry.diverged]
    if diverged:
        sentences.append(
            f"Diverged, so that the loss was no number any more: {', '.join(diverged)}. Their means are of the other "
            "seeds alone, and they are in no comparison."
        )
    return sentences


def entry_rows(grid: Grid) -> list[dict[str, Any]]:
    """The table of scores, the best mean first: what stands under each head."""
    rows = []
    for entry in grid.ranked:
        ends = (min(entry.scores), max(entry.scores)) if entry.scores else None
        rows.append(
            {
                "way of training": entry.name,
                f"mean {_words(grid.score)}": entry.mean,
                "spread": entry.spread,
                "95% interval": _from_to(entry.interval),
                "range": _from_to(ends),
                "seeds": f"{len(entry.scores)}/{entry.asked}",
                "diverged": entry.diverged or None,
                "seconds a run": None if entry.seconds is None else Number(entry.seconds, 1),
                "parameters": entry.parameters,
            }
        )
    return rows


def _from_to(ends: tuple[float | None, float | None] | None) -> str | None:
    return None if ends is None or ends[0] is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def band(entry: Entry, what: str) -> Series:
    """The mean of a measure over the seeds after each epoch that all of them have, from the lowest to the highest; a
    run that diverged is left out."""
    found: list[Mapping[Any, float]] = []
    for run in entry.runs:
        if not run.state.startswith("failed"):
            found.append({e["epoch"]: float(e[what]) for e in run.epochs if e.get(what) is not None})
    found = [values for values in found if values]
    epochs = sorted(set.intersection(*(set(values) for values in found))) if found else []
    columns = [[values[epoch] for values in found] for epoch in epochs]
    low, high = (tuple(map(end, columns)) if len(found) > 1 else () for end in (min, max))
    means = tuple(sum(column) / len(column) for column in columns)
    return Series(entry.name, tuple(map(float, epochs)), means, low, high)


def charts(grid: Grid) -> list[str]:
    """The score and the loss over epochs, each a chart."""
    made = []
    for what in (grid.score, "loss"):
        series, splits = [], []
        for split in _SPLITS:
            of_split = [band(entry, f"{split}_{what}") for entry in grid.entries]
            if any(one.x for one in of_split):
                series, splits = of_split, [split]
                break
        where = splits[0] if splits else "held-out"
        unit = f"on {where} {grid.things}: mean over seeds, from the lowest to the highest"
        made.append(curves(_words(what).capitalize(), unit, series))
    return made


def _scores(grid: Grid) -> str:
    rows = entry_rows(grid)
    about = f"<p class='soft'>On the {text(grid.split)} split, measured at the end of each run.</p>"
    return about + table(list(rows[0]), [list(row.values()) for row in rows], sortable=True)


def _curves(grid: Grid) -> str:
    return f'<div class="pair">{"".join(charts(grid))}</div>'


def pair_rows(grid: Grid) -> tuple[list[str], list[list[Any]]]:
    """Heads and rows of the table of differences, the most certain first."""
    heads = ["first", "minus", "difference", "larger than the noise?", "95% interval", "p (Holm)", "could be seen from"]
    rows = [
        [
            pair.one,
            pair.other,
            pair.mean,
            "cannot be said" if pair.p is None else "yes" if pair.is_larger else "may be noise",
            _from_to((pair.low, pair.high)),
            pair.adjusted,
            pair.visible,
        ]
        for pair in sorted(grid.pairs, key=lambda pair: 2.0 if pair.p is None else pair.p)
    ]
    return heads, rows


def _pairs(grid: Grid) -> str:
    heads, rows = pair_rows(grid)
    shown = table(heads, rows, sortable=True) if rows else "<p>There is nothing to compare yet.</p>"
    return f"{shown}<details><summary>What was tested</summary><p>{_METHOD}</p></details>"


def _choices(grid: Grid) -> str:
    """What was tried, and what validation took."""
    rows: list[Sequence[Any]] = []
    for choice in grid.choices:
        for name, mean in choice.tried:
            taken = name == choice.chosen and mean is not None
            edge = " (the end of what was tried: a better one may lie beyond)" if choice.at_edge else ""
            rows.append([choice.entry, name, mean, f"chosen{edge}" if taken else None])
    about = (
        f"Of each of these, the best mean {text(_words(grid.score))} on the validation split was taken (each run's "
        "best epoch, mean over seeds). The test split chose nothing."
    )
    return f"<p>{about}</p>{table(['way of training', 'tried', 'on validation', 'what was taken'], rows)}"


def _runs(grid: Grid) -> str:
    items = "".join(
        f"<li>{_link(name) if state not in ('to come', 'began') else text(name)} "
        f'<span class="soft">{text(state)}</span></li>'
        for name, state in grid.cells
    )
    return f"<details><summary>{len(grid.cells)} runs, each with its report</summary><ul>{items}</ul></details>"


def _link(name: str) -> str:
    return f'<a href="{quote(name)}/report.html">{text(name)}</a>'


def _progress(grid: Grid) -> str:
    return f"{grid.ended} of {len(grid.cells)} runs are over"


def _cards(grid: Grid) -> list[tuple[str, ...]]:
    seconds = sum(run.seconds for entry in grid.entries for run in entry.runs)
    spent = f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
    found: list[tuple[str, ...]] = [("runs", f"{grid.ended}/{len(grid.cells)}"), ("training time", spent)]
    best = grid.ranked[0] if grid.entries else None
    if best is not None and best.mean is not None:
        word = "lowest" if grid.lower_is_better else "highest"
        found.insert(0, (f"{word} mean {grid.split} {_words(grid.score)}", f"{best.mean:.4f}", best.name))
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")
