"""Reshapes, permutations, repetitions, stacks and bookkeeping opened, against float64 PyTorch and autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pellucid.ops import op_for
from pellucid.ops.terms import Call
from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("target", "shape", "settings"),
    [
        (aten.view.default, (2, 3, 4), ([4, -1],)),
        (aten.reshape.default, (2, 3, 4), ([3, 2, 4],)),
        (aten._unsafe_view.default, (2, 3, 4), ([6, 4],)),
        (aten._reshape_alias.default, (2, 3, 4), ([6, 4], [4, 1])),
        (aten.flatten.using_ints, (2, 3, 4), (1, 2)),
        (aten.unflatten.int, (2, 6), (1, [2, 3])),
        (aten.squeeze.dim, (2, 1, 3), (1,)),
        (aten.squeeze.dims, (1, 2, 1, 3), ([0, 2],)),
        (aten.squeeze.default, (1, 1), ()),
        (aten.unsqueeze.default, (2, 3), (-2,)),
        (aten.permute.default, (2, 3, 4), ([2, 0, 1],)),
        (aten.transpose.int, (2, 3, 4), (0, -1)),
        (aten.t.default, (2, 3), ()),
        (aten.t.default, (3,), ()),
        (aten.repeat.default, (2, 3), ([2, 1, 3],)),
        (aten.tile.default, (2, 3, 2), ([2, 2],)),
        (aten.expand.default, (1, 3, 1), ([2, 4, -1, 2],)),
        (aten.alias.default, (2, 3), ()),
        (aten.clone.default, (2, 3), ()),
        (aten.contiguous.default, (2, 3), ()),
        (aten.lift_fresh_copy.default, (2, 3), ()),
        (aten.tril.default, (2, 3, 4), (1,)),
        (aten.triu.default, (4, 4), (-1,)),
        (aten.tril.default, (3, 4), ()),
    ],
    ids=str,
)
def test_what_moves_numbers(target: Any, shape: tuple[int, ...], settings: tuple[Any, ...]) -> None:
    assert_opens(target, numbers(*shape), *settings)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_stack(dim: int) -> None:
    assert_opens(aten.stack.default, [numbers(2, 3), numbers(2, 3, seed=1), numbers(2, 3, seed=2)], dim)


def test_a_copy_names_the_place_that_it_came_from() -> None:
    op, call, _ = opened(aten.permute.default, numbers(2, 3, 4), [2, 0, 1])
    (group,) = op.terms((3, 1, 2), call).groups
    assert (group.role, group.source) == ("copy", "self")
    assert group.places is not None
    assert np.unravel_index(int(group.places[0]), (2, 3, 4)) == (1, 2, 3)


def test_an_expanded_number_gathers_the_gradients_of_its_copies() -> None:
    op, call, _ = opened(aten.expand.default, numbers(3, 1), [3, 5])
    terms = op.terms_of_gradient("self", (2, 0), call)
    assert terms is not None
    (group,) = terms.groups
    assert group.places is not None
    assert [np.unravel_index(place, (3, 5)) for place in group.places] == [(2, x) for x in range(5)]


def test_a_stack_names_the_tensor() -> None:
    op, call, _ = opened(aten.stack.default, [numbers(2, 3), numbers(2, 3, seed=1)], 1)
    (group,) = op.terms((1, 1, 2), call).groups
    assert group.source == "tensors[1]"


@pytest.mark.parametrize("index", [0, 1])
def test_a_part_of_a_result(index: int) -> None:
    arrays = [numbers(2, 3).numpy(), numbers(4, seed=1).numpy()]
    call = Call({"input": arrays, "index": index}, (arrays[index],), (np.ones_like(arrays[index]),))
    op = op_for("getitem", {})
    for at in np.ndindex(arrays[index].shape):
        (group,) = op.terms(at, call).groups
        assert group.source == f"input[{index}]"
        assert op.terms(at, call).total == arrays[index][at]
        terms = op.terms_of_gradient(f"input[{index}]", at, call)
        assert terms is not None
        assert terms.total == 1
    other = op.terms_of_gradient(f"input[{1 - index}]", (0,) * arrays[1 - index].ndim, call)
    assert other is not None
    assert other.total == 0


def test_no_gradient_goes_back_through_detach() -> None:
    op, call, _ = opened(aten.detach.default, numbers(2, 3))
    assert op.terms((1, 2), call).total == call.result[1, 2]
    terms = op.terms_of_gradient("self", (1, 2), call)
    assert terms is not None
    assert terms.total == 0
    assert "detached" in terms.formula


@pytest.mark.parametrize(
    ("target", "arguments", "note"),
    [
        (aten.arange.start_step, (2, 9, 3), "made new"),
        (aten.full.default, ([2, 2], 0.5), "made new"),
        (aten.new_full.default, (numbers(2), [2, 2], 0.5), "made new"),
        (aten.zeros.default, ([3],), "made new"),
        (aten.rand.default, ([2, 2],), "drawn at random"),
        (aten.bernoulli.p, (torch.zeros(3, dtype=torch.int64), 0.5), "drawn at random"),
    ],
    ids=str,
)
def test_what_is_made_new_is_a_constant(target: Any, arguments: tuple[Any, ...], note: str) -> None:
    op, call, _ = opened(target, *arguments)
    terms = op.terms((1,) * call.result.ndim, call)
    assert terms.total == call.result[(1,) * call.result.ndim]
    assert [(group.role, group.note, group.source) for group in terms.groups] == [("constant", note, "")]
    gradients = [op.terms_of_gradient(slot, (1,), call) for slot in call.slots()]
    assert [terms.total for terms in gradients if terms is not None] == [0.0] * len(gradients)
