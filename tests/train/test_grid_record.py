"""A grid as a record: what is compared, what validation chose, and what diverged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pellucid.errors import CheckpointError
from pellucid.train import Axis, Grid, read_grid
from pellucid.train.grid_record import Entry
from tests.made_grids import write_grid

SKILLS = {"lenet sgd": 2.2, "lenet adam": 2.2, "mlp sgd": 1.0, "mlp adam": 1.8}
RATES = (
    Axis("net", ("lenet",)),
    Axis("optimizer", ("sgd", "adam")),
    Axis("learning_rate", (0.03, 0.1, 0.3), "sgd"),
    Axis("learning_rate", (0.001, 0.01), "adam"),
)


def entry(grid: Grid, name: str) -> Entry:
    return next(entry for entry in grid.entries if entry.name == name)


def accuracy(folder: Path) -> float:
    return float(json.loads((folder / "metrics.json").read_text())["accuracy"])


def test_every_way_of_training_has_its_seeds(tmp_path: Path) -> None:
    grid = read_grid(write_grid(tmp_path / "grid", skill=SKILLS))
    assert [entry.name for entry in grid.entries] == ["lenet sgd", "lenet adam", "mlp sgd", "mlp adam"]
    found = entry(grid, "mlp adam")
    wanted = [accuracy(tmp_path / "grid" / f"mlp-adam-seed={seed}") for seed in range(3)]
    assert list(found.scores) == pytest.approx(wanted)
    assert found.mean == pytest.approx(np.mean(wanted))
    assert found.spread == pytest.approx(stats.tstd(wanted))
    assert found.interval == pytest.approx(stats.t.interval(0.95, 2, loc=np.mean(wanted), scale=stats.sem(wanted)))
    assert (found.asked, found.diverged, found.seconds) == (3, 0, 120.0)
    assert (grid.ended, len(grid.cells), grid.seeds, grid.split, grid.score) == (12, 12, 3, "test", "accuracy")
    assert [entry.name for entry in grid.ranked][-1] == "mlp sgd"


def test_pairs_that_differ_in_one_thing_are_compared_the_better_first(tmp_path: Path) -> None:
    grid = read_grid(write_grid(tmp_path / "grid", skill=SKILLS))
    pairs = {frozenset((pair.one, pair.other)): pair for pair in grid.pairs}
    assert set(pairs) == {
        frozenset(names)
        for names in [
            ("lenet sgd", "lenet adam"),
            ("mlp sgd", "mlp adam"),
            ("lenet sgd", "mlp sgd"),
            ("lenet adam", "mlp adam"),
        ]
    }
    assert all(pair.mean >= 0 for pair in grid.pairs)
    assert pairs[frozenset(("lenet sgd", "mlp sgd"))].is_larger
    assert not pairs[frozenset(("lenet sgd", "lenet adam"))].is_larger
    pair = pairs[frozenset(("mlp sgd", "mlp adam"))]
    scores = [entry(grid, name).scores for name in (pair.one, pair.other)]
    assert pair.p == pytest.approx(stats.ttest_ind(*scores, equal_var=False).pvalue)


def test_what_diverged_is_counted_and_in_no_comparison(tmp_path: Path) -> None:
    folder = write_grid(tmp_path / "grid", diverged=["mlp-sgd-seed=1"], missing=["lenet-adam-seed=2"])
    grid = read_grid(folder)
    found = entry(grid, "mlp sgd")
    assert (found.diverged, len(found.scores), len(found.runs)) == (1, 2, 3)
    assert not [pair for pair in grid.pairs if "mlp sgd" in (pair.one, pair.other)]
    assert dict(grid.cells)["mlp-sgd-seed=1"] == "diverged"
    assert dict(grid.cells)["lenet-adam-seed=2"] == "to come"
    assert grid.ended == 11


def test_a_run_that_ended_but_was_not_measured_is_not_over(tmp_path: Path) -> None:
    folder = write_grid(tmp_path / "grid")
    (folder / "lenet-sgd-seed=0" / "metrics.json").unlink()
    record = json.loads((folder / "grid.json").read_text())
    record["ended"].remove("lenet-sgd-seed=0")
    (folder / "grid.json").write_text(json.dumps(record))
    grid = read_grid(folder)
    assert dict(grid.cells)["lenet-sgd-seed=0"] == "to be measured"
    assert grid.ended == 11
    assert len(entry(grid, "lenet sgd").scores) == 2


def test_validation_chooses_a_rate_for_each_optimizer(tmp_path: Path) -> None:
    on_validation = {
        "lenet sgd learning_rate=0.03": 0.7,
        "lenet sgd learning_rate=0.1": 0.8,
        "lenet sgd learning_rate=0.3": 0.75,
        "lenet adam learning_rate=0.001": 0.6,
        "lenet adam learning_rate=0.01": 0.9,
    }
    test_says_otherwise = {"lenet sgd learning_rate=0.03": 3.0, "lenet adam learning_rate=0.001": 3.0}
    folder = write_grid(
        tmp_path / "grid", RATES, validation=on_validation, skill=test_says_otherwise, choose=["learning_rate"]
    )
    grid = read_grid(folder)
    assert [(entry.name, entry.values) for entry in grid.entries] == [
        ("sgd", {"net": "lenet", "optimizer": "sgd"}),
        ("adam", {"net": "lenet", "optimizer": "adam"}),
    ]
    assert [(choice.entry, choice.chosen, choice.at_edge) for choice in grid.choices] == [
        ("sgd", "learning_rate=0.1", False),
        ("adam", "learning_rate=0.01", True),
    ]
    tried = dict(grid.choices[0].tried)
    assert tried == pytest.approx(
        {f"learning_rate={rate}": on_validation[f"lenet sgd learning_rate={rate}"] + 0.001 for rate in (0.03, 0.1, 0.3)}
    )
    wanted = [accuracy(folder / f"lenet-sgd-learning_rate=0.1-seed={seed}") for seed in range(3)]
    assert list(grid.entries[0].scores) == pytest.approx(wanted)
    assert [(pair.one, pair.other) for pair in grid.pairs] in ([("sgd", "adam")], [("adam", "sgd")])


def test_a_rate_that_only_sometimes_works_is_not_chosen(tmp_path: Path) -> None:
    folder = write_grid(
        tmp_path / "grid",
        [Axis("learning_rate", (0.1, 0.3))],
        validation={"learning_rate=0.1": 0.7, "learning_rate=0.3": 0.9},
        diverged=["learning_rate=0.3-seed=2"],
        choose=["learning_rate"],
    )
    choice = read_grid(folder).choices[0]
    assert (choice.chosen, dict(choice.tried)["learning_rate=0.3"]) == ("learning_rate=0.1", None)


def test_ways_are_called_by_what_differs(tmp_path: Path) -> None:
    axes = [Axis("net", ("lenet",)), Axis("optimizer", ("adam",)), Axis("crop", (0, 4))]
    grid = read_grid(write_grid(tmp_path / "grid", axes))
    assert [entry.name for entry in grid.entries] == ["crop=0", "crop=4"]
    assert grid.differ == {"crop": (0, 4)}


def test_a_grid_before_its_first_run(tmp_path: Path) -> None:
    folder = write_grid(tmp_path / "grid", seeds=1)
    for cell in folder.iterdir():
        if cell.is_dir():
            shutil.rmtree(cell)
    grid = read_grid(folder)
    assert (grid.ended, grid.pairs, grid.differ, grid.visible) == (0, (), {}, None)
    assert [entry.mean for entry in grid.entries] == [None] * 4


def test_a_folder_without_a_grid(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no grid in"):
        read_grid(tmp_path)
