"""The report of a run: ``report.html``, one offline page, and its curves as a PNG file.

What was measured at the end is the task's: it comes as a ``Body``.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.draw import figures
from pellucid.draw.curves import SCRIPT, curves, logged
from pellucid.draw.page import SORT, cards, facts, page, text

if TYPE_CHECKING:
    from pellucid.train.record import RunRecord


SPLITS = ("train", "validation", "test")
_THING = {
    "pictures": "PICTURE",
    "recordings": "FILE.wav",
    "sentences": "SENTENCE",
    "series": "FILE.csv",
    "pairs": "TEXT",
}


@dataclass(frozen=True)
class Body:
    """What a task says of a measured run: a sentence of HTML under the headline, cards (name, figure, note), sections
    (title, HTML), and what script and style they need."""

    lead: str
    cards: Sequence[tuple[str, ...]]
    sections: Sequence[tuple[str, str]]
    script: str = ""
    style: str = ""


def write_report(folder: Path, record: RunRecord, body: Body | None) -> Path:
    """Write ``report.html`` and ``curves.png``.

    Args:
        folder: the run folder.
        record: of the run, finished or not.
        body: what the task says, where the run was measured.
    """
    figures.save_curves(folder / "curves.png", record.epochs)
    return write_page(folder, record, body)


def write_page(folder: Path, record: RunRecord, body: Body | None) -> Path:
    """Write ``report.html`` alone: a reader sees the page of before or this one, never half of it."""
    file = folder / "report.html"
    made = file.with_name(".report.html.tmp")
    made.write_text(report(record, body), "utf-8")
    made.replace(file)
    return file


def report(record: RunRecord, body: Body | None) -> str:
    """The page."""
    own = body.sections if body is not None else ()
    sections = [("Curves", _curves(record)), *own, ("How it was made", _how(record))]
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title, _ in sections)
    parts = [_headline(record, body), f'<nav aria-label="On this page">{links}</nav>']
    parts += [f'<section><h2 id="{_anchor(title)}">{title}</h2>{inside}</section>' for title, inside in sections]
    title = f"{record.settings.get('net')} on {_data_name(record)}"
    script, style = (body.script, body.style) if body is not None else ("", "")
    return page(title, "\n".join(parts), script=SCRIPT + SORT + script, style=style)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _data_name(record: RunRecord) -> str:
    return Path(record.data).name or record.data


def _headline(record: RunRecord, body: Body | None) -> str:
    done, asked = len(record.epochs), record.settings.get("epochs")
    minutes = f"{record.seconds / 60:.1f} min" if record.seconds >= 60 else f"{record.seconds:.0f} s"
    state = "running when this page was written" if record.state == "running" else record.state  # it may be killed
    began = str(record.environment.get("began", "")).replace("T", " ")[:16]
    lines = [
        f"<h1>{text(record.settings.get('net'))} on {text(_data_name(record))}</h1>",
        f'<p class="soft"><span class="badge">{text(state)}</span> {text(f"{record.name}  {began}")}</p>',
    ]
    spent = [("epochs", f"{done}/{asked}"), ("training time", minutes)]
    if body is None:
        lines.append(
            f"<p>{done} of {text(asked)} epochs are done; what is measured at the end of a run is still to come.</p>"
        )
        best = _best(record)
        return "\n".join([*lines, cards([*best, *spent], first=bool(best))])
    return "\n".join([*lines, f"<p>{body.lead}</p>", cards([*body.cards, *spent], first=True)])


def caution(record: RunRecord) -> str:
    """How far the measured split was used before: what it says of other things hangs on that."""
    if record.split == "validation":
        return f" The best epoch was chosen by these {record.task.things}, so others may come out a little worse."
    if any(f"test_{record.task.score}" in epoch for epoch in record.epochs):
        return " It was shown after each epoch too, but nothing was chosen by it."
    return " Nothing was chosen by it."


def number(value: float) -> str:
    """A figure of three decimals; a dash where there is none."""
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _best(record: RunRecord) -> list[tuple[str, ...]]:
    """The best score of an epoch, by the split that each was measured on."""
    task = record.task
    choose, word = (min, "lowest") if task.lower_is_better else (max, "highest")
    for split in ("validation", "test"):
        key = f"{split}_{task.score}"
        found = [(float(e[key]), e.get("epoch")) for e in record.epochs if e.get(key) is not None]
        if found:
            value, epoch = choose(found, key=lambda pair: pair[0])
            shown = f"{value:.4g}" if task.lower_is_better else f"{value:.2%}"
            return [(f"{word} {split} {_words(task.score)}", shown, f"after epoch {epoch}")]
    return []


def _words(name: str) -> str:
    return name.replace("_", " ")


def measured_names(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured after epochs, the loss first: ``train_accuracy`` and ``test_accuracy`` are one name."""
    found = ["loss"]
    for epoch in epochs:
        for key in epoch:
            split, _, name = key.partition("_")
            if split in SPLITS and name and name not in found:
                found.append(name)
    return found


