"""The atlas against the network itself, autograd and plain slicing; killed and followed; refused; leaving no trace."""

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

from pellucid.data import Data, Preprocess
from pellucid.errors import CheckpointError, PellucidError, ShapeError, UsageError
from pellucid.graph import Graph, capture
from pellucid.look import Atlas, atlas, atlas_build
from pellucid.look.atlas_files import locked
from pellucid.train import Model
from tests.made_runs import HOSTILE_CLASSES

SIDE = 16


def network() -> nn.Sequential:
    """Two convolutions, the second on a pooled map and with a stride, and a dense layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 7, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7 * 16, 4),
    ).eval()


def noise(count: int = 40, side: int = SIDE, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


_graphs: dict[tuple[str, bytes, tuple[int, ...]], Graph] = {}


def capture_once(net: nn.Module, *, inputs: Tensor, training: bool) -> Graph:
    """``capture``, once for all equal networks: it takes longer than what most tests look at."""
    tensors = b"".join(t.numpy().tobytes() for t in net.state_dict().values())
    key = (repr(net), tensors, tuple(inputs.shape[1:]))
    if key not in _graphs:
        _graphs[key] = capture(net, inputs=inputs, training=training)
    return _graphs[key]


@pytest.fixture
def captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas_build, "capture", capture_once)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return noise()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def made(images: Tensor, pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    folder = tmp_path_factory.mktemp("atlas") / "made"
    labels = np.arange(40) % 4
    return atlas(network(), (images, labels), k=4, pictures=pixels, folder=folder)


def layer_outputs(images: Tensor) -> dict[str, Tensor]:
    """What the module itself computes, layer by layer."""
    found, value = {}, images
    with torch.no_grad():
        for i, layer in enumerate(network()):
            value = layer(value)
            found[str(i)] = value.clone()
    return found


def strongest_of(maps: Tensor, channel: int, k: int) -> list[tuple[float, int, tuple[int, ...]]]:
    """(value, picture, place), by sorting everything in NumPy."""
    values = maps[:, channel].numpy()
    flat = values.reshape(len(values), -1)
    order = np.argsort(-flat.max(1), kind="stable")[:k]
    return [
        (flat[i].max(), int(i), tuple(map(int, np.unravel_index(flat[i].argmax(), values.shape[1:])))) for i in order
    ]


@pytest.mark.parametrize("layer", ["0", "4", "7"])
def test_it_finds_what_sorting_all_numbers_finds(made: Atlas, images: Tensor, layer: str) -> None:
    maps = layer_outputs(images)[layer]
    assert len(made[layer]) == maps.shape[1]
    for channel in range(maps.shape[1]):
        patches = made[layer][channel]
        wanted = strongest_of(maps, channel, 4)
        assert [(p.picture, p.place) for p in patches] == [(i, place) for _, i, place in wanted]
        assert [p.value for p in patches] == pytest.approx([float(value) for value, _, _ in wanted], rel=1e-5)
        assert [(p.rank, p.label) for p in patches] == [(rank, i % 4) for rank, (_, i, _) in enumerate(wanted)]


def test_layers_left_out_are_convolutions_and_dense_ones(made: Atlas) -> None:
    assert list(made) == ["0", "4", "7"]
    assert (made["4"].layer.field, made["7"].layer.field) == ("8x8", "everything")


@pytest.fixture(scope="module")
def unusual(images: Tensor) -> Atlas:
    return atlas(network(), images, k=3, layers=["5", "1", "2", "3"])


@pytest.mark.parametrize("layer", ["1", "2", "3", "5"])
def test_any_layer_with_channels_can_be_named(unusual: Atlas, images: Tensor, layer: str) -> None:
    """A normalisation has several results, and a ReLU many equal ones."""
    found = unusual[layer]
    maps = layer_outputs(images)[layer]
    for channel in range(maps.shape[1]):
        wanted = strongest_of(maps, channel, 3)
        assert [p.value for p in found[channel]] == pytest.approx([float(value) for value, _, _ in wanted], rel=1e-5)


@pytest.mark.parametrize("layer", ["0", "4", "7"])
def test_a_box_is_what_the_number_sees(made: Atlas, images: Tensor, layer: str) -> None:
    """The gradient of the number reaches no pixel outside, and (weights being random) the box's own edges."""
    net = network()
    for patch in made[layer][1]:
        picture = images[patch.picture : patch.picture + 1].clone().requires_grad_()
        value = nn.Sequential(*list(net)[: int(layer) + 1])(picture)[(0, 1, *patch.place)]
        (gradient,) = torch.autograd.grad(value, picture)
        rows, columns = (gradient[0] != 0).any(0).nonzero().T
        (top, bottom), (left, right) = patch.box
        assert top <= int(rows.min())
        assert int(rows.max()) <= bottom
        assert left <= int(columns.min())
        assert int(columns.max()) <= right
        if layer == "0":
            assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (
                top,
                bottom,
                left,
                right,
            )


