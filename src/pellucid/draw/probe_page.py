"""The page of ``pellucid probe``: answers and features against the size of a change, of one network or of several."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.draw.curves import SCRIPT, Series, curves
from pellucid.draw.page import cards, facts, page, table, text
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.look.probe_record import Curve, Probe, ProbedLayer, Sample

MARK = "<!-- a page of pellucid probe -->"
_SHOWN = 128  # pixels: samples of a longer side are shrunk to it
_EXACT = 64  # up to this side they are kept bit by bit
STYLE = """
.strip{display:flex;gap:10px;overflow-x:auto;max-width:100%;padding:2px 2px 8px}
.strip figure{flex:0 0 84px}
.strip img{width:84px;height:84px;object-fit:contain;image-rendering:pixelated;background:var(--card);
border:1px solid var(--line);border-radius:6px}
.strip figcaption{overflow-wrap:anywhere}
.wrong{color:var(--bad)}
.right{color:var(--good)}
td.shade{background:color-mix(in srgb,var(--accent) var(--v),transparent)}
.numbers caption{text-align:left;padding:8px 0}
.numbers th[scope=row]{white-space:normal;min-width:11rem}
.numbers th .soft{font-weight:400}
.findings li{max-width:70ch;margin:.4em 0;overflow-wrap:anywhere}
"""
_NUMBERS = {
    "accuracy": "The share of changed pictures whose most probable class is the right one.",
    "right class": "The mean probability that the network gives to the right class.",
    "same answer": "The share of pictures that are called the same as without the change, rightly or not.",
    "change of features": (
        "How far the features f of a layer move, ‖f(T x) − f(x)‖ / ‖f(x)‖, where x is the picture and T x the changed "
        "one; the mean over pictures. 0: they do not notice the change. The yardstick is the same number for two "
        "different pictures."
    ),
    "error of following": (
        "How far the features are from moving with the picture, ‖f(T x) − T′ f(x)‖ / ‖f(T x)‖, where T′ is the same "
        "motion done to the map of features, between features by bilinear interpolation; the mean over pictures. Only "
        "features whose receptive field holds nothing but the picture are compared: no padding, no repeated edge. "
        "0: they follow exactly (equivariance). Where no feature is left to compare, the curve ends."
    ),
    "half of the accuracy is lost": (
        "Where the accuracy first falls to half of what it is without the change, on straight lines between the "
        "measured sizes."
    ),
}


def write_probe_page(file: Path, probes: Sequence[Probe]) -> Path:
    """Write the page of one network, or of several on the same pictures; a reader sees the old page or the new one.

    Raises:
        UsageError: where the file is there already and no page of this kind.
    """
    check_place(file)
    made = file.with_name(f".{file.name}.tmp")
    made.write_text(probe_page(probes), "utf-8")
    made.replace(file)
    return file


def check_place(file: Path) -> None:
    """Raises UsageError where the page cannot be put without harm: no such folder, or a file of something else."""
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent} to write {file.name} to", fits="--html FILE in one that is")
    if not os.access(file.parent, os.W_OK):
        raise UsageError(f"the folder {file.parent} cannot be written to", fits="--html FILE in one that can")
    if file.exists() and not (file.is_file() and MARK.encode() in file.read_bytes()):
        raise UsageError(f"{file} is there already, and is no page of pellucid probe", fits="--html with another name")


def probe_page(probes: Sequence[Probe]) -> str:
    """The page. The first network's layers, pictures and sizes come first; curves of all share their diagrams."""
    first = probes[0]
    sections = [(curve.change.capitalize(), _change(curve, probes)) for curve in first.curves]
    sections += [("What the numbers mean", facts(_NUMBERS)), ("How it was measured", _how(probes))]
    links = "".join(f'<a href="#{_anchor(title)}">{text(title)}</a>' for title, _ in sections)
    names = " and ".join(one.name for one in probes)
    title = f"What {names} tolerate{'s' if len(probes) == 1 else ''}"
    data = Path(first.data).name or first.data
    measured = f"{first.pictures:,} of {first.total:,} pictures of the {first.split} split of {data}"
    parts = [
        MARK,
        f"<h1>{text(title)}</h1>",
        f'<p class="soft">{text(measured)}, changed step by step.</p>',
        f'<nav aria-label="On this page">{links}</nav>',
        _summary(probes),
        *(f'<section><h2 id="{_anchor(title)}">{text(title)}</h2>{body}</section>' for title, body in sections),
    ]
    return page(title, "\n".join(parts), script=SCRIPT, style=STYLE)


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _summary(probes: Sequence[Probe]) -> str:
    accuracies = [
        (
            f"accuracy without any change{f', {one.name}' if len(probes) > 1 else ''}",
            f"{one.accuracy:.1%}",
            f"{one.interval[0]:.1%} to {one.interval[1]:.1%} (95% interval, Wilson)",
        )
        for one in probes
    ]
    rows = []
    for curve in probes[0].curves:
        found = [one.curve(curve.change) for one in probes]
        rows.append([curve.change, *(one.where_half_lost() if one is not None else None for one in found)])
    heads = ["change", *(one.name for one in probes)] if len(probes) > 1 else ["change", "where"]
    sentences = [(one.name, sentence) for one in probes for sentence in one.layer_findings()]
    told = "".join(
        f"<li>{f'{text(name)}: ' if len(probes) > 1 else ''}{text(sentence)}</li>" for name, sentence in sentences
    )
    return (
        cards(accuracies, first=len(probes) == 1)
        + "<h3>Where half of the accuracy is lost</h3>"
        + table(heads, rows)
        + (f'<h3>What the layers do</h3><ul class="findings">{told}</ul>' if told else "")
    )


