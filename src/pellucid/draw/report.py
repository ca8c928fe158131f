"""The report of a run: ``report.html``, one offline page, and its figures as PNG files."""

from __future__ import annotations

import base64
import io
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.draw import confusion, figures
from pellucid.draw.calibration import reliability
from pellucid.draw.curves import SCRIPT, curves, logged
from pellucid.draw.page import SORT, Share, cards, facts, page, table, text

if TYPE_CHECKING:
    from pellucid.train.measure import Measured
    from pellucid.train.record import RunRecord

Pictures = Mapping[int, NDArray[np.uint8]]


def write_report(folder: Path, record: RunRecord, pictures: Pictures) -> Path:
    """Write ``report.html``, ``curves.png``, and where the run was measured ``confusion.png`` and ``mistakes.png``.

    Args:
        folder: the run folder.
        record: of the run, finished or not.
        pictures: of the mistakes, uint8 (H, W, C), by their index in the split.
    """
    figures.save_curves(folder / "curves.png", record.epochs)
    if record.measured is not None:
        names = [item.name for item in record.measured.per_class]
        figures.save_confusion(folder / "confusion.png", record.measured.confusion, names)
        figures.save_mistakes(folder / "mistakes.png", record.measured.mistakes, pictures)
    return write_page(folder, record, pictures)


def write_page(folder: Path, record: RunRecord, pictures: Pictures) -> Path:
    """Write ``report.html`` alone: a reader sees the page of before or this one, never half of it."""
    file = folder / "report.html"
    made = file.with_name(".report.html.tmp")
    made.write_text(report(record, pictures), "utf-8")
    made.replace(file)
    return file


def report(record: RunRecord, pictures: Pictures) -> str:
    """The page."""
    sections = [("Curves", _curves(record))]
    if record.measured is not None:
        measured = record.measured
        names = [item.name for item in measured.per_class]
        sections += [
            ("Mistakes", _mistakes(measured, pictures)),
            ("Confusion", confusion.confusion(measured.confusion, names)),
            ("Classes", _classes(measured)),
            ("Calibration", reliability(measured.calibration, measured.calibration_error)),
        ]
    sections.append(("How it was made", _how(record)))
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title, _ in sections)
    parts = [_headline(record), f'<nav aria-label="On this page">{links}</nav>']
    parts += [f'<section><h2 id="{_anchor(title)}">{title}</h2>{body}</section>' for title, body in sections]
    title = f"{record.settings.get('net')} on {_data_name(record)}"
    return page(title, "\n".join(parts), script=SCRIPT + SORT + confusion.SCRIPT, style=confusion.STYLE)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _data_name(record: RunRecord) -> str:
    return Path(record.data).name or record.data


def _headline(record: RunRecord) -> str:
    measured = record.measured
    done, asked = len(record.epochs), record.settings.get("epochs")
    minutes = f"{record.seconds / 60:.1f} min" if record.seconds >= 60 else f"{record.seconds:.0f} s"
    state = "running when this page was written" if record.state == "running" else record.state  # it may be killed
    began = str(record.environment.get("began", "")).replace("T", " ")[:16]
    lines = [
        f"<h1>{text(record.settings.get('net'))} on {text(_data_name(record))}</h1>",
        f'<p class="soft"><span class="badge">{text(state)}</span> {text(f"{record.name}  {began}")}</p>',
    ]
    spent = [("epochs", f"{done}/{asked}"), ("training time", minutes)]
    if measured is None:
        lines.append(
            f"<p>{done} of {text(asked)} epochs are done; what is measured at the end of a run is still to come.</p>"
        )
        best = _best(record)
        return "\n".join([*lines, cards([*best, *spent], first=bool(best))])
    low, high = measured.interval
    largest = max(item.support for item in measured.per_class)
    lines.append(
        f"<p>Measured at the end on the {measured.n:,} pictures of the <b>{text(record.split)}</b> split."
        f"{_caution(record)} Always answering the most frequent class would give {largest / measured.n:.1%}.</p>"
    )
    items: list[tuple[str, ...]] = [
        (f"{record.split} accuracy", f"{measured.accuracy:.2%}", f"{low:.1%} to {high:.1%} (95% interval, Wilson)"),
        *([("top 5", f"{measured.top5:.2%}")] if measured.top5 is not None else []),
        ("mean F1", _number(measured.macro_f1)),
        ("loss", _number(measured.loss)),
        ("calibration error", _number(measured.calibration_error)),
        *spent,
    ]
    return "\n".join([*lines, cards(items, first=True)])


