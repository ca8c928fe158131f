"""Recurrent layers as PyTorch's fused calls: Elman's network, LSTM and GRU, over all steps and layers at once.

The equations stand in ``recurrence.py``. A call returns hidden states alone; its cells, gates and the sums behind them
are numbers inside it, by the names ``~cells``, ``~gates`` (after their squashing) and ``~sums`` (before it), each
(N, layer and direction, step, unit; the gates' units one gate after another).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import tanh
from typing import Any, ClassVar, Self

import numpy as np

from pellucid.ops.base import Arguments, Op, Shape, product
from pellucid.ops.field import Reach, joined
from pellucid.ops.recurrence import ELMAN, GRU, LSTM, RECTIFIED, Kind, Layout, Unrolled, derivatives, unroll
from pellucid.ops.terms import Array, Call, Group, Index, Places, Terms, flat

NO_DROPOUT_MASK = "hidden states were dropped at random between the layers, and the call kept no record of which"


@dataclass(frozen=True)
class Recurrent(Op, ABC):
    """(N, T, I) -> (N, T, directions * H), layer over layer."""

    kind: ClassVar[str] = "recurrent"
    gates: ClassVar[int] = 1
    inputs: int = 1
    width: int = 1
    layers: int = 1
    both: bool = False  # whether a second one goes from the last step to the first
    biases: bool = True
    batch_first: bool = False
    dropped: bool = False  # whether anything is dropped at random between layers

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        layers, both = int(arguments["num_layers"]), bool(arguments["bidirectional"])
        biases, params = bool(arguments["has_biases"]), list(arguments["params"])
        if len(params) != layers * (1 + both) * (4 if biases else 2):
            raise ValueError("hidden states with a projection of their own are not described")
        (_, inputs), (_, width) = params[0], params[1]
        dropped = bool(arguments["train"]) and float(arguments["dropout"]) > 0 and layers > 1
        return cls(inputs, width, layers, both, biases, bool(arguments["batch_first"]), dropped)

    @property
    def directions(self) -> int:
        """1, or 2 for both."""
        return 1 + self.both

    def describe(self) -> str:
        more = f", {self.layers} layers" if self.layers > 1 else ""
        return f"{self._word()} {self.inputs:,} to {self.width:,}{more}{', both directions' if self.both else ''}"

    def _word(self) -> str:
        return type(self).__name__.upper()

    def shape(self, arguments: Arguments) -> Shape:
        return (*arguments["input"][:2], self.directions * self.width)

    def macs(self, out: Shape, arguments: Arguments) -> int | None:
        """At each step, one for each number of the matrices; the products of gates with states are none of a matrix."""
        matrices = sum(product(shape) for shape in arguments["params"] if len(shape) == 2)
        return product(out[:2]) * matrices

    def field(self, reaches: Sequence[Reach], out: Shape, arguments: Arguments) -> Reach:
        return joined([reach.lost() for reach in reaches])

    def terms(self, at: Index, call: Call) -> Terms:
        """A hidden state (or, of the last result, a cell) as what its step added to it."""
        if self.dropped:
            return Terms(missing=NO_DROPOUT_MASK)
        layout = self._layout(call)
        if call.which == 0:
            n, t = at[:2] if self.batch_first else at[1::-1]
            back, unit = divmod(at[2], self.width)
            which = (self.layers - 1) * self.directions + back
        else:
            which, n, unit = at
            t = layout.last(which)
        state = State(layout, unroll(layout, sample=n), n, which, t, unit)
        return self._result(state, call.which)

    def terms_of_gradient(self, of: str, at: Index, call: Call) -> Terms | None:
        """The results' gradients times their derivatives through all steps in between: back-propagation through time
        (Werbos 1990), its factors multiplied out."""
        if self.dropped:
            return Terms(missing=NO_DROPOUT_MASK)
        groups = []
        for k, derivative in enumerate(derivatives(self._layout(call), of, at)):
            places, gradient = np.flatnonzero(derivative), call.gradients[k].reshape(-1).astype(np.float64)
            if not gradient.any():
                continue
            factors = derivative.reshape(-1)[places]
            note = "derivative through the steps in between"
            products = gradient[places] * factors
            groups.append(Group("through time", products, f"gradient[{k}]", places, factors, note=note))
        return Terms(tuple(groups), "sum of the states' gradients x derivatives through the steps in between")

    def inside_array(self, inner: str, call: Call) -> Array:
        """(N, layers * directions, T, width)"""
        if self.dropped:
            return np.full((1, 1, 1, 1), np.nan)
        layout = self._layout(call)  # thing by thing, as its terms are made: the same numbers to the last bit
        things = range(call.array("input").shape[0 if self.batch_first else 1])
        return np.concatenate([getattr(unroll(layout, sample=n), inner) for n in things])

    def inside_terms(self, inner: str, at: Index, call: Call) -> Terms:
        """A state from gates, a gate from its sum, a sum from the input and the state before."""
        if self.dropped:
            return Terms(missing=NO_DROPOUT_MASK)
        layout = self._layout(call)
        n, which, t, unit = at
        state = State(layout, unroll(layout, sample=n), n, which, t, unit)
        return self._inner(inner, state)

    def _inner(self, inner: str, state: State) -> Terms:
        if inner == "sums":
            return Terms(tuple(self._sum(state, state.unit)), f"W x + b + W h + b of {self._gate(state.unit)}")
        if inner == "gates":
            return state.squashed(state.unit, self._gate(state.unit), self._squash(state.unit // self.width))
        return self._hidden(state)

    def _layout(self, call: Call) -> Layout:
        return Layout(call, self._kind(), self.layers, self.directions, self.biases, self.batch_first)

    def _sum(self, state: State, row: int, gain: float = 1.0) -> list[Group]:
        return state.from_input(row, gain) + state.from_hidden(row, gain)

    def _result(self, state: State, which: int) -> Terms:
        return self._opened(state)

    @abstractmethod
    def _kind(self) -> Kind:
        """The equations of one step."""

    def _gate(self, row: int) -> str:
        return "the state"

    def _squash(self, gate: int) -> str:
        return "tanh(x)"

    @abstractmethod
    def _opened(self, state: State) -> Terms:
        """A result as the sum that its step added up."""

    @abstractmethod
    def _hidden(self, state: State) -> Terms:
        """A state on the way, as what made it."""


@dataclass(frozen=True)
class Rnn(Recurrent):
    """h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t-1] + b_hh) (Elman 1990), or relu of it (Le, Jaitly & Hinton 2015)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.rnn_tanh.input", "aten.rnn_relu.input")
    inside: ClassVar[tuple[str, ...]] = ("hidden", "sums")
    activation: str = "tanh"

    @classmethod
    def read(cls, call: str, arguments: Arguments) -> Self:
        found = super().read(call, arguments)
        own = (found.inputs, found.width, found.layers, found.both, found.biases, found.batch_first, found.dropped)
        return cls(*own, activation=call.removeprefix("rnn_"))

    def _word(self) -> str:
        return "RNN" if self.activation == "tanh" else "RNN with relu"

    def _kind(self) -> Kind:
        return ELMAN if self.activation == "tanh" else RECTIFIED

    def _opened(self, state: State) -> Terms:
        """Each product of the sum times what the activation makes of the whole: tanh(sum) / sum."""
        total = state.number("sums", state.unit)
        gain = _gain(total) if self.activation == "tanh" else float(total > 0)
        formula = f"(W x + b + W h + b) x {self.activation}(sum) / sum"
        links = [state.link("sum", "~sums", [state.unit])]
        return Terms((*self._sum(state, state.unit, gain), *links), formula, {"sum": total, "gain": gain})

    def _hidden(self, state: State) -> Terms:
        return state.squashed(state.unit, "the state", f"{self.activation}(x)", value=state.number("hidden"))


