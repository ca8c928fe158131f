"""A recurrent call unrolled in NumPy: every hidden state, cell, gate and sum that the fused kernel makes on its way.

For one layer and direction, with the sums W_ih x[t] + b_ih + W_hh h[t-1] + b_hh of each gate (sigma is the sigmoid):

- Elman (1990): h = tanh(sum), or relu.
- LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000), gates in the order
  i, f, g, o: c = f c[t-1] + i g, h = o tanh(c), where i, f, o = sigma(sums) and g = tanh(sum).
- GRU (Cho et al. 2014), gates in the order r, z, n: h = (1 - z) n + z h[t-1], where r, z = sigma(sums) and
  n = tanh(W_in x + b_in + r (W_hn h[t-1] + b_hn)): the reset gate after the matrix, as cuDNN and PyTorch have it.

A derivative is taken through all steps by a complex step (Squire & Trapp 1998): f(x + ih) = f(x) + ih f'(x) + O(h^2),
so with h = 1e-60 the imaginary part is the derivative to the last bit, and one function serves for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.ops.terms import Array, Call, Floats, Index

_STEP = 1e-60


@dataclass(frozen=True)
class Kind:
    """gates: how many sums a unit has. step: (from the input, from the hidden state, hidden state, cell) -> a step."""

    gates: int
    step: Callable[[Array, Array, Array, Array], Step]


@dataclass(frozen=True)
class Step:
    """What one step makes, each (N, width)."""

    hidden: Array
    cells: Array
    gates: Array
    sums: Array
    recurrent: Array  # what the hidden state sends to the gates


@dataclass(frozen=True)
class Layout:
    """How a call is built: the slots of its weights, and where time and pictures stand."""

    call: Call
    kind: Kind
    layers: int
    directions: int
    biases: bool
    batch_first: bool

    @property
    def steps(self) -> int:
        """T"""
        return int(self.call.array("input").shape[1 if self.batch_first else 0])

    @property
    def width(self) -> int:
        """H, the width of a hidden state."""
        return int(self.call.array(self.weight(0, 1)).shape[1])

    @property
    def has_cells(self) -> bool:
        """Whether there is a cell beside the hidden state."""
        return isinstance(self.call.arguments["hx"], list | tuple)

    def weight(self, which: int, part: int) -> str:
        """The slot of a weight. which: layer * directions + direction; part: 0 W_ih, 1 W_hh, 2 b_ih, 3 b_hh."""
        return f"params[{which * (4 if self.biases else 2) + part}]"

    def start(self, cells: bool = False) -> str:
        """The slot of the state before the first step, (layers * directions, N, H)."""
        return f"hx[{int(cells)}]" if self.has_cells else "hx"

    def order(self, which: int) -> range:
        """The steps as a direction goes through them."""
        return range(self.steps)[:: -1 if which % self.directions else 1]

    def before(self, which: int, t: int) -> int | None:
        """The step before step t in a direction's order; None before the first."""
        back = which % self.directions
        found = t + 1 if back else t - 1
        return found if 0 <= found < self.steps else None

    def last(self, which: int) -> int:
        """The last step of a direction."""
        return 0 if which % self.directions else self.steps - 1


@dataclass(frozen=True)
class Unrolled:
    """All numbers of a call. Each is (N, layers * directions, T, width)."""

    hidden: Array
    cells: Array
    gates: Array
    sums: Array
    recurrent: Array

    def results(self, layout: Layout) -> list[Array]:
        """What the call returns, in its own layout: output, last hidden states, and last cells where it has them."""
        top = np.moveaxis(self.hidden[:, -layout.directions :], 1, 2)  # (N, T, directions, H)
        output = top.reshape(*top.shape[:2], -1)
        lasts = [layout.last(which) for which in range(layout.layers * layout.directions)]
        every = np.arange(len(lasts))
        found = [
            output if layout.batch_first else output.swapaxes(0, 1),
            self.hidden[:, every, lasts].swapaxes(0, 1),
        ]
        return [*found, self.cells[:, every, lasts].swapaxes(0, 1)] if layout.has_cells else found


