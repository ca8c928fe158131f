"""Sliding windows opened, and the einsum of a locally connected layer: numbers, gradients, fields."""

from __future__ import annotations

import pytest
import torch

from pellucid.ops import Axis, Reach, TensorShape, op_for
from tests.ops.opened import assert_opens, numbers

aten = torch.ops.aten


@pytest.mark.parametrize("settings", [(2, 3, 1), (2, 2, 2), (-1, 3, 2), (1, 1, 1), (2, 5, 3), (0, 2, 1)], ids=str)
def test_windows_as_a_view(settings: tuple[int, int, int]) -> None:
    assert_opens(aten.unfold.default, numbers(2, 3, 5), *settings)


@pytest.mark.parametrize("settings", [(2, 3, 1), (-2, 2, 2), (3, 3, 2)], ids=str)
def test_the_shape_is_that_of_pytorch(settings: tuple[int, int, int]) -> None:
    x = torch.zeros(2, 3, 6, 7)
    arguments = dict(zip(("self", "dimension", "size", "step"), (TensorShape(x.shape), *settings), strict=True))
    assert op_for("aten.unfold.default", arguments).shape(arguments) == tuple(x.unfold(*settings).shape)


def test_a_window_sees_what_it_holds() -> None:
    arguments = {"self": TensorShape((1, 2, 9, 9)), "dimension": 2, "size": 3, "step": 2}
    op = op_for("aten.unfold.default", arguments)
    reach = op.field([Reach.of_input(4)], (1, 2, 4, 9, 3), arguments)
    assert reach.dims[2].box(3) == (6, 8)
    assert reach.dims[3] == Axis(1)


@pytest.mark.parametrize(
    ("equation", "shapes", "dims", "unbounded"),
    [
        ("ncpqrs,pqkcrs->nkpq", [(1, 2, 4, 5, 3, 3), (4, 5, 6, 2, 3, 3)], {2: 0, 3: 1}, frozenset()),
        ("nchw->nhcw", [(1, 2, 4, 5)], {1: 0, 3: 1}, frozenset()),
        ("nchw,kh->nkcw", [(1, 2, 4, 5), (6, 4)], {3: 1}, frozenset({0})),
        ("...hw,wv->...hv", [(1, 2, 4, 5), (5, 6)], {2: 0}, frozenset({1})),
        ("nchw,nchw->nc", [(1, 2, 4, 5), (1, 2, 4, 5)], {}, frozenset({0, 1})),
        ("nchh->nch", [(1, 2, 4, 4)], {}, frozenset({0, 1})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_letter_of_the_result_keeps_the_places_along_it(
    equation: str, shapes: list[tuple[int, ...]], dims: dict[int, int], unbounded: frozenset[int]
) -> None:
    arguments = {"equation": equation, "tensors": [TensorShape(shape) for shape in shapes]}
    op = op_for("aten.einsum.default", arguments)
    reaches = [Reach({2: Axis(0), 3: Axis(1)}), Reach()][: len(shapes)]
    found = op.field(reaches, op.shape(arguments), arguments)
    assert {dim: axis.of for dim, axis in found.dims.items()} == dims
    assert found.unbounded == unbounded
