"""The folder of an atlas: followed after a kill byte for byte, refused where it is something else's, damage noticed."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import CheckpointError, ShapeError, UsageError
from pellucid.look import Atlas, atlas, atlas_build
from pellucid.look.atlas_files import locked
from tests.look.atlases import capture_once, contents, network, noise


@pytest.fixture
def captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas_build, "capture", capture_once)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return noise()


# ---- killed --------------------------------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys, time
import torch
from pathlib import Path
from pellucid.look import atlas, atlas_build
from tests.look.atlases import capture_once, network, noise

torch.set_num_threads(1)
atlas_build._BATCH, atlas_build.SAVE_SECONDS = 7, 0.0
atlas_build.capture = capture_once
capture_once(network(), inputs=noise(1), training=False)
root = Path(sys.argv[1])

def child(folder, stop):
    pid = os.fork()
    if pid:
        return pid
    calls = []
    def tell(what, done, total):
        calls.append(what)
        if (what, calls.count(what)) == stop:
            os.kill(os.getpid(), signal.SIGKILL)
    atlas(network(), noise(), k=4, folder=folder, progress=tell)
    os._exit(0)

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

begun = time.monotonic()
print(ended(child(root / "whole", None)))
took = time.monotonic() - begun
stops = ["pictures", 1], ["pictures", 3], ["patches", 2], ["projections", 1], ["projections", 3], ["whole pictures", 1]
print(*(ended(child(root / "stopped", stop and tuple(stop))) for stop in [*stops, None]))
chance = random.Random(0)
for folder in ("first", "second", "third"):
    killed = 0
    for longest in (0.1, 0.5, 0.7, 0.9):  # the first comes too early to find it finished
        pid = child(root / folder, None)
        time.sleep(chance.random() * longest * took)
        os.kill(pid, signal.SIGKILL)
        killed += ended(pid) == -9
    print(killed, ended(child(root / folder, None)))
"""