def _curves(record: RunRecord) -> str:
    charts, units = [], record.task.units
    for what in measured_names(record.epochs) if record.epochs else ("loss", record.task.score):
        series = [logged(record.epochs, split, "epoch", f"{split}_{what}") for split in SPLITS]
        title = _words(what)
        charts.append(curves(title[0].upper() + title[1:], units.get(what, ""), [one for one in series if one.x]))
    best = "".join(f" The {name} is {value}, {when}." for name, value, when in _best(record))
    note = (
        f"<p class='soft'>{text(best)} Training figures are means over the epoch, with augmentation and dropout on, so "
        "they may look worse than the other curve. Point at a chart, or move along it with the arrow keys.</p>"
    )
    steps = _thinned(record.steps)
    single = [
        curves(title, unit, [logged(steps, title.lower(), "step", key)], over="step")
        for title, unit, key in (("Loss", "of single batches", "loss"), ("Learning rate", "", "learning_rate"))
    ]
    shown = " open" if len(record.epochs) < 2 else ""
    return (
        f'<div class="pair">{"".join(charts)}</div>{note}'
        f'<details{shown}><summary>Step by step</summary><div class="pair">{"".join(single)}</div></details>'
    )


def _thinned(steps: Sequence[Mapping[str, Any]], most: int = 400) -> list[Mapping[str, Any]]:
    stride = max(1, -(-len(steps) // most))
    return list(steps[stride - 1 :: stride])


def _how(record: RunRecord) -> str:
    environment = record.environment
    given = record.data.startswith("given:")
    folder, data = shlex.quote(record.folder), "DATA" if given else shlex.quote(record.data)
    commands = [] if record.measured else [f"pellucid train --resume {folder}    # go on where it stopped"]
    if not given and not str(record.settings.get("net")).startswith("given:"):
        commands.append(f"pellucid train {data} --config {folder}/config.yaml    # the same again")
    if record.measured or record.epochs:
        commands += [
            f"pellucid evaluate {folder} {data}    # measure it again, or on other {record.task.things}",
            f"pellucid predict {folder} {_THING.get(record.task.things, 'THING')}    # use it",
        ]
    machine = (environment.get("processor"), environment.get("device"), environment.get("system"))
    threads = environment.get("threads")
    known = {
        "data": "arrays or a DataLoader given in Python" if given else record.data,
        "data fingerprint": environment.get("data_fingerprint"),
        "classes": len(record.classes),
        "began": environment.get("began"),
        "machine": ", ".join(str(part) for part in machine if part) + (f", threads: {threads}" if threads else ""),
        "Python": environment.get("python"),
        "packages": ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items()),
    }
    notes = "".join(f"<li>{text(note)}</li>" for note in environment.get("data_notes", []))
    settings = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in record.settings.items())
    return (
        f"{facts(known)}"
        + (f"<h3>Notes on the data</h3><ul>{notes}</ul>" if notes else "")
        + f"<h3>Commands</h3><pre>{text(chr(10).join(commands))}</pre>"
        f"<details><summary>All settings, defaults included</summary><pre>{text(settings)}</pre></details>"
    )
