"""The deconvnet against loops in NumPy, against Captum where Captum is right, and against itself where it is not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import Deconvolution
from torch import Tensor, nn

from pellucid import capture
from pellucid.errors import UsageError
from pellucid.look.deconvnet import deconvnet, project
from pellucid.look.walk import first, record
from tests.look.made_nets import SIZE, make, opened, pictures
from tests.oracles import deconvnet as slow

pytestmark = [
    pytest.mark.filterwarnings("ignore:Setting backward hooks"),
    pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients"),
]
TWINS = ["functions", "in place"]


@pytest.fixture(scope="module")
def tiny() -> tuple[nn.Sequential, slow.Layer, slow.Layer]:
    """Two convolutions, and the same as the oracle takes them."""
    torch.manual_seed(0)
    one, two = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 3, 3, padding=1)
    net = nn.Sequential(one, nn.ReLU(), nn.MaxPool2d(2), two, nn.ReLU()).double().eval()
    made = [
        slow.Layer(conv.weight.detach().numpy(), conv.bias.detach().numpy(), conv.stride[0], int(conv.padding[0]))
        for conv in (one, two)
        if conv.bias is not None
    ]
    return net, made[0], made[1]


@pytest.mark.parametrize("keep", ["strongest", "map"])
def test_two_convolutions_in_loops(tiny: tuple[nn.Sequential, slow.Layer, slow.Layer], keep: str) -> None:
    net, one, two = tiny
    x = torch.randn(3, 2, 13, 15, dtype=torch.float64)
    found = deconvnet(capture(net, (2, 13, 15)), x, "4", channel=1, keep=keep)
    for n, picture in enumerate(x.numpy()):
        maps = slow.forward(picture, one, two)
        kept = np.zeros(maps.shape, np.bool_)
        place = np.unravel_index(maps[1].argmax(), maps[1].shape)
        kept[1] = True
        if keep == "strongest":
            kept[1] = False
            kept[1][place] = True
        assert found.index[n] == ((1,) if keep == "map" else (1, *place))
        np.testing.assert_allclose(found.value[n], maps[kept].sum(), rtol=1e-6)
        wanted = slow.deconvnet(picture, one, two, kept)
        assert np.abs(wanted).max() > 0
        np.testing.assert_allclose(found.image[n], wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("node", ["relu1", "relu3", "concat", "fc"])
def test_captum_where_every_relu_is_a_module(node: str) -> None:
    (net, graph), x = opened("modules"), pictures()
    found = deconvnet(graph, x, node)

    def numbers(net: nn.Module) -> nn.Module:
        return Outputs(net, node, found.index)

    wanted = Deconvolution(numbers(copy.deepcopy(net))).attribute(x)
    scaled = wanted * torch.from_numpy(found.value).double().view(-1, 1, 1, 1)
    assert wanted.abs().max() > 0
    np.testing.assert_allclose(found.image, scaled.numpy(), rtol=1e-5, atol=1e-6)


class Outputs(nn.Module):
    """The number of each picture at a place of a part of ``Modules``, (N, 1)."""

    def __init__(self, net: nn.Module, part: str, index: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.net, self.part, self.index = net, part, index

    def forward(self, x: Tensor) -> Tensor:
        value = self._value(x)
        return torch.stack([value[n][place] for n, place in enumerate(self.index)])

    def _value(self, x: Tensor) -> Tensor:
        net = self.net
        x = net.relu1(net.bn1(net.conv1(x)))
        if self.part == "relu1":
            return x
        x = net.pool(x)
        x = net.relu3(net.conv3(net.relu2(net.conv2(x))) + x)
        if self.part == "relu3":
            return x
        x = torch.cat([net.relu4(net.one(x)), net.relu5(net.three(x))], 1)
        return x if self.part == "concat" else net.fc(net.flatten(net.average(x)))


@pytest.mark.parametrize("twin", TWINS)
def test_a_relu_is_a_relu_however_it_is_written(twin: str) -> None:
    (_, graph), (net, other), x = opened("modules"), opened(twin), pictures()
    wanted = deconvnet(graph, x, graph.outputs[0])
    found = deconvnet(other, x, other.outputs[0])
    np.testing.assert_array_equal(found.image, wanted.image)
    np.testing.assert_array_equal(found.value, wanted.value)
    if twin == "functions":  # what Captum's documentation warns of
        theirs = Deconvolution(copy.deepcopy(net)).attribute(x, target=[place[0] for place in found.index])
        assert not np.allclose(theirs.numpy() * found.value[:, None, None, None], found.image, atol=1e-3)


def test_batch_normalisation_in_training_is_taken_as_given() -> None:
    x = pictures(4)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU()).double()
    nn.init.uniform_(net[1].weight, -2, 2)  # type: ignore[arg-type]
    still = copy.deepcopy(net).eval()
    maps = still[0](x).detach()
    norm = still[1]
    norm.running_mean.copy_(maps.mean((0, 2, 3)))
    norm.running_var.copy_(maps.var((0, 2, 3), correction=0))
    wanted = deconvnet(capture(still, SIZE), x, "4", keep="map", channel=2)
    found = deconvnet(capture(net.train(), SIZE), x, "4", keep="map", channel=2)
    assert np.abs(wanted.image).max() > 0
    np.testing.assert_allclose(found.image, wanted.image, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("function", "rectifies"),
    [
        (nn.ReLU(), True),
        (nn.ReLU6(), True),
        (nn.Hardtanh(0, 1), True),
        (nn.Threshold(0, 0), True),
        (nn.LeakyReLU(), True),
        (nn.PReLU(), True),
        (nn.ELU(), True),
        (nn.SELU(), True),
        (nn.GELU(), True),
        (nn.SiLU(), True),
        (nn.Mish(), True),
        (nn.Softplus(), True),
        (nn.Hardswish(), True),
        (nn.Sigmoid(), False),
        (nn.Tanh(), False),
        (nn.Hardtanh(), False),
        (nn.Softmax(1), False),
        (nn.Softsign(), False),
    ],
    ids=lambda value: str(value),
)
def test_which_functions_rectify_the_signal(function: nn.Module, rectifies: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), function, nn.Conv2d(4, 2, 3)).double().eval()
    x = pictures(1)
    graph = capture(net, SIZE)
    values = record(graph, x, graph.outputs[0])
    signal = torch.randn_like(first(values[graph.outputs[0]]))
    found = project(graph, values, x, graph.outputs[0], signal)
    below = nn.functional.conv_transpose2d(signal, net[2].weight)
    if rectifies:
        below = below.clamp(min=0)
    else:
        maps = net[0](x).detach().requires_grad_()
        (below,) = torch.autograd.grad(function(maps), maps, below)
    torch.testing.assert_close(found, nn.functional.conv_transpose2d(below, net[0].weight), rtol=1e-11, atol=1e-13)


def test_a_channel_and_a_place_for_each_picture() -> None:
    (_, graph), x = opened("modules"), pictures()
    both = deconvnet(graph, x, "relu3", channel=[4, 1], index=[(2, 3), (5, 0)])
    assert both.index == ((4, 2, 3), (1, 5, 0))
    for n, (channel, place) in enumerate([(4, (2, 3)), (1, (5, 0))]):
        alone = deconvnet(graph, x[n : n + 1], "relu3", index=(channel, *place))
        np.testing.assert_allclose(alone.image[0], both.image[n], rtol=1e-6, atol=1e-9)
        assert alone.value[0] == pytest.approx(both.value[n], rel=1e-6)


def test_a_record_that_is_there_is_used() -> None:
    (_, graph), x = opened("modules"), pictures()
    _, values = graph.run(x, record=True)
    given = deconvnet(graph, x, "relu4", values=values)
    np.testing.assert_array_equal(given.image, deconvnet(graph, x, "relu4").image)


def test_the_map_is_the_largest_magnitude_over_the_channels() -> None:
    (_, graph), x = opened("modules"), pictures()
    found = deconvnet(graph, x, "relu4")
    assert found.image.dtype == np.float32
    assert found.image.shape == (2, *SIZE)
    np.testing.assert_array_equal(found.map, np.abs(found.image).max(1))


REFUSED: dict[str, tuple[Callable[..., object], str]] = {
    "node": (lambda g, x: deconvnet(g, x, "relu9"), "there is no node named 'relu9'"),
    "channel": (lambda g, x: deconvnet(g, x, "relu3", channel=6), "'relu3' has no channel 6"),
    "negative channel": (lambda g, x: deconvnet(g, x, "relu3", channel=-1), "'relu3' has no channel -1"),
    "place": (lambda g, x: deconvnet(g, x, "relu3", index=(0, 8, 0)), r"'relu3' has no number at \(0, 8, 0\)"),
    "half a place": (lambda g, x: deconvnet(g, x, "relu3", index=(0, 7)), r"'relu3' has no number at \(0, 7\)"),
    "two channels": (
        lambda g, x: deconvnet(g, x, "relu3", channel=1, index=(2, 0, 0)),
        r"'relu3' has no number at \(2, 0, 0\)",
    ),
    "three channels": (lambda g, x: deconvnet(g, x, "relu3", channel=[0, 1, 2]), "3 of 'channel' were given for 2"),
    "keep": (lambda g, x: deconvnet(g, x, "relu3", keep="all"), "there is no way to keep 'all'"),
    "record": (lambda g, x: deconvnet(g, x, "relu3", values={}), "the value of 'relu3' is not on the record"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    (_, graph), x = opened("modules"), pictures()
    call, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        call(graph, x)


def test_a_node_without_a_batch_is_refused() -> None:
    (_, graph), x = opened("tokens"), pictures()
    name = next(node.name for node in graph.shown if node.dims and isinstance(node.dims[0], int))
    with pytest.raises(UsageError, match="is not the batch"):
        deconvnet(graph, x, name)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_in_the_module(fails: bool) -> None:
    net = make("in place", training=True)
    graph, x = capture(net, SIZE), pictures().requires_grad_()
    state = copy.deepcopy(net.state_dict())
    torch.manual_seed(5)
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(UsageError, match="no channel"):
            deconvnet(graph, x, "relu1", channel=99)
    else:
        deconvnet(graph, x, "relu1")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert x.grad is None
    assert not [p for p in net.parameters() if p.grad is not None]
    assert not [m for m in net.modules() if m._forward_hooks or m._backward_hooks or not m.training]
