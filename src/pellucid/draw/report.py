"""The report of a run: ``report.html``, one offline page, and its figures as PNG files."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.draw import figures
from pellucid.draw.curves import SCRIPT, Series, curves
from pellucid.draw.page import SORT, cards, page, table, text

if TYPE_CHECKING:
    from pellucid.train.measure import Measured
    from pellucid.train.record import RunRecord

Pictures = Mapping[int, NDArray[np.uint8]]
_MOST_CELLS = 30  # classes up to which the confusion matrix is shown whole


def write_report(folder: Path, record: RunRecord, pictures: Pictures) -> Path:
    """Write ``report.html``, ``curves.png``, and where the run was measured ``confusion.png`` and ``mistakes.png``.

    Args:
        folder: the run folder.
        record: of the run, finished or not.
        pictures: of the mistakes, uint8 (H, W, C), by their index in the split.
    """
    figures.save_curves(folder / "curves.png", record.epochs)
    if record.measured is not None:
        figures.save_confusion(folder / "confusion.png", record.measured.confusion, record.classes)
        figures.save_mistakes(folder / "mistakes.png", record.measured.mistakes, pictures)
    file = folder / "report.html"
    made = file.with_name(".report.html.tmp")
    made.write_text(report(record, pictures), "utf-8")
    made.replace(file)
    return file


def report(record: RunRecord, pictures: Pictures) -> str:
    """The page."""
    parts = [_headline(record), "<h2>Curves</h2>", _curves(record)]
    if record.measured is not None:
        parts += [
            "<h2>Mistakes</h2>",
            _mistakes(record.measured, pictures),
            "<h2>Confusion</h2>",
            _confusion(record.measured, record.classes),
            "<h2>Classes</h2>",
            _classes(record.measured),
            "<h2>Calibration</h2>",
            _calibration(record.measured),
        ]
    parts += ["<h2>How it was made</h2>", _how(record)]
    return page(f"{record.settings.get('net')} on {_data_name(record)}", "\n".join(parts), script=SCRIPT + SORT + PAIRS)


def _data_name(record: RunRecord) -> str:
    return Path(record.data).name or record.data


def _headline(record: RunRecord) -> str:
    net, measured = str(record.settings.get("net")), record.measured
    done, asked = len(record.epochs), record.settings.get("epochs")
    lines = [f"<h1>{text(net)} on {text(_data_name(record))}</h1>"]
    minutes = f"{record.seconds / 60:.1f} min" if record.seconds >= 60 else f"{record.seconds:.0f} s"
    if measured is None:
        lines.append(f"<p>This run is <b>{text(record.state)}</b>: {done} of {text(asked)} epochs are done.</p>")
        return "\n".join([*lines, cards([("epochs", f"{done}/{asked}"), ("training time", minutes)])])
    low, high = measured.interval
    lines.append(
        f"<p>Measured once, at the end, on the {measured.n:,} pictures of the <b>{text(record.split)}</b> split. "
        f"With so many pictures the accuracy is known to lie between {low:.1%} and {high:.1%} "
        f"(95% interval, Wilson).{_by_chance(measured)}</p>"
    )
    items = [
        (f"{record.split} accuracy", f"{measured.accuracy:.2%}"),
        ("loss", f"{measured.loss:.3f}"),
        *([("top 5", f"{measured.top5:.2%}")] if measured.top5 is not None else []),
        ("mean F1", f"{measured.macro_f1:.3f}"),
        ("calibration error", f"{measured.calibration_error:.3f}"),
        ("epochs", f"{done}/{asked}"),
        ("training time", minutes),
    ]
    return "\n".join([*lines, cards(items)])


def _by_chance(measured: Measured) -> str:
    largest = max(item.support for item in measured.per_class)
    return f" Always answering the most frequent class would give {largest / measured.n:.1%}."


def _curves(record: RunRecord) -> str:
    charts = []
    for what, unit in (("loss", "mean over pictures"), ("accuracy", "share of pictures")):
        series = []
        for split in ("train", "validation", "test"):
            points = [(e["epoch"], e[f"{split}_{what}"]) for e in record.epochs if f"{split}_{what}" in e]
            if points:
                xs, ys = zip(*points, strict=True)
                series.append(Series(split, tuple(map(float, xs)), tuple(map(float, ys))))
        charts.append(curves(what.capitalize(), unit, series))
    note = (
        "<p class='soft'>Training figures are means over the epoch, with augmentation and dropout on, so they may lie "
        "below the other curve. Point at a chart, or move along it with the arrow keys.</p>"
    )
    return f'<div class="pair">{"".join(charts)}</div>{note}'


def _mistakes(measured: Measured, pictures: Pictures) -> str:
    if not measured.mistakes:
        return "<p>There are none.</p>"
    shown = "".join(
        f"<figure>{_image(pictures.get(item.index), item.truth)}<figcaption><b>{text(item.truth)}</b>, called "
        f"{text(item.predicted)} with {item.confidence:.0%}<br><span class='soft'>{text(item.name)}</span>"
        "</figcaption></figure>"
        for item in measured.mistakes
    )
    wrong = measured.n - round(measured.accuracy * measured.n)
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


def _confusion(measured: Measured, classes: tuple[str, ...]) -> str:
    pairs = [
        (count, classes[i], classes[j])
        for i, row in enumerate(measured.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    worst = [[truth, called, count] for count, truth, called in sorted(pairs, key=lambda pair: -pair[0])[:10]]
    listed = table(["truth", "called", "pictures"], worst, caption="The ten most frequent confusions")
    if len(classes) > _MOST_CELLS:
        return f"<p>With {len(classes)} classes the whole matrix is in confusion.png.</p>{listed}"
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{text(classes[i])}</th>{"".join(_pair(row, j, classes, i) for j in range(len(row)))}</tr>'
        for i, row in enumerate(measured.confusion)
    )
    return (
        '<div class="pair"><div><p class="soft">Rows are the truth, columns what it was called. '
        'Choose a cell to read it.</p><div class="scroll"><table class="confusion"><thead><tr><td></td>'
        f'{heads}</tr></thead><tbody>{rows}</tbody></table></div><p id="cell" aria-live="polite">&nbsp;</p></div>'
        f"<div>{listed}</div></div>"
    )


def _pair(row: tuple[int, ...], j: int, classes: tuple[str, ...], i: int) -> str:
    share = row[j] / max(1, sum(row))
    color = "--good" if i == j else "--bad"
    said = f"{row[j]} of {sum(row)} pictures of {classes[i]} were called {classes[j]} ({share:.1%})"
    shade = f"background:color-mix(in srgb,var({color}) {min(100, round(share * 100))}%,transparent)"
    shown = row[j] if row[j] else ""
    button = f'<button type="button" data-say="{text(said)}" aria-label="{text(said)}">{shown}</button>'
    return f'<td style="{shade}">{button}</td>'


PAIRS = """
for(const cell of document.querySelectorAll('.confusion button'))
 cell.addEventListener('click',()=>{document.getElementById('cell').textContent=cell.dataset.say});
