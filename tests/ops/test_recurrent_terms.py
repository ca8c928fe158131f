"""Elman's network, LSTM and GRU opened: every number of every result, every number inside, and every gradient, against
float64 PyTorch and autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.ops import Op, op_for
from pellucid.ops.terms import Call, Terms
from tests.ops.opened import CLOSE, _shapes, assert_told, numbers, opened

aten = torch.ops.aten
CALLS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
N, T, INPUTS, H = 2, 3, 2, 2


def arguments(
    name: str, *, layers: int = 1, both: bool = False, biases: bool = True, batch_first: bool = True
) -> tuple[Any, ...]:
    """What ``aten.NAME.input`` is called with, random, in float64."""
    params, seed = [], 10
    for layer in range(layers):
        for _ in range(1 + both):
            width = INPUTS if layer == 0 else H * (1 + both)
            for shape in ((width,), (H,), *(((), ()) if biases else ())):
                params.append(numbers(CALLS[name] * H, *shape, seed=seed))
                seed += 1
    given = numbers(*((N, T) if batch_first else (T, N)), INPUTS)
    states = [numbers(layers * (1 + both), N, H, seed=seed + k) for k in range(2)]
    hx = states if name == "lstm" else states[0]
    return given, hx, params, biases, layers, 0.0, False, both, batch_first


def target_of(name: str) -> Any:
    return getattr(aten, name).input


def with_inside(op: Op, call: Call) -> Call:
    """The call with the numbers inside it among its arguments, so that tables that come from them can be held to
    what they say."""
    arrays = {f"~{inner}": op.inside_array(inner, call) for inner in op.inside}
    return replace(call, arguments={**call.arguments, **arrays})


def assert_is(terms: Terms | None, value: float, call: Call, where: str) -> None:
    assert terms is not None, where
    assert not terms.missing, terms.missing
    assert abs(terms.total - value) <= CLOSE * max(terms.magnitude, 1e-30), where
    assert_told(call, terms)


def assert_all_opens(name: str, **built: bool | int) -> None:
    """Every number of every result and inside the call, and every number of each argument's gradient."""
    op, bare, truth = opened(target_of(name), *arguments(name, **built))
    call = with_inside(op, bare)
    for which in range(len(call.results)):
        asked = replace(call, which=which)
        for at in np.ndindex(asked.result.shape):
            assert_is(op.terms(at, asked), asked.result[at], asked, f"result {which} at {at}")
    for inner in op.inside:
        array = call.arguments[f"~{inner}"]
        for at in np.ndindex(array.shape):
            assert_is(op.inside_terms(inner, at, call), array[at], call, f"{inner} at {at}")
    assert len(truth) == 2 + (name == "lstm") + len(call.arguments["params"])
    for slot, gradient in truth.items():
        for at in np.ndindex(tuple(gradient.shape)):
            assert_is(op.terms_of_gradient(slot, at, call), float(gradient[at]), call, f"gradient of {slot} at {at}")


@pytest.mark.parametrize("name", CALLS)
def test_one_layer(name: str) -> None:
    assert_all_opens(name)


@pytest.mark.parametrize("name", CALLS)
def test_two_layers_in_both_directions_time_first(name: str) -> None:
    assert_all_opens(name, layers=2, both=True, batch_first=False)


@pytest.mark.parametrize("name", CALLS)
def test_without_biases(name: str) -> None:
    assert_all_opens(name, biases=False)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_gate_is_that_of_the_equation(name: str) -> None:
    """Against one step by hand: the first gate of the first step from the input and the first state."""
    op, call, _ = opened(target_of(name), *arguments(name))
    weight, back, bias, back_bias = (call.arguments["params"][k] for k in range(4))
    start = call.array("hx[0]" if name == "lstm" else "hx")[0]
    sums = call.array("input")[:, 0] @ weight.T + bias + start @ back.T + back_bias
    np.testing.assert_allclose(op.inside_array("gates", call)[:, 0, 0, :H], 1 / (1 + np.exp(-sums[:, :H])))


@pytest.mark.parametrize("name", CALLS)
def test_what_dropout_between_layers_hid_is_said(name: str) -> None:
    made = list(arguments(name, layers=2))
    made[5], made[6] = 0.5, True
    op, call, _ = opened(target_of(name), *made)
    assert "dropped at random" in op.terms((0, 0, 0), call).missing
    gradient = op.terms_of_gradient("input", (0, 0, 0), call)
    assert gradient is not None
    assert "dropped at random" in gradient.missing
    assert "dropped at random" in op.inside_terms("hidden", (0, 0, 0, 0), call).missing


@pytest.mark.parametrize("name", CALLS)
def test_gradients_of_all_results_come_back(name: str) -> None:
    """``assert_opens`` gives every result a gradient; here the last state alone has one."""
    op, call, _ = opened(target_of(name), *arguments(name))
    alone = replace(call, gradients=tuple(g * (k == 1) for k, g in enumerate(call.gradients)))
    given = arguments(name)
    leaf = given[0].requires_grad_()
    results = target_of(name)(*given)
    (found,) = torch.autograd.grad((results[1] * torch.from_numpy(alone.gradients[1])).sum(), leaf)
    for at in np.ndindex(tuple(found.shape)):
        terms = op.terms_of_gradient("input", at, alone)
        assert terms is not None
        assert abs(terms.total - float(found[at])) <= CLOSE * terms.magnitude
        assert {group.source for group in terms.groups} == {"gradient[1]"}


@pytest.mark.parametrize(
    ("module", "macs"),
    [
        (nn.RNN(3, 4, batch_first=True), 5 * (4 * 3 + 4 * 4)),
        (nn.LSTM(3, 4, num_layers=2, batch_first=True), 5 * 16 * ((3 + 4) + (4 + 4))),
        (nn.GRU(3, 4, bidirectional=True, batch_first=True), 5 * 2 * 12 * (3 + 4)),
    ],
    ids=["rnn", "lstm", "gru"],
)
def test_shape_and_macs(module: nn.RNNBase, macs: int) -> None:
    name = {"RNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru"}[type(module).__name__]
    target = target_of(name)
    start = torch.zeros(module.num_layers * (1 + module.bidirectional), 1, 4)
    params = [weight.detach() for weight in module._flat_weights]
    hx: Tensor | list[Tensor] = [start, start] if name == "lstm" else start
    x = torch.zeros(1, 5, 3)
    given = (x, hx, params, True, module.num_layers, 0.0, False, module.bidirectional, True)
    names = [argument.name for argument in target._schema.arguments]
    by_name = {key: _shapes(value) for key, value in zip(names, given, strict=True)}
    op = op_for(str(target), by_name)
    assert op.shape(by_name) == tuple(target(*given)[0].shape)
    assert op.macs(op.shape(by_name), by_name) == macs
    assert op.described


def test_a_projection_is_not_described() -> None:
    module = nn.LSTM(3, 4, proj_size=2, batch_first=True)
    names = [argument.name for argument in aten.lstm.input._schema.arguments]
    hx = [torch.zeros(1, 1, 2), torch.zeros(1, 1, 4)]
    given = (torch.zeros(1, 5, 3), hx, module._flat_weights, True, 1, 0.0, False, False, True)
    op = op_for("aten.lstm.input", {key: _shapes(value) for key, value in zip(names, given, strict=True)})
    assert not op.described
