"""``pellucid probe`` as a user runs it: the page in the run folder, options, another run beside it, and mistakes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from pellucid.cli.probe import parse_changes, probe
from pellucid.errors import CheckpointError, PellucidError, UsageError
from tests.cli.conftest import Run

QUICK = {"change": ["shift=1"], "pictures": 6, "split": "all"}


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run folder of one's own, which a page may be written to."""
    shutil.copytree(trained / "best", tmp_path / "first" / "best")
    return tmp_path / "first"


def test_a_page_is_left_in_the_run_folder_and_replaced(
    run: Path, photos: Path, pellucid: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--split", "all", "--pictures", 9, "--change", "rotation=-30,30", "--change", "noise"]
    done = pellucid("probe", "first", photos, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("first on 9 of 120 pictures of the all split of ")
    assert "\n  Rotation: half of the accuracy is lost " in done.stdout
    assert done.stdout.endswith("the page is in first/probe.html\n")
    assert done.stderr == ""
    page = (run / "probe.html").read_text("utf-8")
    assert re.findall("<h2 id=[^>]*>([^<]*)", page)[:2] == ["Rotation", "Noise"]
    assert "What first tolerates" in page
    probe(run / "best", str(photos), html=run / "probe.html", as_json=True, **QUICK)
    plain = json.loads(capsys.readouterr().out)["runs"]
    assert [(one["name"], one["pictures"], one["total"]) for one in plain] == [("first", 6, 120)]
    assert plain[0]["curves"][0]["sizes"] == [0, 1]
    assert re.findall("<h2 id=[^>]*>([^<]*)", (run / "probe.html").read_text("utf-8"))[0] == "Shift"
    assert sorted(item.name for item in run.iterdir()) == ["best", "probe.html"]


def test_another_run_is_drawn_in_the_same_diagrams(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "second")
    file = tmp_path / "both.html"
    probe(run, str(photos), against=[tmp_path / "second"], html=file, layer=["0", "3"], **QUICK)
    page, printed = file.read_text("utf-8"), capsys.readouterr().out
    assert "What first and second tolerate" in page
    names = re.findall(r'"name": "([^"]*)"', page)
    assert names[:2] == ["first", "second"]
    assert [name for name in names if name[0].isdigit()] == ["0", "3", "0, step 1", "3, step 2"] * 2
    assert [line.split(" on ")[0] for line in printed.splitlines() if " on 6 of " in line] == ["first", "second"]
    assert not (run / "probe.html").exists()


def test_runs_of_one_name_are_called_by_their_paths(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "elsewhere" / "first"
    shutil.copytree(run, other)
    probe(run, str(photos), against=[other], html=tmp_path / "both.html", as_json=True, **QUICK)
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["runs"]] == [str(run), str(other)]
    with pytest.raises(UsageError, match="the run .*first is given twice"):
        probe(run, str(photos), against=[run], html=tmp_path / "both.html", **QUICK)


def test_progress_goes_to_a_terminal_alone(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    probe(run, str(photos), as_json=True, **QUICK)
    printed = capsys.readouterr()
    assert "passes through the network" in printed.err
    assert json.loads(printed.out)["runs"]


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ([], None),
        (["shift"], {"shift": None}),
        (["shift", "scale=0.5, 2"], {"shift": None, "scale": [0.5, 2.0]}),
        (["rotation=-30,30", "rotation=5"], {"rotation": [5.0]}),
    ],
)
def test_changes_are_read_with_their_sizes(given: list[str], changes: dict[str, list[float] | None] | None) -> None:
    assert parse_changes(given) == changes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"change": ["rotate"]}, UsageError, r"there is no change named 'rotate'; did you mean 'rotation'\?"),
        ({"change": ["rotation=a,b"]}, UsageError, "the sizes of --change rotation=a,b are no numbers"),
        ({"change": ["rotation="]}, UsageError, "the sizes of --change rotation= are no numbers"),
        ({"change": ["scale=-1"]}, UsageError, "a scale of -1 makes no sense"),
        ({"layer": ["conv"]}, UsageError, "there is no node named 'conv'"),
        ({"split": "exam"}, UsageError, "has no exam split"),
        ({"run": Path("nowhere")}, CheckpointError, "there is no trained network in"),
        ({"against": [Path("nowhere")]}, CheckpointError, "there is no trained network in"),
        ({"where": "fashion"}, UsageError, "there is no data set or folder named 'fashion'"),
        ({"where": "fashion-mnist-small"}, UsageError, "the data have other classes than the network"),
        ({"html": Path("nowhere/probe.html")}, UsageError, "there is no folder nowhere to write probe.html to"),
        ({"html": Path("RUN/best/classes.json")}, UsageError, "is there already, and is no page of pellucid probe"),
    ],
)
def test_a_mistake_is_said_and_nothing_is_written(
    options: dict[str, object], error: type[PellucidError], message: str, run: Path, photos: Path
) -> None:
    given = {"run": run, "where": str(photos), "split": "all", "pictures": 3, **options}
    if "html" in options:
        given["html"] = Path(str(options["html"]).replace("RUN", str(run)))
    before = {item: item.read_bytes() for item in run.rglob("*") if item.is_file()}
    with pytest.raises(error, match=message):
        probe(given.pop("run"), given.pop("where"), **given)  # type: ignore[arg-type]
    assert {item: item.read_bytes() for item in run.rglob("*") if item.is_file()} == before


def test_a_mistake_ends_in_one_message(run: Path, photos: Path, pellucid: Run, tmp_path: Path) -> None:
    done = pellucid("probe", photos, photos, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("pellucid: there is no trained network in")
    assert "Traceback" not in done.stderr