"""


def _classes(measured: Measured) -> str:
    heads = ["class", "precision", "recall", "F1", "pictures"]
    rows = [[item.name, item.precision, item.recall, item.f1, item.support] for item in measured.per_class]
    return table(heads, rows, sortable=True)


def _calibration(measured: Measured) -> str:
    size, edge = 280, 36
    inner = size - 2 * edge

    def px(x: float) -> float:
        return edge + x * inner

    def py(y: float) -> float:
        return size - edge - y * inner

    bars = "".join(
        f'<line x1="{px(b.confidence):.1f}" x2="{px(b.confidence):.1f}" y1="{py(b.confidence):.1f}" '
        f'y2="{py(b.accuracy):.1f}" stroke="var(--bad)" stroke-width="3"/><circle cx="{px(b.confidence):.1f}" '
        f'cy="{py(b.accuracy):.1f}" r="4" fill="var(--accent)"><title>confidence {b.confidence:.3f}, right '
        f"{b.accuracy:.3f}, {b.count} pictures</title></circle>"
        for b in measured.calibration
    )
    rows = [[b.confidence, b.accuracy, b.count] for b in measured.calibration]
    return (
        "<p>Of the pictures of which the network is 80% sure, 80% should be right: points on the line. "
        f"The mean distance is {measured.calibration_error:.3f} (expected calibration error, Guo et al. 2017).</p>"
        f'<div class="pair"><svg viewBox="0 0 {size} {size}" width="{size}" role="img" aria-label="Calibration: share '
        f'that is right over confidence"><rect x="{edge}" y="{edge}" width="{inner}" height="{inner}" fill="none" '
        f'stroke="var(--line)"/><line x1="{px(0)}" y1="{py(0)}" x2="{px(1)}" y2="{py(1)}" stroke="var(--soft)" '
        f'stroke-dasharray="4 4"/>{bars}<text x="{size / 2}" y="{size - 8}" text-anchor="middle">confidence</text>'
        f'<text transform="translate(14 {size / 2}) rotate(-90)" text-anchor="middle">share right</text>'
        f'<text x="{edge}" y="{size - 22}">0</text><text x="{size - edge}" y="{size - 22}" text-anchor="end">1</text>'
        f"</svg>{table(['confidence', 'share right', 'pictures'], rows)}</div>"
    )


def _how(record: RunRecord) -> str:
    environment = record.environment
    notes = "".join(f"<li>{text(note)}</li>" for note in environment.get("data_notes", []))
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    facts = {
        "data": record.data,
        "data fingerprint": environment.get("data_fingerprint"),
        "began": environment.get("began"),
        "machine": f"{environment.get('processor')}, {environment.get('threads')} threads, {environment.get('device')}",
        "versions": versions,
    }
    command = f"pellucid train {record.data} --config {record.folder}/config.yaml"
    going_on = "" if record.measured else f"\npellucid train --resume {record.folder}"
    settings = "\n".join(f"{name}: {_yaml(value)}" for name, value in record.settings.items())
    return (
        f"{table(['what', ''], [[name, value] for name, value in facts.items()])}"
        + (f"<p>What was said of the data:</p><ul>{notes}</ul>" if notes else "")
        + f"<p>To repeat it:</p><pre>{text(command + going_on)}</pre>"
        f"<details><summary>All settings</summary><pre>{text(settings)}</pre></details>"
    )


def _yaml(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if _is_flag(value) else str(value)


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)
