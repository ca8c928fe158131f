"""The plan of a network as a table and as bars: what stands in it, how it fits, and that it can be read."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pellucid.draw import plan_rich, plan_svg, plan_text
from pellucid.lanes.report import Cost, Outside, PlanReport, PlanStep

SVG = "{http://www.w3.org/2000/svg}"
CONV = PlanStep(
    name="stem.conv",
    kind="convolution",
    modules=("stem.conv",),
    nodes=("stem.conv", "stem.bn"),
    algorithm="winograd 4, direct",
    output=(64, 32, 32),
    forward=Cost(4_000_000_000, 3 << 20, 0.01),
    backward=Cost(8_000_000_000, 6 << 20, 0.02),
)
MAP = PlanStep("relu", "activation", ("act",), ("relu",), "map", (64, 32, 32), Cost(0, 1 << 20, 0.001), Cost(0, 0, 0.0))
ENTER = PlanStep("input", "border", (), (), "to lanes", (3, 32, 32), Cost(0, 1 << 20, 0.002), Cost(0, 0, 0.0))
PLAN = PlanReport(
    network="Net<1>",
    batch=128,
    shapes=((3, 32, 32),),
    training=True,
    threads=2,
    instructions="avx512",
    lanes=16,
    peak=400.0,
    seconds=0.04,
    memory=5 << 20,
    torch_memory=12 << 20,
    steps=(ENTER, CONV, MAP),
    outside=(Outside("sort", "head", "aten.sort.default", "there is no kernel for aten.sort.default"),),
)


def test_the_table_has_work_time_and_share_of_the_peak() -> None:
    lines = plan_text(PLAN, 140).splitlines()
    assert lines[0] == "Net<1>, training, batch 128 of 3x32x32, avx512 on 2 threads"
    row = next(line for line in lines if line.startswith("stem.conv, stem.bn"))
    # 12 GFLOP in 30 ms are 400 GFLOP/s, all of the peak.
    for cell in ("winograd 4, direct", "64x32x32", "12", "9.0 MiB", "10 ms", "20 ms", "400", "100%"):
        assert f" {cell}" in row
    text = "\n".join(lines)
    assert "whole step   40 ms, 3,200 pictures a second; forward 13 ms, 4 GFLOP, 308 GFLOP/s, 77% of the peak" in text
    assert "backward 20 ms, 8 GFLOP, 400 GFLOP/s, 100% of the peak" in text
    assert "peak         400 GFLOP/s of multiply-adds" in text
    assert "memory       5.0 MiB of feature maps; PyTorch keeps 12.0 MiB, by forecast" in text
    assert "PyTorch runs 1 node:\n  sort (aten.sort.default): there is no kernel for aten.sort.default" in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_table_fits_a_narrow_terminal(width: int) -> None:
    long = replace(
        CONV, nodes=("a.very.long.path.to.a.layer.of.a.deep.network.conv", "and.another"), algorithm="w" * 30
    )
    lines = plan_text(replace(PLAN, steps=(ENTER, long, MAP)), width).splitlines()
    table = lines[1 : lines.index(lines[2], 3)]
    assert max(map(len, table)) <= width
    assert all("ms" in line for line in table[2:])
    assert any("100%" in line for line in table)


def test_evaluation_has_no_way_back() -> None:
    forward = replace(PLAN, training=False, torch_memory=0, steps=(replace(CONV, backward=Cost(0, 0, 0.0)),))
    text = plan_text(forward, 140)
    assert "evaluation, batch 128" in text
    assert "backward " not in text.partition("whole step")[2]
    assert "by forecast" not in text


def test_in_a_terminal_it_says_the_same_in_colour() -> None:
    out = io.StringIO()
    plan_rich(PLAN, out)
    for word in ("stem.conv", "sort (aten.sort.default)", "400 GFLOP/s of multiply-adds"):
        assert word in out.getvalue()


def test_bars_are_as_long_as_their_times_and_stay_in_the_picture() -> None:
    root = ElementTree.fromstring(plan_svg(PLAN))
    width = float(root.get("width", 0))
    rows = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}title") is not None]
    assert [group.get("class") for group in rows] == ["border", "convolution", "activation"]
    bars = [[float(rect.get("width", 0)) for rect in group.iter(f"{SVG}rect")] for group in rows]
    assert bars[1][1] == pytest.approx(2 * bars[1][0], abs=0.1)
    assert bars[0][0] == pytest.approx(bars[1][0] / 5, abs=0.1)
    for group in rows:
        last = list(group.iter(f"{SVG}text"))[-1]
        assert float(last.get("x", 0)) + 7 * len(last.text or "") <= width
    assert root.find(f"{SVG}title").text == "Net<1>, training, batch 128 of 3x32x32, avx512 on 2 threads"  # type: ignore[union-attr]
    style = root.find(f"{SVG}style")
    assert style is not None
    assert "prefers-color-scheme:dark" in (style.text or "")
    assert "100% of the peak" in (rows[1].find(f"{SVG}title").text or "")  # type: ignore[union-attr]


def test_every_kind_has_a_colour_and_the_legend_names_it() -> None:
    odd = replace(MAP, kind="something new")
    drawn = plan_svg(replace(PLAN, steps=(CONV, odd, replace(MAP, kind="PyTorch"))))
    assert '<g class="other">' in drawn
    for kind in ("convolution", "other", "PyTorch"):
        assert f".{kind} rect{{fill:" in drawn
        assert f">{kind}</text>" in drawn


def test_a_network_of_no_time_is_drawn_too() -> None:
    ElementTree.fromstring(plan_svg(replace(PLAN, steps=(replace(MAP, forward=Cost(0, 0, 0.0)),))))
    ElementTree.fromstring(plan_svg(replace(PLAN, steps=())))
