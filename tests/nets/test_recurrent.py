"""Forecasting networks: parameters by the formula, values and gradients against independent ones, no operation unknown,
and their numbers opened."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import nets
from pellucid.errors import UsageError
from pellucid.nets.cells import Unrolled
from pellucid.nets.recurrent import TemporalBlock
from tests.look.numbers import check

NAMES = ("rnn", "lstm", "gru", "tcn")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", GATES)
def test_parameters_of_recurrent_networks(name: str, layers: int) -> None:
    """A layer has gates * H * (I + H + 2), as the equations say; the head H * outputs + outputs."""
    net = nets.make(name, features=5, horizon=4, targets=2, quantiles=3, hidden=16, layers=layers)
    own = sum(GATES[name] * 16 * (inputs + 16 + 2) for inputs in (5, *[16] * (layers - 1)))
    assert sum(p.numel() for p in net.parameters()) == own + 16 * 24 + 24


def test_parameters_of_the_convolutional_one() -> None:
    """As by default in the paper's own code for channels 5, 8, 8 and kernels of 2, without weight normalisation."""
    net = nets.make("tcn", features=5, horizon=4, targets=2, quantiles=3, channels=[8, 8], kernel_size=2)
    first = (5 * 8 * 2 + 8) + (8 * 8 * 2 + 8) + (5 * 8 + 8)
    second = 2 * (8 * 8 * 2 + 8)
    assert sum(p.numel() for p in net.parameters()) == first + second + 8 * 24 + 24


@pytest.mark.parametrize("name", NAMES)
def test_shape(name: str) -> None:
    net = nets.make(name, features=3, horizon=4, targets=2, quantiles=5)
    assert net(torch.zeros(7, 20, 3)).shape == (7, 4, 2, 5)
    assert net.reads == "series"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", GATES)
def test_values_and_gradients_are_those_of_the_cells(name: str, layers: int) -> None:
    torch.manual_seed(0)
    net = nets.make(name, features=3, horizon=2, targets=2, quantiles=3, hidden=6, layers=layers).double()
    x = torch.randn(4, 9, 3, dtype=torch.float64, requires_grad=True)
    cells = Unrolled.like(net.recurrent)
    ours = net.head(cells(x)[:, -1]).view(4, 2, 2, 3)
    torch.testing.assert_close(net(x), ours, rtol=0, atol=1e-12)
    (found,) = torch.autograd.grad(net(x).square().sum(), x)
    (wanted,) = torch.autograd.grad(ours.square().sum(), x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def causal(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, dilation: int) -> np.ndarray:
    """A causal dilated convolution of one thing, (C, T) -> (K, T), by its definition."""
    kernels, channels, size = weight.shape
    out = np.zeros((kernels, x.shape[1]))
    for k in range(kernels):
        for t in range(x.shape[1]):
            total = bias[k]
            for c in range(channels):
                for tap in range(size):
                    at = t - (size - 1 - tap) * dilation
                    if at >= 0:
                        total += weight[k, c, tap] * x[c, at]
            out[k, t] = total
    return out


def test_the_convolutional_network_against_loops() -> None:
    torch.manual_seed(0)
    net = nets.make("tcn", features=2, horizon=3, quantiles=2, channels=[4, 4, 5], kernel_size=3).double()
    x = torch.randn(1, 17, 2, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    y = x[0].numpy().T
    for level in range(3):
        parts = [weights[f"network.{level}.conv{i}.{kind}"] for i in (1, 2) for kind in ("weight", "bias")]
        inside = np.maximum(causal(y, parts[0], parts[1], 2**level), 0)
        inside = np.maximum(causal(inside, parts[2], parts[3], 2**level), 0)
        past = weights.get(f"network.{level}.downsample.weight")
        around = y if past is None else causal(y, past, weights[f"network.{level}.downsample.bias"], 1)
        y = np.maximum(inside + around, 0)
    wanted = (weights["linear.weight"] @ y[:, -1] + weights["linear.bias"]).reshape(3, 1, 2)
    np.testing.assert_allclose(net(x).detach().numpy()[0], wanted, rtol=0, atol=1e-12)


def test_gradients_of_the_convolutional_network_by_differences() -> None:
    torch.manual_seed(1)
    net = nets.make("tcn", features=1, quantiles=1, channels=[3, 3]).double()
    x = torch.randn(2, 8, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))


def test_a_step_of_a_block_sees_itself_and_those_before() -> None:
    torch.manual_seed(0)
    block = TemporalBlock(2, 3, 3, 2, 0.0)
    x = torch.randn(1, 2, 20)
    changed = x.clone()
    changed[:, :, 11] += 1
    differs = (block(x) != block(changed)).any(1)[0].nonzero().flatten()
    assert int(differs.min()) == 11
    assert int(differs.max()) <= 11 + 2 * 2 * 2


def test_the_convolutional_network_sees_what_its_docstring_says() -> None:
    torch.manual_seed(0)
    net = nets.make("tcn", quantiles=1)
    x = torch.randn(1, 80, 1, requires_grad=True)
    (found,) = torch.autograd.grad(net(x).sum(), x)
    assert int(found[0, :, 0].nonzero().min()) == 80 - 61


@pytest.mark.parametrize("name", NAMES)
def test_no_operation_is_unknown(name: str) -> None:
    table = pellucid.summary(nets.make(name, features=3, horizon=4), (20, 3))
    assert "opaque" not in {row.kind for row in table.account.rows}
    assert table.account.parameters == sum(p.numel() for p in nets.make(name, features=3, horizon=4).parameters())
    assert table.account.macs


def test_macs_of_an_lstm() -> None:
    account = pellucid.summary(nets.make("lstm", features=3, hidden=8, horizon=2), (20, 3)).account
    assert account.macs == 20 * 4 * 8 * (3 + 8) + 8 * 2 * 3


class Flat(nn.Module):
    """Forecasts as the classes of one label: a loss for opening numbers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).flatten(1)


@pytest.mark.parametrize(
    ("name", "training", "count"),
    [("rnn", False, 300), ("lstm", False, 300), ("gru", False, 300), ("tcn", False, 300), ("lstm", True, 60)],
)
def test_numbers_open(name: str, training: bool, count: int) -> None:
    torch.manual_seed(0)
    sizes = {"channels": [5, 5]} if name == "tcn" else {"hidden": 7, "layers": 2}
    net = Flat(nets.make(name, features=3, horizon=2, targets=1, **sizes))
    x = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(1))
    checked = check(net, x, [3, 1], training=training, count=count, boxes=0)
    assert not checked.wrong
    assert checked.activations == count
    assert not checked.from_pytorch


def test_cells_open_gate_by_gate() -> None:
    torch.manual_seed(0)

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = Unrolled.like(nn.LSTM(2, 4, batch_first=True))
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cells(x)[:, -1])

    checked = check(Written(), torch.randn(2, 5, 2), [0, 2], training=False, count=100, boxes=0)
    assert not checked.wrong
    assert not checked.from_pytorch


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("lstm", {"hidden": 0}, "lstm has 1 layers of 0 units"),
        ("tcn", {"kernel_size": 1}, "kernel_size of tcn is 1"),
        ("tcn", {"channels": []}, "channels of tcn is empty"),
    ],
)
def test_sizes_that_make_no_network(name: str, settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nets.make(name, **settings)
