"""Slices, splits and picks opened: every number and every gradient, against float64 PyTorch and autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.ops import TensorShape, op_for
from pellucid.ops.terms import Call
from tests.ops.every_result import assert_every_result_opens
from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        (aten.slice.Tensor, (2, 1, 5, 2)),
        (aten.slice.Tensor, (1, -2)),
        (aten.slice.Tensor, (1, None, 2)),
        (aten.slice.Tensor, ()),
        (aten.slice.Tensor, (2, -100, 3)),
        (aten.narrow.default, (2, 1, 3)),
        (aten.narrow.default, (2, -3, 2)),
        (aten.select.int, (1, -1)),
        (aten.select.int, (0, 1)),
        (aten.unbind.int, (1,)),
        (aten.split.Tensor, (2, -1)),
        (aten.split_with_sizes.default, ([1, 0, 4], 2)),
        (aten.chunk.default, (3, 2)),
        (aten.roll.default, ([2, -1], [0, 2])),
        (aten.roll.default, ([7],)),
        (aten.flip.default, ([0, -1],)),
        (aten.topk.default, (3,)),
        (aten.topk.default, (2, 1, False)),
        (aten.sort.default, (-1, True)),
        (aten.sort.default, (0,)),
    ],
    ids=str,
)
def test_parts(target: Any, settings: tuple[Any, ...]) -> None:
    assert_opens(target, numbers(2, 3, 5), *settings)
    assert_every_result_opens(target, numbers(2, 3, 5), *settings)


def test_numbers_in_order_of_size_where_there_is_only_one() -> None:
    assert_opens(aten.sort.default, torch.tensor(2.0, dtype=torch.float64))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_channel_shuffle(groups: int) -> None:
    assert_opens(aten.channel_shuffle.default, numbers(2, 6, 2, 2), groups)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_select(dim: int) -> None:
    assert_opens(aten.index_select.default, numbers(3, 4, 3), dim, torch.tensor([2, 0, 2, 1]))


@pytest.mark.parametrize(("dim", "shape"), [(0, (4, 2, 2)), (1, (2, 5, 3)), (-1, (3, 3, 2))])
def test_gather(dim: int, shape: tuple[int, ...]) -> None:
    places = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(1))
    assert_opens(aten.gather.default, numbers(3, 3, 3), dim, places)


@pytest.mark.parametrize(
    "indices",
    [
        [torch.tensor([2, 0, 2])],
        [None, torch.tensor([[0, -1], [1, 1]])],
        [None, torch.tensor([0, 2]), torch.tensor([[1], [3]])],
        [torch.tensor([0, 2, 2]), None, torch.tensor([1, 3, 3])],
        [None, torch.tensor(1)],
        [None, torch.tensor([True, False, True])],
        [torch.tensor([[True, False, True], [False, True, True], [False, False, False]])],
    ],
    ids=["first", "second", "neighbours", "apart", "one", "mask", "mask_of_two"],
)
def test_index(indices: list[Tensor | None]) -> None:
    assert_opens(aten.index.Tensor, numbers(3, 3, 4), indices)


def test_the_gradient_of_a_part_names_the_result_that_it_comes_from() -> None:
    op, call, _ = opened(aten.split.Tensor, numbers(2, 5), 2, 1)
    terms = op.terms_of_gradient("self", (1, 3), call)
    assert terms is not None
    (group,) = terms.groups
    assert (group.source, group.places) == ("gradient[1]", np.array([3]))


def test_a_slice_from_the_end_of_the_batch_opens_in_another_batch() -> None:
    op = op_for("aten.slice.Tensor", {"self": TensorShape((2, 3)), "dim": 0, "start": -1, "end": 100})
    x = numbers(5, 3).numpy()
    call = Call({"self": x, "dim": 0, "start": -1, "end": 100}, (x[-1:],), (np.ones((1, 3)),))
    assert op.terms((0, 2), call).total == x[4, 2]
    terms = op.terms_of_gradient("self", (4, 2), call)
    assert terms is not None
    assert terms.total == 1


def test_what_no_slice_reads_has_no_gradient() -> None:
    op, call, _ = opened(aten.slice.Tensor, numbers(4), 0, 1, 3)
    terms = op.terms_of_gradient("self", (0,), call)
    assert terms is not None
    assert (len(terms), terms.total) == (0, 0.0)
    assert terms.formula == "nothing read it, so that its gradient is 0"


def test_the_second_result_of_topk_is_the_place() -> None:
    op, call, _ = opened(aten.topk.default, torch.tensor([1.0, 9.0, 5.0], dtype=torch.float64), 2)
    (group,) = op.terms((1,), Call(call.arguments, call.results, which=1)).groups
    assert (group.role, float(group.products[0]), group.places) == ("place", 2.0, np.array([2]))
