"""Poolings and reductions opened: every number and every gradient, against float64 PyTorch and autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten

MAXIMA: dict[str, tuple[Any, tuple[int, ...], tuple[Any, ...]]] = {
    "1-D": (aten.max_pool1d.default, (2, 3, 7), ([3], [2], [1])),
    "2-D": (aten.max_pool2d.default, (2, 2, 6, 5), ([2, 2],)),
    "overlapping": (aten.max_pool2d.default, (1, 2, 7, 6), ([3, 3], [2, 2], [1, 1])),
    "dilated": (aten.max_pool2d.default, (1, 2, 7, 8), ([2, 3], [1, 2], [1, 1], [2, 2])),
    "ceil": (aten.max_pool2d.default, (1, 2, 6, 8), ([3, 3], [2, 3], [0, 1], [1, 1], True)),
    "3-D": (aten.max_pool3d.default, (1, 2, 4, 5, 3), ([2, 2, 2], [1, 2, 1], [1, 0, 0])),
    "without batch": (aten.max_pool2d.default, (2, 5, 5), ([2, 2], [1, 1])),
    "1-D with indices": (aten.max_pool1d_with_indices.default, (2, 3, 7), ([3], [2], [1])),
    "2-D with indices": (aten.max_pool2d_with_indices.default, (2, 2, 6, 5), ([3, 3], [1, 2], [1, 1])),
    "3-D with indices": (aten.max_pool3d_with_indices.default, (1, 2, 4, 4, 3), ([2, 2, 2], [1, 2, 1])),
}
AVERAGES: dict[str, tuple[Any, tuple[int, ...], tuple[Any, ...]]] = {
    "1-D": (aten.avg_pool1d.default, (2, 3, 7), ([3], [2], [1])),
    "2-D": (aten.avg_pool2d.default, (2, 2, 6, 5), ([2, 3],)),
    "padded": (aten.avg_pool2d.default, (1, 2, 5, 6), ([3, 3], [2, 1], [1, 1])),
    "padded, not counted": (aten.avg_pool2d.default, (1, 2, 5, 6), ([3, 3], [2, 1], [1, 1], False, False)),
    "ceil": (aten.avg_pool2d.default, (1, 2, 6, 7), ([3, 3], [2, 2], [0, 1], True)),
    "ceil, not counted": (aten.avg_pool2d.default, (1, 2, 6, 8), ([3, 3], [2, 2], [1, 1], True, False)),
    "sum": (aten.avg_pool2d.default, (1, 2, 5, 5), ([3, 3], [2, 2], [1, 1], False, True, 1)),
    "divisor": (aten.avg_pool2d.default, (1, 2, 6, 6), ([3, 3], [2, 2], [1, 1], True, False, 7)),
    "3-D": (aten.avg_pool3d.default, (1, 2, 4, 5, 3), ([2, 2, 2], [1, 2, 1], [1, 0, 1], True)),
}
ADAPTIVE: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "average 1-D": (aten.adaptive_avg_pool1d.default, (2, 2, 7), (3,)),
    "average": (aten.adaptive_avg_pool2d.default, (2, 2, 5, 7), (3, 4)),
    "average of the core": (aten._adaptive_avg_pool2d.default, (2, 2, 5, 7), (2, 9)),
    "global": (aten.adaptive_avg_pool2d.default, (2, 3, 4, 4), (1, 1)),
    "average 3-D": (aten.adaptive_avg_pool3d.default, (1, 2, 3, 4, 5), (2, 3, 2)),
    "average 3-D of the core": (aten._adaptive_avg_pool3d.default, (1, 2, 3, 4, 5), (2, 3, 2)),
    "maximum 1-D": (aten.adaptive_max_pool1d.default, (2, 2, 7), (3,)),
    "maximum": (aten.adaptive_max_pool2d.default, (2, 2, 5, 7), (3, 4)),
    "maximum, more parts than numbers": (aten.adaptive_max_pool2d.default, (1, 2, 3, 3), (5, 2)),
    "maximum 3-D": (aten.adaptive_max_pool3d.default, (1, 2, 3, 4, 5), (2, 3, 2)),
}
REDUCTIONS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "mean": (aten.mean.dim, ([1, -1],), {}),
    "mean kept": (aten.mean.dim, ([0, 2], True), {}),
    "mean of all": (aten.mean.default, (), {}),
    "mean of no dimension": (aten.mean.dim, ([],), {}),
    "sum": (aten.sum.dim_IntList, ([2], True), {}),
    "sum of all": (aten.sum.default, (), {}),
    "amax": (aten.amax.default, ([1, 2],), {}),
    "amax of all": (aten.amax.default, (), {}),
    "amin": (aten.amin.default, ([0], True), {}),
    "max of a dimension": (aten.max.dim, (1,), {}),
    "min of a dimension": (aten.min.dim, (-1, True), {}),
    "max": (aten.max.default, (), {}),
    "min": (aten.min.default, (), {}),
    "var": (aten.var.correction, ([1, 2],), {"correction": 0}),
    "var by default": (aten.var.correction, (), {}),
    "var of a dimension": (aten.var.dim, ([1], False, True), {}),
    "std": (aten.std.correction, ([0, 2],), {"correction": 1, "keepdim": True}),
    "std of a dimension": (aten.std.dim, ([2],), {}),
    "var_mean": (aten.var_mean.correction, ([0, 2],), {"correction": 0, "keepdim": True}),
    "var_mean of a dimension": (aten.var_mean.dim, ([1],), {}),
    "std_mean": (aten.std_mean.correction, ([1],), {}),
    "std_mean of a dimension": (aten.std_mean.dim, ([1], False), {}),
    "norm": (aten.linalg_vector_norm.default, (2, [1], True), {}),
    "norm of all": (aten.linalg_vector_norm.default, (), {}),
    "norm 1": (aten.linalg_vector_norm.default, (1, [2]), {}),
    "norm 3": (aten.linalg_vector_norm.default, (3, [0, 2]), {}),
    "norm 1.5": (aten.linalg_vector_norm.default, (1.5, [2]), {}),
    "norm 0.5": (aten.linalg_vector_norm.default, (0.5, [2]), {}),
    "norm 0": (aten.linalg_vector_norm.default, (0, [2]), {}),
    "norm of the largest": (aten.linalg_vector_norm.default, (float("inf"), [1]), {}),
    "norm of the smallest": (aten.linalg_vector_norm.default, (float("-inf"), [1]), {}),
    "logsumexp": (aten.logsumexp.default, ([1, 2],), {}),
    "logsumexp kept": (aten.logsumexp.default, ([0], True), {}),
    "prod": (aten.prod.dim_int, (1,), {}),
    "argmax": (aten.argmax.default, (1,), {}),
    "argmax of all": (aten.argmax.default, (), {}),
    "any": (aten.any.dim, (1,), {}),
    "any of all": (aten.any.default, (), {}),
    "all": (aten.all.dim, (1, True), {}),
    "all of all": (aten.all.default, (), {}),
}
MANY = [name for name, (target, _, _) in REDUCTIONS.items() if len(target._schema.returns) > 1]


@pytest.mark.parametrize("name", MAXIMA)
def test_max_pooling(name: str) -> None:
    target, shape, settings = MAXIMA[name]
    assert_opens(target, numbers(*shape), *settings)


@pytest.mark.parametrize("name", MAXIMA)
def test_max_pooling_of_many_equal_numbers(name: str) -> None:
    """The first of the largest wins, row by row; the gradient shows which that was."""
    target, shape, settings = MAXIMA[name]
    assert_opens(target, numbers(*shape).round(), *settings)


@pytest.mark.parametrize("name", AVERAGES)
def test_average_pooling(name: str) -> None:
    target, shape, settings = AVERAGES[name]
    assert_opens(target, numbers(*shape), *settings)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_pooling(name: str) -> None:
    target, shape, size = ADAPTIVE[name]
    assert_opens(target, numbers(*shape), size)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str) -> None:
    target, settings, options = REDUCTIONS[name]
    assert_opens(target, numbers(2, 3, 4), *settings, **options)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_each_number_is_a_term_of_one_result(name: str) -> None:
    target, settings, options = REDUCTIONS[name]
    op, call, _ = opened(target, numbers(2, 3, 4), *settings, **options)
    groups = [group for at in np.ndindex(call.result.shape) for group in op.terms(at, call).groups if group.source]
    assert sorted(np.concatenate([group.places for group in groups])) == list(range(24))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_of_equal_numbers_and_zeros(name: str) -> None:
    target, settings, options = REDUCTIONS[name]
    assert_opens(target, 3 + 0 * numbers(2, 3, 4), *settings, **options)
    if name.startswith(("norm 0.5", "norm of the smallest", "logsumexp")):
        return
    x = numbers(2, 3, 4)
    x[0, 1:] = 0
    assert_opens(target, x, *settings, **options)


@pytest.mark.parametrize("name", MANY)
def test_the_second_result_opens_too(name: str) -> None:
    target, settings, options = REDUCTIONS[name]
    op, call, _ = opened(target, numbers(2, 3, 4), *settings, **options)
    second = replace(call, which=1)
    totals = [op.terms(at, second).total for at in np.ndindex(second.result.shape)]
    np.testing.assert_allclose(totals, second.result.reshape(-1), rtol=1e-12)


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        (aten.max_pool2d_with_indices.default, ([3, 3], [2, 2], [1, 1])),
        (aten.adaptive_max_pool2d.default, ([2, 3],)),
    ],
    ids=["windows", "adaptive"],
)
def test_the_indices_of_a_max_pooling_open_too(target: Any, settings: tuple[Any, ...]) -> None:
    op, call, _ = opened(target, numbers(2, 2, 5, 6), *settings)
    indices = replace(call, which=1)
    totals = [op.terms(at, indices).total for at in np.ndindex(indices.result.shape)]
    assert totals == indices.result.reshape(-1).tolist()
    for at in [(0, 0, 0, 0), (1, 1, 1, 2)]:
        places = [group.places.tolist() for group in op.terms(at, indices).groups]
        assert places == [group.places.tolist() for group in op.terms(at, call).groups]


def test_what_is_no_number_wins_as_in_pytorch() -> None:
    """The last of them, as the indices of PyTorch say."""
    x = numbers(1, 1, 4, 6)
    x[0, 0, 1, 1] = x[0, 0, 2, 1] = x[0, 0, 0, 4] = torch.nan
    op, call, _ = opened(aten.max_pool2d.default, x, [3, 3], [1, 1], [1, 1])
    _, wanted, _ = opened(aten.max_pool2d_with_indices.default, x.detach(), [3, 3], [1, 1], [1, 1])
    found = [op.terms(at, call).groups[0].places.item() for at in np.ndindex(call.result.shape)]
    assert found == wanted.results[1].reshape(-1).tolist()


def test_a_window_without_finite_numbers_has_a_winner() -> None:
    x = torch.full((1, 1, 2, 2), -torch.inf)
    op, call, _ = opened(aten.max_pool2d.default, x, [3, 3], [1, 1], [1, 1])
    assert op.terms((0, 0, 1, 1), call).groups[0].places.tolist() == [0]
    assert op.terms((0, 0, 1, 1), call).total == -np.inf


def test_max_pooling_names_winner_and_losers() -> None:
    x = torch.tensor([[[1.0, 4.0, 2.0], [0.0, 3.0, 5.0]]], dtype=torch.float64)
    op, call, _ = opened(aten.max_pool2d.default, x, [2, 2], [1, 1])
    winner, losers = op.terms((0, 0, 1), call).groups
    assert (winner.role, winner.places.tolist(), winner.products.tolist()) == ("winner", [5], [5])
    assert winner.note == ""
    assert (losers.role, losers.places.tolist(), losers.products.tolist()) == ("loser", [1, 2, 4], [0, 0, 0])
    gradient = op.terms_of_gradient("self", (0, 0, 1), call)
    assert gradient is not None
    assert [(group.role, group.places.tolist()) for group in gradient.groups] == [("winner", [0]), ("loser", [1])]


def test_average_pooling_names_the_padding_and_the_share() -> None:
    op, call, _ = opened(aten.avg_pool2d.default, numbers(1, 1, 4, 4), [3, 3], [2, 2], [1, 1])
    (group,) = op.terms((0, 0, 0, 0), call).groups
    assert group.note == "1/9"
    assert group.shape == (1, 3, 3)
    assert group.places.tolist() == [-1, -1, -1, -1, 0, 1, -1, 4, 5]


def test_a_tie_shares_the_maximum() -> None:
    op, call, _ = opened(aten.amax.default, torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64), [0])
    winners, losers = op.terms((), call).groups
    assert (winners.places.tolist(), winners.products.tolist(), winners.note) == ([0, 2], [1, 1], "1/2: a tie")
    assert losers.places.tolist() == [1]


def test_what_is_no_number_wins_a_maximum_over_a_dimension() -> None:
    op, call, _ = opened(aten.amax.default, torch.tensor([2.0, torch.nan, 1.0], dtype=torch.float64), [0])
    assert op.terms((), call).groups[0].places.tolist() == [1]


def test_the_logarithm_of_a_sum_is_the_largest_number_and_a_little_more() -> None:
    op, call, _ = opened(aten.logsumexp.default, torch.tensor([1.0, 1000.0, 999.0], dtype=torch.float64), [0])
    winner, rest, losers = op.terms((), call).groups
    assert (winner.places.tolist(), winner.products.tolist()) == ([1], [1000])
    assert rest.products.item() == pytest.approx(np.log1p(np.exp(-1)))
    assert losers.places.tolist() == [0, 2]


def test_variance_tells_its_mean() -> None:
    op, call, _ = opened(aten.var.correction, torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64), [0])
    terms = op.terms((), call)
    assert terms.facts == {"mean": 3, "n": 3}
    assert terms.groups[0].products.tolist() == [2, 0.5, 4.5]
    assert terms.groups[0].note == "(x - mean)^2 / 2"