def _change(curve: Curve, probes: Sequence[Probe]) -> str:
    """The section of one change."""
    found = [(one, own) for one in probes if (own := one.curve(curve.change)) is not None]
    lost = [(f"by {one.name} " if len(found) > 1 else "", own.where_half_lost()) for one, own in found]
    told = f"Half of the accuracy is lost {', '.join(whose + where for whose, where in lost)}."
    parts = [f"<p>{text(curve.what)} <b>{text(told)}</b></p>", _answers(found)]
    parts += [_strip(sample, i, curve, probes) for i, sample in enumerate(probes[0].samples)]
    parts += [f'<div class="pair">{charts}</div>' for charts in _layers(found)]
    parts.append(f"<details><summary>The same in numbers</summary>{_numbers(found)}</details>")
    return "\n".join(parts)


def _answers(found: Sequence[tuple[Probe, Curve]]) -> str:
    several = len(found) > 1
    accuracy, other = [], []
    for one, own in found:
        x = _x(own)
        name = one.name if several else "accuracy"
        accuracy.append(Series(name, x, own.accuracy))
        other.append(Series(f"same answer{f', {one.name}' if several else ''}", x, own.same))
        other.append(Series(f"right class{f', {one.name}' if several else ''}", x, own.probability))
    for one, own in found:
        x = _x(own)
        name = f"{one.name}, unchanged" if several else "unchanged"
        accuracy.append(Series(name, (x[0], x[-1]), (one.accuracy, one.accuracy)))
    over = _over(found[0][1])
    charts = [
        curves("Accuracy", "share of pictures", accuracy, over=over, within=(0, 1)),
        curves("Answers", "share of pictures; mean probability", other, over=over, within=(0, 1)),
    ]
    return f'<div class="pair">{"".join(charts)}</div>'


def _layers(found: Sequence[tuple[Probe, Curve]]) -> list[str]:
    """For each network the charts of its layers; those of all networks have one scale."""
    tops = [
        max((y for row in rows for y in row if y is not None and np.isfinite(y)), default=0.0)
        for rows in ([r for _, own in found for r in own.features], [r for _, own in found for r in own.equivariance])
    ]
    shown = []
    for one, own in found:
        whose = f" of {one.name}" if len(found) > 1 else ""
        charts = ""
        if one.layers:
            title, unit = f"Change of features{whose}", "relative to their length"
            charts += _by_layer(title, unit, one, own, own.features, top=tops[0])
        if own.moves:
            charts += _by_layer(f"Error of following{whose}", "0: exactly", one, own, own.equivariance, top=tops[1])
        shown.append(charts)
    return shown


def _by_layer(
    title: str,
    unit: str,
    probe: Probe,
    curve: Curve,
    values: Sequence[Sequence[float | None]],
    *,
    top: float,
) -> str:
    """A curve for each layer; where features follow, its name says how far they lie apart. ``top``: the largest of all
    charts of this kind."""
    follows = values is curve.equivariance
    series = []
    for layer, row in zip(probe.layers, values, strict=True):
        known = _unbroken(curve, row)
        if len(known) > 1:
            name = f"{layer.name}, step {layer.step[0]:g}" if follows else layer.name
            series.append(Series(name, tuple(x for x, _ in known), tuple(y for _, y in known)))
    return curves(title, unit, series, over=_over(curve), within=(0, max(1.0, top)))


def _unbroken(curve: Curve, row: Sequence[float | None]) -> list[tuple[float, float]]:
    """The points around the neutral size up to the first on either side that was not measured: a line must not bridge
    what nobody knows."""
    at = curve.sizes.index(curve.neutral)
    first = max((i + 1 for i in range(at) if row[i] is None), default=0)
    last = min((i for i in range(at, len(row)) if row[i] is None), default=len(row))
    return [(x, y) for x, y in zip(_x(curve)[first:last], row[first:last], strict=True) if y is not None]


def _x(curve: Curve) -> tuple[float, ...]:
    """Sizes as they are drawn: factors as percent, so that the axis has whole numbers."""
    return tuple(round(100 * size, 6) for size in curve.sizes) if curve.unit == "times" else curve.sizes