def unroll(layout: Layout, *, sample: int | None = None, instead: tuple[str, Array] | None = None) -> Unrolled:
    """Go through all steps of all layers, in float64.

    Args:
        sample: one thing of the batch alone. instead: a slot, and the array to take for it.
    """

    def array(slot: str) -> Array:
        if instead is not None and slot == instead[0]:
            return instead[1]
        return np.asarray(layout.call.array(slot), np.float64)

    one = slice(None) if sample is None else slice(sample, sample + 1)
    given = array("input")
    x = (given if layout.batch_first else given.swapaxes(0, 1))[one]
    start = array(layout.start())[:, one]
    cells = array(layout.start(cells=True))[:, one] if layout.has_cells else start
    made: list[list[Step]] = []
    for layer in range(layout.layers):
        rows = range(layer * layout.directions, (layer + 1) * layout.directions)
        made += [_one_direction(layout, array, which, x, start[which], cells[which]) for which in rows]
        x = np.concatenate([_stacked(made[which], "hidden") for which in rows], axis=-1)
    names = ("hidden", "cells", "gates", "sums", "recurrent")
    return Unrolled(**{name: np.stack([_stacked(steps, name) for steps in made], 1) for name in names})


def derivatives(layout: Layout, of: str, at: Index) -> list[Floats]:
    """d(result)/d(of)[at] for each result, in its own layout, through all steps in between."""
    changed = np.asarray(layout.call.array(of), np.complex128)
    changed[at] += 1j * _STEP
    sample = None
    if of == "input":
        sample = at[0 if layout.batch_first else 1]
    elif of.startswith("hx"):
        sample = at[1]
    found = unroll(layout, sample=sample, instead=(of, changed)).results(layout)
    whole: list[Floats] = []
    for k, part in enumerate(found):
        result = np.zeros(layout.call.results[k].shape)
        batch = 0 if k == 0 and layout.batch_first else 1
        where = [slice(None)] * 3
        if sample is not None:
            where[batch] = slice(sample, sample + 1)
        result[tuple(where)] = part.imag / _STEP
        whole.append(result)
    return whole


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that nothing overflows and complex numbers pass."""
    found: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return found


def _one_direction(
    layout: Layout, array: Callable[[str], Array], which: int, x: Array, hidden: Array, cells: Array
) -> list[Step]:
    """The steps of one layer in one direction, in the order of time."""
    inward = x @ array(layout.weight(which, 0)).T
    weight, bias = array(layout.weight(which, 1)).T, 0.0
    if layout.biases:
        inward = inward + array(layout.weight(which, 2))
        bias = array(layout.weight(which, 3))  # type: ignore[assignment]
    steps: list[Any] = [None] * layout.steps
    for t in layout.order(which):
        steps[t] = layout.kind.step(inward[:, t], hidden @ weight + bias, hidden, cells)
        hidden, cells = steps[t].hidden, steps[t].cells
    return steps


def _stacked(steps: list[Step], name: str) -> Array:
    """(N, T, width)"""
    return np.stack([getattr(step, name) for step in steps], 1)


def _elman(inward: Array, back: Array, hidden: Array, cells: Array) -> Step:
    sums = inward + back
    return Step(np.tanh(sums), cells, sums[:, :0], sums, back)


def _rectified(inward: Array, back: Array, hidden: Array, cells: Array) -> Step:
    sums = inward + back
    return Step(np.where(sums.real > 0, sums, 0), cells, sums[:, :0], sums, back)


def _lstm(inward: Array, back: Array, hidden: Array, cells: Array) -> Step:
    sums = inward + back
    i, f, g, o = np.split(sums, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    cells = f * cells + i * g
    return Step(o * np.tanh(cells), cells, np.concatenate([i, f, g, o], 1), sums, back)


def _gru(inward: Array, back: Array, hidden: Array, cells: Array) -> Step:
    (from_r, from_z, from_n), (to_r, to_z, to_n) = np.split(inward, 3, axis=1), np.split(back, 3, axis=1)
    r, z = sigmoid(from_r + to_r), sigmoid(from_z + to_z)
    sum_n = from_n + r * to_n
    n = np.tanh(sum_n)
    sums = np.concatenate([from_r + to_r, from_z + to_z, sum_n], 1)
    return Step((1 - z) * n + z * hidden, cells, np.concatenate([r, z, n], 1), sums, to_n)


ELMAN = Kind(1, _elman)
RECTIFIED = Kind(1, _rectified)
LSTM = Kind(4, _lstm)
GRU = Kind(3, _gru)
