"""Scenes: what opens, under which names, with which mistakes said; and nothing is left behind."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid import Model, nets
from pellucid.data import Preprocess
from pellucid.errors import CheckpointError, PellucidError, UsageError
from pellucid.look import Lens, Scene
from pellucid.look import open as look_open
from pellucid.look.update_source import state_of_run

CLASSES = ("ant", "bee", "cat")


class InPlace(nn.Module):
    """A convolution, a ReLU in place, an addition in place, and a functional ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.conv(x))
        y += 1
        return self.head(F.relu(y).mean((2, 3)))


class Fails(nn.Module):
    """Counts its calls and then fails."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x).view(7, 7, 7)


@pytest.fixture(scope="module")
def scene() -> Scene:
    torch.manual_seed(0)
    net = nets.make("basic_cnn", classes=3, image_size=16)
    return Lens(net).open(torch.randn(2, 3, 16, 16), label=[0, 2])


def model() -> Model:
    torch.manual_seed(0)
    preprocess = Preprocess((12, 12), 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), CLASSES)
    return Model(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)), preprocess=preprocess)


def test_a_number_is_that_of_the_network_and_walks_to_the_pixels(scene: Scene) -> None:
    number = scene.loss
    steps = 0
    while number.node is not None:
        assert number.adds_up, number.address
        number = max(number.terms(), key=lambda term: (term.source is not None, abs(term.product))).open()
        steps += 1
    assert number.kind == "pixel"
    assert steps > 10


def test_addresses_open_again(scene: Scene) -> None:
    number = scene.at(scene.nodes[2], channel=1, y=3, x=-1, picture=1)
    assert number.address == f"{scene.nodes[2]}[1,1,3,15]"
    assert scene.open(number.address).value == number.value
    gradient = number.gradient()
    assert scene.open(gradient.address).value == gradient.value
    assert scene.open(gradient.address).of_gradient


@pytest.mark.parametrize("training", [False, True])
def test_in_place_calls_change_no_value_that_came_before(training: bool) -> None:
    torch.manual_seed(0)
    net, x = InPlace(), torch.randn(1, 3, 6, 6)
    scene = look_open(net, x, 1, training=training)
    wanted = net.conv(x).detach().numpy()
    assert (wanted < 0).any()
    np.testing.assert_allclose(scene.values("conv"), wanted, atol=1e-6)
    np.testing.assert_allclose(scene.output, net(x).detach().numpy(), atol=1e-6)
    number = scene.at("conv", tuple(int(i) for i in np.argwhere(wanted < 0)[0]))
    assert number.value < 0
    assert number.adds_up


def test_a_block_gives_its_last_operation() -> None:
    net = nets.make("resnet18", classes=3, image_size=32)
    scene = look_open(net, torch.randn(1, 3, 32, 32))
    assert scene.at("layer1.0", channel=0, y=0, x=0).name == "layer1.0.relu_2"
    assert scene.at("layer1", channel=0, y=0, x=0).name == "layer1.1.relu_2"


def test_a_weight_that_two_modules_share_has_one_gradient() -> None:
    torch.manual_seed(0)
    first = nn.Linear(4, 4)
    net = nn.Sequential(first, nn.Tanh(), first)
    x = torch.randn(2, 4)
    scene = look_open(net, x, [1, 2])
    F.cross_entropy(net(x), torch.tensor([1, 2])).backward()
    for name in ("0.weight", "2.weight"):
        gradient = scene.gradient(name, (1, 2))
        assert gradient.adds_up
        assert gradient.value == pytest.approx(float(first.weight.grad[1, 2]), rel=1e-5)
        assert len(gradient.parts) == 2


def test_a_picture_opens_down_to_its_bytes(shared_data: Path) -> None:
    scene = look_open(model(), shared_data / "pictures" / "chelsea.jpg", "cat")
    number = scene.at("0", channel=0, y=0, x=0)
    pixel = number.terms()[0].open()
    assert pixel.kind == "pixel"
    assert pixel.adds_up
    assert scene.pixels is not None
    assert pixel.facts["pixel"] == scene.pixels[0, 0, 0, 0]
    assert pixel.value == pytest.approx((float(scene.pixels[0, 0, 0, 0]) / 255 - 0.5) / 0.2, rel=1e-5)


def test_the_loss_is_the_models_own() -> None:
    compiled = model().compile(loss="binary_cross_entropy")
    x = torch.randn(2, 3, 12, 12)
    scene = Lens(compiled).open(x, ["bee", "cat"])
    wanted = F.binary_cross_entropy_with_logits(compiled.net(x), F.one_hot(torch.tensor([1, 2]), 3).float()) * 3
    assert scene.loss.value == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_what_is_looked_at_stays_as_it_was() -> None:
    torch.manual_seed(0)
    net = nets.make("basic_cnn", classes=3, image_size=16).train()
    before = copy.deepcopy(net.state_dict())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    numbers = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    scene = look_open(net, torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), [0, 1], training=True)
    _ = scene.gradient(scene.parameters[0], (0, 0, 0, 0)).terms()[0].open().value
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters())
    assert all(p.is_leaf and p.requires_grad for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())
    assert torch.equal(numbers[0], torch.get_rng_state())
    assert (numbers[1] == np.random.get_state()[1]).all()
    assert numbers[2] == random.getstate()


def test_a_module_that_fails_stays_as_it_was() -> None:
    net = Fails().train()
    with pytest.raises(PellucidError):
        look_open(net, torch.randn(1, 3, 8, 8))
    assert net.training
    assert float(net.calls) == 0
    assert not any(m._forward_hooks for m in net.modules())


def test_frozen_weights_have_gradients_too_and_stay_frozen() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    net.requires_grad_(False)
    x = torch.randn(1, 4)
    scene = look_open(net, x, 2)
    wanted = (torch.softmax(net(x), 1)[0, 1] * x[0, 3]).item()
    assert scene.gradient("0.weight", (1, 3)).value == pytest.approx(wanted, rel=1e-5)
    assert not net[0].weight.requires_grad


def test_dropout_in_training_is_that_of_its_seed() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 3))
    x = torch.randn(1, 3, 2, 2)
    lens = Lens(net, training=True)
    one, two, three = (lens.open(x, 0, seed=seed).values("1") for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != three).any()


def test_printed_as_a_person_would_write_it() -> None:
    conv = nn.Conv2d(1, 1, 2, bias=False)
    conv.weight.data = torch.arange(4.0).reshape(1, 1, 2, 2)
    scene = look_open(conv, torch.arange(9.0).reshape(1, 1, 3, 3))
    text = str(scene.at(scene.nodes[0], channel=0, y=0, x=1))
    assert "1·0 + 2·1 + 4·2 + 5·3" in text
    assert "= 25" in text


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.at("cnov1", channel=0, y=0, x=0), "there is no node or weight named 'cnov1'"),
        (lambda s: s.at(s.nodes[0], channel=99, y=0, x=0), "place 99 of dimension 1 is outside"),
        (lambda s: s.at(s.nodes[0], channel=1), "a place in it is channel, y, x"),
        (lambda s: s.at(s.nodes[0], (0, 0)), "has 2 places"),
        (lambda s: s.at(s.parameters[0], channel=0), "is a weight of shape"),
        (lambda s: s.open("features"), "'features' is no address of a number"),
        (lambda s: s.at(s.nodes[0], channel=0, y=0, x=0).terms()[0].open(), "stands in the padding"),
    ],
)
def test_mistakes_are_said(scene: Scene, ask: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(scene)  # type: ignore[operator]


def test_mistakes_of_labels_and_pictures_are_said() -> None:
    subject = model()
    with pytest.raises(UsageError, match="there is no class named 'dog'"):
        Lens(subject).open(torch.randn(1, 3, 12, 12), "dog")
    with pytest.raises(UsageError, match="there is no class 7"):
        Lens(subject).open(torch.randn(1, 3, 12, 12), 7)
    with pytest.raises(UsageError, match="there are 2 labels for 1 pictures"):
        Lens(subject).open(torch.randn(1, 3, 12, 12), [0, 1])
    with pytest.raises(UsageError, match="a gradient is that of a loss, and none was given"):
        Lens(subject).open(torch.randn(1, 3, 12, 12)).gradient("0.weight", (0, 0, 0, 0))
    with pytest.raises(UsageError, match="there is no loss without a label"):
        _ = Lens(subject).open(torch.randn(1, 3, 12, 12)).loss
    with pytest.raises(UsageError, match="how a picture becomes the input of Sequential is not known"):
        Lens(subject.net).open("cat.jpg")
    with pytest.raises(CheckpointError, match="no/such/run"):
        Lens("no/such/run")
    with pytest.raises(UsageError, match="of type int, which is no network"):
        Lens(3)  # type: ignore[arg-type]


def test_weights_changed_after_the_picture_was_opened_are_noticed() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    scene = look_open(net, torch.randn(1, 4), 2)
    with torch.no_grad():
        net[0].weight.add_(1)
    with pytest.raises(UsageError, match=r"0.weight was changed after the picture was opened"):
        scene.at("0", channel=1).terms()
    with pytest.raises(UsageError, match=r"0.weight was changed after the picture was opened"):
        scene.gradient("0", channel=1)


def test_several_outputs_have_no_loss() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.conv(x), self.conv(x) * 2

    assert look_open(Two(), torch.randn(1, 3, 5, 5)).at("conv", channel=0, y=0, x=0).adds_up
    with pytest.raises(UsageError, match="gives 2 outputs, and a loss is of one"):
        look_open(Two(), torch.randn(1, 3, 5, 5), 1)


def test_a_module_that_returns_no_tensor_is_said() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> str:
            return str(x.sum())

    with pytest.raises(UsageError, match="Odd returns no tensor"):
        look_open(Odd(), torch.randn(1, 3, 5, 5))


def run_of(folder: Path, **settings: object) -> Path:
    """A run of a few steps on noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (48, 8, 8, 1), np.uint8)
    labels = np.arange(48) % 3
    Model("mlp", hidden=8).compile(**settings).fit(  # type: ignore[arg-type]
        pixels, labels, epochs=2, folder=folder, progress=False, batch_size=12
    )
    return folder


