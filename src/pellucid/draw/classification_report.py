"""What a report says of a classifier: mistakes with their pictures, confusion, classes, calibration."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.draw import confusion, figures
from pellucid.draw.calibration import reliability
from pellucid.draw.page import Share, table, text
from pellucid.draw.report import Body, caution, number

if TYPE_CHECKING:
    from pellucid.train.measure import Measured
    from pellucid.train.record import RunRecord

Pictures = Mapping[int, NDArray[np.uint8]]


def save_figures(folder: Path, record: RunRecord, pictures: Pictures) -> None:
    """Write ``confusion.png``, and ``mistakes.png`` where there are pictures."""
    measured: Measured = record.measured
    figures.save_confusion(folder / "confusion.png", measured.confusion, [item.name for item in measured.per_class])
    figures.save_mistakes(folder / "mistakes.png", measured.mistakes, pictures)


def body(record: RunRecord, pictures: Pictures) -> Body:
    """The part of the page for a measured classifier of pictures.

    Args:
        record: of the run, measured.
        pictures: of the mistakes, uint8 (H, W, C), by their index in the split.
    """
    measured: Measured = record.measured
    return Body(
        lead(record, measured),
        score_cards(record, measured),
        (("Mistakes", _mistakes(measured, pictures)), *class_sections(measured)),
        confusion.SCRIPT,
        confusion.STYLE,
    )


def lead(record: RunRecord, measured: Measured) -> str:
    """The sentence under the headline."""
    things, largest = record.task.things, max(item.support for item in measured.per_class)
    return (
        f"Measured at the end on the {measured.n:,} {things} of the <b>{text(record.split)}</b> split."
        f"{caution(record)} Always answering the most frequent class would give {largest / measured.n:.1%}."
    )


def score_cards(record: RunRecord, measured: Measured) -> tuple[tuple[str, ...], ...]:
    """The main figures."""
    low, high = measured.interval
    return (
        (f"{record.split} accuracy", f"{measured.accuracy:.2%}", f"{low:.1%} to {high:.1%} (95% interval, Wilson)"),
        *([("top 5", f"{measured.top5:.2%}")] if measured.top5 is not None else []),
        ("mean F1", number(measured.macro_f1)),
        ("loss", number(measured.loss)),
        ("calibration error", number(measured.calibration_error)),
    )


def class_sections(measured: Measured, things: str = "pictures") -> tuple[tuple[str, str], ...]:
    """Confusion, classes and calibration: what every classifier has, whatever it classifies."""
    names = [item.name for item in measured.per_class]
    return (
        ("Confusion", confusion.confusion(measured.confusion, names, things)),
        ("Classes", _classes(measured, things)),
        ("Calibration", reliability(measured.calibration, measured.calibration_error, things)),
    )


def _mistakes(measured: Measured, pictures: Pictures) -> str:
    if not measured.mistakes:
        return "<p>There are none.</p>"
    shown = "".join(
        f"<figure>{image(pictures.get(item.index), item.truth)}<figcaption><b><bdi>{text(item.truth)}</bdi></b>, "
        f"called <bdi>{text(item.predicted)}</bdi> with {item.confidence:.0%}<br>"
        f"<span class='soft'>{text(item.name)}</span></figcaption></figure>"
        for item in measured.mistakes
    )
    wrong = measured.n - sum(row[i] for i, row in enumerate(measured.confusion))
    return (
        f"<p>{wrong:,} of {measured.n:,} pictures were called something else. These are the ones of which the network "
        f'was surest: look for wrong labels first.</p><div class="grid">{shown}</div>'
    )


def image(picture: NDArray[np.uint8] | None, name: str) -> str:
    """A picture uint8 (H, W, C) inside the page."""
    if picture is None:
        return ""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(out, "PNG")
    encoded = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="a picture of {text(name)}" src="data:image/png;base64,{encoded}">'


def _classes(measured: Measured, things: str) -> str:
    rows = []
    for i, item in enumerate(measured.per_class):
        others = [(count, j) for j, count in enumerate(measured.confusion[i]) if j != i and count]
        count, j = max(others, key=lambda pair: pair[0], default=(0, 0))
        called = f"{measured.per_class[j].name} ({count:,})" if count else ""
        shares = (Share(item.precision), Share(item.recall), Share(item.f1))
        rows.append([item.name, *shares, item.support, called])
    means = [measured.macro_precision, measured.macro_recall, measured.macro_f1]
    heads = ["class", "precision", "recall", "F1", things, "most often called instead"]
    return (
        '<p class="soft">Precision: of those called it, how many are it. Recall: of those that are it, how many are '
        "called it. F1: their harmonic mean. Choose a head to sort.</p>"
        + table(heads, rows, sortable=True, foot=["mean of the classes", *means, measured.n, ""])
    )
