"""The page of an atlas: what it embeds, what it writes beside itself, and a reader's ways through it in Chromium."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.draw import atlas_page as module
from pellucid.draw.atlas_page import AtlasView, LayerView, atlas_page, write_atlas_page
from pellucid.draw.atlas_words import WORDS
from tests.browser import Browser, Page
from tests.draw.test_report_in_browser import CONTRAST
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME

CLASSES = ("cat", "ankle boot", "fox")
PICTURES, K = 24, 9


def color(*numbers: int) -> tuple[int, int, int]:
    """Of a tile: every tile of the page is of one color that says which it is."""
    return (numbers[0] * 53 % 256, numbers[1] * 11 % 256, numbers[2] * 29 % 256)


def sheet(rows: int, columns: int, tile: tuple[int, int], of: Any) -> bytes:
    pixels = np.full((rows * tile[0], columns * tile[1], 4), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            pixels[row * tile[0] : (row + 1) * tile[0], column * tile[1] : (column + 1) * tile[1], :3] = of(row, column)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def layer(
    number: int, name: str, channels: int, *, maps: tuple[int, ...] = (8, 8), rows: int = 64, tile: int = 6
) -> LayerView:
    """Channel c shows pictures c, c + 3, c + 6 ... where c is even, and c, c + 1, ... where it is odd."""
    steps = np.where(np.arange(channels) % 2, 1, 3)[:, None]
    pictures = (np.arange(channels)[:, None] + steps * np.arange(K)) % PICTURES
    strength = (np.arange(channels) * 7 % channels + 1)[:, None]
    places = (
        (np.arange(channels)[:, None] + np.arange(K)) % int(np.prod(maps)) if maps else np.zeros((channels, K), int)
    )
    top, left = places // 8 - 2, places % 8 - 2
    parts = [range(i, min(i + rows, channels)) for i in range(0, channels, rows)]

    def sheets(kind: int) -> tuple[bytes, ...]:
        return tuple(
            sheet(len(part), K, (tile, tile), lambda r, c, part=part: color(kind + 2 * number, part[r], c))
            for part in parts
        )

    return LayerView(
        name=name,
        operation="Convolution 3x3" if maps else "Linear",
        field="6x6" if maps else "everything",
        maps=maps,
        tile=(tile, tile),
        rows=rows,
        values=(strength * 10.0 - np.arange(K)).astype(np.float32),
        pictures=pictures.astype(np.int64),
        places=places.astype(np.int64),
        boxes=np.stack([top, left, top + 6, left + 6], -1).astype(np.int64),
        nans=np.zeros(channels, np.int64),
        patches=sheets(0),
        projections=sheets(1),
        units=() if maps else CLASSES,
    )


def view(**changed: Any) -> AtlasView:
    layers = (layer(0, "stem", 12), layer(1, "deep.wide", 512, rows=200), layer(2, "head", 3, maps=()))
    made = AtlasView(
        title="net on animals",
        split="test",
        k=K,
        pictures=10000,
        size=(16, 16),
        layers=layers,
        shown=tuple((100 + i, f"test/{i}.png", CLASSES[i % 3]) for i in range(PICTURES)),
        whole=(sheet(1, 32, (16, 16), lambda r, c: color(9, c, 1)),),
        tile=(16, 16),
        columns=32,
        on_sheet=32,
    )
    return replace(made, **changed)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("atlas")
    stem = view().layers[0]
    values = stem.values.copy()
    values[0, 0], values[1] = np.inf, np.nan
    pictures = stem.pictures.copy()
    pictures[1], pictures[2, 4:] = -1, -1
    odd = replace(
        stem, values=values, pictures=pictures, nans=np.arange(12) % 2, projections=(), name=HOSTILE_CLASSES[0]
    )
    hostile = tuple((i, HOSTILE_NAME, HOSTILE_CLASSES[i % len(HOSTILE_CLASSES)]) for i in range(PICTURES))
    views = {
        "plain": view(),
        "odd": view(layers=(odd, *view().layers[2:]), shown=hostile, title=HOSTILE_NAME, specialized=True),
    }
    made = {}
    for name, one in views.items():
        made[name] = root / f"{name}.html"
        assert write_atlas_page(made[name], one) == [made[name]]
    return made


@pytest.fixture
def plain(browser: Browser, files: dict[str, Path]) -> Iterator[Page]:
    with browser.open(files["plain"]) as page:
        settled(page)
        yield page
        page.assert_quiet()


# ---- what is written -----------------------------------------------------------------------------------------------


def test_every_word_is_there_in_both_languages() -> None:
    assert set(WORDS["en"]) == set(WORDS["zh"])
    for name, text in WORDS["en"].items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", WORDS["zh"][name])), name


def test_every_word_that_the_page_says_is_known_and_said() -> None:
    script = (Path(module.__file__).parent / "assets" / "atlas.js").read_text("utf-8")
    said = set(re.findall(r"say\('(\w+)'", script)) | {f"sort_{name}" for name in ("number", "strength", "purity")}
    shown = set(
        re.findall(r'data-(?:say|label|hint)="(\w+)"', atlas_page(replace(view(), specialized=True), ["f/0.png"] * 9))
    )
    assert said - {"sort_"} | shown == set(WORDS["en"])


def test_a_page_that_is_too_large_is_compressed_and_then_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    smooth = chance.integers(0, 255, (12, K, 2), np.uint8)

    def gradient(row: int, column: int) -> Any:
        ramp = np.linspace(smooth[row, column, 0], smooth[row, column, 1], 48)
        return np.clip(ramp[:, None, None] + chance.normal(0, 3, (48, 48, 3)), 0, 255)

    large = replace(view().layers[0], tile=(48, 48), patches=(sheet(12, K, (48, 48), gradient),), projections=())
    record = view(layers=(large, view().layers[2]))
    whole = write_atlas_page(tmp_path / "whole.html", record)
    assert whole == [tmp_path / "whole.html"]
    size = whole[0].stat().st_size

    monkeypatch.setattr(module, "ONE_FILE_BYTES", size // 2)
    smaller = write_atlas_page(tmp_path / "smaller.html", record)
    assert smaller == [tmp_path / "smaller.html"]
    text = smaller[0].read_text("utf-8")
    assert len(text) < size / 2
    assert [text.count(f"data:image/{kind};base64") for kind in ("webp", "png")] == [1, 3]  # small tiles to the bit

    monkeypatch.setattr(module, "ONE_FILE_BYTES", 1000)
    page, *sheets = write_atlas_page(tmp_path / "split.html", record)
    assert [str(file.relative_to(tmp_path)) for file in sheets] == [
        f"split_files/{i:04d}.{kind}" for i, kind in enumerate(["webp", "png", "png", "png"])
    ]
    assert "base64" not in page.read_text("utf-8")


# ---- a reader's ways -----------------------------------------------------------------------------------------------


def cards(page: Page, place: str = "layer") -> list[str]:
    found: list[str] = page.value(
        f"[...document.querySelectorAll('[data-place={place}] .channel')].map(e=>e.dataset.layer+':'+e.dataset.channel)"
    )
    return found


def choose(page: Page, name: str, value: str) -> None:
    page.value(
        f"(e=>{{e.value={json.dumps(value)};e.dispatchEvent(new Event('change',{{bubbles:true}}))}})"
        f"(document.getElementById('{name}'))"
    )
    settled(page)


def search(page: Page, text: str) -> None:
    page.value("document.getElementById('search').select()")
    page.call("Input.insertText", text=text)
    settled(page)


def settled(page: Page) -> None:
    """What waits for a pause in typing, and what is drawn, has come."""
    page.value("new Promise(done=>setTimeout(done,150))")
    page.value("new Promise(done=>requestAnimationFrame(()=>requestAnimationFrame(done)))")


def address(page: Page) -> str:
    return str(page.value("decodeURIComponent(location.hash)"))


def focused(page: Page) -> str:
    return str(
        page.value(
            "(e=>(e.closest('.channel')?e.closest('.channel').dataset.channel+'/'+(e.dataset.rank??e.className):e.id))"
            "(document.activeElement)"
        )
    )


def pixel(page: Page, selector: str, nth: int = 0) -> list[int]:
    """The color in the middle of a canvas, once it is drawn."""
    canvas = f"document.querySelectorAll({json.dumps(selector)})[{nth}]"
    settled(page)
    assert page.value(f"'drawn' in {canvas}.dataset")
    found: list[int] = page.value(
        f"(c=>[...c.getContext('2d').getImageData(c.width>>1,c.height>>1,1,1).data].slice(0,3))({canvas})"
    )
    return found


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False)])
@pytest.mark.parametrize("name", ["plain", "odd"])
def test_the_page_says_nothing_asks_nothing_and_fits(
    browser: Browser, files: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    with browser.open(files[name], width=width, dark=dark) as page:
        settled(page)
        assert page.value("[innerWidth,document.documentElement.scrollWidth]") == [width, width]
        assert page.value("typeof window.hacked") == "undefined"
        assert page.value(CONTRAST)[0][0] >= 4.5
        page.click(".tile")
        settled(page)
        assert page.value("(d=>[d.open,d.scrollWidth<=d.clientWidth])(document.getElementById('patch'))") == [
            True,
            True,
        ]
        assert page.value(CONTRAST)[0][0] >= 4.5
        page.assert_quiet()


@pytest.mark.browser
def test_a_layer_is_chosen(plain: Page) -> None:
    assert cards(plain) == [f"stem:{c}" for c in range(12)]
    assert plain.texts("#status") == ["12 channels"]
    choose(plain, "layer", "head")
    assert cards(plain) == ["head:0", "head:1", "head:2"]
    assert plain.texts(".channel h3") == ["channel 0 · cat", "channel 1 · ankle boot", "channel 2 · fox"]
    assert "each number sees the whole picture" in plain.texts(".column")[0]
    choose(plain, "layer", "*")
    assert len(cards(plain)) == 12 + 512 + 3
    assert plain.texts(".channel h3")[0] == "stem · channel 0"
    assert address(plain).startswith("#layer=*&")


@pytest.mark.browser
def test_each_tile_is_the_right_part_of_the_right_sheet(plain: Page) -> None:
    assert pixel(plain, "[data-channel='3'] .mosaic:nth-child(1) canvas", 5) == list(color(0, 3, 5))
    assert pixel(plain, "[data-channel='3'] .mosaic:nth-child(2) canvas", 8) == list(color(1, 3, 8))
    choose(plain, "layer", "deep.wide")
    plain.value("document.querySelector(\"[data-channel='431']\").scrollIntoView()")
    assert pixel(plain, "[data-channel='431'] .mosaic:nth-child(1) canvas", 2) == list(color(2, 431, 2))


@pytest.mark.browser
def test_channels_out_of_sight_hold_nothing(plain: Page) -> None:
    """And what is searched and sorted is all of them."""
    choose(plain, "layer", "deep.wide")
    full = "[...document.querySelectorAll('.channel')].filter(e=>e.children.length).length"
    assert 0 < plain.value(full) < 100
    height = plain.value("document.documentElement.scrollHeight")
    plain.value("document.querySelector(\"[data-channel='500']\").scrollIntoView()")
    settled(plain)
    assert plain.value("document.querySelector(\"[data-channel='500']\").children.length") > 0
    assert plain.value("document.querySelector(\"[data-channel='0']\").children.length") == 0
    assert plain.value(full) < 100
    assert plain.value("document.documentElement.scrollHeight") == height  # nothing moves under the reader


@pytest.mark.browser
def test_channels_are_searched_by_number_class_and_layer(plain: Page) -> None:
    search(plain, "7")
    assert cards(plain) == ["stem:7"]
    assert plain.texts("#status") == ["1 of 12 channels"]
    search(plain, "3-5")
    assert cards(plain) == ["stem:3", "stem:4", "stem:5"]
    search(plain, "Ankle B")  # an even channel shows one class alone, an odd one all
    assert cards(plain) == [f"stem:{c}" for c in range(12) if c % 2 or c % 3 == 1]
    search(plain, "deep")
    assert cards(plain) == []
    assert "No channel here for “deep”." in plain.texts(".empty")[0]
    assert plain.texts(".empty button") == ["512 in all layers"]
    plain.click(".empty button")
    settled(plain)
    assert len(cards(plain)) == 512
    search(plain, "wide 17")
    assert cards(plain) == ["deep.wide:17"]
    assert "q=wide+17" in address(plain)
    search(plain, "nobody")
    assert plain.texts(".empty button") == []


@pytest.mark.browser
def test_channels_are_sorted_by_strength_and_purity(plain: Page) -> None:
    choose(plain, "sort", "strength")
    strengths = [c * 7 % 12 + 1 for c in range(12)]
    assert cards(plain) == [f"stem:{c}" for c in sorted(range(12), key=lambda c: -strengths[c])]
    choose(plain, "sort", "purity")
    assert {int(name.split(":")[1]) % 2 for name in cards(plain)[:6]} == {0}
    search(plain, "fox")
    assert {int(name.split(":")[1]) for name in cards(plain)[:2]} == {2, 8}


@pytest.mark.browser
def test_two_layers_lie_side_by_side(plain: Page) -> None:
    choose(plain, "beside", "head")
    assert [len(cards(plain)), cards(plain, "beside")] == [12, ["head:0", "head:1", "head:2"]]
    left, right = plain.value("[...document.querySelectorAll('.column')].map(e=>e.getBoundingClientRect().left)")
    assert left < right
    assert plain.texts("#status") == ["12 channels | 3 channels"]
    search(plain, "cat")
    assert cards(plain, "beside") == ["head:0"] + [c for c in ["head:1", "head:2"] if c == "head:1"]


@pytest.mark.browser
def test_channels_are_compared_across_layers(plain: Page) -> None:
    plain.click("[data-channel='2'] .pin")
    assert plain.value("document.getElementById('comparison').hidden") is False
    assert "Choose “compare” at one more channel" in plain.texts("#comparison")[0]
    choose(plain, "layer", "deep.wide")
    plain.click("#columns [data-channel='5'] .pin")
    assert plain.texts("#comparison .channel h3") == ["stem · channel 2", "deep.wide · channel 5"]
    rows = {row[0]: row[1:] for row in (text.split("\t") for text in plain.texts("#comparison tbody tr"))}
    assert rows["strongest"] == ["30", "360"]
    assert rows["share of one class"] == ["100%", "33%"]
    assert rows["classes"] == ["fox ×9", "fox ×3 · cat ×3 · ankle boot ×3"]
    shared = {(2 + 3 * i) % 24 for i in range(9)} & set(range(5, 14))
    assert rows["pictures shared with the first"] == ["–", str(len(shared))]
    assert "compare=stem:2|deep.wide:5" in address(plain)
    plain.click("#columns [data-channel='5'] .pin")
    assert plain.texts("#comparison .channel h3") == ["stem · channel 2"]
    plain.click("#comparison > header button")
    assert plain.value("document.getElementById('comparison').hidden") is True
    assert "compare" not in address(plain)


@pytest.mark.browser
def test_a_patch_opens_with_its_picture_and_the_frame(plain: Page) -> None:
    plain.click("[data-channel='1'] button.tile", nth=4)
    assert plain.value("document.getElementById('patch').open")
    said = dict(zip(plain.texts("#patch dt"), plain.texts("#patch dd"), strict=True))
    assert said == {
        "layer": "stem – Convolution 3x3",
        "channel": "1",
        "rank": "5 of 9",
        "value": "76",
        "class": "fox",
        "picture": "test/5.png",
        "number in the split": "105",
        "place in the map": "0, 5",
        "sees": "rows -2 to 3, columns 3 to 8 (partly outside)",
    }
    assert pixel(plain, "#patch .whole canvas") == list(color(9, 5, 1))
    assert pixel(plain, "#patch .pairing canvas", 0) == list(color(0, 1, 4))
    assert pixel(plain, "#patch .pairing canvas", 1) == list(color(1, 1, 4))
    frame, whole = plain.value(
        "['.frame','.whole'].map(s=>(b=>[b.left,b.top,b.width,b.height])(document.querySelector(s).getBoundingClientRect()))"
    )
    cell = whole[2] / 16
    wanted = [whole[0] + 3 * cell, whole[1], 6 * cell, 4 * cell]
    assert frame == pytest.approx(wanted, abs=1)
    assert "channel=1&rank=4" in address(plain)


@pytest.mark.browser
def test_keys_walk_open_and_close(plain: Page) -> None:
    plain.press("/")
    assert focused(plain) == "search"
    plain.value("document.querySelector(\"[data-channel='0'] button.tile\").focus()")
    for key, where in [
        ("ArrowRight", "0/1"),
        ("ArrowDown", "0/4"),
        ("ArrowLeft", "0/3"),
        ("ArrowUp", "0/0"),
        ("ArrowUp", "0/0"),
        ("End", "0/8"),
        ("ArrowRight", "1/0"),
        ("ArrowLeft", "0/8"),
        ("Home", "0/0"),
        ("ArrowLeft", "0/0"),
    ]:
        plain.press(key)
        assert focused(plain) == where, key
    plain.press("ArrowRight")
    plain.press("Enter")
    assert plain.value("document.getElementById('patch').open")
    assert focused(plain) in {"patch-before", "patch-after", "patch-close"}
    plain.press("ArrowRight")
    assert plain.texts("#patch-title") == ["stem · channel 0 · 3"]
    plain.press("ArrowLeft")
    plain.press("ArrowLeft")
    plain.press("ArrowLeft")
    assert plain.texts("#patch-title") == ["stem · channel 0 · 1"]
    assert plain.value("document.getElementById('patch-before').disabled")
    plain.press("Escape")
    assert not plain.value("document.getElementById('patch').open")
    assert focused(plain) == "0/1"
    settled(plain)
    assert "rank" not in address(plain)


@pytest.mark.browser
def test_the_tab_key_goes_from_channel_to_channel(plain: Page) -> None:
    plain.value("document.getElementById('beside').focus()")
    seen = []
    for _ in range(6):
        plain.press("Tab")
        seen.append(focused(plain))
    assert seen == ["0/", "0/pin", "0/0", "1/", "1/pin", "1/0"]


@pytest.mark.browser
def test_the_language_is_switched_and_kept_in_the_address(plain: Page) -> None:
    plain.click("#languages button", nth=1)
    assert plain.value("document.documentElement.lang") == "zh-Hans"
    assert plain.texts("#status") == ["12 个通道"]
    assert plain.texts(".channel h3")[0] == "通道 0"
    assert plain.value("document.querySelector('#languages button[aria-pressed=true]').textContent") == "中文"
    assert "lang=zh" in address(plain)
    plain.click(".tile")
    assert "反卷积" in plain.texts("#patch")[0]
    plain.press("Escape")
    plain.click("#languages button", nth=0)
    assert plain.texts("#status") == ["12 channels"]


@pytest.mark.browser
def test_an_address_leads_to_the_same_place(plain: Page) -> None:
    plain.value("location.hash='#layer=deep.wide&channel=431&rank=2&compare=stem:3|head:1&sort=number&lang=zh'")
    settled(plain)
    assert plain.texts("#patch-title") == ["deep.wide · 通道 431 · 3"]
    plain.press("Escape")
    box = plain.value("(b=>[b.top,innerHeight-b.bottom])(document.querySelector('.chosen').getBoundingClientRect())")
    assert min(box) >= 0  # in sight
    assert plain.texts("#comparison .channel h3") == ["stem · 通道 3", "head · 通道 1 · ankle boot"]


@pytest.mark.browser
@pytest.mark.parametrize(
    "words", ["layer=nothing&channel=9999&rank=3", "compare=a:b|:|3|stem:99&rank=-1", "lang=xx&q=%F0%28"]
)
def test_an_address_of_nothing_leads_to_the_first_layer(plain: Page, words: str) -> None:
    plain.value(f"location.hash='#{words}'")
    settled(plain)
    assert plain.value("document.getElementById('layer').value") == "stem"
    assert not plain.value("document.getElementById('patch').open")
    assert plain.value("document.getElementById('comparison').hidden")


@pytest.mark.browser
def test_what_is_missing_is_said(browser: Browser, files: dict[str, Path]) -> None:
    with browser.open(files["odd"]) as page:
        settled(page)
        texts = page.texts(".channel")
        assert "∞" in texts[0]
        assert "no number but NaN or minus infinity" in texts[1]
        assert "NaN in the maps of 1 pictures" in texts[1]
        assert page.value("document.querySelectorAll(\"[data-channel='2'] button.tile\").length") == 4
        assert "Projections of this layer were left out." in page.texts(".column")[0]
        assert "that of one example" in page.texts(".lead")[0]
        assert HOSTILE_NAME in page.texts("h1")
        assert page.texts(".column h2") == [HOSTILE_CLASSES[0]]
        page.assert_quiet()


@pytest.mark.browser
def test_a_split_page_finds_its_sheets(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ONE_FILE_BYTES", 1000)
    written = write_atlas_page(tmp_path / "my page.html", view())
    assert len(written) > 1
    with browser.open(written[0]) as page:
        assert "it needs the folder my page_files beside it" in page.texts(".lead")[0]
        canvas = "[data-channel='3'] .mosaic:nth-child(1) canvas"
        settled(page)
        x, y = page.middle(canvas, 5)
        page.screenshot(tmp_path / "page.png")
        top = page.value("scrollY")
        with Image.open(tmp_path / "page.png") as shot:
            assert shot.convert("RGB").getpixel((int(x), int(y + top))) == color(0, 3, 5)
        assert not page.complaints
    shutil.rmtree(tmp_path / "my page_files")
    with browser.open(written[0]) as page:
        settled(page)
        assert page.texts("#missing") == [WORDS["en"]["missing"]]
        assert page.texts("#status") == ["12 channels"]


@pytest.mark.browser
def test_a_screen_reader_hears_every_patch(plain: Page) -> None:
    heard = plain.accessible()
    names = [item["name"] for item in heard if item["role"] == "button"]
    assert "1: 10, cat, test/0.png" in names
    assert "compare channel 3 of stem" in names
    assert all(names)
    assert {"layer", "sort by", "beside it"} <= {item["name"] for item in heard if item["role"] == "combobox"}
    assert "search" in {item["name"] for item in heard if item["role"] == "searchbox"}