def test_a_runs_loss_and_clipping_are_those_of_its_settings(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", loss="focal", clip_norm=1e-3, optimizer="momentum", learning_rate=0.5, seed=1)
    scene = Lens(run, weights="last").open(np.full((8, 8, 1), 200, np.uint8), 1)
    logarithms = torch.log_softmax(torch.tensor(scene.output), 1)[0]
    wanted = -((1 - logarithms[1].exp()) ** 2) * logarithms[1]
    assert scene.loss.value == pytest.approx(float(wanted), rel=1e-5)
    name = scene.parameters[0]
    place = tuple(int(i) for i in np.unravel_index(np.abs(scene.gradients(name)).argmax(), scene.values(name).shape))
    update = scene.update(name, place)
    norm = np.sqrt(sum((scene.gradients(other).astype(np.float64) ** 2).sum() for other in scene.parameters))
    assert norm > 1e-3
    (clipped,) = [term for term in update.terms() if term.role == "gradient"]
    assert clipped.factor / -update.settings["learning rate"] == pytest.approx(1e-3 / (norm + 1e-6), rel=1e-4)


def test_an_update_is_that_of_the_given_optimizer() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    x = torch.randn(2, 4)
    update = look_open(net, x, [0, 2], optimizer=optimizer).update("0.weight", (1, 2))
    F.cross_entropy(net(x), torch.tensor([0, 2])).backward()
    optimizer.step()
    assert update.after == pytest.approx(float(net[0].weight[1, 2].detach()), rel=1e-5)
    with pytest.raises(UsageError, match="the optimizer of Sequential is not known"):
        look_open(net, x, [0, 2]).update("0.weight", (1, 2))
    with pytest.raises(UsageError, match="an optimizer updates weights, and 0 is none"):
        look_open(net, x, [0, 2], optimizer=optimizer).update("0", (1, 2))


def test_the_last_weights_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", learning_rate=0.5, optimizer="sgd")
    last = state_of_run(run).weights
    scene = Lens(run, weights="last").open(np.zeros((8, 8, 1), np.uint8))
    for name in scene.parameters:
        np.testing.assert_array_equal(scene.values(name), last[name].numpy())
    with pytest.raises(UsageError, match="a run has no weights named 'first'"):
        Lens(run, weights="first")


def test_a_size_asked_of_a_map_is_no_use_of_its_numbers() -> None:
    """Flattening the input asks for the batch's size, which has no gradient."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    x = torch.randn(2, 1, 3, 3, requires_grad=True)
    F.cross_entropy(net(x), torch.tensor([0, 1])).backward()
    number = look_open(net, x.detach(), label=[0, 1]).gradient("input", (1, 0, 2, 1))
    assert x.grad is not None
    assert number.total == pytest.approx(x.grad[1, 0, 2, 1].item(), rel=1e-5)


def test_attention_opens_into_weights_scores_and_query_times_key() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.all = nn.Linear(6, 18)

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = (part.view(-1, 4, 2, 3).transpose(1, 2) for part in self.all(x).chunk(3, -1))
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)

    torch.manual_seed(0)
    net, x = Attends(), torch.randn(1, 4, 6)
    scene = look_open(net, x)
    name = scene.nodes[-1]
    query, key, _ = (part.view(-1, 4, 2, 3).transpose(1, 2) for part in net.all(x).chunk(3, -1))
    scores = (query @ key.transpose(2, 3) / 3**0.5).masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)
    weights = scores.softmax(-1).detach().numpy()
    number = scene.at(name, (0, 1, 2, 0))
    assert number.adds_up
    term = number.terms()[1]
    assert term.weight is not None
    assert term.weight.address == f"{name}~weights[0,1,2,1]"
    assert term.weight.value == pytest.approx(weights[0, 1, 2, 1], rel=1e-5)
    assert term.weight.adds_up
    score = term.weight.terms()[0].open()
    assert score.value == pytest.approx(float(scores[0, 1, 2, 1].detach()), rel=1e-5)
    assert score.adds_up
    assert len(score.terms()) == 3
    assert score.terms()[0].source.value == pytest.approx(float(query[0, 1, 2, 0].detach()), rel=1e-5)
    assert scene.open(term.weight.address).value == term.weight.value
    np.testing.assert_allclose(scene.values(f"{name}~weights"), weights, atol=1e-6)
    assert scene.at(f"{name}~weights", (0, 1, 0, 3)).value == 0
    with pytest.raises(UsageError, match="is made inside a call: autograd keeps no gradient of it"):
        term.weight.gradient()
