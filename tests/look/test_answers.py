"""What a page is answered: plain JSON whose maps, numbers, updates and projections are those of the scene."""

from __future__ import annotations

import base64
import io
import json
import math
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pellucid import Model, look
from pellucid.data import Preprocess
from pellucid.errors import DecodeError, UsageError
from pellucid.look import answers as module
from pellucid.look.answers import METHODS, Answers
from pellucid.look.tiles import Tiles, sheet, strongest_channels
from tests.look.made_page import CLASSES, encoded, lenet_lens, pixels


@pytest.fixture(scope="module")
def lens() -> look.Lens:
    """Captured once for all tests of this file."""
    return lenet_lens()


@pytest.fixture(scope="module")
def answers(lens: look.Lens) -> Answers:
    return Answers(lens)


@pytest.fixture(scope="module")
def picture(answers: Answers) -> str:
    return answers.add(encoded())


@pytest.fixture(scope="module")
def scene(answers: Answers, picture: str) -> look.Scene:
    return answers.scene(picture)


def codes(answer: dict[str, Any]) -> NDArray[np.uint8]:
    raw = np.frombuffer(zlib.decompress(base64.b64decode(answer["data"])), np.uint8)
    return raw.reshape(len(answer["shown"]), -1)


def values_in(answer: dict[str, Any]) -> NDArray[np.float64]:
    """The numbers of a sheet as a page reads them, (channels, cells)."""
    return (codes(answer).astype(np.float64) - 128) / 127 * np.array(answer["largest"])[:, None]


@pytest.mark.parametrize(
    ("shape", "has_batch", "expected"),
    [
        ((1, 6, 28, 20), True, Tiles(6, 1, 28, 20)),
        ((1, 84), True, Tiles(1, 84, 1, 1)),
        ((1, 197, 64), True, Tiles(1, 1, 197, 64)),
        ((1, 4, 5, 6, 7), True, Tiles(20, 1, 6, 7)),
        ((16, 6, 5, 3), False, Tiles(16, 6, 5, 3)),
        ((120, 400), False, Tiles(120, 400, 1, 1)),
        ((120,), False, Tiles(1, 120, 1, 1)),
        ((), False, Tiles(1, 1, 1, 1)),
    ],
)
def test_a_tensor_lies_in_tiles(shape: tuple[int, ...], has_batch: bool, expected: Tiles) -> None:
    found = Tiles.of(shape, has_batch=has_batch)
    assert found == expected
    assert found.channels * found.cells == math.prod(shape[1:] if has_batch else shape)


@pytest.mark.parametrize(
    "path", ["0", "3", "6", "11", "0.weight", "3.weight", "7.weight", "9.bias", "d 3", "d 3.weight"]
)
def test_the_cells_of_maps_are_the_numbers_in_their_order(
    answers: Answers, picture: str, scene: look.Scene, path: str
) -> None:
    answer = answers.maps(picture, None, path)
    plain = path.removeprefix("d ")
    numbers = scene.gradients(plain) if path != plain else scene.values(plain)
    inner = numbers[0] if answer["batch"] else numbers
    flat = inner.reshape(len(answer["shown"]), -1)
    close = np.abs(values_in(answer) - flat) <= np.array(answer["largest"])[:, None] / 253
    assert close.all()
    assert answer["strongest"] == flat.argmax(1).tolist()
    assert answer["shape"] == list(numbers.shape)


def test_of_several_results_each_has_maps() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
    model = Model(net, classes=("a", "b", "c"), preprocess=Preprocess((8, 8), 1, (0.5,), (0.5,)))
    found = Answers(look.Lens(model, training=True))
    name = found.add(pixels()[:8, :8])
    answer = found.maps(name, None, "1:1")
    assert answer["tiles"] == {"channels": 1, "tiles": 4, "rows": 1, "columns": 1}
    means = found.scene(name).values("0").mean((0, 2, 3))
    assert np.allclose(values_in(answer)[0], means, atol=np.abs(means).max() / 253)


def test_what_is_not_finite_has_a_code_of_its_own() -> None:
    answer = sheet(np.array([[math.nan, 2.0, -math.inf, -1.0]], np.float32), has_batch=True)
    assert codes(answer).tolist() == [[0, 255, 0, 64]]
    assert answer["largest"] == [2.0]
    assert answer["strongest"] == [1]


def test_the_strongest_channels_are_those_with_the_largest_number() -> None:
    maps = np.zeros((1, 5, 2, 2), np.float32)
    maps[0, :, 1, 0] = [1, -9, 5, 3, 4]
    assert strongest_channels(maps, 3, has_batch=True) == [2, 3, 4]
    assert strongest_channels(maps[0], 3, has_batch=False) == [1, 2, 4]


