"""``pellucid compare``: from the command line to a page, and every mistake in one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pellucid.cli.app import app
from pellucid.errors import PellucidError
from tests.cli.conftest import Run

DATA = "fashion-mnist-small"
NETS = ["--nets", "lenet,mlp"]
MISTAKES: dict[str, tuple[list[str], str]] = {
    "nothing varies": ([DATA], "there is nothing to compare"),
    "unknown network": ([DATA, "--nets", "lenet,mpl"], "there is no network named 'mpl'; did you mean 'mlp'?"),
    "unknown optimizer": (
        [DATA, *NETS, "--optimizers", "sgd,adm"],
        "there is no optimizer named 'adm'; did you mean 'adam'?",
    ),
    "empty list": ([DATA, "--nets", ""], "there is nothing in the list of net"),
    "empty part": ([DATA, "--nets", "lenet,,mlp"], "a value in the list of net is empty"),
    "empty values": ([DATA, "--vary", "crop="], "there is nothing in the list of crop"),
    "no values": ([DATA, "--vary", "crop"], "--vary takes a name and values; this is 'crop'"),
    "no YAML": ([DATA, "--vary", "crop=0,[4"], "the value of --set crop=[0,[4] is no YAML value"),
    "twice": ([DATA, "--vary", "crop=0,4,0"], "0 stands twice in the list of crop"),
    "unknown setting": ([DATA, *NETS, "--vary", "crp=0,4"], "there is no setting named 'crp'; did you mean 'crop'?"),
    "a setting that one has not": ([DATA, *NETS, "--vary", "hidden=32,64"], "there is no setting named 'hidden'"),
    "for nobody": (
        [DATA, *NETS, "--set", "mpl:hidden=32"],
        "there is no value of this grid named 'mpl'; did you mean 'mlp'?",
    ),
    "a bad value": ([DATA, *NETS, "--vary", "batch_size=0,10"], "batch_size cannot be 0"),
    "set and varied": ([DATA, "--vary", "crop=0,4", "--set", "crop=2"], "crop is set and varies"),
    "seed": ([DATA, *NETS, "--set", "seed=3"], "seed cannot be set: a grid has each cell with the seeds 0, 1, 2"),
    "no seeds": ([DATA, *NETS, "--seeds", "0"], "a grid of 0 seeds has no cell"),
    "chosen but fixed": (
        [DATA, *NETS, "--choose", "learning_rate"],
        "there is no setting that varies named 'learning_rate'",
    ),
    "no data": (["clothes", *NETS], "there is no data set or folder named 'clothes'"),
    "no grid": ([], "there is no grid in grid"),
    "a plan without data": (NETS, "a grid that goes on keeps its plan; --nets needs the data as well"),
    "letters": ([DATA, *NETS, "--folder", "letters"], "letters holds mine.txt, and no grid"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message_and_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine")
    words, message = MISTAKES[name]
    done = CliRunner().invoke(app, ["compare", *words])
    assert isinstance(done.exception, PellucidError)
    assert str(done.exception).startswith(message)
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")) == ["letters", "letters/mine.txt"]


def test_a_message_ends_with_code_2(pellucid: Run, tmp_path: Path) -> None:
    done = pellucid("compare", DATA, "--nets", "lenet,mpl", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'mlp'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def made(pellucid: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A grid, and what was printed."""
    root = tmp_path_factory.mktemp("compare")
    words: list[Any] = ["--nets", "mlp", "--optimizers", "sgd,adam", "--vary", "adam:learning_rate=0.001,0.002"]
    words += ["--choose", "learning_rate", "--set", "limit=60", "--set", "validation=0.3", "--set", "mlp:hidden=8"]
    done = pellucid("compare", DATA, *words, "--seeds", 1, "--epochs", 1, "--threads", 1, cwd=root)
    assert done.returncode == 0, done.stderr
    return root / "grid", done.stdout


def test_it_trains_a_grid_and_writes_a_page(made: tuple[Path, str]) -> None:
    folder, printed = made
    names = [
        "mlp-adam-learning_rate=0.001-seed=0",
        "mlp-adam-learning_rate=0.002-seed=0",
        "mlp-sgd-seed=0",
    ]
    assert sorted(path.parent.name for path in folder.glob("*/metrics.json")) == names
    assert json.loads((folder / "grid.json").read_text())["parameters"]["mlp sgd"] == 784 * 8 + 8 + 80 + 10
    assert (folder / "compare.html").is_file()
    lines = printed.splitlines()
    assert lines[0].split()[:5] == ["way", "of", "training", "mean", "accuracy"]
    assert {line.split()[0] for line in lines[1:3]} == {"adam", "sgd"}
    assert "chosen by the validation split" in printed
    assert lines[-1] == "page  grid/compare.html"


def test_its_cells_are_runs_like_any_other(made: tuple[Path, str], pellucid: Run, tmp_path: Path) -> None:
    done = pellucid("runs", made[0], "--json", cwd=tmp_path)
    listed = json.loads(done.stdout)["runs"]
    assert [run["state"] for run in listed] == ["finished"] * 3
