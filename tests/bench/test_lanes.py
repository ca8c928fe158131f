"""bench/lanes.py: engines in turns, the same mathematics for all, and a page that says what was recorded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import airbench
import pytest
from lanes_bench import figure, keras_nets, report, roofline, turns
from lanes_bench.engine import ENGINES
from lanes_bench.workloads import TINY, WORKLOADS, network, pictures

from bench import lanes

PARAMETERS = {
    "lenet": 61_706,
    "basic_cnn": 113_962,
    "airbench": 1_971_352,
    "resnet18": 11_173_962,
    "vgg11_bn": 9_231_114,
    "inception_small": 1_651_114,
    "mobilenet_v2_224": 2_236_682,
    "resnet18_224": 11_181_642,
}


def spread(median: float) -> dict[str, Any]:
    return {"median_ms": median, "lowest_ms": 0.9 * median, "highest_ms": 2 * median, "rounds": 3}


RECORD: dict[str, Any] = {
    "machine": {"processor": "x", "cores": 2, "threads": 2, "system": "Linux", "date": "2026-11-25"},
    "versions": {"torch": "2"},
    "versions_of_peers": {"keras": "3", "torch": "1"},
    "left_out": {"keras_jax": "jax not installed"},
    "workloads": {
        "lenet": {
            "batch": 128,
            "train": {
                "lanes": spread(2.0),
                "torch": spread(9.0),
                "torch_kept": spread(8.0),
                "bf16_module": spread(4.0),
            },
            "train_busy": {"lanes": spread(3.0)},
            "memory_bytes": {"lanes": 10 * 2**20, "torch": 20 * 2**20, "torch_kept": 16 * 2**20, "keras_jax": None},
            "failed": {"keras_tensorflow": "it said nothing"},
        }
    },
    "tuning": {"resnet18": {"first_seconds": 8.0, "cached_seconds": 1.5, "step_seconds": 0.25}},
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_has_its_network(name: str) -> None:
    net = network(WORKLOADS[name])
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == PARAMETERS[name]


def test_pictures_are_normalised() -> None:
    images, labels = pictures(WORKLOADS["lenet"])
    assert images.shape == (128, 1, 28, 28)
    assert abs(images.std() - 1) < 0.05
    assert set(labels.tolist()) == set(range(10))


def test_keras_knows_the_published_numbers() -> None:
    assert keras_nets.WIDTHS == airbench.WIDTHS
    assert keras_nets.SCALING == airbench.SCALING
    assert keras_nets.BATCH_NORM_MOMENTUM == airbench.BATCH_NORM_MOMENTUM
    assert keras_nets.BATCH_NORM_EPSILON == airbench.BATCH_NORM_EPSILON


def test_an_engine_in_a_process_of_its_own() -> None:
    worker = turns.Worker("torch", "lenet", threads=1, peers=Path(sys.executable), batch=4)
    try:
        assert worker.ready["parameters"] == PARAMETERS["lenet"]
        assert len(set(worker.ready["losses"])) == 3
        spent = turns.in_turns([worker], "train", rounds=2, seconds=0.01)
        assert len(spent["torch"]) == 2
        assert min(spent["torch"]) > 0
        assert worker.ask("evaluate", steps=1)["last"] != 0
        assert sys.platform != "linux" or worker.ask("memory")["bytes"] > 0
    finally:
        worker.end()


def test_an_engine_that_is_not_there_is_left_out_and_named() -> None:
    names, left_out = lanes.available(["torch", "keras_jax"], Path("/nowhere/python"))
    assert names == ["torch"]
    assert left_out == {"keras_jax": "its interpreter does not run"}


def test_different_networks_and_losses_are_no_comparison() -> None:
    def ready(engine: str, parameters: int, losses: list[float]) -> Any:
        return argparse.Namespace(engine=engine, ready={"parameters": parameters, "losses": losses})

    lanes.checked("lenet", [ready("lanes", 5, [2.0, 1.9]), ready("torch", 5, [2.0, 1.9001])])
    with pytest.raises(RuntimeError, match="not the same"):
        lanes.checked("lenet", [ready("lanes", 5, [2.0]), ready("torch", 6, [2.0])])
    with pytest.raises(RuntimeError, match="the losses are lanes 1.9, torch 1.8"):
        lanes.checked("lenet", [ready("lanes", 5, [2.0, 1.9]), ready("torch", 5, [2.0, 1.8])])
    lanes.checked("lenet", [ready("lanes", 5, [2.0]), ready("bf16_module", 5, [2.1])])


def test_the_page_says_what_was_recorded() -> None:
    page = report.markdown(RECORD)
    assert "x, 2 cores, 2 threads, Linux, 2026-11-25; keras 3, torch 2." in page
    assert "| `lenet` | 128 | 2.00 | 8.00 | `torch_kept` | **4.00×** | 4.5× | 7× | 4.00 | **2.00×** |" in page
    assert "| torch | 9.00 (8.10–18.00) |" in page
    assert "| `lenet` | 10 | 20 | 0.50 | 16 | 0.62 |" in page
    assert "| `lenet` | lanes | 2.00 (1.80–4.00) | 3.00 (2.70–6.00) | 67% |" in page
    assert "| `resnet18` | 7.75 | 1.25 | 0.250 |" in page
    assert "- `keras_jax` was left out: jax not installed." in page
    assert "- `keras_tensorflow` failed on `lenet`: it said nothing." in page
    assert "evaluation" not in page


def test_the_page_is_filled_between_its_marks() -> None:
    first = lanes.filled("# Lanes\n\nProse.\n", RECORD)
    assert first.startswith("# Lanes\n\nProse.\n\n## What was measured\n")
    assert "**4.00×**" in first
    again = lanes.filled(first.replace("**4.00×**", "gone") + "\nMore prose.\n", RECORD)
    assert again == first + "\nMore prose.\n"


def test_the_figure_shows_the_ratio_and_what_was_asked() -> None:
    drawn = ElementTree.fromstring(figure.ratios(RECORD))
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text for title in drawn.iter(f"{space}title")]
    assert titles == [
        "Speed of lanes over the best float32 peer: lenet 4.00",
        "lenet, training step: 4.00 times torch_kept",
    ]
    bar = next(rect for rect in drawn.iter(f"{space}rect") if list(rect))
    goal = list(drawn.iter(f"{space}line"))[-1]
    asked = float(goal.attrib["x1"]) - figure.LEFT
    assert float(bar.attrib["width"]) / asked == pytest.approx(4.0 / 4.5, abs=1e-3)


def test_records_of_several_runs_are_one(tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text('{"machine": 1, "workloads": {"lenet": {"batch": 1}, "airbench": {"batch": 2}}}')
    second.write_text('{"machine": 2, "workloads": {"lenet": {"batch": 3}}, "roofline": {}}')
    found = lanes.joined([first, second])
    assert found["workloads"] == {"lenet": {"batch": 3}, "airbench": {"batch": 2}}
    assert (found["machine"], found["roofline"]) == (2, {})


def test_products_by_padding_are_counted_out() -> None:
    assert roofline.Shape(1, 1, 3, 4, 1).done == pytest.approx((10 / 12) ** 2)
    assert roofline.Shape(6, 16, 5, 14, 0).done == 1
    assert not roofline.Shape(512, 512, 3, 4, 1).winograd_goal


def test_the_roofline_names_the_goal_that_was_missed() -> None:
    row = {"shape": "a", "pass": "forward", "done": 1.0, "milliseconds": 1.0, "has_goal": True}
    rows = [
        {**row, "algorithm": "direct", "gflops": 340.0, "share": 0.85},
        {**row, "algorithm": "direct by blocks", "gflops": 100.0, "share": 0.25},
        {**row, "algorithm": "winograd 4x4", "gflops": 800.0, "share": 2.0},
    ]
    found = {"gflops_of_peak": 400.0, "peak_median": 390.0, "peak_lowest": 380.0, "instructions": "avx2", "batch": 128}
    lines = roofline.markdown({**found, "rows": rows})
    assert "| a | forward | 340 | **85%** | 100% | 800 | 200% (asked: 220%) |" in lines


def test_every_engine_has_a_kind() -> None:
    assert {engine.kind for engine in ENGINES.values()} == {"lanes", "float32", "bf16"}
    assert TINY.name not in WORKLOADS
