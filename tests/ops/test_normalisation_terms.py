"""Normalisations opened: every number and every gradient, against float64 PyTorch and autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.ops import op_for
from pellucid.ops.terms import Call
from tests.ops.every_result import assert_every_result_opens, gradient_of
from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten


FIXED = ("running_mean", "running_var")
RUNNING = (numbers(3, seed=3), numbers(3, seed=4).abs() + 0.5)
CALLS: list[tuple[Any, tuple[Any, ...]]] = [  # target and what follows weight and bias
    (aten.batch_norm.default, (*RUNNING, True, 0.1, 1e-3, False)),
    (aten.batch_norm.default, (None, None, True, 0.1, 1e-3, False)),
    (aten.native_batch_norm.default, (*RUNNING, True, 0.1, 1e-3)),
    (aten._native_batch_norm_legit_functional.default, (*RUNNING, True, 0.3, 1e-3)),
    (aten._native_batch_norm_legit.no_stats, (True, 0.1, 1e-3)),
    (aten._batch_norm_with_update_functional.default, (*RUNNING, 0.3, 1e-3)),
    (aten.batch_norm.default, (*RUNNING, False, 0.1, 1e-3, False)),
    (aten.native_batch_norm.default, (*RUNNING, False, 0.1, 1e-3)),
    (aten._native_batch_norm_legit_functional.default, (*RUNNING, False, 0.3, 1e-3)),
    (aten._native_batch_norm_legit_no_training.default, (*RUNNING, 0.1, 1e-3)),
    (aten._batch_norm_no_update.default, (*RUNNING, 0.1, 1e-3)),
]


WITH_WEIGHTS_ONLY = ("_batch_norm_with_update_functional", "_batch_norm_no_update")  # PyTorch's way back needs them


def fresh(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Running statistics of their own: training changes them."""
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in values)


def unit(affine: bool = True) -> tuple[Tensor | None, Tensor | None]:
    """Scale and shift of three channels."""
    return (numbers(3, seed=1), numbers(3, seed=2)) if affine else (None, None)


@pytest.mark.parametrize(("target", "rest"), CALLS, ids=lambda value: str(value)[:60])
def test_batch_norm(target: Any, rest: tuple[Any, ...]) -> None:
    assert_opens(target, numbers(4, 3, 2, 2), *unit(), *fresh(rest), fixed=FIXED)


@pytest.mark.parametrize(
    ("target", "rest"),
    [case for case in CALLS if case[0]._schema.name.removeprefix("aten::") not in WITH_WEIGHTS_ONLY],
    ids=lambda value: str(value)[:60],
)
def test_batch_norm_without_scale_and_shift(target: Any, rest: tuple[Any, ...]) -> None:
    assert_opens(target, numbers(4, 3, 2, 2), None, None, *fresh(rest), fixed=FIXED)


