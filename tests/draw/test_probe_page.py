"""The page of a probe from records alone: every number, every picture, and what is not there."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.draw import probe_page, write_probe_page
from pellucid.draw.probe_page import MARK, check_place
from pellucid.errors import UsageError
from pellucid.look.probe_record import Curve, Probe, ProbedLayer, Sample
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME

ANGLES = (-45.0, -10.0, 0.0, 10.0, 45.0)
FACTORS = (0.25, 1.0, 2.0)


def made_probe(
    name: str = "plain",
    *,
    classes: tuple[str, ...] = ("ant", "bee"),
    side: int = 12,
    channels: int = 3,
    skill: float = 0.9,
    data: str = "/home/someone/animals",
) -> Probe:
    """A record as a probe leaves it: of a rotation, which maps can follow, and of brightness, which none can."""
    layers = (
        ProbedLayer("conv", "Convolution 3x3, 8 kernels", "convolution", (8, side, side), "3", (1.0, 1.0), 1.31),
        ProbedLayer("pool", "Max pooling 2x2", "pooling", (8, side // 2, side // 2), "4", (2.0, 2.0), 1.02),
        ProbedLayer("head", "Linear 288 to 2", "linear", (2,), "everything", (), math.nan),
    )
    turned = Curve(
        change="rotation",
        unit="degrees",
        what="The picture is turned.",
        neutral=0.0,
        sizes=ANGLES,
        accuracy=(0.2, 0.7, skill, 0.75, 0.3),
        probability=(0.21, 0.61, 0.81, 0.62, 0.31),
        same=(0.22, 0.72, 1.0, 0.73, 0.32),
        features=((1.2, 0.6, 0.0, 0.61, 1.21), (0.9, 0.5, 0.0, 0.51, 0.91), (0.8, 0.2, 0.0, 0.21, 0.81)),
        equivariance=((0.447, 0.1, 0.0, 0.11, 0.448), (None, 0.31, 0.0, 0.32, None), (None,) * 5),
    )
    lit = Curve(
        change="brightness",
        unit="times",
        what="All values are multiplied.",
        neutral=1.0,
        sizes=FACTORS,
        accuracy=(0.5, skill, 0.8),
        probability=(0.41, 0.81, 0.71),
        same=(0.55, 1.0, 0.85),
        features=((0.75, 0.0, 1.0), (0.7, 0.0, 0.95), (0.3, 0.0, 0.4)),
        equivariance=((None,) * 3,) * 3,
    )
    chance = np.random.default_rng(3)
    samples = []
    for number, truth in enumerate(classes[:2]):
        pictures = {
            curve.change: tuple(chance.integers(0, 256, (side, side, channels)).astype(np.uint8) for _ in curve.sizes)
            for curve in (turned, lit)
        }
        answers = {
            curve.change: tuple((classes[i % 2], 0.5 + i / 10) for i in range(len(curve.sizes)))
            for curve in (turned, lit)
        }
        samples.append(Sample(number, f"test:{number}", truth, pictures, answers))
    return Probe(
        name=name,
        data=data,
        split="test",
        pictures=1000,
        total=10_000,
        classes=classes,
        image_size=(side, side),
        channels=channels,
        accuracy=skill,
        interval=(skill - 0.02, skill + 0.02),
        probability=0.81,
        layers=layers,
        left_out=0,
        curves=(turned, lit),
        samples=tuple(samples),
    )


class Read(HTMLParser):
    """The texts of a page's cells and captions, the addresses of its pictures, and what its charts hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.images: list[tuple[str, str]] = []
        self.series: list[list[dict]] = []
        self._in: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.images.append((given["alt"] or "", given["src"] or ""))
            return
        self._in.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._in and self._in[-1] == "script" and data.startswith("[{"):
            self.series.append(json.loads(data))
        elif "td" in self._in or "th" in self._in:
            self.tables[-1][-1][-1] += data


PROBE = made_probe()
PAGE = probe_page([PROBE])
READ = Read(PAGE)


def charts(read: Read) -> list[dict[str, list[float]]]:
    return [{one["name"]: one["y"] for one in chart} for chart in read.series]


def test_curves_show_the_answers_beside_the_unchanged_accuracy() -> None:
    rotation, brightness = charts(READ)[0], charts(READ)[4]
    assert rotation == {"accuracy": [0.2, 0.7, 0.9, 0.75, 0.3], "unchanged": [0.9, 0.9]}
    assert charts(READ)[1] == {
        "same answer": [0.22, 0.72, 1.0, 0.73, 0.32],
        "right class": [0.21, 0.61, 0.81, 0.62, 0.31],
    }
    assert brightness == {"accuracy": [0.5, 0.9, 0.8], "unchanged": [0.9, 0.9]}
    assert READ.series[4][0]["x"] == [25, 100, 200]  # factors as percent
    assert len(READ.series) == 4 + 3  # features everywhere, following only for what moves


def test_curves_show_every_layer_and_bridge_no_gap() -> None:
    features, following = charts(READ)[2:4]
    assert features["head"] == [0.8, 0.2, 0, 0.21, 0.81]
    assert following == {"conv, step 1": [0.447, 0.1, 0, 0.11, 0.448], "pool, step 2": [0.31, 0, 0.32]}
    assert READ.series[3][1]["x"] == [-10, 0, 10]


