"""The drawing of a network: every node once, every edge, nothing over anything else."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

import pellucid
from pellucid import nets
from pellucid.draw import network_svg
from pellucid.draw.network_svg import Box, place_boxes

SVG = "{http://www.w3.org/2000/svg}"
NETS = {"lenet": (1, 28, 28), "resnet18": (3, 64, 64), "inception": (3, 64, 64), "zfnet": (3, 224, 224)}


@pytest.fixture(scope="module", params=NETS)
def account(request: pytest.FixtureRequest) -> pellucid.graph.Account:
    settings = {"image_size": NETS[request.param][1]}
    module = nets.make(request.param, in_channels=NETS[request.param][0], **settings)
    return pellucid.capture(module, NETS[request.param], training=False).account()


def test_every_node_is_drawn_once_and_every_edge(account: pellucid.graph.Account) -> None:
    root = ElementTree.fromstring(network_svg(account, "a <net>"))
    drawn = [group.get("data-node") for group in root.iter(f"{SVG}g")]
    edges = {(path.get("data-from"), path.get("data-to")) for path in root.iter(f"{SVG}path") if path.get("data-from")}
    assert drawn == [row.name for row in account.rows]
    assert edges == {(name, row.name) for row in account.rows for name in row.inputs}
    assert root.find(f"{SVG}title").text == "a <net>"  # type: ignore[union-attr]
    assert "prefers-color-scheme:dark" in root.find(f"{SVG}style").text  # type: ignore[operator, union-attr]


def test_boxes_do_not_overlap(account: pellucid.graph.Account) -> None:
    boxes = list(place_boxes(account).values())
    for a, b in itertools.combinations(boxes, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart, (a, b)


def test_no_edge_runs_through_a_foreign_box(account: pellucid.graph.Account) -> None:
    boxes = place_boxes(account)
    root = ElementTree.fromstring(network_svg(account))
    for path in root.iter(f"{SVG}path"):
        if not path.get("data-from"):
            continue
        own = {path.get("data-from"), path.get("data-to")}
        for x, y in points(path.get("d", "")):
            crossed = [name for name, box in boxes.items() if name not in own and inside(box, x, y)]
            assert not crossed, (own, crossed)


def inside(box: Box, x: float, y: float) -> bool:
    return box.x < x < box.x + box.width and box.y < y < box.y + box.height


def points(drawn: str) -> list[tuple[float, float]]:
    """Points along lines and cubic curves, sixteen a piece."""
    found: list[tuple[float, float]] = []
    here = (0.0, 0.0)
    for command, rest in re.findall(r"([MLC])([^MLC]*)", drawn):
        numbers = list(map(float, rest.split()))
        ends = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command != "M":
            a, b, c = ends if command == "C" else (here, ends[0], ends[0])
            for i in range(1, 17):
                t = i / 16
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
                found.append(
                    tuple(sum(w * p[k] for w, p in zip(weights, (here, a, b, c), strict=True)) for k in (0, 1))  # type: ignore[arg-type]
                )
        here = ends[-1]
    return found


def test_tooltips_say_what_a_node_costs() -> None:
    account = pellucid.capture(nets.make("lenet"), (1, 28, 28)).account()
    assert "156 parameters\n117,600 multiply-accumulates\nreceptive field 5" in network_svg(account)
