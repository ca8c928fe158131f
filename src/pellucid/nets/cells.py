"""Recurrent cells written out: one step of Elman's network, of the LSTM and of the GRU, and the loop over steps.

``torch.nn.RNN``, ``LSTM`` and ``GRU`` do the same in one fused call, which trains much faster (``nets.recurrent`` runs
them). These are for reading, for opening gate by gate, and for checking the fused ones: names and layout of weights are
those of ``torch.nn.RNNCell``, ``LSTMCell`` and ``GRUCell``. Each cell takes x (N, inputs) and a state, and gives the
next state; where there is a cell beside the hidden state, a state is the pair (hidden, cell).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]  # (hidden,) or (hidden, cell), each (N, H)


class Cell(nn.Module):
    """What the three share: W_ih (gates * H, inputs), W_hh (gates * H, H) and two biases, uniform in +-1/sqrt(H)."""

    gates = 1
    states = 1  # how many tensors a state is

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        rows, bound = self.gates * hidden, 1 / sqrt(hidden)
        self.weight_ih = nn.Parameter(torch.empty(rows, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))

    def sums(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """W_ih x + b_ih and W_hh h + b_hh, (N, gates * H) each."""
        return (
            nn.functional.linear(x, self.weight_ih, self.bias_ih),
            nn.functional.linear(hidden, self.weight_hh, self.bias_hh),
        )

    def start(self, x: Tensor) -> State:
        """The state before the first step: zeros."""
        return tuple(x.new_zeros(x.shape[0], self.hidden) for _ in range(self.states))


class RNNCell(Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): Elman, "Finding structure in time", Cognitive Science 14 (1990)."""

    def forward(self, x: Tensor, state: State) -> State:
        """(N, inputs), ((N, H),) -> ((N, H),)"""
        (hidden,) = state
        from_input, from_hidden = self.sums(x, hidden)
        return (torch.tanh(from_input + from_hidden),)


class LSTMCell(Cell):
    """Long short-term memory: a cell c that is added to, not multiplied through a matrix, so that gradients survive.

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)    what is let in
        f = sigmoid(W_if x + b_if + W_hf h + b_hf)    what is kept
        g = tanh   (W_ig x + b_ig + W_hg h + b_hg)    the candidate
        o = sigmoid(W_io x + b_io + W_ho h + b_ho)    what is shown
        c' = f c + i g,   h' = o tanh(c')

    Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9 (1997); the forget gate f is of Gers,
    Schmidhuber & Cummins, "Learning to forget" (2000). No peepholes. The gates lie in the order i, f, g, o.
    """

    gates = 4
    states = 2

    def forward(self, x: Tensor, state: State) -> State:
        """(N, inputs), ((N, H), (N, H)) -> the same two"""
        hidden, cell = state
        from_input, from_hidden = self.sums(x, hidden)
        i, f, g, o = (from_input + from_hidden).chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class GRUCell(Cell):
    """The gated recurrent unit: two gates, and no cell beside the hidden state.

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)        what of the past the candidate sees
        z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)        what of the past is kept
        n = tanh   (W_in x + b_in + r (W_hn h + b_hn))    the candidate
        h' = (1 - z) n + z h

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014). There r is multiplied to h before
    the matrix; here after it, as in cuDNN and ``torch.nn``. The gates lie in the order r, z, n.
    """

    gates = 3

    def forward(self, x: Tensor, state: State) -> State:
        """(N, inputs), ((N, H),) -> ((N, H),)"""
        (hidden,) = state
        from_input, from_hidden = self.sums(x, hidden)
        input_r, input_z, input_n = from_input.chunk(3, dim=1)
        hidden_r, hidden_z, hidden_n = from_hidden.chunk(3, dim=1)
        r, z = torch.sigmoid(input_r + hidden_r), torch.sigmoid(input_z + hidden_z)
        n = torch.tanh(input_n + r * hidden_n)
        return ((1 - z) * n + z * hidden,)


def unroll(cell: Cell, x: Tensor, state: State | None = None, *, backwards: bool = False) -> tuple[Tensor, State]:
    """One cell over all steps: (N, T, inputs) -> hidden states (N, T, H), and the last state.

    Args:
        state: before the first step; zeros where there is none.
        backwards: from the last step to the first.
    """
    state = cell.start(x[:, 0]) if state is None else state
    hidden: list[Tensor] = []
    for step in reversed(x.unbind(1)) if backwards else x.unbind(1):
        state = cell(step, state)
        hidden.append(state[0])
    return torch.stack(hidden[::-1] if backwards else hidden, dim=1), state


class Unrolled(nn.Module):
    """Several layers of cells, each in one direction or in both, by a plain loop: what ``torch.nn.LSTM`` computes."""

    def __init__(self, layers: Sequence[Sequence[Cell]]) -> None:
        """layers: the cells of each layer, one or two (the second goes from the last step to the first)."""
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList(cells) for cells in layers)

    @classmethod
    def like(cls, fused: nn.RNNBase) -> Unrolled:
        """With copies of the weights of a ``torch.nn.RNN`` (tanh), ``LSTM`` or ``GRU``."""
        kinds: dict[str, type[Cell]] = {"RNN_TANH": RNNCell, "LSTM": LSTMCell, "GRU": GRUCell}
        kind = kinds[fused.mode]
        layers: list[list[Cell]] = []
        for layer in range(fused.num_layers):
            cells: list[Cell] = []
            for ending in ("", "_reverse")[: 1 + fused.bidirectional]:
                weights = {
                    name: getattr(fused, f"{name}_l{layer}{ending}")
                    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                }
                cell = kind(weights["weight_ih"].shape[1], fused.hidden_size)
                cell.load_state_dict({name: weight.detach() for name, weight in weights.items()})
                cells.append(cell.to(weights["weight_ih"]))
            layers.append(cells)
        return cls(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, inputs) -> (N, T, directions * H)"""
        for cells in self.layers:
            found = [unroll(cell, x, backwards=bool(k))[0] for k, cell in enumerate(cells.children())]  # type: ignore[arg-type]
            x = torch.cat(found, dim=2)
        return x
