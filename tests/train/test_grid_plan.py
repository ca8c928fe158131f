"""The plan of a grid: which cells follow from what varies, what is refused, and that a grid only grows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import CheckpointError, UsageError
from pellucid.train import Axis, Plan, Settings, grid_plan, plan_of
from pellucid.train.grid_plan import State, check_extends, combinations, name_of

NETS = Axis("net", ("lenet", "mlp"))
OPTIMIZERS = Axis("optimizer", ("sgd", "adam"))


def place(values: Mapping[str, Any]) -> Settings:
    own = {name: value for name, value in values.items() if name in Settings.model_fields}
    rest = {name: value for name, value in values.items() if name not in own}
    return Settings.parse({"epochs": 2, **own, "net_settings": rest})


def plan(*axes: Axis, seeds: int = 2, data: str = "clothes") -> Plan:
    return plan_of(data, axes, seeds, place)


def test_every_combination_runs_once_a_seed_and_all_with_one_seed_before_the_next() -> None:
    made = plan(NETS, OPTIMIZERS, Axis("crop", (0, 4)))
    names = [cell.name for cell in made.cells]
    assert len(names) == 16
    assert names[:2] == ["lenet-sgd-crop=0-seed=0", "lenet-sgd-crop=4-seed=0"]
    assert names[8] == "lenet-sgd-crop=0-seed=1"
    assert made.seeds == (0, 1)
    cell = made.cells[7]
    assert (cell.settings.net, cell.settings.optimizer, cell.settings.crop, cell.settings.seed) == ("mlp", "adam", 4, 0)
    assert cell.settings.epochs == 2


def test_an_axis_for_one_value_alone() -> None:
    rates = Axis("learning_rate", (0.1, 0.3), "sgd"), Axis("learning_rate", (0.001,), "adam")
    assert combinations([OPTIMIZERS, *rates]) == [
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"optimizer": "sgd", "learning_rate": 0.3},
        {"optimizer": "adam", "learning_rate": 0.001},
    ]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"net": "lenet", "learning_rate": 0.00001}, "lenet-learning_rate=1e-05-seed=3"),
        ({"net": "my_nets:tiny"}, "my_nets.tiny-seed=3"),
        ({"channels": [32, 64], "flip": True}, "channels=32+64-flip=true-seed=3"),
        ({"word": "../../a b"}, "word=......a-b-seed=3"),
    ],
)
def test_a_cell_has_a_name_that_a_folder_can_have(values: dict[str, Any], name: str) -> None:
    assert name_of(values, 3) == name


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([Axis("net", ())], "there is nothing in the list of net"),
        ([Axis("crop", (0, None))], "a value in the list of crop is empty"),
        ([Axis("net", ("mlp", ""))], "a value in the list of net is empty"),
        ([Axis("crop", (4, 0, 4))], "4 stands twice in the list of crop"),
        ([NETS, NETS], "net varies twice"),
        ([OPTIMIZERS, Axis("crop", (0, 4)), Axis("crop", (1,), "sgd")], "crop varies twice"),
        ([OPTIMIZERS, Axis("crop", (0, 4), "sdg")], "there is no value of this grid named 'sdg'; did you mean 'sgd'"),
        ([NETS, Axis("optimizer", ("adm",))], "optimizer cannot be 'adm'"),
        ([Axis("learning_rate", (0.12345671, 0.12345672))], "two cells of the grid are named"),
    ],
)
def test_what_makes_no_grid_is_refused(axes: list[Axis], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(*axes)


def test_no_seed_is_no_grid() -> None:
    with pytest.raises(UsageError, match="a grid of 0 seeds has no cell"):
        plan(NETS, seeds=0)


def test_only_what_varies_is_chosen() -> None:
    with pytest.raises(
        UsageError, match="there is no setting that varies named 'learning_rat'; did you mean 'learning"
    ):
        plan_of("clothes", [NETS, Axis("learning_rate", (0.1, 0.2))], 1, place, ["learning_rat"])


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = plan(NETS, Axis("crop", (0, 4)), Axis("hidden", ([32, 64],), "mlp"), Axis("image_size", ([28, 20],)))
    state = State(made, {"lenet crop=0": 61706}, [made.cells[0].name])
    grid_plan.write(tmp_path, state)
    assert grid_plan.read(tmp_path) == state
    check_extends(tmp_path, grid_plan.read(tmp_path).plan, made)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "data": "x", "cells": [{}]}'])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"grid.json cannot be read"):
        grid_plan.read(tmp_path)


def test_no_file_and_another_format(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no grid in"):
        grid_plan.read(tmp_path / "nowhere")
    (tmp_path / "grid.json").write_text('{"format": 9}')
    with pytest.raises(CheckpointError, match="has format 9; this Pellucid reads 1"):
        grid_plan.read(tmp_path)


@pytest.mark.parametrize(
    "larger",
    [
        plan(NETS, OPTIMIZERS, seeds=3),
        plan(Axis("net", ("mlp", "basic_cnn", "lenet")), OPTIMIZERS),
        plan(NETS, Axis("optimizer", ("adam", "sgd", "momentum")), seeds=5),
    ],
    ids=["seeds", "networks", "both"],
)
def test_a_grid_grows(larger: Plan) -> None:
    check_extends(Path("grid"), plan(NETS, OPTIMIZERS), larger)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (plan(NETS, OPTIMIZERS, seeds=1), "has cells that this plan has not: lenet-sgd-seed=1, .* and 1 more"),
        (plan(Axis("net", ("mlp",)), OPTIMIZERS), "has cells that this plan has not: lenet-sgd-seed=0"),
        (plan(NETS, OPTIMIZERS, Axis("crop", (0,))), "has cells that this plan has not"),
        (plan(NETS, OPTIMIZERS, data="shoes"), "the grid in grid is of other data"),
        (
            plan_of("clothes", [NETS, OPTIMIZERS], 2, lambda v: place({**v, "batch_size": 7})),
            "batch_size is None in the grid in grid, and 7 in this plan",
        ),
    ],
    ids=["seeds", "networks", "axes", "data", "settings"],
)
def test_a_grid_that_would_lose_or_change_something_is_refused(other: Plan, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_extends(Path("grid"), plan(NETS, OPTIMIZERS), other)
