"""What a report says of a segmentation: the worst pictures with truth and prediction, classes, confusion."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.draw import confusion
from pellucid.draw.page import Share, table, text
from pellucid.draw.report import Body, caution, number
from pellucid.draw.segmentation_overlay import VOID, colors, encoded_picture, flat, overlay

if TYPE_CHECKING:
    from pellucid.train.record import RunRecord
    from pellucid.train.tasks.segmentation_measure import OfPicture, SegmentationMeasured

Pixels = NDArray[np.uint8]
Scenes = Mapping[int, tuple[Pixels, Pixels, Pixels]]
"""By index in the split: picture (H, W, C), truth and prediction (H, W) each."""

STYLE = """
.scene{margin:0 0 22px}
.scene>div{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(200px,100%),1fr));gap:6px}
.scene img{width:100%;display:block;border-radius:6px;image-rendering:pixelated;background:var(--card)}
.scene figcaption span{color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:10px 0 18px;font-size:.9rem}
.legend i{display:inline-block;width:14px;height:14px;border-radius:3px;margin-right:6px;vertical-align:-2px;
border:1px solid var(--line)}
"""


def body(record: RunRecord, scenes: Scenes) -> Body:
    """The part of the page for a measured segmentation.

    Args:
        record: of the run, measured.
        scenes: of ``measured.pictures``.
    """
    measured: SegmentationMeasured = record.measured
    names = [item.name for item in measured.per_class]
    return Body(
        _lead(record, measured),
        _cards(record, measured),
        (
            ("Pictures", _pictures(measured, scenes)),
            ("Classes", _classes(measured)),
            ("Confusion", confusion.confusion(measured.confusion, names, "pixels")),
        ),
        confusion.SCRIPT,
        confusion.STYLE + STYLE,
    )


def save_overlays(file: Path, record: RunRecord, scenes: Scenes, most: int = 6) -> None:
    """A PNG with a row for each of the first pictures: picture, truth, prediction."""
    measured: SegmentationMeasured = record.measured
    classes = len(measured.per_class)
    rows = []
    for item in measured.pictures[:most]:
        picture, truth, called = scenes[item.index]
        plain = overlay(picture, np.full(truth.shape, VOID, np.uint8), classes)
        rows.append(np.concatenate([plain, flat(truth, classes), flat(called, classes)], 1))
    if rows:
        file.write_bytes(encoded_picture(np.concatenate(rows)))


def _lead(record: RunRecord, measured: SegmentationMeasured) -> str:
    beaten = "better" if measured.mean_iou > measured.baseline.mean_iou else "no better"
    return (
        f"Measured at the end on {measured.pixels:,} pixels of the {measured.n:,} pictures of the "
        f"<b>{text(record.split)}</b> split.{caution(record)} Calling every pixel <bdi>{text(measured.always)}</bdi>, "
        f"the most frequent class of training, would give a mean IoU of {measured.baseline.mean_iou:.1%} and "
        f"{measured.baseline.pixel_accuracy:.1%} of the pixels: the network is {beaten}."
    )


def _cards(record: RunRecord, measured: SegmentationMeasured) -> tuple[tuple[str, ...], ...]:
    other = measured.baseline
    return (
        (f"{record.split} mean IoU", f"{measured.mean_iou:.2%}", f"always the same: {other.mean_iou:.2%}"),
        ("pixel accuracy", f"{measured.pixel_accuracy:.2%}", f"always the same: {other.pixel_accuracy:.2%}"),
        ("mean accuracy", f"{measured.mean_accuracy:.2%}", f"always the same: {other.mean_accuracy:.2%}"),
        (
            "frequency-weighted IoU",
            f"{measured.frequency_weighted_iou:.2%}",
            f"always the same: {other.frequency_weighted_iou:.2%}",
        ),
        ("loss", number(measured.loss)),
    )


def _pictures(measured: SegmentationMeasured, scenes: Scenes) -> str:
    if not measured.pictures:
        return "<p>There are none.</p>"
    shown = [_scene(item, scenes, len(measured.per_class)) for item in measured.pictures]
    worst = -(-len(shown) // 2)
    more = f"<h3>From there to the best</h3>{''.join(shown[worst:])}" if shown[worst:] else ""
    return (
        '<p class="soft">Each picture, what every pixel is, and what it was called. Black is void: nothing was learned '
        "or measured there.</p>"
        f"{_legend(measured)}<h3>The worst</h3>{''.join(shown[:worst])}{more}"
    )


def _legend(measured: SegmentationMeasured) -> str:
    shown = "".join(
        f'<span><i style="background:rgb({red},{green},{blue})"></i><bdi>{text(item.name)}</bdi></span>'
        for item, (red, green, blue) in zip(measured.per_class, colors(len(measured.per_class)).tolist(), strict=True)
    )
    return f'<div class="legend">{shown}</div>'


def _scene(item: OfPicture, scenes: Scenes, classes: int) -> str:
    picture, truth, called = scenes[item.index]
    plain = overlay(picture, np.full(truth.shape, VOID, np.uint8), classes)
    images = (
        ("the picture", encoded_picture(plain, "JPEG"), "jpeg"),
        ("what it is", encoded_picture(flat(truth, classes)), "png"),
        ("what it was called", encoded_picture(flat(called, classes)), "png"),
        ("what it was called, over the picture", encoded_picture(overlay(picture, called, classes), "JPEG"), "jpeg"),
    )
    shown = "".join(
        f'<img alt="{text(item.name)}: {said}" loading="lazy" '
        f'src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
        for said, content, kind in images
    )
    return (
        f'<figure class="scene"><div>{shown}</div><figcaption><bdi>{text(item.name)}</bdi> '
        f"<span>mean IoU {item.mean_iou:.1%}, {item.pixel_accuracy:.1%} of its pixels right</span></figcaption>"
        "</figure>"
    )


def _classes(measured: SegmentationMeasured) -> str:
    rows = []
    for i, item in enumerate(measured.per_class):
        others = [(count, j) for j, count in enumerate(measured.confusion[i]) if j != i and count]
        count, j = max(others, key=lambda pair: pair[0], default=(0, 0))
        called = f"{measured.per_class[j].name} ({count / sum(measured.confusion[i]):.0%})" if count else ""
        rows.append([item.name, Share(item.iou), Share(item.accuracy), Share(item.share), called])
    foot = ["mean of the classes", measured.mean_iou, measured.mean_accuracy, "", ""]
    return (
        '<p class="soft">IoU: of the pixels that are it or were called it, how many are both. Accuracy: of those that '
        "are it, how many were called it. Choose a head to sort.</p>"
        + table(
            ["class", "IoU", "accuracy", "share of pixels", "most often called instead"], rows, sortable=True, foot=foot
        )
    )