def test_a_killed_atlas_is_followed_byte_for_byte(tmp_path: Path) -> None:
    """By SIGKILL, at chosen moments one after another, and at any."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    whole, stopped, *any_time = done.stdout.splitlines()
    assert whole == "0"
    assert stopped == "-9 -9 -9 -9 -9 -9 0"
    assert {line.split()[1] for line in any_time} == {"0"}
    assert min(int(line.split()[0]) for line in any_time) > 0
    wanted = contents(tmp_path / "whole")
    assert len(wanted) == 9
    for name in ("stopped", "first", "second", "third"):
        assert contents(tmp_path / name) == wanted, name


@pytest.mark.usefixtures("captured_once")
def test_what_was_found_before_is_not_looked_for_again(images: Tensor, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(atlas_build, "_BATCH", 10)
    monkeypatch.setattr(atlas_build, "SAVE_SECONDS", 0.0)
    seen: list[tuple[str, int]] = []

    class Stopped(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        seen.append((what, done))
        if (what, done) in {("pictures", 20), ("projections", 12)}:
            raise Stopped

    for _ in range(2):
        with pytest.raises(Stopped):
            atlas(network(), images, k=2, folder=tmp_path / "a", progress=stop)
    assert [done for what, done in seen if what == "pictures"] == [10, 20, 30, 40]
    seen.clear()
    atlas(network(), images, k=2, folder=tmp_path / "a", progress=lambda what, done, total: seen.append((what, done)))
    assert "pictures" not in [what for what, _ in seen]
    seen.clear()
    atlas(network(), images, k=2, folder=tmp_path / "a", progress=lambda what, done, total: seen.append((what, done)))
    assert seen == []


# ---- refused -------------------------------------------------------------------------------------------------------


def other_weights() -> nn.Sequential:
    net = network()
    with torch.no_grad():
        net[4].weight[0, 0, 0, 0] += 1e-6
    return net


def other_buffers() -> nn.Sequential:
    net = network()
    net[1].running_mean[2] += 1e-3
    return net


def other_settings() -> nn.Sequential:
    net = network()
    net[1].eps = 1e-2
    return net


REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "weights": (other_weights, noise, {}, "is of another network"),
    "buffers": (other_buffers, noise, {}, "is of another network"),
    "settings": (other_settings, noise, {}, "is of another network"),
    "pictures": (network, lambda: noise(seed=5), {}, "is of other pictures"),
    "fewer pictures": (network, lambda: noise()[:39], {}, "is of other pictures"),
    "labels": (network, lambda: (noise(), np.zeros(40)), {}, "is of other pictures"),
    "k": (network, noise, {"k": 3}, "has another number of patches a channel"),
    "layers": (network, noise, {"layers": ["0", "4"]}, "is of other layers"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "atlas"
    atlas(network(), noise(), k=2, folder=folder, projections=False)
    return folder


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("name", REFUSED)
def test_the_folder_of_something_else_is_refused_and_kept(name: str, plain: Path) -> None:
    net, data, settings, message = REFUSED[name]
    before = contents(plain)
    with pytest.raises(UsageError, match=message):
        atlas(net(), data(), **{"k": 2, "folder": plain, **settings})
    assert contents(plain) == before


@pytest.mark.usefixtures("captured_once")
def test_a_folder_that_holds_something_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else than an atlas"):
        atlas(network(), noise(), folder=tmp_path)
    assert not (tmp_path / ".lock").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot be written"):
        atlas(network(), noise(), folder=tmp_path / "file" / "atlas")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["strongest.safetensors", "patches/01-4-000.png", "pictures/000.png"])
@pytest.mark.parametrize("place", [0, 60, -3])
def test_a_single_flipped_bit_is_noticed(plain: Path, tmp_path: Path, name: str, place: int) -> None:
    folder = tmp_path / "atlas"
    shutil.copytree(plain, folder)
    content = bytearray((folder / name).read_bytes())
    content[place] ^= 4
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        Atlas.open(folder).html(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_folder_that_is_no_atlas_or_not_finished_is_not_opened(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no atlas in .*: no atlas\.json"):
        Atlas.open(tmp_path)
    folder = tmp_path / "atlas"
    shutil.copytree(plain, folder)
    facts = json.loads((folder / "atlas.json").read_text())
    (folder / "atlas.json").write_text(json.dumps({**facts, "state": "begun"}))
    with pytest.raises(CheckpointError, match="is not finished"):
        Atlas.open(folder)
    (folder / "atlas.json").write_text(json.dumps({**facts, "format": 99}))
    with pytest.raises(CheckpointError, match="has format 99"):
        Atlas.open(folder)
    (folder / "atlas.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        Atlas.open(folder)


@pytest.mark.usefixtures("captured_once")
def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), pytest.raises(UsageError, match="another process makes an atlas in"):
        atlas(network(), noise(), folder=tmp_path / "a")


MISTAKES: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "layer": (network, noise, {"layers": ["O"]}, "there is no layer named 'O'"),
    "no layer": (network, noise, {"layers": []}, "no layer was named"),
    "k": (network, noise, {"k": 0}, "k is 0"),
    "large k": (network, noise, {"k": 101}, "k is 101"),
    "projections": (network, noise, {"projections": ["2"]}, "there is no layer of this atlas named '2'"),
    "path for a module": (network, lambda: "photos", {}, "how a picture becomes the input of Sequential is not known"),
    "no pictures": (network, lambda: noise(0), {}, "there is no picture"),
    "rank": (network, lambda: noise()[0], {}, "a tensor of shape"),
    "labels": (network, lambda: (noise(), [1, 2]), {}, "the labels have shape"),
    "shown": (network, noise, {"pictures": np.zeros((3, 4, 4, 3), np.uint8)}, "the pictures to show are"),
    "no network": (lambda: 7, noise, {}, "no network"),
}


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_clear_message(name: str, tmp_path: Path) -> None:
    net, data, settings, message = MISTAKES[name]
    with pytest.raises((UsageError, ShapeError), match=message):
        atlas(net(), data(), folder=tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()


# ---- gone on with --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("captured_once")
def test_projections_can_be_left_out_and_made_later(images: Tensor, tmp_path: Path) -> None:
    net = network()
    first = atlas(net, images, k=2, folder=tmp_path / "a", projections=["4"])
    whole = atlas(net, images, k=2, folder=tmp_path / "b")
    assert first.projected == ("4",)
    assert np.array_equal(first["0"][1].projection(0), whole["0"][1].projection(0))  # made now, from the network
    with pytest.raises(UsageError, match="has no projections of 0"):
        Atlas.open(tmp_path / "a")["0"][1].projection(0)
    later = atlas(net, images, k=2, folder=tmp_path / "a", projections=["7"])
    assert later.projected == ("4", "7")
    atlas(net, images, k=2, folder=tmp_path / "a")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.usefixtures("captured_once")
def test_a_copy_of_a_network_has_the_same_fingerprint(tmp_path: Path) -> None:
    net = network()
    atlas(net, noise(4), k=1, folder=tmp_path / "a", projections=False)
    calls: list[str] = []
    again = copy.deepcopy(net)
    atlas(again, noise(4), k=1, folder=tmp_path / "a", projections=False, progress=lambda what, *_: calls.append(what))
    assert calls == []


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
