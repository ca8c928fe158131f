"""``pellucid atlas`` as a user gives it, in a process of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def first(trained: Path, photos: Path, pellucid: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of its own with its atlas, and what the command said."""
    folder = tmp_path_factory.mktemp("atlas") / "run"
    shutil.copytree(trained, folder)
    done = pellucid("atlas", folder, photos, "--split", "all", "--k", 4, "--project", "3", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_atlas_lies_in_the_run_and_its_page_beside_it(first: tuple[Path, str], browser: Browser) -> None:
    folder, said = first
    facts = json.loads((folder / "atlas" / "atlas.json").read_text())
    assert facts["about"]["network"] == "lenet"
    assert facts["about"]["data"] == "photos"
    assert facts["about"]["pictures"] == 120
    assert {layer["name"] for layer in facts["layers"]} == {"0", "3", "7", "9", "11"}
    assert facts["projections"] == ["3"]
    assert "5 layers" in said
    assert f"page: {folder / 'atlas' / 'atlas.html'}" in said
    assert "without projections: 0, 7, 9, 11" in said
    with browser.open(folder / "atlas" / "atlas.html") as page:
        assert page.texts("h1") == ["lenet on photos"]
        page.value("location.hash='#layer=11'")
        page.value("new Promise(done=>setTimeout(done,200))")
        assert [text.partition(" · ")[2] for text in page.texts(".channel h3")] == facts["about"]["classes"]
        page.assert_quiet()


def test_the_same_command_again_finds_it_complete(
    first: tuple[Path, str], photos: Path, pellucid: Run, tmp_path: Path
) -> None:
    folder, _ = first
    before = {p: p.read_bytes() for p in (folder / "atlas").rglob("*") if p.is_file()}
    arguments = ["--split", "all", "--k", 4, "--no-projections", "--html", tmp_path / "other.html"]
    done = pellucid("atlas", folder, photos, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "was complete already" in done.stdout
    assert {p: p.read_bytes() for p in (folder / "atlas").rglob("*") if p.is_file()} == before
    assert (tmp_path / "other.html").read_bytes() == (folder / "atlas" / "atlas.html").read_bytes()


MISTAKES = {
    "no run": (["PHOTOS", "PHOTOS"], "there is no trained network in"),
    "no data": (["RUN", "my/photos"], "there is no file or folder my/photos"),
    "no layer": (
        ["RUN", "PHOTOS", "--layer", "33", "--folder", "new"],
        "there is no layer named '33'; did you mean '3'?",
    ),
    "k": (["RUN", "PHOTOS", "--k", "0", "--folder", "new"], "k is 0"),
    "other k": (["RUN", "PHOTOS", "--split", "all", "--k", "5"], "has another number of patches a channel"),
    "folder of others": (["RUN", "PHOTOS", "--folder", "PHOTOS"], "holds something else than an atlas"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message(
    name: str, first: tuple[Path, str], photos: Path, pellucid: Run, tmp_path: Path
) -> None:
    arguments, message = MISTAKES[name]
    places = {"PHOTOS": photos, "RUN": first[0]}
    done = pellucid("atlas", *(places.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not (photos / ".lock").exists()


def test_help_has_an_example(pellucid: Run, tmp_path: Path) -> None:
    done = pellucid("atlas", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Example: pellucid atlas" in done.stdout
