"""The cells written out, against ``torch.nn``: values and gradients, one step and many, several layers, both ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.nets.cells import Cell, GRUCell, LSTMCell, RNNCell, Unrolled, unroll

PAIRS: dict[str, tuple[type[Cell], type[nn.RNNCellBase], type[nn.RNNBase]]] = {
    "rnn": (RNNCell, nn.RNNCell, nn.RNN),
    "lstm": (LSTMCell, nn.LSTMCell, nn.LSTM),
    "gru": (GRUCell, nn.GRUCell, nn.GRU),
}
BUILDS = {
    "one layer": {},
    "three layers": {"num_layers": 3},
    "both directions": {"bidirectional": True},
    "two layers in both directions": {"num_layers": 2, "bidirectional": True},
}


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def weigh(result: Tensor) -> Tensor:
    """A number that every entry counts in differently."""
    return (result * torch.arange(1, result.numel() + 1, dtype=result.dtype).view_as(result).cos()).sum()


@pytest.mark.parametrize("name", PAIRS)
def test_one_step_with_its_gradients(name: str) -> None:
    torch.manual_seed(0)
    own, torchs, _ = PAIRS[name]
    cell, other = own(3, 4).double(), torchs(3, 4).double()  # type: ignore[call-arg]
    other.load_state_dict(cell.state_dict())
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(cell.states))
    ours = cell(x, state)
    theirs = other(x, state if len(state) > 1 else state[0])
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    for one, two in zip(ours, theirs, strict=True):
        same(one, two)
    leaves = [x, *state]
    found = torch.autograd.grad(sum(map(weigh, ours)), [*leaves, *cell.parameters()])
    wanted = torch.autograd.grad(sum(map(weigh, theirs)), [*leaves, *other.parameters()])
    for one, two in zip(found, wanted, strict=True):
        same(one, two)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", PAIRS)
def test_many_steps_with_their_gradients(name: str, build: str) -> None:
    torch.manual_seed(1)
    fused = PAIRS[name][2](3, 4, batch_first=True, **BUILDS[build]).double()
    own = Unrolled.like(fused)
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    ours, theirs = own(x), fused(x)[0]
    same(ours, theirs)
    found = torch.autograd.grad(weigh(ours), [x, *own.parameters()])
    wanted = torch.autograd.grad(weigh(theirs), [x, *fused.parameters()])
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        same(one, two)


@pytest.mark.parametrize("name", PAIRS)
def test_the_last_state_is_that_of_the_fused_layer(name: str) -> None:
    torch.manual_seed(2)
    fused = PAIRS[name][2](3, 4, batch_first=True).double()
    (cell,) = Unrolled.like(fused).layers[0]  # type: ignore[misc]
    _, state = unroll(cell, torch.ones(2, 5, 3, dtype=torch.float64))
    _, last = fused(torch.ones(2, 5, 3, dtype=torch.float64))
    for one, two in zip(state, last if isinstance(last, tuple) else (last,), strict=True):
        same(one, two[0])


def test_a_state_before_the_first_step_counts() -> None:
    torch.manual_seed(3)
    fused = nn.GRU(2, 3, batch_first=True).double()
    (cell,) = Unrolled.like(fused).layers[0]  # type: ignore[misc]
    x, start = torch.randn(2, 4, 2, dtype=torch.float64), torch.randn(1, 2, 3, dtype=torch.float64)
    same(unroll(cell, x, (start[0],))[0], fused(x, start)[0])


def test_the_lstm_equations_number_by_number() -> None:
    """Against the equations of the docstring, in NumPy, one unit at a time."""
    torch.manual_seed(4)
    cell = LSTMCell(2, 3).double()
    x, hidden, memory = (torch.randn(1, n, dtype=torch.float64) for n in (2, 3, 3))
    weights = {name: value.detach().numpy() for name, value in cell.state_dict().items()}
    shown, kept = (tensor.detach().numpy()[0] for tensor in cell(x, (hidden, memory)))
    for unit in range(3):
        sums = []
        for gate in range(4):
            row = gate * 3 + unit
            total = weights["bias_ih"][row] + weights["bias_hh"][row]
            total += sum(weights["weight_ih"][row, j] * float(x[0, j]) for j in range(2))
            total += sum(weights["weight_hh"][row, j] * float(hidden[0, j]) for j in range(3))
            sums.append(total)
        i, f, o = (1 / (1 + np.exp(-sums[k])) for k in (0, 1, 3))
        cell_now = f * float(memory[0, unit]) + i * np.tanh(sums[2])
        assert kept[unit] == pytest.approx(cell_now, abs=1e-12)
        assert shown[unit] == pytest.approx(o * np.tanh(cell_now), abs=1e-12)