@dataclass(frozen=True)
class Lstm(Recurrent):
    """c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]), with gates i, f, o and the candidate g made of x[t] and h[t-1]
    (Hochreiter & Schmidhuber 1997; the forget gate f: Gers, Schmidhuber & Cummins 2000)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.lstm.input",)
    inside: ClassVar[tuple[str, ...]] = ("hidden", "cells", "gates", "sums")
    gates: ClassVar[int] = 4

    def _kind(self) -> Kind:
        return LSTM

    def _gate(self, row: int) -> str:
        return ("the input gate", "the forget gate", "the candidate", "the output gate")[row // self.width]

    def _squash(self, gate: int) -> str:
        return "tanh(x)" if gate == 2 else "sigmoid(x)"

    def _inner(self, inner: str, state: State) -> Terms:
        return self._cell(state) if inner == "cells" else super()._inner(inner, state)

    def _opened(self, state: State) -> Terms:
        """o tanh(c) / c times what the cell is the sum of."""
        cell, out = state.number("cells"), state.gate(3)
        return self._cell_opened(state, out * _gain(cell), "o tanh(c) / c x ")

    def _result(self, state: State, which: int) -> Terms:
        return self._cell_opened(state) if which == 2 else self._opened(state)

    def _cell_opened(self, state: State, gain: float = 1.0, words: str = "") -> Terms:
        """The cell of before times the forget gate; and the candidate's sum times what the gates let of it."""
        i, f, g, o = (state.gate(k) for k in range(4))
        slot, place, held = state.previous("cells")
        before = Group("cell before", held * f * gain, slot, place, np.array([f * gain]), note=f"{words}f")
        candidate = state.number("sums", 2 * self.width + state.unit)
        sums = self._sum(state, 2 * self.width + state.unit, i * _gain(candidate) * gain)
        link = state.link("gate", "~gates", [k * self.width + state.unit for k in range(4)])
        facts: dict[str, float | str] = {
            "input gate i": i,
            "forget gate f": f,
            "candidate g": g,
            "output gate o": o,
            "cell c": state.number("cells"),
        }
        return Terms((before, *sums, link), f"{words}(f x c before + i g), g = tanh(W x + b + W h + b)", facts)

    def _cell(self, state: State) -> Terms:
        """f c[t-1] + i g"""
        i, f, g = (state.gate(k) for k in range(3))
        slot, place, held = state.previous("cells")
        gates = [state.place(k * self.width + state.unit, "gates") for k in range(3)]
        before = Group("cell before", held * f, slot, place, np.array([f]), "~gates", gates[1])
        candidate = Group("candidate", np.array([i * g]), "~gates", gates[2], np.array([i]), "~gates", gates[0])
        return Terms((before, candidate), "f x c before + i x g")

    def _hidden(self, state: State) -> Terms:
        """o tanh(c)"""
        o, squashed = state.gate(3), tanh(state.number("cells"))
        gate, cell = state.place(3 * self.width + state.unit, "gates"), state.place(state.unit, "cells")
        factors = np.array([squashed])
        table = Group("product", o * factors, "~gates", gate, factors, "~cells", cell, "tanh(c)")
        return Terms((table,), "o x tanh(c)")


