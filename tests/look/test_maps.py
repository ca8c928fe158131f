"""Maps and kernels as pictures, and statistics over a data set against two passes of NumPy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid import Model, capture
from pellucid.data import Data, Preprocess
from pellucid.errors import ShapeError, UsageError
from pellucid.look.activity import statistics
from pellucid.look.maps import feature_maps, kernels
from pellucid.look.walk import first
from tests.look.made_nets import SIZE, make, opened, pictures


def values_of(name: str, count: int = 2) -> dict[str, Any]:
    _, graph = opened(name)
    _, values = graph.run(pictures(count), record=True)
    return dict(values)


def test_maps_share_a_range() -> None:
    values = values_of("modules")
    found = feature_maps(values, "conv1", picture=1)
    raw = values["conv1"][1].detach().float().numpy()
    assert found.maps.shape == (6, 16, 16)
    assert set(found.low) == {raw.min()}
    assert set(found.high) == {raw.max()}
    np.testing.assert_allclose(found.maps * (raw.max() - raw.min()) + raw.min(), raw, atol=1e-5)
    assert (found.maps.min(), found.maps.max()) == (0, 1)


def test_each_map_has_its_own_range() -> None:
    values = values_of("modules")
    found = feature_maps(values, "conv1", each=True)
    raw = values["conv1"][0].detach().float().numpy()
    np.testing.assert_array_equal(found.low, raw.min((1, 2)))
    np.testing.assert_array_equal(found.high, raw.max((1, 2)))
    np.testing.assert_array_equal(found.maps.min((1, 2)), np.zeros(6))
    np.testing.assert_array_equal(found.maps.max((1, 2)), np.ones(6))


@pytest.mark.parametrize(
    ("name", "node", "shape"),
    [("modules", "fc", (5, 1, 1)), ("tokens", "norm", (16, 1, 8)), ("resnet", "1", (4, 16, 16))],
)
def test_maps_of_other_shapes(name: str, node: str, shape: tuple[int, ...]) -> None:
    assert feature_maps(values_of(name), node).maps.shape == shape


def test_what_is_not_finite_is_counted() -> None:
    value = torch.zeros(1, 2, 2, 2)
    value[0, 0, 0, 0], value[0, 0, 0, 1], value[0, 0, 1, 0], value[0, 1, 1, 1] = 2, float("nan"), float("inf"), -1
    found = feature_maps({"x": value}, "x")
    assert found.not_finite == 2
    assert (found.low[0], found.high[0]) == (-1, 2)
    np.testing.assert_allclose(found.maps[0], [[1, 0], [1, 1 / 3]])
    assert np.isfinite(feature_maps({"x": value * float("nan")}, "x").maps).all()


def test_constant_maps_are_dark() -> None:
    assert not feature_maps({"x": torch.full((1, 1, 2, 2), 3.0)}, "x").maps.any()


def test_the_first_kernels_are_in_colour() -> None:
    net, graph = opened("modules")
    found = kernels(graph, "conv1")
    weight = net.conv1.weight.detach().float().numpy()
    assert found.colour
    assert found.images.shape == (6, 3, 3, 3)
    np.testing.assert_allclose((2 * found.images - 1) * found.largest, weight.transpose(0, 2, 3, 1), atol=1e-6)
    assert found.largest == np.abs(weight).max()


def test_later_kernels_are_grey() -> None:
    net, graph = opened("modules")
    found = kernels(graph, "three", each=True)
    weight = net.three.weight.detach().float().numpy()
    assert not found.colour
    assert found.images.shape == (4, 3, 3, 3)
    np.testing.assert_array_equal(found.largest, np.abs(weight).max((1, 2, 3)))
    np.testing.assert_allclose((2 * found.images - 1) * found.largest[:, None, None, None], weight, atol=1e-6)


def test_kernels_of_a_transposed_convolution_are_those_of_its_outputs() -> None:
    net = nn.ConvTranspose2d(4, 6, 3, groups=2)
    found = kernels(capture(net, (4, 5, 5)), "transposed_convolution")
    assert found.images.shape == (6, 2, 3, 3)
    weight = (2 * found.images - 1) * found.largest
    np.testing.assert_allclose(weight[4, 1], net.weight[3, 1].detach().numpy(), atol=1e-6)


def test_kernels_that_are_computed_stand_on_the_record() -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3)))
    graph = capture(net, (2, 6, 6))
    node = next(own.name for own in graph.shown if own.op.kind == "convolution")
    with pytest.raises(UsageError, match="are computed"):
        kernels(graph, node)
    _, values = graph.run(torch.zeros(1, 2, 6, 6), record=True)
    found = kernels(graph, node, values=values)
    weight = net[0].weight.detach().numpy()
    np.testing.assert_allclose((2 * found.images - 1) * found.largest, weight, atol=1e-6)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "no record": (lambda: feature_maps({}, "conv1"), "the value of 'conv1' is not on the record"),
    "no picture": (lambda: feature_maps(values_of("modules"), "conv1", picture=2), "there is no picture 2"),
    "no maps": (lambda: feature_maps({"x": torch.zeros(3)}, "x"), "'x' has no maps"),
    "no convolution": (lambda: kernels(opened("modules")[1], "fc"), "'fc' is no convolution"),
    "no node": (lambda: statistics(opened("modules")[1], pictures(), ["conv9"]), "there is no node named 'conv9'"),
    "no pictures": (lambda: statistics(opened("modules")[1], pictures(0)), "there are no pictures"),
    "a path": (lambda: statistics(opened("modules")[1], "cifar10"), "a str is no pictures for a graph"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        call()


def batches(x: Tensor) -> Iterator[Tensor]:
    """Of uneven sizes."""
    return iter(torch.split(x, [1, 4, 2, x.shape[0] - 7]))


@pytest.mark.parametrize("name", ["modules", "in place", "inception", "tokens", "gated"])
def test_statistics_in_two_passes(name: str) -> None:
    (_, graph), x = opened(name), pictures(11) + 20  # a mean that is large beside the deviation
    found = statistics(graph, batches(x))
    assert found.pictures == 11
    with torch.no_grad():
        parts = [graph.run(part, record=True)[1] for part in batches(x)]
    assert len(found.nodes) > 5
    for own in found.nodes:
        apart = [np.moveaxis(first(part[own.node]).numpy(), own.channel, 0) for part in parts]
        numbers = np.concatenate([part.reshape(len(part), -1) for part in apart], 1).astype(np.float64)
        assert own.count == numbers.shape[1]
        np.testing.assert_allclose(own.mean, numbers.mean(1), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(own.deviation, numbers.std(1), rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(own.low, numbers.min(1))
        np.testing.assert_array_equal(own.high, numbers.max(1))
        np.testing.assert_array_equal(own.zeros, (numbers == 0).mean(1))


def test_statistics_of_float32_whose_mean_is_far_from_zero() -> None:
    net = nn.Conv2d(3, 4, 1)
    nn.init.constant_(net.bias, 1e5)  # type: ignore[arg-type]
    net.weight.data *= 0.1
    x = pictures(9).float()
    graph = capture(net, SIZE)
    (own,) = statistics(graph, torch.split(x, 2)).nodes
    numbers = (
        torch.cat([graph.run(part) for part in torch.split(x, 2)]).detach().double().movedim(1, 0).flatten(1).numpy()
    )
    np.testing.assert_allclose(own.mean, numbers.mean(1), rtol=1e-9)
    np.testing.assert_allclose(own.deviation, numbers.std(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "node", "channel"),
    [("modules", "conv1", 1), ("modules", "fc", 1), ("tokens", "norm", 2), ("tokens", "attention.linear", 2)],
)
def test_which_dimension_tells_channels_apart(name: str, node: str, channel: int) -> None:
    _, graph = opened(name)
    assert statistics(graph, pictures(), [node])[node].channel == channel


def test_maps_with_channels_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.LayerNorm(5)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x).permute(0, 2, 3, 1))

    graph = capture(Last(), SIZE)
    assert statistics(graph, torch.randn(2, *SIZE), ["norm"])["norm"].channel == 3


def test_what_has_the_batch_where_channels_stand_is_left_out() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.mean((2, 3)).t() * 2).t()

    graph = capture(Turned(), SIZE)
    found = statistics(graph, batches(torch.randn(9, *SIZE)))
    assert [own.node for own in found.nodes] == ["mean"]
    with pytest.raises(UsageError, match="'mul' has no channels"):
        statistics(graph, torch.randn(2, *SIZE), ["mul"])


def test_dead_channels_are_those_of_rectifiers_that_never_answer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.LogSigmoid())
    with torch.no_grad():
        net[0].bias[1] = -1000  # type: ignore[index]
        net[0].bias[3] = -1000  # type: ignore[index]
        net[0].weight[3] = 0  # type: ignore[index]
        net[2].bias.fill_(-1000)  # type: ignore[union-attr]
    found = statistics(capture(net, SIZE), pictures(3).float())
    assert found.dead == {"1": (1, 3)}  # not of the convolution before it, nor of a function that is never above zero
    np.testing.assert_array_equal(found["1"].zeros[[1, 3]], [1, 1])
    assert found["3"].high.max() < 0
    one = torch.zeros(1, *SIZE)
    one[0, 0, 0, 0] = 1e6 * torch.sign(net[0].weight[1, 0, 0, 0].detach())  # type: ignore[index]
    assert statistics(capture(net, SIZE), [pictures(3).float(), one]).dead == {"1": (3,)}, "one picture is enough"


@pytest.mark.parametrize(
    ("function", "low", "high", "both"),
    [
        (nn.Sigmoid(), 0, 1, True),
        (nn.Tanh(), -1, 1, True),
        (nn.Hardsigmoid(), 0, 1, True),
        (nn.Hardtanh(-2, 3), -2, 3, True),
        (nn.ReLU6(), 0, 6, False),
    ],
    ids=str,
)
def test_saturation(function: nn.Module, low: float, high: float, both: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), function)
    nn.init.constant_(net[0].bias[2:3], 1e3)  # type: ignore[index, arg-type]
    nn.init.constant_(net[0].bias[3:4], -1e3)  # type: ignore[index, arg-type]
    nn.init.normal_(net[0].weight, 0, 3)  # type: ignore[arg-type]
    x = pictures(5).float()
    found = statistics(capture(net, SIZE), x)
    numbers = net(x).detach().double().movedim(1, 0).flatten(1).numpy()
    near = numbers >= high - (high - low) / 100
    if both:
        near |= numbers <= low + (high - low) / 100
    assert 0 < near[0].mean() < 1
    np.testing.assert_array_equal(found["1"].saturated, near.mean(1))
    assert set(found.saturated["1"]) >= ({2, 3} if both else {2})
    assert np.isnan(found["0"].saturated).all()
    assert "0" not in found.saturated
    assert (3 in found.dead.get("1", ())) != both


def test_not_finite_numbers_are_counted() -> None:
    x = pictures(2)
    x[0, 0, 0, 0] = float("nan")
    _, graph = opened("modules")
    assert statistics(graph, x, ["conv1"])["conv1"].not_finite == 6 * 4


@pytest.fixture(scope="module")
def data() -> Data:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 16, 16, 3), np.uint8), np.arange(40) % 5
    return Data.from_arrays(images, labels, test=0.5)


def test_a_model_over_a_data_set(data: Data) -> None:
    model = Model("lenet", preprocess=Preprocess.of(data))
    net = model.build(data)
    assert data.test is not None
    images = model.preprocess.tensor(data.test.images)  # type: ignore[union-attr]
    graph = capture(net, SIZE, training=False)
    found, wanted = statistics(model, data), statistics(graph, images)
    assert found.pictures == len(data.test)
    assert [own.node for own in found.nodes] == [own.node for own in wanted.nodes]
    for one, other in zip(found.nodes, wanted.nodes, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-6, atol=1e-7)
    assert statistics(model, data, split="all").pictures == 40


def test_a_module_and_a_tensor_in_evaluation() -> None:
    net = make("resnet", training=True)
    state, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    found = statistics(net, pictures(3), ["3.bn1"])
    _, graph = opened("resnet")
    np.testing.assert_allclose(found["3.bn1"].mean, statistics(graph, pictures(3), ["3.bn1"])["3.bn1"].mean)
    assert net.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_another_size_of_picture_is_refused(data: Data) -> None:
    model = Model("lenet", preprocess=Preprocess.of(data))
    model.build(data)
    with pytest.raises(ShapeError, match="pictures are 8 x 8 x 3"):
        statistics(model, np.zeros((2, 8, 8, 3), np.uint8))


def test_the_table_names_nodes_and_what_is_wrong_with_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Sigmoid())
    with torch.no_grad():
        net[0].bias[1] = -1000  # type: ignore[index]
        net[2].bias[0] = 1000  # type: ignore[index]
    found = statistics(capture(net, SIZE), pictures(3).float())
    lines = str(found).splitlines()
    assert lines[0] == "3 pictures"
    assert lines[1].split() == "node operation channels mean deviation least largest zeros at bounds dead".split()
    assert lines[4].startswith("1     ReLU")
    assert lines[4].endswith("1 of 4")
    numbers = net(pictures(3).float()).detach().numpy()
    assert f"{numbers.std():.4g}" in lines[6]
    assert f"{found['3'].saturated.mean():.1%}" in lines[6]
    assert "1 of 4" in found._repr_html_()
