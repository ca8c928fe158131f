"""Activations, softmax and dropout opened: every number and every gradient, at the kinks too, against autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten
KINKS = (-6.0, -3.0, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 3.0, 6.0, 25.0)

CASES: dict[str, tuple[Any, Sequence[Any], dict[str, Any]]] = {
    "relu": (aten.relu.default, (), {}),
    "relu6": (aten.relu6.default, (), {}),
    "relu6 as hardtanh": (aten.hardtanh.default, (0.0, 6.0), {}),
    "relu as clamp": (aten.clamp.default, (0.0,), {}),
    "relu as clamp_min": (aten.clamp_min.default, (0,), {}),
    "hardtanh": (aten.hardtanh.default, (), {}),
    "hardtanh with borders": (aten.hardtanh.default, (-0.5, 0.25), {}),
    "clamp": (aten.clamp.default, (-0.5, 0.25), {}),
    "clamp to": (aten.clamp.default, (None, 0.25), {}),
    "clamp crossed": (aten.clamp.default, (0.5, -0.5), {}),
    "clamp_min": (aten.clamp_min.default, (0.5,), {}),
    "clamp_max": (aten.clamp_max.default, (0.5,), {}),
    "leaky_relu": (aten.leaky_relu.default, (), {}),
    "leaky_relu by 0.3": (aten.leaky_relu.default, (0.3,), {}),
    "rrelu in evaluation": (aten.rrelu.default, (0.1, 0.5, False), {}),
    "elu": (aten.elu.default, (), {}),
    "elu with all": (aten.elu.default, (0.7, 1.3, 0.4), {}),
    "selu": (aten.selu.default, (), {}),
    "celu": (aten.celu.default, (0.4,), {}),
    "silu": (aten.silu.default, (), {}),
    "gelu": (aten.gelu.default, (), {}),
    "gelu by tanh": (aten.gelu.default, (), {"approximate": "tanh"}),
    "mish": (aten.mish.default, (), {}),
    "sigmoid": (aten.sigmoid.default, (), {}),
    "tanh": (aten.tanh.default, (), {}),
    "softplus": (aten.softplus.default, (), {}),
    "softplus with both": (aten.softplus.default, (2.0, 0.5), {}),
    "hardswish": (aten.hardswish.default, (), {}),
    "hardsigmoid": (aten.hardsigmoid.default, (), {}),
    "log_sigmoid": (aten.log_sigmoid.default, (), {}),
    "log_sigmoid_forward": (aten.log_sigmoid_forward.default, (), {}),
    "threshold": (aten.threshold.default, (0.25, -0.7), {}),
}


def kinked() -> Tensor:
    """(2, 12): random numbers, and the places where some function has a kink."""
    return torch.stack([2 * numbers(len(KINKS)), torch.tensor(KINKS, dtype=torch.float64)])


@pytest.mark.parametrize("name", CASES)
def test_activation(name: str) -> None:
    target, settings, options = CASES[name]
    assert_opens(target, kinked(), *settings, **options)


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        (aten.prelu.default, (1,)),
        (aten.prelu.default, (3,)),
        (aten._prelu_kernel.default, (1, 3, 1)),
        (aten._prelu_kernel.default, (1, 1, 1)),
    ],
    ids=["one", "channels", "broadcast", "broadcast_one"],
)
def test_prelu_with_the_gradient_of_its_slopes(target: Any, weights: tuple[int, ...]) -> None:
    x = numbers(2, 3, 4)
    x[0, 0, 0] = 0
    assert_opens(target, x, numbers(*weights, seed=1))


def test_prelu_of_numbers_without_channels() -> None:
    assert_opens(aten.prelu.default, numbers(5), numbers(1, seed=1))


def test_randomized_relu_in_training_shows_its_slopes() -> None:
    torch.manual_seed(0)
    assert_opens(aten.rrelu.default, numbers(3, 4), 0.1, 0.5, True)
    op, call, _ = opened(aten.rrelu.default, torch.zeros(1, dtype=torch.float64), 0.1, 0.5, True)
    terms = op.terms_of_gradient("self", (0,), call)
    assert terms is not None
    assert "was drawn" in terms.missing


def test_a_rounded_function_opens_as_the_network_computed_it() -> None:
    """Far below zero GELU is what is left of two numbers that nearly cancel, and float32 leaves few digits of it."""
    x = torch.linspace(-6, 6, 49)
    op, call, _ = opened(aten.gelu.default, x)
    totals = [op.terms((i,), call).total for i in range(len(x))]
    np.testing.assert_allclose(totals, call.result, rtol=1e-6, atol=0)


def test_a_wrong_value_is_not_taken_for_a_rounded_one() -> None:
    op, call, _ = opened(aten.gelu.default, torch.linspace(-2, 2, 5))
    call.results[0][:] += 1e-4
    assert op.terms((3,), call).total == pytest.approx(float(torch.nn.functional.gelu(torch.tensor(1.0))), abs=1e-6)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gated_linear_unit(dim: int) -> None:
    assert_opens(aten.glu.default, numbers(2, 4, 6), dim)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("target", [aten.softmax.int, aten.log_softmax.int], ids=["softmax", "log_softmax"])
def test_softmax(target: Any, dim: int) -> None:
    assert_opens(target, 3 * numbers(2, 3, 4), dim)


@pytest.mark.parametrize("target", [aten._softmax.default, aten._log_softmax.default], ids=["softmax", "log_softmax"])
def test_softmax_of_the_core(target: Any) -> None:
    assert_opens(target, 100 * numbers(2, 5), 1, False)


def test_safe_softmax_of_a_line_without_numbers() -> None:
    x = numbers(2, 3)
    x[1] = -torch.inf
    op, call, _ = opened(aten._safe_softmax.default, x, -1)
    assert [op.terms((1, i), call).total for i in range(3)] == [0, 0, 0]
    assert_opens(aten._safe_softmax.default, numbers(2, 3), -1)


def test_softmax_names_its_terms() -> None:
    op, call, _ = opened(aten.softmax.int, torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64), -1)
    share, others = op.terms((0, 1), call).groups
    assert (share.role, share.places.tolist()) == ("share", [1])
    assert (others.role, others.places.tolist(), others.products.tolist()) == ("denominator", [0, 2], [0, 0])
    assert op.terms((0, 1), call).facts["sum"] == pytest.approx(1 + np.exp(-1) + np.exp(-2))


def test_softmax_with_a_place_that_is_masked() -> None:
    x = torch.tensor([[0.3, -torch.inf, 0.1]], dtype=torch.float64)
    assert_opens(aten.softmax.int, x, -1)


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_dropout(p: float) -> None:
    torch.manual_seed(0)
    assert_opens(aten.native_dropout.default, numbers(4, 5), p, True)


@pytest.mark.parametrize("target", [aten.native_dropout.default, aten.dropout.default], ids=["native", "plain"])
def test_dropout_in_evaluation_is_the_number_itself(target: Any) -> None:
    assert_opens(target, numbers(2, 3), 0.4, False)


@pytest.mark.parametrize(
    "target",
    [aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default],
    ids=["plain", "feature", "alpha"],
)
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_dropout_shows_its_mask_in_the_result(target: Any, p: float) -> None:
    torch.manual_seed(0)
    assert_opens(target, numbers(4, 5, 3), p, True)


def test_dropout_of_whole_maps_shows_its_mask_beside_a_zero() -> None:
    torch.manual_seed(0)
    x = numbers(4, 5, 3)
    x[:, :, 1] = 0
    assert_opens(aten.feature_dropout.default, x, 0.4, True)


def test_dropout_of_zero_shows_no_mask() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    op, call, _ = opened(aten.dropout.default, x, 0.4, True)
    terms = op.terms_of_gradient("input", (0,), call)
    assert op.terms((0,), call).total == 0
    assert terms is not None
    assert "mask is not recorded" in terms.missing


def test_the_mask_of_dropout_is_drawn() -> None:
    torch.manual_seed(0)
    op, call, _ = opened(aten.native_dropout.default, numbers(8), 0.5, True)
    masks = type(call)(call.arguments, call.results, which=1)
    assert [op.terms((i,), masks).total for i in range(8)] == call.results[1].astype(float).tolist()
    assert {op.terms((i,), call).groups[0].role for i in range(8)} == {"kept", "dropped"}