@dataclass(frozen=True)
class Gru(Recurrent):
    """h[t] = (1 - z) n + z h[t-1], with n = tanh(W x + b + r (W h[t-1] + b)) and the gates r, z made of x[t] and
    h[t-1] (Cho et al. 2014)."""

    targets: ClassVar[tuple[str, ...]] = ("aten.gru.input",)
    inside: ClassVar[tuple[str, ...]] = ("hidden", "gates", "sums", "recurrent")
    gates: ClassVar[int] = 3

    def _kind(self) -> Kind:
        return GRU

    def _gate(self, row: int) -> str:
        return ("the reset gate", "the update gate", "the candidate")[row // self.width]

    def _squash(self, gate: int) -> str:
        return "tanh(x)" if gate == 2 else "sigmoid(x)"

    def _inner(self, inner: str, state: State) -> Terms:
        if inner == "recurrent":
            row = 2 * self.width + state.unit
            return Terms(tuple(state.from_hidden(row)), "W h + b, before the reset gate")
        if inner == "sums" and state.unit >= 2 * self.width:
            unit = state.unit - 2 * self.width
            r, back = float(state.all.gates[0, state.which, state.t, unit]), state.number("recurrent", unit)
            slots = (state.place(unit, "recurrent"), state.place(unit, "gates"))
            table = Group("hidden", np.array([back * r]), "~recurrent", slots[0], np.array([r]), "~gates", slots[1])
            return Terms((*state.from_input(state.unit), table), "W x + b + r (W h + b) of the candidate")
        return super()._inner(inner, state)

    def _opened(self, state: State) -> Terms:
        """z times the state of before; and the candidate's sum times what the gates let of it."""
        r, z, n = (state.gate(k) for k in range(3))
        row = 2 * self.width + state.unit
        gain = (1 - z) * _gain(state.number("sums", row))
        slot, place, held = state.previous("hidden")
        before = Group("state before", held * z, slot, place, np.array([z]), note="z")
        link = state.link("gate", "~gates", [k * self.width + state.unit for k in range(3)])
        sums = (*state.from_input(row, gain), *state.from_hidden(row, gain * r))
        facts: dict[str, float | str] = {"reset gate r": r, "update gate z": z, "candidate n": n}
        return Terms((before, *sums, link), "z x h before + (1 - z) n, n = tanh(W x + b + r (W h + b))", facts)

    def _hidden(self, state: State) -> Terms:
        """z h[t-1] + (1 - z) n"""
        z, n = state.gate(1), state.gate(2)
        places = [state.place(k * self.width + state.unit, "gates") for k in (1, 2)]
        slot, place, held = state.previous("hidden")
        before = Group("state before", held * z, slot, place, np.array([z]), "~gates", places[0])
        new = Group("candidate", np.array([(1 - z) * n]), "~gates", places[1], np.array([1 - z]), note="1 - z")
        return Terms((before, new), "z x h before + (1 - z) x n")


@dataclass(frozen=True)
class State:
    """One unit at one step, of thing n: layer and direction ``which``, step t. ``all`` has the numbers of n alone."""

    layout: Layout
    all: Unrolled
    n: int
    which: int
    t: int
    unit: int

    def number(self, name: str, unit: int | None = None) -> float:
        """A number of its step."""
        return float(getattr(self.all, name)[0, self.which, self.t, self.unit if unit is None else unit])

    def gate(self, k: int) -> float:
        """Its k-th gate."""
        return self.number("gates", k * self.layout.width + self.unit)

    def place(self, unit: Any, name: str, t: int | None = None, which: int | None = None) -> Places:
        """Flat places of units at a step in an inner array."""
        every = self.layout.layers * self.layout.directions
        shape = (self._things, every, self.layout.steps, getattr(self.all, name).shape[-1])
        return flat(shape, self.n, self.which if which is None else which, self.t if t is None else t, unit)

    @property
    def _things(self) -> int:
        return int(self.layout.call.array("input").shape[0 if self.layout.batch_first else 1])

    def previous(self, name: str, units: Any = None) -> tuple[str, Places, Array]:
        """The slot, places and numbers of the hidden states or cells of the step before; by default its own unit's."""
        units = np.atleast_1d(self.unit if units is None else units)
        before = self.layout.before(self.which, self.t)
        if before is not None:
            held: Array = getattr(self.all, name)[0, self.which, before, units]
            return f"~{name}", self.place(units, name, before), held
        slot = self.layout.start(cells=name == "cells")
        start = self.layout.call.array(slot)
        values = start[self.which, self.n, units].astype(np.float64)
        return slot, flat(start.shape, self.which, self.n, units), values

    def squashed(self, row: int, word: str, note: str, value: float | None = None) -> Terms:
        """A function of its sum."""
        found = self.number("gates", row) if value is None else value
        table = Group("squashed", np.array([found]), "~sums", self.place(row, "sums"), note=note)
        return Terms((table,), f"{note} of the sum of {word}")

    def link(self, role: str, slot: str, units: list[int]) -> Group:
        """Numbers that the factors are made of: they add nothing of their own, but can be opened."""
        return Group(role, np.zeros(len(units)), slot, self.place(units, slot[1:]), note="in the factors")

    def from_input(self, row: int, gain: float = 1.0) -> list[Group]:
        """W_ih x + b_ih of a row, times a gain."""
        weight = self.layout.weight(self.which, 0)
        slot, places, values = self._below()
        held = np.asarray(self.layout.call.array(weight)[row], np.float64)
        columns = flat(self.layout.call.array(weight).shape, row, np.arange(len(values)))
        table = _times("input", slot, places, values, weight, columns, held, gain)
        return [table, *self._bias(2, row, gain)]

    def from_hidden(self, row: int, gain: float = 1.0) -> list[Group]:
        """W_hh h[t-1] + b_hh of a row, times a gain."""
        weight = self.layout.weight(self.which, 1)
        slot, places, values = self.previous("hidden", np.arange(self.layout.width))
        held = np.asarray(self.layout.call.array(weight)[row], np.float64)
        columns = flat(self.layout.call.array(weight).shape, row, np.arange(len(values)))
        table = _times("hidden", slot, places, values, weight, columns, held, gain)
        return [table, *self._bias(3, row, gain)]

    def _below(self) -> tuple[str, Places, Array]:
        """What the layer reads at this step: the input, or the states of the layer below."""
        layer = self.which // self.layout.directions
        if layer == 0:
            given = self.layout.call.array("input")
            at = (self.n, self.t) if self.layout.batch_first else (self.t, self.n)
            values = given[at].astype(np.float64)
            return "input", flat(given.shape, *at, np.arange(len(values))), values
        rows = np.arange((layer - 1) * self.layout.directions, layer * self.layout.directions)
        below: Array = self.all.hidden[0, rows, self.t].reshape(-1)
        return "~hidden", self.place(np.arange(self.layout.width), "hidden", which=rows), below  # type: ignore[arg-type]

    def _bias(self, part: int, row: int, gain: float) -> list[Group]:
        if not self.layout.biases:
            return []
        slot = self.layout.weight(self.which, part)
        values = self.layout.call.array(slot)[[row]].astype(np.float64)
        return [Group("bias", values * gain, slot, np.array([row]), np.array([gain]), note=_note("", gain))]


def _times(
    role: str, slot: str, places: Places, values: Array, weight: str, columns: Places, held: Array, gain: float
) -> Group:
    """Numbers times weights times a gain."""
    factors = held * gain
    return Group(role, values * factors, slot, places, factors, weight, columns, _note("weight x ", gain))


def _note(words: str, gain: float) -> str:
    return "" if gain == 1 else f"{words}{gain:.4g}"


def _gain(total: float) -> float:
    """tanh(x) / x: with it the products that sum to x sum to tanh(x)."""
    return tanh(total) / total if total else 1.0
