"""``probe`` against the module itself: picture by picture, features by hooks on a copy, norms in double precision."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.data import Data, Preprocess
from pellucid.errors import ShapeError, TrainingError, UsageError
from pellucid.look import probing
from pellucid.look.changes import CHANGES
from pellucid.look.probe_record import Curve, Probe, ProbedLayer, sized
from pellucid.look.probing import probe
from pellucid.train import Model

CLASSES = ("ant", "bee", "cat")
CHOSEN: dict[str, list[float]] = {
    "shift": [1, 2],
    "scale": [0.7, 1.5],
    "rotation": [-30, 90],
    "brightness": [0.5, 2],
    "blur": [1],
    "noise": [30],
}


def made_data(count: int = 23, size: tuple[int, int] = (16, 14), channels: int = 3, seed: int = 0) -> Data:
    """Pictures of which each class has its own colour and place, under noise."""
    chance = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = chance.integers(0, 160, (count, *size, channels))
    for i, label in enumerate(labels):
        images[i, 4 * label : 4 * label + 5, 3:9, label % channels] += 90
    pictures = images.astype(np.uint8)
    return Data.from_arrays(pictures, labels, CLASSES, test=(pictures, labels))


def made_net(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8 * 6 * 5, 3),
    )
    for batch_norm in (net[1],):
        nn.init.normal_(batch_norm.running_mean)
        nn.init.uniform_(batch_norm.running_var, 0.5, 2)
    return net


def made_model(data: Data, net: nn.Module | None = None) -> Model:
    return Model(net or made_net(data.channels), classes=CLASSES, preprocess=Preprocess.of(data))


DATA = made_data()


@pytest.fixture(scope="module")
def model() -> Model:
    """A network that was trained a little, so that its answers are neither all right nor all wrong."""
    made = made_model(DATA).compile(learning_rate=0.01, channels_last=False, flip=False)
    made.fit(DATA, epochs=5, batch_size=8, progress=False)
    return made


@pytest.fixture(scope="module")
def found(model: Model) -> Probe:
    return probe(model, DATA, changes=CHOSEN, layers=["0", "3", "4", "8"], name="made")


def by_hand(model: Model, name: str, size: float) -> dict[str, Any]:
    """Everything that a size of a change gives, one picture at a time through a copy of the module."""
    net, values = copy.deepcopy(model.net).eval(), {}
    for layer in ("0", "3", "4", "8"):
        net[int(layer)].register_forward_hook(
            lambda m, i, out, layer=layer: values.__setitem__(layer, out.double().clone())
        )
    assert model.preprocess is not None
    answers, before, features = [], [], {layer: [] for layer in ("0", "3", "4", "8")}
    for number, picture in enumerate(DATA.test.images):
        plain = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            first = net(model.preprocess.normalise(plain)).double().softmax(1)[0]
            unchanged = dict(values)
            other = CHANGES[name].apply(plain, size, np.array([number]))
            second = net(model.preprocess.normalise(other)).double().softmax(1)[0]
        before.append(first)
        answers.append(second)
        for layer, row in features.items():
            row.append(float((values[layer] - unchanged[layer]).norm() / unchanged[layer].norm()))
    said, unsaid, labels = torch.stack(answers), torch.stack(before), torch.from_numpy(DATA.test.labels)
    return {
        "accuracy": float((said.argmax(1) == labels).double().mean()),
        "probability": float(said[torch.arange(len(labels)), labels].mean()),
        "same": float((said.argmax(1) == unsaid.argmax(1)).double().mean()),
        "features": {layer: float(np.mean(row)) for layer, row in features.items()},
    }


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in CHOSEN.items() for size in sizes])
def test_every_number_is_that_of_the_module_itself(model: Model, found: Probe, name: str, size: float) -> None:
    curve, wanted = found.curve(name), by_hand(model, name, size)
    assert curve is not None
    at = curve.sizes.index(size)
    assert curve.accuracy[at] == pytest.approx(wanted["accuracy"])
    assert curve.probability[at] == pytest.approx(wanted["probability"], rel=1e-5)
    assert curve.same[at] == pytest.approx(wanted["same"])
    features = {layer.name: row[at] for layer, row in zip(found.layers, curve.features, strict=True)}
    assert features == pytest.approx(wanted["features"], rel=1e-4)


def test_the_neutral_size_is_the_network_as_it_is(model: Model, found: Probe) -> None:
    measured = model.evaluate(DATA)
    assert found.accuracy == pytest.approx(measured.accuracy)
    assert found.interval == pytest.approx(measured.interval)
    assert 0.4 < found.accuracy < 1  # else the comparisons above would say little
    for curve in found.curves:
        at = curve.sizes.index(curve.neutral)
        assert (curve.accuracy[at], curve.same[at]) == (found.accuracy, 1)
        assert curve.probability[at] == pytest.approx(found.probability)
        assert [row[at] for row in curve.features] == [0] * 4
        assert {row[at] for row in curve.equivariance} <= {0, None}


def test_convolutions_follow_shifts_by_their_step_and_no_rotation(found: Probe) -> None:
    shift, rotation = found.curve("shift"), found.curve("rotation")
    assert shift is not None
    assert rotation is not None
    first, pooled, second, dense = shift.equivariance
    assert shift.sizes == (0, 1, 2)
    assert first == pytest.approx((0, 0, 0), abs=1e-6)
    assert pooled[1] is not None
    assert pooled[1] > 0.05
    assert (pooled[2], second[2]) == pytest.approx((0, 0), abs=1e-6)
    assert dense == (None, None, None)
    assert rotation.equivariance[0][rotation.sizes.index(90)] > 0.1  # type: ignore[operator]
    assert [curve.change for curve in found.curves if curve.moves] == ["shift", "scale", "rotation"]


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_size_of_batches_makes_no_difference(
    model: Model, found: Probe, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_BATCH", batch)
    again = probe(model, DATA, changes=CHOSEN, layers=["0", "3", "4", "8"], name="made")
    for one, other in zip(found.curves, again.curves, strict=True):
        assert one.accuracy == other.accuracy
        assert one.probability == pytest.approx(other.probability, rel=1e-5)
        for rows, others in ((one.features, other.features), (one.equivariance, other.equivariance)):
            assert np.array(rows, float) == pytest.approx(np.array(others, float), rel=1e-4, abs=1e-6, nan_ok=True)
    assert [one.between for one in again.layers] == pytest.approx([one.between for one in found.layers], rel=1e-4)


def test_the_yardstick_is_the_change_from_one_picture_to_another(model: Model, found: Probe) -> None:
    net = copy.deepcopy(model.net).eval()
    assert model.preprocess is not None
    with torch.no_grad():
        values = net[0](model.preprocess.tensor(DATA.test.images)).double()
    order = probing.permutation(0, 0, len(values))
    pairs = [(values[i] - values[j]).norm() / values[j].norm() for i, j in zip(order, order[1:], strict=False)]
    assert found.layers[0].between == pytest.approx(float(np.mean(pairs)), rel=1e-4)


def test_pictures_are_spread_evenly_and_the_same_every_time(model: Model) -> None:
    some = probe(model, DATA, changes=["shift"], pictures=5)
    assert (some.pictures, some.total, some.split, some.data) == (5, 23, "test", "arrays")
    assert probe(model, DATA, changes=["shift"], pictures=5).to_json() == some.to_json()
    taken = DATA.test.take(np.array([0, 4, 9, 13, 18]))
    alone = probe(model, replace(DATA, test=taken), changes=["shift"])
    assert alone.curves[0].accuracy == some.curves[0].accuracy
    assert alone.curves[0].features == some.curves[0].features


def test_samples_are_pictures_of_different_classes_at_every_size(model: Model, found: Probe) -> None:
    right = [sample.truth == sample.answers["noise"][0][0] for sample in found.samples]
    assert {sample.truth for sample in found.samples} == set(CLASSES)
    assert any(right)
    for sample in found.samples:
        assert sample.name == f"test:{sample.number}" or sample.name == DATA.test.names[sample.number]
        assert np.array_equal(sample.pictures["noise"][0], DATA.test.images[sample.number])
        assert [len(sample.pictures[name]) for name in CHOSEN] == [len(sizes) + 1 for sizes in CHOSEN.values()]
    number = found.samples[0].number
    plain = torch.from_numpy(DATA.test.images[number]).permute(2, 0, 1)[None].float()
    noisy = CHANGES["noise"].apply(plain, 30, np.array([number])).round()[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found.samples[0].pictures["noise"][1], noisy.astype(np.uint8))
    assert model.predict(plain[0].permute(1, 2, 0).numpy().astype(np.uint8)[None]).labels == [
        found.samples[0].answers["noise"][0][0]
    ]


def test_pictures_to_show_can_be_named(model: Model) -> None:
    again = probe(model, DATA, changes={"blur": [1]}, shown=[7, 2])
    assert [sample.number for sample in again.samples] == [7, 2]
    with pytest.raises(UsageError, match=r"the pictures to show are \[23\]"):
        probe(model, DATA, shown=[23])


def test_a_look_leaves_no_trace_also_when_it_is_cut_off(model: Model) -> None:
    model.net.train()
    model.net[4].weight.grad = torch.ones_like(model.net[4].weight)
    model.net[4].eval()
    torch.manual_seed(5)
    before = copy.deepcopy(model.net.state_dict())
    modes = [module.training for module in model.net.modules()]
    chance, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(model, DATA, changes=["shift"], progress=stop)
    probe(model, DATA, changes={"noise": [9]})
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert [module.training for module in model.net.modules()] == modes
    assert torch.equal(model.net[4].weight.grad, torch.ones_like(model.net[4].weight))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())
    assert torch.equal(torch.get_rng_state(), chance)
    assert np.array_equal(np.random.get_state()[1], numpys)
    assert torch.is_grad_enabled()
    model.net.eval()


def test_progress_counts_the_passes_through_the_network(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_BATCH", 10)
    told: list[tuple[int, int]] = []
    probe(model, DATA, changes={"shift": [1, 2], "noise": [5]}, progress=lambda *now: told.append(now))
    assert told == [(i, 12) for i in range(1, 13)]  # three batches, as they are and in three sizes


def test_layers_are_the_convolutions_poolings_and_dense_ones_or_those_named(model: Model) -> None:
    usual = probe(model, DATA, changes=["noise"])
    assert [(layer.name, layer.kind) for layer in usual.layers] == [
        ("0", "convolution"),
        ("3", "pooling"),
        ("4", "convolution"),
        ("8", "linear"),
    ]
    assert [layer.step for layer in usual.layers] == [(1, 1), (2, 2), (2, 2), ()]
    assert usual.layers[2].shape == (8, 6, 5)
    assert usual.layers[2].field == "8"
    named = probe(model, DATA, changes=["noise"], layers=["2", "1", "2"])
    assert [layer.operation for layer in named.layers] == ["ReLU", "Batch normalisation"]
    with pytest.raises(UsageError, match=r"there is no node named '9'"):
        probe(model, DATA, layers=["9"])


def test_of_many_layers_twelve_are_compared(model: Model) -> None:
    deep = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(19)), nn.Flatten(), nn.Linear(3 * 16 * 14, 3))
    found = probe(made_model(DATA, deep), DATA, changes={"noise": [5]}, pictures=4)
    names = [int(layer.name) for layer in found.layers]
    assert (len(names), names[0], names[-1], found.left_out) == (12, 0, 20, 8)
    assert max(np.diff(names)) <= 3


def test_a_single_picture_has_no_other_to_be_measured_by(model: Model) -> None:
    alone = probe(model, DATA, pictures=1, changes={"shift": [1]})
    assert all(math.isnan(layer.between) for layer in alone.layers)
    assert "nan" not in alone.text().lower()
    assert alone.to_json()["layers"][0]["between"] is None


def test_the_network_of_grey_pictures_and_of_one_kind_of_layer() -> None:
    grey = made_data(9, (12, 12), 1)
    flat = made_model(grey, nn.Sequential(nn.Flatten(), nn.Linear(144, 3)))
    found = probe(flat, grey, changes={"shift": [1], "blur": [1]})
    assert not any(curve.moves for curve in found.curves)
    assert found.layer_findings() == []


class Twice(nn.Module):
    """Not what a classifier is: two numbers too many."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :5]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pictures": 0}, UsageError, "pictures is 0"),
        ({"changes": ["turn"]}, UsageError, "there is no change named 'turn'"),
        ({"split": "validation"}, UsageError, "arrays has no validation split"),
        ({"layers": ["conv"]}, UsageError, "there is no node named 'conv'"),
        ({"data": "nowhere-at-all"}, Exception, "there is no data set or folder named 'nowhere-at-all'"),
        ({"data": made_data(9, (12, 12))}, ShapeError, "pictures are 12 x 12 x 3, the network was made for 16 x 14 x"),
        (
            {"data": Data.from_arrays(DATA.test.images, DATA.test.labels, ("ant", "bee", "cow"))},
            UsageError,
            "the data have other classes than the network",
        ),
        ({"model": Model(nn.Conv2d(3, 3, 1), classes=CLASSES)}, UsageError, "how pictures become input is not known"),
        ({"model": made_model(DATA, Twice())}, ShapeError, "the network gives 23 x 5 numbers for 23 pictures in 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(model: Model, change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"model": model, "data": DATA, **change}
    with pytest.raises(error, match=message):
        probe(arguments.pop("model"), arguments.pop("data"), **arguments)


def test_pictures_of_a_pixel_or_two_cannot_be_moved() -> None:
    data = made_data(6, (1, 30))
    net = nn.Sequential(nn.Flatten(), nn.Linear(90, 3))
    with pytest.raises(UsageError, match="the network sees 1 x 30 pixels: there is nothing to move, turn or scale"):
        probe(made_model(data, net), data)


def test_a_network_that_gives_nan_is_said(model: Model) -> None:
    broken = copy.deepcopy(model.net)
    with torch.no_grad():
        broken[8].bias[0] = math.nan
    with pytest.raises(TrainingError, match="the network's outputs are not finite"):
        probe(made_model(DATA, broken), DATA)


def a_curve(sizes: tuple[float, ...], accuracy: tuple[float, ...], neutral: float = 0, unit: str = "degrees") -> Curve:
    none = ((None,) * len(sizes),)
    return Curve("rotation", unit, "Turned.", neutral, sizes, accuracy, accuracy, accuracy, none, none)


@pytest.mark.parametrize(
    ("sizes", "accuracy", "lost", "words"),
    [
        ((-20, 0, 20), (0.2, 0.8, 0.6), (-40 / 3, None), "at -13.3 degrees; the accuracy is 0.600 at 20 degrees"),
        ((-20, 0, 20), (0.0, 0.8, 0.4), (-10, 20), "at -10 and 20 degrees"),
        ((0, 10, 20, 30), (0.8, 0.6, 0.2, 0.7), (None, 15), "at 15 degrees"),
        ((0, 1), (0.9, 0.5), (None, None), "nowhere; the accuracy is 0.500 at 1 degree"),
        (
            (-1, 0, 1),
            (0.9, 0.9, 0.5),
            (None, None),
            "nowhere; the accuracy is 0.900 at -1 degree and 0.500 at 1 degree",
        ),
        ((0, 5), (0.0, 0.0), (None, None), "nowhere; the accuracy is 0.000 at 5 degrees"),
    ],
)
def test_half_of_the_accuracy_is_lost_on_the_line_between_sizes(
    sizes: tuple[float, ...], accuracy: tuple[float, ...], lost: tuple[float | None, ...], words: str
) -> None:
    curve = a_curve(sizes, accuracy)
    assert curve.half_lost() == pytest.approx(lost)
    assert curve.where_half_lost() == words


def test_sizes_are_said_with_their_unit() -> None:
    said = [sized(*item) for item in ((1, "pixels"), (2, "pixels"), (0.25, "times"), (1, "times"), (-1, "degrees"))]
    assert said == ["1 pixel", "2 pixels", "0.25 times", "1 times", "-1 degree"]


def test_findings_are_sentences_with_the_numbers(found: Probe) -> None:
    shift, rotation = found.curve("shift"), found.curve("rotation")
    assert shift is not None
    assert rotation is not None
    told = found.findings()
    assert len(told) == 6 + 3
    assert told[2] == f"Rotation: half of the accuracy is lost {rotation.where_half_lost()}."
    error = rotation.equivariance[0][rotation.sizes.index(90)]
    assert told[6].startswith("0 (Convolution 3x3, 6 kernels, padding 1) follows with an error of 0.000 for a shift of")
    assert f"{error:.3f} for a rotation of 90 degrees" in told[6]
    assert told[7].startswith("3 (Max pooling 2x2) has a feature every 2 pixels: it follows a shift by 2 pixels with")
    assert f"one by 1 pixel with {shift.equivariance[1][1]:.3f}." in told[7]
    assert f"features of 0 by {shift.features[0][1]:.3f} of their length" in told[8]
    assert found.text().splitlines()[0] == (
        f"made on 23 of 23 pictures of the test split of arrays: accuracy {found.accuracy:.4f} "
        f"(95%: {found.interval[0]:.4f} to {found.interval[1]:.4f})"
    )


def test_all_numbers_go_into_json_and_no_picture_does(found: Probe) -> None:
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["pictures"] == 23
    assert plain["accuracy"] == found.accuracy
    assert [curve["change"] for curve in plain["curves"]] == list(CHOSEN)
    assert plain["curves"][0]["equivariance"][3] == [None, None, None]
    assert plain["curves"][2]["features"][0] == list(found.curves[2].features[0])
    assert plain["samples"][0]["answers"]["blur"][0][0] in CLASSES
    assert "pictures" not in plain["samples"][0]


def test_a_layer_knows_which_shifts_are_whole() -> None:
    layer = ProbedLayer("1", "Pooling", "pooling", (3, 4, 4), "3", (2.0, 4.0), 1.0)
    assert [layer.is_whole(size) for size in (1, 2, 4, 8)] == [False, False, True, True]


def test_the_package_offers_it() -> None:
    import pellucid.look

    assert pellucid.look.probe is probe
    assert pellucid.look.Probe is Probe