def _caution(record: RunRecord) -> str:
    """How far the measured split was used before: what it says of other pictures hangs on that."""
    if record.split == "validation":
        return " The best epoch was chosen by these pictures, so others may come out a little worse."
    if any("test_accuracy" in epoch for epoch in record.epochs):
        return " It was shown after each epoch too, but nothing was chosen by it."
    return " Nothing was chosen by it."


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _best(record: RunRecord) -> list[tuple[str, ...]]:
    """The highest accuracy of an epoch, by the split that each was measured on."""
    for split in ("validation", "test"):
        key = f"{split}_accuracy"
        found = [(float(e[key]), e.get("epoch")) for e in record.epochs if e.get(key) is not None]
        if found:
            value, epoch = max(found, key=lambda pair: pair[0])
            return [(f"highest {split} accuracy", f"{value:.2%}", f"after epoch {epoch}")]
    return []


def _curves(record: RunRecord) -> str:
    charts = []
    for what, unit in (("loss", "mean over pictures"), ("accuracy", "share of pictures")):
        series = [logged(record.epochs, split, "epoch", f"{split}_{what}") for split in ("train", "validation", "test")]
        charts.append(curves(what.capitalize(), unit, [one for one in series if one.x]))
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


def _mistakes(measured: Measured, pictures: Pictures) -> str:
    if not measured.mistakes:
        return "<p>There are none.</p>"
    shown = "".join(
        f"<figure>{_image(pictures.get(item.index), item.truth)}<figcaption><b><bdi>{text(item.truth)}</bdi></b>, "
        f"called <bdi>{text(item.predicted)}</bdi> with {item.confidence:.0%}<br>"
        f"<span class='soft'>{text(item.name)}</span></figcaption></figure>"
        for item in measured.mistakes
    )
    wrong = measured.n - sum(row[i] for i, row in enumerate(measured.confusion))
    return (
        f"<p>{wrong:,} of {measured.n:,} pictures were called something else. These are the ones of which the network "
        f'was surest: look for wrong labels first.</p><div class="grid">{shown}</div>'
    )


def _image(picture: NDArray[np.uint8] | None, name: str) -> str:
    if picture is None:
        return ""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(out, "PNG")
    encoded = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="a picture of {text(name)}" src="data:image/png;base64,{encoded}">'


def _classes(measured: Measured) -> str:
    rows = []
    for i, item in enumerate(measured.per_class):
        others = [(count, j) for j, count in enumerate(measured.confusion[i]) if j != i and count]
        count, j = max(others, key=lambda pair: pair[0], default=(0, 0))
        called = f"{measured.per_class[j].name} ({count:,})" if count else ""
        shares = (Share(item.precision), Share(item.recall), Share(item.f1))
        rows.append([item.name, *shares, item.support, called])
    means = [measured.macro_precision, measured.macro_recall, measured.macro_f1]
    heads = ["class", "precision", "recall", "F1", "pictures", "most often called instead"]
    return (
        '<p class="soft">Precision: of those called it, how many are it. Recall: of those that are it, how many are '
        "called it. F1: their harmonic mean. Choose a head to sort.</p>"
        + table(heads, rows, sortable=True, foot=["mean of the classes", *means, measured.n, ""])
    )


def _how(record: RunRecord) -> str:
    environment = record.environment
    given = record.data.startswith("given:")
    folder, data = shlex.quote(record.folder), "DATA" if given else shlex.quote(record.data)
    commands = [] if record.measured else [f"pellucid train --resume {folder}    # go on where it stopped"]
    if not given and not str(record.settings.get("net")).startswith("given:"):
        commands.append(f"pellucid train {data} --config {folder}/config.yaml    # the same again")
    if record.measured or record.epochs:
        commands += [
            f"pellucid evaluate {folder} {data}    # measure it again, or on other pictures",
            f"pellucid predict {folder} PICTURE    # use it",
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
