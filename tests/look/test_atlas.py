"""The atlas against the network itself, autograd and plain slicing; leaving no trace; other networks and other data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.data import Data, Preprocess
from pellucid.errors import PellucidError, UsageError
from pellucid.graph import capture
from pellucid.look import Atlas, atlas, atlas_build
from pellucid.train import Model
from tests.look.atlases import SIDE, capture_once, network, noise
from tests.made_runs import HOSTILE_CLASSES


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


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
