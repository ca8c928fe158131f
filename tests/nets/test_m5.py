"""M5: the paper's numbers, loops over its definition, gradients, opened numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid import graph, nets
from pellucid.errors import UsageError
from tests.look.numbers import check
from tests.oracles.m5 import forward


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    net = nets.make("m5", classes=3, channels=3)
    for layer in (net.bn1, net.bn2, net.bn3, net.bn4):  # type: ignore[union-attr]
        layer.weight.data.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
        layer.bias.data.uniform_(-0.5, 0.5)  # type: ignore[union-attr,operator]
        layer.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr,operator]
        layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr,operator]
    return net


def waves(count: int = 2, length: int = 1300) -> torch.Tensor:
    return torch.randn(count, 1, length, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("classes", [10, 35])
def test_parameters_are_those_of_the_paper(classes: int) -> None:
    net = nets.make("m5", classes=classes)
    kernels = 80 * 1 * 128 + 3 * 128 * 128 + 3 * 128 * 256 + 3 * 256 * 512  # Table 1: [80/4, 128] [3, 128] [3, 256] ...
    per_map = 3 * (128 + 128 + 256 + 512)  # a bias, and the normalisation's two
    assert sum(p.numel() for p in net.parameters()) == kernels + per_map + 512 * classes + classes
    assert round((kernels + per_map) / 1e6, 1) == 0.6  # the paper rounds its 0.55 million down to 0.5


def test_lengths_are_those_of_table_1() -> None:
    found = graph.capture(nets.make("m5", channels=4), inputs=torch.zeros(2, 1, 32000)).account(1)
    lengths = [row.shape[2] for row in found.rows if row.name.startswith(("conv", "pool"))]
    assert lengths == [8000, 2000, 2000, 500, 500, 125, 125, 31]


def test_forward_against_loops() -> None:
    net = small().eval()
    weights = {name: value.double().numpy() for name, value in net.state_dict().items()}
    with torch.no_grad():
        found = net(waves())
    np.testing.assert_allclose(found.numpy(), forward(waves().double().numpy(), weights), atol=1e-5)


def test_gradients_against_small_steps() -> None:
    net = small().double().eval()
    inputs = waves(1, 1024).double()
    loss = torch.nn.functional.cross_entropy(net(inputs), torch.tensor([1]))
    loss.backward()
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}

    def value(name: str, place: tuple[int, ...], step: float) -> float:
        moved = {**state, name: state[name].copy()}
        moved[name][place] += step
        scores = forward(inputs.numpy(), moved)[0]
        return float(np.log(np.exp(scores).sum()) - scores[1])

    chance = np.random.default_rng(0)
    for name, parameter in net.named_parameters():
        place = tuple(int(chance.integers(n)) for n in parameter.shape)
        slope = (value(name, place, 1e-6) - value(name, place, -1e-6)) / 2e-6
        assert parameter.grad is not None
        assert float(parameter.grad[place]) == pytest.approx(slope, abs=1e-6), name


@pytest.mark.parametrize("training", [False, True])
def test_nothing_in_it_is_opaque(training: bool) -> None:
    assert not graph.capture(nets.make("m5"), inputs=waves(), training=training).opaque


@pytest.mark.parametrize("training", [False, True])
def test_random_numbers_open(training: bool) -> None:
    found = check(small(), waves(), [0, 2], training=training, count=150, boxes=0)
    assert found.activations + found.gradients == 300
    assert found.wrong == []


def test_the_shortest_wave() -> None:
    net = small().eval()
    assert net(waves(2, net.SHORTEST)).shape == (2, 3)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="Invalid computed output size: 0"):
        net(waves(2, net.SHORTEST - 1))  # type: ignore[operator]


def test_channels_below_one() -> None:
    with pytest.raises(UsageError, match="channels is 0"):
        nets.make("m5", channels=0)