@pytest.mark.parametrize("layer", ["0", "4", "7"])
def test_a_crop_is_cut_from_the_picture_and_empty_outside(made: Atlas, pixels: np.ndarray, layer: str) -> None:
    margin = 20
    outside = 0
    for channel in made[layer]:
        for patch in channel:
            opaque = np.concatenate([pixels[patch.picture], np.full((SIDE, SIDE, 1), 255, np.uint8)], axis=2)
            padded = np.pad(opaque, ((margin, margin), (margin, margin), (0, 0)))
            (top, bottom), (left, right) = patch.box_with_padding
            wanted = padded[top + margin : bottom + margin + 1, left + margin : right + margin + 1]
            assert np.array_equal(channel.crop(patch.rank), wanted)
            outside += int((wanted[..., 3] == 0).sum())
    assert (outside > 0) == (layer != "7")


def linear_network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 5, stride=2, padding=1, bias=False)).eval()


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("batch", [1 << 10, 1 << 28])
def test_a_projection_of_a_linear_network_is_its_gradient(
    images: Tensor, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without rectifiers and switches a deconvnet is the transpose; in one batch or one by one."""
    monkeypatch.setattr("pellucid.look.atlas_patches._BUDGET", batch)
    net = linear_network()
    for channel in atlas(net, images, k=3, layers=["1"])["1"]:
        for patch in channel:
            picture = images[patch.picture : patch.picture + 1].clone().requires_grad_()
            value = net(picture)[(0, channel.channel, *patch.place)]
            (gradient,) = torch.autograd.grad(value, picture)
            (top, bottom), (left, right) = patch.box
            wanted = (gradient * value)[0, :, top : bottom + 1, left : right + 1].detach().numpy()
            tile = channel.projection(patch.rank)
            shown = tile[tile[..., 3] == 255][:, :3].astype(float) - 128
            exact = wanted.transpose(1, 2, 0).reshape(-1, 3)
            between = np.abs(shown) < 127  # not clipped
            scale = (shown * exact)[between].sum() / (exact**2)[between].sum()
            assert scale > 0
            assert np.abs(shown - exact * scale)[between].max() < 1.5
            assert (np.abs(exact * scale)[~between] > 125).all()


def test_a_deconvnet_is_not_a_gradient(made: Atlas, images: Tensor) -> None:
    """Through a ReLU whose input was above zero a negative signal is held back, where the gradient lets it pass."""
    from pellucid.look.deconvnet import project
    from pellucid.look.walk import record

    channel = made["4"][2]
    graph = capture(network(), inputs=images[:1], training=False)
    for patch in channel:
        picture = images[patch.picture : patch.picture + 1]
        values = record(graph, picture, "4")
        signal = torch.zeros_like(values["4"])
        signal[(0, 2, *patch.place)] = patch.value
        (top, bottom), (left, right) = patch.box
        image = project(graph, values, picture, "4", signal)[0, :, top : bottom + 1, left : right + 1]
        tile = channel.projection(patch.rank)
        shown = torch.from_numpy(tile[tile[..., 3] == 255][:, :3].astype(np.float32)) - 128
        exact = image.permute(1, 2, 0).reshape(-1, 3)
        assert torch.corrcoef(torch.stack([shown.flatten(), exact.flatten()]))[0, 1] > 0.98


def test_what_is_read_from_the_folder_is_what_was_made(made: Atlas, images: Tensor, pixels: np.ndarray) -> None:
    assert made.folder is not None
    again = Atlas.open(made.folder)
    memory = atlas(network(), (images, np.arange(40) % 4), k=4, pictures=pixels)
    for other in (again, memory):
        assert list(other) == list(made)
        for layer in made:
            assert [list(channel) for channel in other[layer]] == [list(channel) for channel in made[layer]]
        for layer, channel, rank in (("0", 4, 0), ("4", 6, 3), ("7", 3, 1)):
            assert np.array_equal(other[layer][channel].crop(rank), made[layer][channel].crop(rank))
            assert np.array_equal(other[layer][channel].projection(rank), made[layer][channel].projection(rank))
    shown = np.array(sorted(again.shown))
    assert np.array_equal(again.tiles.pictures(shown)[..., :3], pixels[shown])


def test_its_files_are_plain_and_listed(made: Atlas) -> None:
    from PIL import Image
    from safetensors.numpy import load_file

    assert made.folder is not None
    facts = json.loads((made.folder / "atlas.json").read_text())
    files = {str(p.relative_to(made.folder)) for p in made.folder.rglob("*") if p.is_file()} - {".lock", "atlas.json"}
    assert facts["state"] == "complete"
    assert set(facts["files"]) == files
    tensors = load_file(made.folder / "strongest.safetensors")
    assert tensors["4/values"].shape == (7, 4)
    assert tensors["4/boxes"].shape == (7, 4, 4)
    with Image.open(made.folder / "patches" / "01-4-000.png") as sheet:
        assert sheet.size == (4 * 8, 7 * 8)


# ---- killed --------------------------------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys, time
import torch
from pathlib import Path
from pellucid.look import atlas, atlas_build
from tests.look.test_atlas import capture_once, network, noise

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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


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


def test_a_node_without_channels_is_refused() -> None:
    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(images).sum((1, 2, 3))

    with pytest.raises(UsageError, match=r"'sum' .* has no channels"):
        atlas(Scored(), noise(), layers=["sum"])
    assert list(atlas(Scored(), noise())) == ["conv"]


def test_ranks_and_channels_that_there_are_not(made: Atlas) -> None:
    with pytest.raises(IndexError, match="0 has 5 channels, 0 to 4; there is no 5"):
        made["0"][5]
    with pytest.raises(IndexError, match="channel 1 of 0 has 4 patches"):
        made["0"][1].crop(4)
    with pytest.raises(UsageError, match="there is no layer of this atlas named '3'"):
        made["3"]
    assert [channel.channel for channel in made["4"][-2:]] == [5, 6]
    assert [patch.rank for patch in made["4"][0][1:]] == [1, 2, 3]


# ---- no trace ------------------------------------------------------------------------------------------------------


def state_of(net: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {name: tensor.clone() for name, tensor in net.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "modes": [module.training for module in net.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules()],
        "random": torch.get_rng_state(),
        "grad": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("fails", [False, True])
def test_looking_leaves_no_trace(images: Tensor, fails: bool) -> None:
    net = nn.Sequential(*network(), nn.Dropout(0.5)).train()
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = state_of(net)

    def tell(what: str, done: int, total: int) -> None:
        if fails:
            raise RuntimeError("halfway")

    def look() -> None:
        atlas(net, images, k=2, progress=tell)["4"][0].projection(0)

    if fails:
        with pytest.raises(RuntimeError, match="halfway"):
            look()
    else:
        look()
    assert_same(before, state_of(net))


# ---- other networks, other data ------------------------------------------------------------------------------------


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


def test_a_model_shows_names_and_classes(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    classes = HOSTILE_CLASSES[:3]
    data = Data.from_arrays(
        chance.integers(0, 256, (30, 12, 12), np.uint8),
        np.arange(30) % 3,
        classes,
        test=(chance.integers(0, 256, (20, 12, 12), np.uint8), np.arange(20) % 3),
    )
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(200, 3))
    model = Model(net, classes=classes, preprocess=Preprocess.of(data))
    found = atlas(model, data, k=3, folder=tmp_path / "a")
    assert found.about.output == "2"
    assert data.test is not None
    for patch in found["2"][1]:
        assert patch.name == data.test.names[patch.picture]
        assert patch.label == classes[patch.picture % 3]
    with torch.no_grad():
        wanted = net(model.preprocess.tensor(data.test.images))[:, 1]  # type: ignore[union-attr]
    assert [p.picture for p in found["2"][1]] == wanted.argsort(descending=True)[:3].tolist()
    patch = found["0"][0][0]
    (top, _), (left, _) = patch.box
    grey = data.test.images[patch.picture, top : top + 3, left : left + 3]
    assert np.array_equal(found["0"][0].crop(0)[..., :3], grey.repeat(3, 2))
    assert atlas(model, data, k=1, split="train").about.pictures == 30
    assert atlas(model, data, k=1, split="all").about.pictures == 50
    with pytest.raises(PellucidError, match="has no validation split"):
        atlas(model, data, split="validation")
    strangers = atlas(model, data.test.images[:5], k=1)
    assert [strangers.about.classes, strangers["0"][0][0].label, strangers.about.output] == [(), None, ""]


def test_places_of_a_dense_layer_on_tokens_lie_before_its_units(images: Tensor) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 6, 4, stride=4)
            self.mix = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.mix(self.patch(x).flatten(2).transpose(1, 2)).mean(1)
            return out

    torch.manual_seed(0)
    net = Tokens().eval()
    found = atlas(net, images, k=3)
    with torch.no_grad():
        maps = net.mix(net.patch(images).flatten(2).transpose(1, 2)).transpose(1, 2)
    assert len(found["mix"]) == 5
    for channel in range(5):
        assert [(p.picture, p.place) for p in found["mix"][channel]] == [
            (i, place) for _, i, place in strongest_of(maps, channel, 3)
        ]
        assert found["mix"][channel].projection(0).shape == (SIDE, SIDE, 4)


def test_numbers_that_are_none_are_passed_over_and_counted(images: Tensor) -> None:
    broken = images.clone()
    broken[3, 0, 5, 5] = torch.nan
    found = atlas(network(), broken, k=40, layers=["0", "7"])
    assert found["0"][0].nans == 1
    assert len(found["0"][0]) == 40  # the other places of the picture count
    assert len(found["7"][0]) == 39
    assert found["7"][0].nans == 1


@pytest.mark.usefixtures("captured_once")
def test_fewer_pictures_than_ranks() -> None:
    found = atlas(network(), noise(2), k=5)
    assert [len(channel) for channel in found["4"]] == [2] * 7


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pictures_of_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    data = noise(6).repeat(1, 2, 1, 1)[:, :channels]
    found = atlas(nn.Conv2d(channels, 3, 3), data, k=2, folder=tmp_path / "a")
    name = next(iter(found))
    assert found[name][0].crop(0).shape == (3, 3, 4)
    assert found[name][0].projection(1).shape == (3, 3, 4)
    found.html(tmp_path / "page.html")


def test_large_patches_are_kept_smaller(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 81, stride=7, padding=3))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 120, 100, 3), np.uint8)
    found = atlas(net, noise(3, 1).expand(3, 3, 120, 100).contiguous(), k=2, pictures=pixels, folder=tmp_path / "a")
    patch = found["0"][0][0]
    tile = found["0"][0].crop(0)
    assert tile.shape == (64, 64, 4)
    (top, bottom), (left, right) = patch.box
    inside = tile[tile[..., 3] == 255][:, :3]
    cut = pixels[patch.picture, top : bottom + 1, left : right + 1].reshape(-1, 3)
    assert np.abs(inside.mean(0) - cut.mean(0)).max() < 2


@pytest.mark.usefixtures("captured_once")
def test_batches_shrink_where_maps_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the pictures: a batch's numbers fit the budget, whatever their size."""
    seen: list[int] = []
    net = network()

    def largest(budget: int) -> int:
        monkeypatch.setattr(atlas_build, "_BUDGET", budget)
        seen.clear()
        last = 0

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last
            seen.append(done - last)
            last = done

        atlas(net, noise(), k=1, progress=tell)
        return max(seen)

    assert largest(1 << 28) == 40
    floats = 4 * 5 * SIDE**2  # four of the largest
    assert largest(9 * 4 * floats + 100) == 9
    assert largest(1) == 1


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