@pytest.mark.parametrize("shape", [(5, 3), (3, 3, 4), (2, 3, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_any_number_of_axes(shape: tuple[int, ...], training: bool) -> None:
    rest = (*fresh(RUNNING), training, 0.1, 1e-5, False)
    assert_opens(aten.batch_norm.default, numbers(*shape), unit()[0], None, *rest, fixed=FIXED)


@pytest.mark.parametrize(
    ("target", "rest", "missing"),
    [
        (aten._native_batch_norm_legit_functional.default, (*RUNNING, True, 0.3, 1e-3), (2,)),
        (aten._native_batch_norm_legit_functional.default, (*RUNNING, False, 0.3, 1e-3), ()),
        (aten._native_batch_norm_legit.no_stats, (True, 0.1, 1e-3), (2,)),
        (aten._batch_norm_with_update_functional.default, (*RUNNING, 0.3, 1e-3), (2, 3)),
    ],
    ids=str,
)
def test_mean_and_running_statistics_are_sums(target: Any, rest: tuple[Any, ...], missing: tuple[int, ...]) -> None:
    assert_every_result_opens(target, numbers(4, 3, 2, 2), *unit(), *fresh(rest), missing=missing, fixed=FIXED)


def test_batch_norm_says_what_it_normalised_by() -> None:
    x, (scale, shift) = numbers(4, 3, 2, 2), unit()
    op, call, _ = opened(aten.batch_norm.default, x, scale, shift, None, None, True, 0.1, 1e-3, False)
    terms = op.terms((1, 2, 0, 1), call)
    assert [group.role for group in terms.groups] == ["scaled input", "mean", "shift"]
    assert [group.source for group in terms.groups] == ["input", "", "bias"]
    assert (terms.groups[0].weight, terms.groups[0].note) == ("weight", "scale / deviation")
    assert terms.formula == "(x - mean) / deviation x scale + shift"
    channel = x[:, 2].detach()
    assert terms.facts["mean"] == pytest.approx(float(channel.mean()), rel=1e-12)
    assert terms.facts["variance"] == pytest.approx(float(channel.var(correction=0)), rel=1e-12)
    assert terms.facts["deviation"] == pytest.approx(float((channel.var(correction=0) + 1e-3).sqrt()), rel=1e-12)
    assert (terms.facts["count"], terms.facts["from"]) == (16, "the batch")
    assert (terms.facts["scale"], terms.facts["shift"]) == (call.array("weight")[2], call.array("bias")[2])


def test_a_gradient_through_the_batch_says_by_which_way_it_came() -> None:
    op, call, truth = opened(aten.batch_norm.default, numbers(4, 3, 2, 2), None, None, None, None, True, 0.1, 0, False)
    terms = op.terms_of_gradient("input", (1, 2, 0, 1), call)
    assert terms is not None
    ways = [terms.facts[f"through the {way}"] for way in ("number itself", "mean", "variance")]
    assert sum(map(float, ways)) == pytest.approx(float(truth["input"][1, 2, 0, 1]), rel=1e-9)
    assert min(abs(float(way)) for way in ways) > 0
    assert [len(group) for group in terms.groups] == [1, 16, 16]


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("over", [(4,), (3, 4)], ids=str)
@pytest.mark.parametrize("target", [aten.layer_norm.default, aten.native_layer_norm.default], ids=str)
def test_layer_norm(target: Any, over: tuple[int, ...], affine: bool) -> None:
    units = (numbers(*over, seed=1), numbers(*over, seed=2)) if affine else (None, None)
    assert_opens(target, numbers(2, 3, 4), over, *units, 1e-3)


@pytest.mark.parametrize("eps", [None, 1e-2])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
def test_root_mean_square_norm(eps: float | None, affine: bool) -> None:
    assert_opens(aten.rms_norm.default, numbers(2, 3, 4), [3, 4], numbers(3, 4, seed=1) if affine else None, eps)


@pytest.mark.parametrize("eps", [None, 1e-2])
def test_root_mean_square_norm_of_tiny_numbers(eps: float | None) -> None:
    """Where eps counts."""
    assert_opens(aten.rms_norm.default, 1e-8 * numbers(2, 4), [4], None, eps)


def test_root_mean_square_norm_says_its_name() -> None:
    op, call, _ = opened(aten.rms_norm.default, numbers(2, 4), [4])
    assert op.describe() == "Root mean square normalisation"
    assert "mean square" in op.terms((0, 0), call).facts


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("shape", [(2, 6, 2, 2), (3, 6), (2, 6, 3)], ids=str)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_group_norm(groups: int, shape: tuple[int, ...], affine: bool) -> None:
    if len(shape) == 2 and groups == 6:
        shape = (3, 6, 2)  # a group of one number has no variance
    units = (numbers(6, seed=1), numbers(6, seed=2)) if affine else (None, None)
    assert_opens(aten.group_norm.default, numbers(*shape), groups, *units, 1e-3)


@pytest.mark.parametrize(
    ("target", "settings"), [(aten.group_norm.default, (3,)), (aten.layer_norm.default, ([2],))], ids=str
)
def test_eps_is_the_usual_one_where_none_is_given(target: Any, settings: tuple[Any, ...]) -> None:
    assert_opens(target, 1e-3 * numbers(2, 6, 2), *settings)


def test_native_group_norm_passes_on_the_gradients_of_its_statistics() -> None:
    settings = (numbers(6, seed=1), numbers(6, seed=2), 2, 6, 4, 3, 1e-3)
    assert_opens(aten.native_group_norm.default, numbers(2, 6, 2, 2), *settings)


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        (aten.native_layer_norm.default, ([4], None, None, 1e-3)),
        (aten.native_group_norm.default, (None, None, 2, 6, 4, 3, 1e-3)),
    ],
    ids=str,
)
def test_the_means_of_rows_and_groups_are_sums(target: Any, settings: tuple[Any, ...]) -> None:
    assert_every_result_opens(target, numbers(2, 6, 4), *settings, missing=(2,))


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("by_running", [True, False], ids=["running", "maps"])
def test_instance_norm(by_running: bool, affine: bool) -> None:
    rest = (*(fresh(RUNNING) if by_running else (None, None)), not by_running, 0.1, 1e-3, False)
    assert_opens(aten.instance_norm.default, numbers(2, 3, 2, 3), *unit(affine), *rest, fixed=FIXED)


def test_a_gradient_in_training_is_of_the_whole_batch() -> None:
    """One output's gradient alone reaches every number of its channel, and none of another."""
    op, call, _ = opened(aten.batch_norm.default, numbers(4, 3, 2, 2), None, None, None, None, True, 0.1, 0, False)
    alone = np.zeros_like(call.gradients[0])
    alone[0, 1, 0, 0] = 1
    found = gradient_of(op, replace(call, gradients=(alone,)), "input")
    assert np.count_nonzero(found[:, 1]) == 16
    assert not found[:, [0, 2]].any()


def test_single_precision_adds_up() -> None:
    """As a network computes it, within 1e-5 of the sum of magnitudes."""
    x, scale, shift = (numbers(*shape, seed=i).float() for i, shape in enumerate([(4, 3, 5, 5), (3,), (3,)]))
    result = F.batch_norm(x, None, None, scale, shift, True, 0.1, 1e-5).numpy()
    arguments = {"input": x.numpy(), "weight": scale.numpy(), "bias": shift.numpy(), "training": True}
    terms = op_for("aten.batch_norm.default", {"training": True}).terms((3, 2, 1, 4), Call(arguments, (result,)))
    assert abs(terms.total - float(result[3, 2, 1, 4])) < 1e-5 * terms.magnitude