def test_many_channels_come_in_parts(monkeypatch: pytest.MonkeyPatch, answers: Answers, picture: str) -> None:
    monkeypatch.setattr(module, "MOST_MAPS", 6)
    first, last = answers.maps(picture, None, "3"), answers.maps(picture, None, "3", 12)
    assert first["shown"] == [0, 1, 2, 3, 4, 5]
    assert last["shown"] == [12, 13, 14, 15]
    with pytest.raises(UsageError, match="has no channel 16"):
        answers.maps(picture, None, "3", 16)


def test_large_maps_come_in_parts(monkeypatch: pytest.MonkeyPatch, answers: Answers, picture: str) -> None:
    monkeypatch.setattr(module, "MOST_CELLS", 2 * 28 * 28)
    assert answers.maps(picture, None, "0")["shown"] == [0, 1]
    monkeypatch.setattr(module, "MOST_CELLS", 5)
    assert answers.maps(picture, None, "0")["shown"] == [0]


def test_the_prediction_is_the_softmax_of_the_outputs(answers: Answers, picture: str, scene: look.Scene) -> None:
    answer = answers.prediction(picture)
    logits = torch.from_numpy(scene.output[0])
    shares = logits.double().softmax(0)
    assert [found["index"] for found in answer["top"]] == shares.argsort(descending=True).tolist()
    for found in answer["top"]:
        assert found["probability"] == pytest.approx(float(shares[found["index"]]))
        assert scene.open(found["address"]).value == found["output"]
        assert found["name"] == CLASSES[found["index"]]
    assert answer["label"] == int(logits.argmax())
    assert answer["predicted"]
    assert scene.open(answer["loss"]).value == pytest.approx(float(-shares.log()[answer["label"]]))
    shown = Image.open(io.BytesIO(base64.b64decode(answer["pixels"].split(",")[1])))
    assert np.array_equal(np.asarray(shown), pixels())


def test_another_label_has_another_loss(answers: Answers, picture: str) -> None:
    default, other = answers.prediction(picture), answers.prediction(picture, 4)
    assert other["label"] == 4
    assert not other["predicted"]
    assert other["loss_value"] > default["loss_value"]
    with pytest.raises(UsageError, match="no class 10"):
        answers.prediction(picture, 10)


def test_a_given_label_holds_for_every_picture(lens: look.Lens) -> None:
    found = Answers(lens, label="seven")
    for seed in (1, 2):
        answer = found.prediction(found.add(pixels(seed)))
        assert (answer["label"], answer["predicted"]) == (7, False)
    with pytest.raises(UsageError, match="no class named"):
        Answers(lens, label="horse")


def test_outputs_that_are_no_numbers_are_said() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        net[1].weight[1] = math.inf
        net[1].weight[2] = math.nan
    model = Model(net, classes=("a", "b", "c"), preprocess=Preprocess((8, 8), 1, (0.5,), (0.5,)))
    found = Answers(look.Lens(model))
    answer = found.prediction(found.add(pixels()[:8, :8]))
    json.dumps(answer, allow_nan=False)
    assert answer["top"][0]["name"] == "a"
    assert answer["top"][0]["probability"] == 1.0


@pytest.mark.parametrize("address", ["11[0,3]", "3[0,2,4,5]", "d 3.weight[2,1,0,0]", "input[0,0,3,3]", "0.bias[2]"])
def test_a_number_is_that_of_the_scene(answers: Answers, picture: str, scene: look.Scene, address: str) -> None:
    answer = answers.number(picture, None, address.replace("input", scene.input_name))
    number = scene.open(answer["address"])
    assert answer["value"] == number.value
    assert answer["count"] == len(number.terms())
    assert answer["adds_up"]
    assert answer["has_update"] == (address == "0.bias[2]" or address.startswith("d 3.weight"))
    json.dumps(answer, allow_nan=False)


