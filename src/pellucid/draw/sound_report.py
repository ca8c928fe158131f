"""What a report says of a classifier of recordings: mistakes to see and to hear, and what each filter answers to."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pellucid.draw import confusion
from pellucid.draw.classification_report import class_sections, lead, score_cards
from pellucid.draw.page import text
from pellucid.draw.report import Body

if TYPE_CHECKING:
    from pellucid.train.measure import Measured
    from pellucid.train.record import RunRecord

Pixels = NDArray[np.uint8]
Samples = NDArray[np.int16]
_MOST_SOUND = 3 << 20  # bytes of sound that a page carries
_GAP = 2  # pixels between the pieces of a strip
STYLE = """
.sounds{grid-template-columns:repeat(auto-fill,minmax(190px,1fr))}
.sounds img{aspect-ratio:auto;height:110px;object-fit:fill}
.sounds audio{width:100%;height:32px}
.filters{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:12px}
.filters svg{width:100%;height:auto;image-rendering:pixelated;background:var(--card);border:1px solid var(--line)}
.filters rect{fill:none;stroke:var(--b);stroke-width:.4}
.filters polyline{fill:none;stroke:var(--a);stroke-width:1}
"""


@dataclass(frozen=True)
class Piece:
    """Where a filter answers most in one recording.

    name, label: of the recording. value: the answer. seconds: where the piece begins and ends. pixels: of the
    spectrogram around it, uint8 (h, w), and box: what of them the filter sees, as y, x of the first and behind the
    last. wave: instead of pixels, of a network that reads waves.
    """

    name: str
    label: str
    value: float
    seconds: tuple[float, float]
    pixels: Pixels | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    wave: Samples | None = None


@dataclass(frozen=True)
class Filter:
    """One channel of a layer and its loudest pieces, the loudest first."""

    channel: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class FilterBank:
    """A convolution layer: its name, what it is, how many filters it has, and those that are shown."""

    name: str
    operation: str
    count: int
    filters: tuple[Filter, ...]


def body(
    record: RunRecord,
    pictures: Mapping[int, Pixels],
    waves: Mapping[int, Samples],
    rate: int,
    banks: Sequence[FilterBank],
) -> Body:
    """The part of the page for a measured classifier of recordings.

    Args:
        record: of the run, measured.
        pictures: spectrograms of the mistakes, uint8 (mels, frames, 1), by their index in the split.
        waves: their sound, int16 (T,). rate: samples a second.
        banks: of the first convolutions.
    """
    measured: Measured = record.measured
    sections = [("Mistakes", _mistakes(measured, pictures, waves, rate)), *class_sections(measured, "recordings")]
    if banks:
        sections.append(("Filters", "".join(map(_bank, banks))))
    return Body(
        lead(record, measured), score_cards(record, measured), sections, confusion.SCRIPT, confusion.STYLE + STYLE
    )


def _mistakes(measured: Measured, pictures: Mapping[int, Pixels], waves: Mapping[int, Samples], rate: int) -> str:
    if not measured.mistakes:
        return "<p>There are none.</p>"
    fits = sum(wave.nbytes for wave in waves.values()) <= _MOST_SOUND
    shown = "".join(
        f"<figure>{_spectrogram(pictures.get(item.index), item.truth)}"
        f"{_audio(waves[item.index], rate) if fits and item.index in waves else ''}"
        f"<figcaption><b><bdi>{text(item.truth)}</bdi></b>, called <bdi>{text(item.predicted)}</bdi> with "
        f"{item.confidence:.0%}<br><span class='soft'>{text(item.name)}</span></figcaption></figure>"
        for item in measured.mistakes
    )
    wrong = measured.n - sum(row[i] for i, row in enumerate(measured.confusion))
    return (
        f"<p>{wrong:,} of {measured.n:,} recordings were called something else. These are the ones of which the "
        "network was surest, as spectrograms: time to the right, pitch upwards, the loudest white.</p>"
        f'<div class="grid sounds">{shown}</div>'
    )


def _spectrogram(picture: Pixels | None, name: str) -> str:
    if picture is None:
        return ""
    return f'<img alt="a spectrogram of {text(name)}" src="{_png(picture[:, :, 0])}">'


def _png(pixels: Pixels) -> str:
    """uint8 (h, w) as an address that holds the picture itself."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def _audio(wave: Samples, rate: int) -> str:
    """int16 (T,) as something to play: a WAV file inside the page."""
    samples = np.ascontiguousarray(wave, "<i2").tobytes()
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    rest = b"WAVE" + form + b"data" + struct.pack("<I", len(samples)) + samples
    encoded = base64.b64encode(b"RIFF" + struct.pack("<I", len(rest)) + rest).decode()
    return f'<audio controls preload="none" src="data:audio/wav;base64,{encoded}"></audio>'


def _bank(bank: FilterBank) -> str:
    of_all = "all of them" if len(bank.filters) == bank.count else f"the first {len(bank.filters)}"
    shown = "".join(
        f"<figure>{_strip(item)}<figcaption>filter {item.channel} "
        f"<span class='soft'>{text(_heard(item))}</span></figcaption></figure>"
        for item in bank.filters
    )
    return (
        f"<h3>{text(bank.name)}: {text(bank.operation)}</h3><p class='soft'>Where each of its {bank.count:,} filters "
        f"({of_all}) answers most, one place a recording, the loudest first. What it sees is framed.</p>"
        f'<div class="filters">{shown}</div>'
    )


def _heard(item: Filter) -> str:
    """The classes of the pieces, each once, and how strong the first is."""
    labels = ", ".join(dict.fromkeys(piece.label for piece in item.pieces))
    return f"up to {item.pieces[0].value:.3g}, in {labels}" if item.pieces else "never answers"


def _strip(item: Filter) -> str:
    """The pieces side by side."""
    if not item.pieces:
        return ""
    said = "; ".join(f"{piece.name} at {piece.seconds[0]:.2f} s" for piece in item.pieces)
    if item.pieces[0].pixels is None:
        return _waves(item, said)
    pieces = [piece.pixels for piece in item.pieces if piece.pixels is not None]
    height, width = pieces[0].shape
    step = width + _GAP
    sheet = np.zeros((height, step * len(pieces) - _GAP), np.uint8)
    frames = []
    for i, (piece, pixels) in enumerate(zip(item.pieces, pieces, strict=True)):
        sheet[:, i * step : i * step + width] = pixels
        top, left, bottom, right = piece.box
        frames.append(f'<rect x="{i * step + left}" y="{top}" width="{right - left}" height="{bottom - top}"/>')
    return (
        f'<svg viewBox="0 0 {sheet.shape[1]} {height}" role="img" aria-label="{text(said)}"><title>{text(said)}</title>'
        f'<image href="{_png(sheet)}" width="{sheet.shape[1]}" height="{height}"/>{"".join(frames)}</svg>'
    )


def _waves(item: Filter, said: str, width: int = 90, height: int = 48) -> str:
    lines = []
    for i, piece in enumerate(item.pieces):
        if piece.wave is None or not len(piece.wave):
            continue
        loudest = max(1.0, float(np.abs(piece.wave.astype(np.float64)).max()))
        x = np.linspace(0, width - 6, len(piece.wave)) + i * width + 3
        y = height / 2 - piece.wave / loudest * (height / 2 - 3)
        lines.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))}"/>')
    whole = width * len(item.pieces)
    return (
        f'<svg viewBox="0 0 {whole} {height}" role="img" aria-label="{text(said)}"><title>{text(said)}</title>'
        f"{''.join(lines)}</svg>"
    )