def test_an_axis_of_shares_goes_from_0_to_1_so_that_changes_can_be_compared() -> None:
    first = re.search(r"<svg viewBox.*?</svg>", PAGE, re.DOTALL)
    assert first is not None
    assert re.findall(r'text-anchor="end">([\d.]+)<', first[0]) == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_tables_hold_every_number() -> None:
    lost, answers, features, following, *_ = READ.tables
    assert lost[1] == ["rotation", "at -27.5 and 33.3 degrees"]
    assert lost[2] == ["brightness", "nowhere; the accuracy is 0.500 at 0.25 times and 0.800 at 2 times"]
    assert answers[0] == ["rotation, degrees", "-45", "-10", "0", "10", "45"]
    assert answers[1:] == [
        ["accuracy", "0.200", "0.700", "0.900", "0.750", "0.300"],
        ["right class", "0.210", "0.610", "0.810", "0.620", "0.310"],
        ["same answer", "0.220", "0.720", "1.000", "0.730", "0.320"],
    ]
    assert features[1][0] == "conv Convolution 3x3, 8 kernels; 1.31 between pictures"
    assert features[3] == ["head Linear 288 to 2", "0.800", "0.200", "0.000", "0.210", "0.810"]
    assert following[2] == ["pool Max pooling 2x2; step 2", "–", "0.310", "0.000", "0.320", "–"]
    assert len(following) == 3  # the dense layer is no map
    assert re.search(r"\bnan\b", re.sub('src="[^"]*"', "", PAGE).lower()) is None


def test_samples_are_kept_bit_by_bit_with_what_they_are_called() -> None:
    assert len(READ.images) == 2 * (len(ANGLES) + len(FACTORS))
    alt, address = READ.images[1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))
    assert alt == "a picture of ant, rotation -10 degrees"
    assert np.array_equal(picture, PROBE.samples[0].pictures["rotation"][1])
    assert "✓ <bdi>ant</bdi> 50%" in PAGE
    assert "✗ <bdi>bee</bdi> 60%" in PAGE


def test_large_pictures_are_shrunk_and_those_of_many_channels_shown_in_grey() -> None:
    large = Read(probe_page([made_probe(side=300, channels=3)]))
    assert large.images[0][1].startswith("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(large.images[0][1].partition(",")[2]))).size == (128, 128)
    five = made_probe(channels=5)
    address = Read(probe_page([five])).images[0][1].partition(",")[2]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address))))
    assert np.array_equal(shown, five.samples[0].pictures["rotation"][0][:, :, 0])


def test_two_networks_share_their_diagrams() -> None:
    better = made_probe("better", skill=1.0)
    halved = tuple(tuple(value / 2 for value in row) for row in better.curves[0].features)
    better = replace(better, curves=(replace(better.curves[0], features=halved), better.curves[1]))
    page = probe_page([PROBE, better])
    read = Read(page)
    assert charts(read)[0] == {
        "plain": [0.2, 0.7, 0.9, 0.75, 0.3],
        "better": [0.2, 0.7, 1.0, 0.75, 0.3],
        "plain, unchanged": [0.9, 0.9],
        "better, unchanged": [1, 1],
    }
    assert read.tables[0][0] == ["change", "plain", "better"]
    assert read.tables[0][1] == ["rotation", "at -27.5 and 33.3 degrees", "at -24 and 29.4 degrees"]
    assert "What plain and better tolerate" in page
    assert "plain: conv (Convolution 3x3, 8 kernels) follows with" in page
    assert "Half of the accuracy is lost by plain at -27.5 and 33.3 degrees, by better at -24 and 29.4 degrees." in page
    assert page.count("<span class='soft'>better</span> ") == 16  # under each picture that both have seen
    features = re.findall(r"<b>Change of features of.*?</svg><div", page, re.DOTALL)
    assert len({tuple(re.findall(r'text-anchor="end">([\d.]+)<', chart)) for chart in features[:2]}) == 1
    other = replace(better, curves=better.curves[:1], samples=())
    assert Read(probe_page([PROBE, other])).tables[0][2] == ["brightness", PROBE.curves[1].where_half_lost(), "–"]


def test_the_page_says_what_its_numbers_are_and_how_they_came_about() -> None:
    for said in ("‖f(T x) − f(x)‖ / ‖f(x)‖", "‖f(T x) − T′ f(x)‖ / ‖f(T x)‖", "1,000 of 10,000", "12 x 12 pixels"):
        assert said in PAGE
    assert "more layers" not in PAGE
    assert "3 more layers; name the ones to see with --layer" in probe_page([replace(PROBE, left_out=3)])


def test_names_are_text_whatever_they_hold() -> None:
    page = probe_page([made_probe(HOSTILE_NAME, classes=HOSTILE_CLASSES, data=f"/data/{HOSTILE_NAME}")])
    assert "<script>window.hacked" not in page
    assert "<img src=x" not in page
    assert "<img src=http" not in page
    assert not [address for _, address in Read(page).images if not address.startswith("data:")]


def test_a_probe_without_layers_or_samples_has_a_page() -> None:
    bare = [replace(curve, features=(), equivariance=()) for curve in PROBE.curves]
    page = probe_page([replace(PROBE, layers=(), samples=(), curves=tuple(bare))])
    assert len(Read(page).series) == 4
    assert "What the layers do" not in page


def test_a_page_is_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "probe.html"
    assert write_probe_page(file, [made_probe("before")]) == file
    assert MARK in file.read_text("utf-8")
    write_probe_page(file, [PROBE])
    assert file.read_text("utf-8") == PAGE
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_of_another_kind_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "notes.html"
    file.write_bytes(b"\xff mine")
    with pytest.raises(UsageError, match=r"notes\.html is there already, and is no page of pellucid probe"):
        write_probe_page(file, [PROBE])
    assert file.read_bytes() == b"\xff mine"
    with pytest.raises(UsageError, match="is there already, and is no page"):
        check_place(tmp_path)
    with pytest.raises(UsageError, match="there is no folder .*nowhere to write page.html to"):
        check_place(tmp_path / "nowhere" / "page.html")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written to"):
        check_place(tmp_path / "page.html")
