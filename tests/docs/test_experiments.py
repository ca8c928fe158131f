"""The experiments of bench/experiments.py: every command has a plan, and the page says what was recorded."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import experiments
from pellucid.cli.app import app
from pellucid.train import Plan, grid

CELLS = {"optimizers": 45, "classic": 12, "sharing": 9, "pooling": 18, "regularisation": 12}


class Planned(Exception):
    """What ends a command when its plan is known."""


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_a_command_has_a_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def stop(folder: Any, plan: Plan, **more: Any) -> None:
        plans.append(plan)
        raise Planned

    monkeypatch.setattr(grid, "run_grid", stop)
    words = shlex.split(experiments.command(experiments.EXPERIMENTS[name]))[1:]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, Planned), done.exception
    assert len(plans[0].cells) == CELLS[name]
    assert len({cell.settings.model_dump_json() for cell in plans[0].cells}) == CELLS[name]


def entry(name: str, mean: float | None, moved: list[list[float]]) -> dict[str, Any]:
    return {
        "name": name,
        "mean": mean,
        "spread": 0.0125,
        "scores": [0.5, 0.6],
        "diverged": 0 if mean else 2,
        "asked": 2,
        "seconds": 12.34,
        "parameters": 61706,
        "curve": {"x": [1], "y": [0.5], "low": [0.4], "high": [0.6]},
        "moved": moved,
    }


def test_the_page_says_what_was_recorded() -> None:
    found = {
        "command": "pellucid compare fashion-mnist --nets mlp,lenet " + "--vary crop=0,4 " * 8,
        "seconds": 90.0,
        "score": "accuracy",
        "split": "test",
        "said": ["One difference is larger."],
        "entries": [entry("mlp", 0.5, [[0.5, 0.2], [0.7, 0.3]]), entry("lenet", 0.75, [[0.8, 0.6], [0.8, 0.4]])],
        "pairs": [
            {"one": "lenet", "other": "mlp", "mean": 0.25, "p": 0.01, "larger": True},
            {"one": "lenet", "other": "cnn", "mean": 0.125, "p": 0.3, "larger": False},
        ],
        "choices": [{"entry": "mlp", "tried": {}, "chosen": "learning_rate=0.1", "at_edge": True}],
        "shifts": [0, 2],
    }
    record = {"machine": "x, 2 cores", "torch": "2", "experiments": {"sharing": found}}
    page = experiments.page(record)
    assert page.index("| lenet | 0.7500 | 0.0125 | 2 | 12.3 | 61,706 |") < page.index("| mlp | 0.5000 |")
    assert "| mlp | 0.600 | 0.250 |" in page
    assert "Larger than the noise: lenet over mlp by 0.250." in page
    assert "mlp learning_rate=0.1 (the end of what was tried)" in page
    assert "Training the runs of this table took 0.8 minutes in all." in page  # four of 12.34 s
    assert "--vary crop=0,4 \\\n    --vary crop=0,4" in page
    assert "Five optimizers" not in page