def _over(curve: Curve) -> str:
    return f"{curve.change}, {'percent' if curve.unit == 'times' else curve.unit}"


def _numbers(found: Sequence[tuple[Probe, Curve]]) -> str:
    """Tables of all numbers: rows are layers, columns sizes; of several networks under one another."""
    shown = []
    for one, own in found:
        whose = f" of {one.name}" if len(found) > 1 else ""
        answers = [("accuracy", own.accuracy), ("right class", own.probability), ("same answer", own.same)]
        shown.append(_heat(f"Answers{whose}", own, [(name, "", values) for name, values in answers]))
        rows = [(layer.name, _between(layer), values) for layer, values in zip(one.layers, own.features, strict=True)]
        shown.append(_heat(f"Change of features{whose}", own, rows))
        if own.moves:
            maps = [
                (layer.name, f"{layer.operation}; step {layer.step[0]:g}", values)
                for layer, values in zip(one.layers, own.equivariance, strict=True)
                if layer.step
            ]
            shown.append(_heat(f"Error of following{whose}", own, maps))
    return "".join(shown)


def _between(layer: ProbedLayer) -> str:
    return layer.operation + ("" if np.isnan(layer.between) else f"; {layer.between:.2f} between pictures")


def _heat(title: str, curve: Curve, rows: Sequence[tuple[str, str, Sequence[float | None]]]) -> str:
    """A table whose cells are the darker, the larger their number; a number of 1 or more is darkest."""
    heads = "".join(f'<th scope="col">{size:g}</th>' for size in curve.sizes)
    body = "".join(
        f'<tr><th scope="row" class="left">{text(name)}{f" <span class=soft>{text(more)}</span>" if more else ""}</th>'
        f"{''.join(map(_shade, values))}</tr>"
        for name, more, values in rows
    )
    caption = f'<caption class="soft">{text(title)}</caption>'
    head = f'<thead><tr><th scope="col">{text(_with_unit(curve))}</th>{heads}</tr></thead>'
    return f'<div class="scroll numbers" tabindex="0"><table>{caption}{head}<tbody>{body}</tbody></table></div>'


def _with_unit(curve: Curve) -> str:
    return f"{curve.change}, {curve.unit}"


def _shade(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "<td>–</td>"
    return f'<td class="shade" style="--v:{40 * min(1.0, value):.0f}%">{value:.3f}</td>'


def _strip(sample: Sample, nth: int, curve: Curve, probes: Sequence[Probe]) -> str:
    """One picture at every size, with what each network calls it."""
    figures = []
    for size, pixels in zip(curve.sizes, sample.pictures[curve.change], strict=True):
        answers = []
        for one in probes:
            own = one.curve(curve.change)
            if own is None or nth >= len(one.samples) or one.samples[nth].name != sample.name or size not in own.sizes:
                continue
            called, probability = one.samples[nth].answers[curve.change][own.sizes.index(size)]
            sign, kind = ("✓", "right") if called == sample.truth else ("✗", "wrong")
            who = f"<span class='soft'>{text(one.name)}</span> " if len(probes) > 1 else ""
            answers.append(f"{who}<span class='{kind}'>{sign} <bdi>{text(called)}</bdi> {probability:.0%}</span>")
        alt = f"a picture of {sample.truth}, {curve.change} {size:g} {curve.unit}"
        named = f"<b>{size:g}</b>" if size == curve.neutral else f"{size:g}"
        under = "<br>".join([named, *answers])
        image = f'<img alt="{text(alt)}" src="{_address(pixels)}">'
        figures.append(f"<figure>{image}<figcaption>{under}</figcaption></figure>")
    label = f"{sample.truth} at each size of {curve.change}"
    return f'<div class="strip" role="group" tabindex="0" aria-label="{text(label)}">{"".join(figures)}</div>'


def _address(pixels: NDArray[np.uint8]) -> str:
    """A picture (H, W, C) as a data: address; of other channels than 1 or 3 the first one."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]))
    out = io.BytesIO()
    form = "PNG" if max(picture.size) <= _EXACT else "JPEG"
    picture.thumbnail((_SHOWN, _SHOWN))
    picture.save(out, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def _how(probes: Sequence[Probe]) -> str:
    shown = []
    for one in probes:
        height, width = one.image_size
        size = f"{height} x {width} pixels in {one.channels} channel{'s' if one.channels > 1 else ''}"
        known = {
            "network": one.name,
            "pictures": f"{one.pictures:,} of {one.total:,}, evenly spread over the {one.split} split of {one.data}",
            "they are": f"{size}, changed before they are normalised",
            "layers": ", ".join(f"{layer.name} ({layer.operation})" for layer in one.layers),
            "left out": f"{one.left_out} more layers; name the ones to see with --layer" if one.left_out else "",
            "chance": "none: directions of shifts and the noise of each picture are the same every time",
        }
        shown.append(facts(known))
    return "<hr>".join(shown)