def test_an_update_is_the_optimizers_own_step(answers: Answers, picture: str, scene: look.Scene) -> None:
    answer = answers.update(picture, None, "3.weight[2,1,0,4]")
    net = scene.lens.subject.net
    weight = dict(net.named_parameters())["3.weight"]
    before = weight.detach().clone()
    options = {"lr": answer["settings"]["learning rate"], "weight_decay": answer["settings"]["weight decay"]}
    optimizer = torch.optim.AdamW([weight], **options)
    weight.grad = torch.from_numpy(scene.gradients("3.weight")).clone()
    optimizer.step()
    after = float(weight.detach()[2, 1, 0, 4])
    with torch.no_grad():
        weight.copy_(before)
    weight.grad = None
    assert answer["stored"] == pytest.approx(after, rel=1e-6)
    assert answer["before"] == float(before[2, 1, 0, 4])
    assert sum(term["product"] for term in answer["terms"]) == pytest.approx(answer["after"])
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize("method", METHODS)
def test_a_projection_is_that_of_the_scene(answers: Answers, picture: str, scene: look.Scene, method: str) -> None:
    address = "3[0,2,4,5]"
    answer = answers.projection(picture, None, address, method)
    raw = np.frombuffer(zlib.decompress(base64.b64decode(answer["data"])), np.uint8)
    shown = (raw.reshape(answer["rows"], answer["columns"], answer["channels"])[..., 0] - 128.0) / 127
    expected = {
        "deconvnet": lambda: scene.deconvnet("3", channel=2, index=(4, 5)).image[0, 0],
        "saliency": lambda: scene.saliency(node="3", channel=2, index=(4, 5)).map[0],
        "grad_cam": lambda: scene.grad_cam(int(scene.output.argmax()), path="3").image[0, 0],
        "field": lambda: np.sqrt(scene.effective_field(scene.open(address)).energy),
    }[method]()
    assert np.abs(shown * answer["largest"] - expected).max() <= answer["largest"] / 253
    assert answer["largest"] == pytest.approx(float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("address", "method", "said"),
    [
        ("3[0,2,4,5]", "magic", "no way to project named 'magic'"),
        ("3.weight[0,0,0,0]", "deconvnet", "is no number of a layer's output"),
        ("nothing[0]", "deconvnet", "no node or weight named 'nothing'"),
        ("3[0,99,0,0]", "deconvnet", "place 99 of dimension 1 is outside"),
        ("3", "deconvnet", "is no address of a number"),
    ],
)
def test_what_cannot_be_projected_is_said(answers: Answers, picture: str, address: str, method: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        answers.projection(picture, None, address, method)


def test_the_network_is_listed_without_the_box_of_the_label(answers: Answers) -> None:
    network = answers.network()
    names = [node["name"] for node in network["nodes"]]
    assert names == [row.name for row in answers.account().rows]
    assert names[0] == "input"
    assert not [name for name in names if "target" in name]
    assert network["output"] == "11"
    assert network["classes"] == list(CLASSES)
    weights = {own["name"]: own["shape"] for node in network["nodes"] for own in node["parameters"]}
    assert weights == {name: list(w.shape) for name, w in answers.lens.subject.net.named_parameters()}
    json.dumps(network, allow_nan=False)


def test_pictures_and_scenes_do_not_pile_up(lens: look.Lens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PICTURES", 6)
    found = Answers(lens)
    names = [found.add(pixels(seed)) for seed in range(9)]
    for name in names[3:]:
        found.prediction(name)
    assert len(found._pictures) == 6
    assert len(found._scenes) == module.MOST_SCENES
    assert found.number(names[3], None, "11[0,0]")["value"] == found.scene(names[3]).output[0, 0]  # opened again
    with pytest.raises(UsageError, match="no longer in memory"):
        found.prediction(names[0])


def test_a_kept_picture_stays(lens: look.Lens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PICTURES", 2)
    found = Answers(lens)
    first = found.add(pixels(), keep=True)
    others = [found.add(pixels(seed)) for seed in range(1, 6)]
    assert found.prediction(first)["picture"] == first
    assert list(found._pictures) == [others[-2], others[-1], first]


def test_the_same_picture_has_the_same_name(answers: Answers, picture: str) -> None:
    assert answers.add(encoded()) == picture
    assert answers.add(pixels(1)) != picture


def test_a_broken_picture_is_said(answers: Answers) -> None:
    with pytest.raises(DecodeError, match="cannot be decoded"):
        answers.add(b"\x89PNG\r\n\x1a\nbroken")


def test_a_network_without_preprocessing_is_refused() -> None:
    with pytest.raises(UsageError, match="how a picture becomes the input"):
        Answers(look.Lens(nn.Linear(2, 2)))


def test_threads_get_the_same_answers(lens: look.Lens) -> None:
    found = Answers(lens)
    names = [found.add(pixels(seed)) for seed in range(6)]
    alone = {name: found.number(name, None, "3[0,5,2,2]")["value"] for name in names}
    got: list[tuple[str, float]] = []

    def ask(which: int) -> None:
        for turn in range(6):
            name = names[(which + turn) % 6]
            got.append((name, found.number(name, None, "3[0,5,2,2]")["value"]))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 36
    assert set(got) == set(alone.items())


def test_looking_leaves_the_network_as_it_was(lens: look.Lens) -> None:
    found = Answers(lens)
    net = lens.subject.net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.random.get_rng_state()
    name = found.add(pixels())
    found.prediction(name)
    found.number(name, None, "d 0.weight[0,0,0,0]")
    found.update(name, None, "0.weight[0,0,0,0]")
    found.projection(name, None, "3[0,1,1,1]", "deconvnet")
    assert net.training
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any(part._forward_hooks for part in net.modules())


def test_a_path_of_a_picture_is_read(answers: Answers, picture: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    assert answers.add(tmp_path / "a.png") == picture
