"""Opened updates against the steps that torch.optim really takes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from pellucid.errors import UsageError
from pellucid.look.update import Update, clip_scale_of, open_update
from pellucid.train.muon import Muon

Make = Callable[[list[nn.Parameter]], Optimizer]
SHAPE, PLACES, STEPS = (5, 3, 2, 2), ((0, 0, 0, 0), (3, 2, 1, 0), (4, 1, 0, 1)), 3

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "sgd decays": lambda p: SGD(p, lr=0.1, weight_decay=0.2),
    "sgd maximizes": lambda p: SGD(p, lr=0.1, weight_decay=0.2, maximize=True),
    "sgd fused": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.2, fused=True),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "momentum damped": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.2),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "nesterov with all": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2, maximize=True),
    "adagrad": lambda p: Adagrad(p, lr=0.1),
    "adagrad with all": lambda p: Adagrad(
        p, lr=0.1, lr_decay=0.4, weight_decay=0.2, initial_accumulator_value=0.5, eps=1e-3, maximize=True
    ),
    "adagrad fused": lambda p: Adagrad(p, lr=0.1, lr_decay=0.4, weight_decay=0.2, fused=True),
    "rmsprop": lambda p: RMSprop(p, lr=0.1),
    "rmsprop with momentum": lambda p: RMSprop(p, lr=0.1, momentum=0.7, alpha=0.8, weight_decay=0.2),
    "rmsprop centered": lambda p: RMSprop(p, lr=0.1, centered=True, eps=1e-3),
    "rmsprop with all": lambda p: RMSprop(
        p, lr=0.1, alpha=0.8, momentum=0.7, centered=True, weight_decay=0.2, maximize=True, foreach=True
    ),
    "adam": lambda p: Adam(p, lr=0.1),
    "adam decays": lambda p: Adam(p, lr=0.1, weight_decay=0.2, eps=1e-3, betas=(0.7, 0.9)),
    "adam with all": lambda p: Adam(p, lr=0.1, weight_decay=0.2, amsgrad=True, maximize=True),
    "adam fused": lambda p: Adam(p, lr=0.1, weight_decay=0.2, amsgrad=True, fused=True),
    "adamw": lambda p: AdamW(p, lr=0.1),
    "adamw with all": lambda p: AdamW(p, lr=0.1, weight_decay=0.3, amsgrad=True, maximize=True, betas=(0.7, 0.9)),
    "adamw fused": lambda p: AdamW(p, lr=0.1, weight_decay=0.3, fused=True),
    "adamw of a tensor rate": lambda p: AdamW(p, lr=torch.tensor(0.1, dtype=torch.float64), weight_decay=0.3),
    "muon's adamw": lambda p: Muon([{"params": p}], lr=0.1, weight_decay=0.3),
}


def parameter(precision: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.randn(SHAPE, generator=torch.Generator().manual_seed(3), dtype=precision))


def gradient(step: int, precision: torch.dtype = torch.float32) -> torch.Tensor:
    size = 10.0**-step  # they shrink, so that AMSGrad's largest mean square is an old one
    return size * torch.randn(SHAPE, generator=torch.Generator().manual_seed(40 + step), dtype=precision)


def really_stepped(optimizer: Optimizer, weights: nn.Parameter, grad: torch.Tensor) -> torch.Tensor:
    """What the optimizer makes of the weights, on a copy of both."""
    other, copied = copy.deepcopy((optimizer, weights))
    copied.grad = grad.clone()
    other.step()
    return copied.detach()


def magnitude(update: Update) -> float:
    return sum(abs(term.product) for term in update.terms())


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def stepping(make: Make, precision: torch.dtype = torch.float32) -> Any:
    """The optimizer, its parameter and the next gradient, before each of three steps."""
    weights = parameter(precision)
    optimizer = make([weights])
    for step in range(STEPS):
        grad = gradient(step, precision)
        yield optimizer, weights, grad
        weights.grad = grad
        optimizer.step()


@pytest.mark.parametrize(("precision", "allowed"), [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
def test_it_is_the_step_that_torch_takes(make: Make, precision: torch.dtype, allowed: float) -> None:
    for optimizer, weights, grad in stepping(make, precision):
        wanted = really_stepped(optimizer, weights, grad)
        for place in PLACES:
            update = open_update(optimizer, weights, place, grad[place].item())
            assert abs(update.after - wanted[place].item()) <= allowed * magnitude(update)
            assert update.before == weights[place].item()
            assert update.note == ""


def test_what_is_stored_is_what_the_parameter_will_hold(make: Make) -> None:
    for optimizer, weights, grad in stepping(make):
        wanted = really_stepped(optimizer, weights, grad)
        for place in PLACES:
            update = open_update(optimizer, weights, place, grad[place].item())
            # fused steps on several numbers at once round differently than on one, in the last bit
            assert abs(update.stored - wanted[place].item()) <= torch.finfo(torch.float32).eps * magnitude(update)
            assert update.stored == torch.tensor(update.stored, dtype=torch.float32).item()


def test_terms_sum_to_the_new_weight_and_lines_to_their_values(make: Make) -> None:
    for optimizer, weights, grad in stepping(make):
        for place in PLACES:
            update = open_update(optimizer, weights, place, grad[place].item(), clip_scale=0.25)
            terms = update.terms()
            assert sum(term.product for term in terms) == pytest.approx(update.after, abs=1e-15 * magnitude(update))
            assert len({(term.role, term.value) for term in terms}) == len(terms)
            assert (terms[0].role, terms[0].product) == ("old weight", update.before)
            assert next(term.value for term in terms if term.role == "gradient") == update.gradient
            for line in (step for step in update.steps if step.terms):
                assert sum(term.product for term in line.terms) == pytest.approx(line.value, rel=1e-12, abs=1e-15)
            assert update.steps[-1].value == update.after


def test_opening_changes_nothing(make: Make) -> None:
    for optimizer, weights, grad in stepping(make):
        weights.grad = grad.clone()
        before, kept, random = copy.deepcopy(optimizer.state_dict()), weights.detach().clone(), torch.get_rng_state()
        known, group = len(optimizer.state), dict(optimizer.param_groups[0])
        open_update(optimizer, weights, PLACES[1], 0.7, clip_scale=0.5)
        after = optimizer.state_dict()
        assert len(optimizer.state) == known
        assert after["param_groups"] == before["param_groups"]
        assert optimizer.param_groups[0] == group
        torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)
        assert torch.equal(weights, kept)
        assert torch.equal(weights.grad, grad)
        assert torch.equal(torch.get_rng_state(), random)


def test_a_clipped_gradient(make: Make) -> None:
    for optimizer, weights, grad in stepping(make):
        every = [grad.clone(), torch.full((7,), 0.3)]
        scale = clip_scale_of(every, 0.05)
        held = [nn.Parameter(torch.zeros_like(each)) for each in every]
        for tensor, each in zip(held, every, strict=True):
            tensor.grad = each.clone()
        nn.utils.clip_grad_norm_(held, 0.05)
        wanted = really_stepped(optimizer, weights, held[0].grad)
        update = open_update(optimizer, weights, PLACES[2], grad[PLACES[2]].item(), clip_scale=scale)
        assert abs(update.after - wanted[PLACES[2]].item()) <= 1e-6 * magnitude(update)
        assert update.steps[0].name == "g clipped"
        assert update.steps[0].value == pytest.approx(held[0].grad[PLACES[2]].item(), rel=1e-6)


def test_gradients_within_the_norm_are_not_clipped() -> None:
    assert clip_scale_of([torch.ones(4)], 100.0) == 1.0
    assert clip_scale_of([torch.ones(4)], None) == 1.0
    assert clip_scale_of([torch.ones(4)], 1.0) == pytest.approx(0.5)


def test_adamw_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
    optimizer = AdamW([weight], lr=0.1, weight_decay=0.2)
    means = {
        "exp_avg": torch.tensor([0.012], dtype=torch.float64),
        "exp_avg_sq": torch.tensor([0.0004], dtype=torch.float64),
    }
    optimizer.state[weight] = {"step": torch.tensor(1.0), **means}
    update = open_update(optimizer, weight, (0,), -0.3, name="features.3.bias")
    below = math.sqrt(0.0004896 / 0.001999) + 1e-8
    assert [(step.name, pytest.approx(step.value, rel=1e-12)) for step in update.steps] == [
        ("m", 0.9 * 0.012 - 0.1 * 0.3),
        ("v", 0.999 * 0.0004 + 0.001 * 0.09),
        ("m_hat", -0.0192 / 0.19),
        ("v_hat", 0.0004896 / 0.001999),
        ("step", -0.1 * (0.0192 / 0.19) / below),
        ("w", 0.5 - 0.1 * 0.2 * 0.5 + 0.1 * (0.0192 / 0.19) / below),
    ]
    assert [term.role for term in update.terms()] == ["old weight", "weight decay", "momentum", "gradient"]
    assert [term.product for term in update.terms()] == [
        pytest.approx(value, rel=1e-12) for value in (0.5, -0.01, -0.00108 / 0.19 / below, 0.003 / 0.19 / below)
    ]
    assert update.settings["step"] == 2
    assert str(update) == (
        "features.3.bias[0]: AdamW, learning rate 0.1, betas (0.9, 0.999), eps 1e-08, weight decay 0.2, step 2\n"
        "  w = 0.5, g = -0.3\n"
        "  m <- beta1 m + (1 - beta1) g             0.9·0.012 + 0.1·(-0.3) = -0.0192\n"
        "  v <- beta2 v + (1 - beta2) g^2           0.999·0.0004 + 0.001·(-0.3)^2 = 0.0004896\n"
        "  m_hat <- m / (1 - beta1^t)               -0.0192 / (1 - 0.9^2) = -0.101053\n"
        "  v_hat <- v / (1 - beta2^t)               0.0004896 / (1 - 0.999^2) = 0.244922\n"
        "  step <- lr m_hat / (sqrt(v_hat) + eps)   0.1·(-0.101053) / (sqrt(0.244922) + 1e-08) = -0.0204189\n"
        "  w <- w - lr lambda w - step              0.5 - 0.02·0.5 - (-0.020418946) = 0.51041895\n"
        "  of which old weight 0.5, weight decay -0.01, momentum -0.011485657, gradient 0.031904602"
    )


def test_momentum_as_it_is_written() -> None:
    weight = nn.Parameter(torch.tensor(0.5))
    optimizer = SGD([weight], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.02, maximize=True)
    optimizer.state[weight]["momentum_buffer"] = torch.tensor(0.25)
    update = open_update(optimizer, weight, (), -0.5)
    assert str(update) == (
        "the weight: SGD, learning rate 0.1, momentum 0.9, nesterov on, weight decay 0.02, maximize on\n"
        "  w = 0.5, g = -0.5\n"
        "  g <- -g             -(-0.5) = 0.5\n"
        "  g <- g + lambda w   0.5 + 0.02·0.5 = 0.51\n"
        "  v <- mu v + g       0.9·0.25 + 0.51 = 0.735\n"
        "  u <- g + mu v       0.51 + 0.9·0.735 = 1.1715\n"
        "  w <- w - lr u       0.5 - 0.1·1.1715 = 0.38285\n"
        "  of which old weight 0.5, gradient -0.095, weight decay -0.0019, momentum -0.02025"
    )


def test_where_float32_cannot_hold_a_square_the_record_says_so() -> None:
    weights = parameter()
    optimizer = Adam([weights], lr=0.1)
    grad = torch.full(SHAPE, 1e25)  # its square is more than float32's largest: PyTorch's step is 0
    update = open_update(optimizer, weights, PLACES[0], grad[PLACES[0]].item())
    assert update.stored == really_stepped(optimizer, weights, grad)[PLACES[0]].item() == update.before
    assert update.after == pytest.approx(update.before - 0.1)
    assert "in float32 PyTorch's step gives" in update.note
    assert update.note in str(update)


def test_a_step_that_float32_loses_is_said_to_be_lost() -> None:
    weights = parameter()
    update = open_update(SGD([weights], lr=1e-9), weights, PLACES[0], 0.1)
    assert update.after != update.before
    assert update.stored == update.before
    assert update.note == f"the step is too small for float32: the weight stays {update.before:.8g}"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_makes_a_weight_that_is_none(make: Make, value: float) -> None:
    for optimizer, weights, _ in stepping(make):
        update = open_update(optimizer, weights, PLACES[0], value)
        assert math.isfinite(update.after) == math.isfinite(update.stored)


@pytest.mark.parametrize("make", [lambda p: Adam(p, eps=0.0), lambda p: RMSprop(p, eps=0.0)], ids=["adam", "rmsprop"])
def test_nothing_over_nothing(make: Make) -> None:
    weights = parameter()
    update = open_update(make([weights]), weights, PLACES[0], 0.0)
    assert math.isnan(update.after)
    assert math.isnan(update.stored)


def test_what_cannot_be_opened_is_said() -> None:
    weights, other = parameter(), parameter()

    class MyAdam(Adam):
        """May do anything."""

    whole = Muon([{"params": [weights], "orthogonal": True}], lr=0.1)
    with pytest.raises(UsageError, match="Muon has no step for one weight: it makes all numbers of a kernel"):
        open_update(whole, weights, PLACES[0], 0.1)
    with pytest.raises(UsageError, match=r"the step of torch.optim.nadam.NAdam cannot be opened"):
        open_update(NAdam([weights]), weights, PLACES[0], 0.1)
    with pytest.raises(UsageError, match="MyAdam cannot be opened: its arithmetic is not known here"):
        open_update(MyAdam([weights]), weights, PLACES[0], 0.1)
    with pytest.raises(UsageError, match="the optimizer does not hold conv.weight: it never changes it"):
        open_update(SGD([weights], lr=0.1), other, PLACES[0], 0.1, name="conv.weight")


@pytest.mark.parametrize("index", [(5, 0, 0, 0), (0, 0, 0, -1), (0, 0, 0), ()])
def test_an_index_that_is_not_there(index: tuple[int, ...]) -> None:
    weights = parameter()
    with pytest.raises(UsageError, match=r"conv.weight of shape \(5, 3, 2, 2\) has no number at"):
        open_update(SGD([weights], lr=0.1), weights, index, 0.1, name="conv.weight")


def test_each_group_has_its_own_settings() -> None:
    one, two = parameter(), parameter()
    optimizer = SGD([{"params": [one]}, {"params": [two], "lr": 0.5, "weight_decay": 0.1}], lr=0.1)
    assert open_update(optimizer, one, PLACES[0], 1.0).after == pytest.approx(one[PLACES[0]].item() - 0.1)
    wanted = two[PLACES[0]].item() * (1 - 0.05) - 0.5
    assert open_update(optimizer, two, PLACES[0], 1.0).after == pytest.approx(wanted)
