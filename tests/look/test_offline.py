"""The offline page: what it holds is the scene's, within its size; nothing of the user's is overwritten."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid import look
from pellucid.errors import UsageError
from pellucid.look import offline as module
from pellucid.look.answers import Answers
from pellucid.look.offline import Held, offline_page, write_page
from tests.look.made_page import encoded, lenet_lens

COMMAND = "pellucid look RUN bar.png"


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(lenet_lens())


@pytest.fixture(scope="module")
def picture(answers: Answers) -> str:
    return answers.add(encoded())


@pytest.fixture(scope="module")
def scene(answers: Answers, picture: str) -> look.Scene:
    return answers.scene(picture)


@pytest.fixture(scope="module")
def made(answers: Answers, picture: str) -> tuple[str, Held, int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_NUMBERS", 300)
        return offline_page(answers, picture, COMMAND)


def block(html: str, name: str) -> str:
    found = re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found is not None, name
    return found[1]


def records(html: str, held: Held) -> dict[str, Any]:
    """The records as the page's script unpacks them."""
    found: dict[str, Any] = {}
    for part in set(held.numbers.values()):
        found |= json.loads(zlib.decompress(base64.b64decode(block(html, f"numbers-{part}"))))
    return found


def test_numbers_are_those_of_the_scene(made: tuple[str, Held, int], scene: look.Scene) -> None:
    html, held, _ = made
    found = records(html, held)
    assert set(found) == set(held.numbers)
    assert 300 <= len(found) <= 303
    for address, record in found.items():
        number = scene.open(address)
        assert record["address"] == address
        assert record["value"] == pytest.approx(number.value, rel=1e-6, abs=1e-30)
        assert record["count"] == len(number.terms())
        shown = sum(term["product"] for term in record["terms"]) + record["rest"]["sum"]
        assert shown == pytest.approx(number.total, rel=1e-4, abs=1e-5 * number.magnitude + 1e-30)


def test_the_walk_goes_down_the_largest_terms_to_the_pixels(made: tuple[str, Held, int], scene: look.Scene) -> None:
    html, held, _ = made
    found = records(html, held)
    address, way = f"11[0,{int(scene.output.argmax())}]", []
    while found[address]["kind"] != "pixel":
        way.append(address)
        terms = [term for term in found[address]["terms"] if term["source"] and "bias" not in term["source"]]
        address = max(terms, key=lambda term: abs(term["product"]))["source"]
    assert [step.split("[")[0] for step in way] == ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0"]


def test_what_every_thumbnail_opens_is_held(made: tuple[str, Held, int]) -> None:
    html, held, _ = made
    for node in ("0", "1", "2", "3", "4", "5"):
        sheet = json.loads(block(html, f"other-{held.others[f'maps {node}']}"))
        for channel, cell in zip(sheet["shown"], sheet["strongest"], strict=True):
            y, x = divmod(cell, sheet["tiles"]["columns"])
            assert f"{node}[0,{channel},{y},{x}]" in held.numbers


def test_maps_of_every_layer_and_weight_are_held(made: tuple[str, Held, int], scene: look.Scene) -> None:
    html, held, _ = made
    paths = [scene.input_name, *scene.nodes, *scene.parameters]
    for path in paths:
        sheet = json.loads(block(html, f"other-{held.others[f'maps {path}']}"))
        assert sheet["shape"] == list(scene.values(path).shape)
    assert {f"maps d {path}" for path in ["3", "0.weight", "11"]} <= set(held.others)


def test_updates_and_projections_are_held(made: tuple[str, Held, int], scene: look.Scene) -> None:
    html, held, _ = made
    updates = [asked.removeprefix("update ") for asked in held.others if asked.startswith("update ")]
    assert updates
    for address in updates:
        answer = json.loads(block(html, f"other-{held.others[f'update {address}']}"))
        number = scene.open(address)
        assert answer["after"] == scene.update(number.name, number.index).after
    best = f"11[0,{int(scene.output.argmax())}]"
    assert {f"{method} {best}" for method in module.METHODS} <= set(held.others)


def test_it_says_how_much_it_holds(made: tuple[str, Held, int], scene: look.Scene) -> None:
    html, held, total = made
    start = json.loads(block(html, "start"))
    paths = dict.fromkeys([scene.input_name, *scene.nodes, *scene.parameters])
    assert total == sum(scene.values(path).size for path in paths)
    assert start["held"]["counts"]["numbers"] == f"{len(held.numbers):,}"
    assert start["held"]["counts"]["all"] == f"{total:,}"
    assert start["command"] == COMMAND


def test_a_small_budget_leaves_out_the_weakest(
    answers: Answers, picture: str, scene: look.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAP_CELLS", 6_000)
    monkeypatch.setattr(module, "MOST_NUMBERS", 30)
    monkeypatch.setattr(module, "PROJECTION_BYTES", 0)
    html, held, _ = offline_page(answers, picture, COMMAND)
    sheet = json.loads(block(html, f"other-{held.others['maps 3']}"))
    largest = scene.values("3")[0].max((1, 2))
    assert 1 <= len(sheet["shown"]) < 16
    assert min(largest[sheet["shown"]]) >= max(np.delete(largest, sheet["shown"]))
    cells = 0
    for name in [scene.input_name, *scene.nodes]:
        sheet = (
            json.loads(block(html, f"other-{held.others[f'maps {name}']}")) if f"maps {name}" in held.others else None
        )
        cells += (
            len(sheet["shown"]) * scene.values(name)[0, 0].size
            if sheet is not None and scene.values(name).ndim == 4
            else 0
        )
    assert cells <= 6_000
    assert len(html) < 300_000


@pytest.mark.parametrize(
    ("sizes", "budget", "share"),
    [([1, 2, 3], 10, 3), ([1, 2, 30], 10, 7), ([10, 10, 10], 10, 3), ([], 10, 0), ([5], 3, 3)],
)
def test_a_budget_is_shared(sizes: list[int], budget: int, share: int) -> None:
    assert module._share(sizes, budget) == share
    assert sum(min(size, share) for size in sizes) <= max(budget, 0)


def test_a_page_is_written_again_but_nothing_else_is_overwritten(
    answers: Answers, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 6)
    file = tmp_path / "look.html"
    page = write_page(file, answers, picture, COMMAND)
    assert page.size == file.stat().st_size
    assert re.fullmatch(
        rf"{re.escape(str(file))} holds \d of [\d,]+ numbers in 0\.\d MB; the live page opens all", page.text()
    )
    write_page(file, answers, picture, COMMAND)
    other = tmp_path / "cat.jpg"
    other.write_bytes(encoded())
    with pytest.raises(UsageError, match="cat.jpg exists and is no page of pellucid look"):
        write_page(other, answers, picture, COMMAND)
    with pytest.raises(UsageError, match="is a folder"):
        write_page(tmp_path, answers, picture, COMMAND)
    assert other.read_bytes() == encoded()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["cat.jpg", "look.html"]


def test_the_same_answer_is_held_once() -> None:
    held = Held()
    assert held.add("maps a", {"x": 1}) == len('{"x":1}')
    assert held.add("maps a", {"x": 2}) == 0
    held.add("maps b", {"x": 3})
    assert held.texts == {"other-0": '{"x":1}', "other-1": '{"x":3}'}
