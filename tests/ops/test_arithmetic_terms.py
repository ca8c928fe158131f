"""Arithmetic opened, with broadcasting: every number and every gradient, against float64 PyTorch and autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.ops import Arithmetic, TensorShape, op_for
from pellucid.ops.elementwise import RULES
from pellucid.ops.functions import FUNCTIONS as ALONE
from pellucid.ops.terms import Call
from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten

SHAPES = {
    "equal": ((2, 3, 4), (2, 3, 4)),
    "channels": ((2, 3, 2, 2), (3, 1, 1)),
    "both": ((2, 1, 3), (4, 1)),
    "longer": ((3,), (2, 3)),
    "scalar tensor": ((2, 3), ()),
}
WITH_SCALARS: dict[str, tuple[Any, Sequence[Any], dict[str, Any]]] = {
    "add": (aten.add.Tensor, (2.5,), {"alpha": 3}),
    "add.Scalar": (aten.add.Scalar, (2, 3), {}),
    "sub": (aten.sub.Tensor, (0.5,), {}),
    "sub.Scalar": (aten.sub.Scalar, (0.5, 2), {}),
    "rsub": (aten.rsub.Scalar, (1.0, 0.5), {}),
    "mul": (aten.mul.Tensor, (2.5,), {}),
    "mul.Scalar": (aten.mul.Scalar, (-3,), {}),
    "div": (aten.div.Tensor, (2.5,), {}),
    "div.Scalar": (aten.div.Scalar, (-3,), {}),
    "div down": (aten.div.Tensor_mode, (0.3,), {"rounding_mode": "floor"}),
    "div to zero": (aten.div.Scalar_mode, (0.3,), {"rounding_mode": "trunc"}),
    "remainder": (aten.remainder.Scalar, (0.7,), {}),
    "fmod": (aten.fmod.Scalar, (0.7,), {}),
    "copysign": (aten.copysign.Scalar, (-1.0,), {}),
    "square as power": (aten.pow.Tensor_Scalar, (2,), {}),
    "power 0": (aten.pow.Tensor_Scalar, (0,), {}),
    "power 3": (aten.pow.Tensor_Scalar, (3.0,), {}),
    "nan_to_num": (aten.nan_to_num.default, (1.0,), {}),
    "to": (aten.to.dtype, (torch.float64,), {}),
    "_to_copy": (aten._to_copy.default, (), {"dtype": torch.float64}),
    "to whole": (aten._to_copy.default, (), {"dtype": torch.int64}),
    "zeros_like": (aten.zeros_like.default, (), {}),
    "ones_like": (aten.ones_like.default, (), {}),
    "full_like": (aten.full_like.default, (0.7,), {}),
    "rand_like": (aten.rand_like.default, (), {}),
    "randn_like": (aten.randn_like.default, (), {}),
    **{f"{name}.Scalar": (getattr(aten, name).Scalar, (0.5,), {}) for name in ("eq", "ne", "lt", "gt", "le", "ge")},
}
FUNCTIONS = (
    "abs neg exp sin cos square sign floor ceil round erf expm1 isnan isinf nan_to_num atan tan sinh cosh trunc "
    "logical_not"
).split()
OF_POSITIVE = "log log1p log2 sqrt rsqrt reciprocal".split()
OF_SMALL = "asin acos".split()


def of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Random numbers of any shape, that of a single number too."""
    return numbers(*shape, seed=seed) if shape else numbers(1, seed=seed).reshape(())


def assert_values(target: Any, *arguments: Any, **options: Any) -> None:
    """Every number is the sum of its terms, infinite ones too; for operations without a derivative."""
    with torch.no_grad():
        op, call, _ = opened(target, *arguments, **options)
    totals = [op.terms(at, call).total for at in np.ndindex(call.result.shape)]
    np.testing.assert_array_equal(totals, call.result.reshape(-1).astype(np.float64))


def kinked(*shape: int) -> Tensor:
    """Random numbers, the first of them 0, the second a half, the third a whole number."""
    x = numbers(*shape)
    x.view(-1)[:4] = torch.tensor([0.0, 0.5, -2.0, 1.5], dtype=torch.float64)
    return x


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", ["add", "sub", "rsub", "mul", "div", "maximum", "minimum", "remainder", "fmod"])
def test_two_tensors(name: str, shapes: str) -> None:
    left, right = SHAPES[shapes]
    target = getattr(aten, name).default if name in ("maximum", "minimum") else getattr(aten, name).Tensor
    options = {"alpha": -2} if name in ("add", "sub", "rsub") else {}
    assert_opens(target, of(left), of(right, seed=1), **options)


@pytest.mark.parametrize("name", WITH_SCALARS)
def test_with_plain_numbers(name: str) -> None:
    target, settings, options = WITH_SCALARS[name]
    assert_opens(target, kinked(2, 3), *settings, **options)


@pytest.mark.parametrize("name", [*FUNCTIONS, *OF_POSITIVE, *OF_SMALL])
def test_functions_of_one_number(name: str) -> None:
    x = kinked(3, 4)
    if name in OF_POSITIVE:
        x = x.abs() + 0.1
    if name in OF_SMALL:
        x = x.tanh()
    assert_opens(getattr(aten, name).default, x)


@pytest.mark.parametrize("shapes", SHAPES)
def test_power_of_two_tensors(shapes: str) -> None:
    left, right = SHAPES[shapes]
    base = of(left).abs()
    base.view(-1)[0] = 0
    exponent = 1 + of(right, seed=1).abs()
    exponent.view(-1)[-1] = 0
    assert_opens(aten.pow.Tensor_Tensor, base, exponent)


@pytest.mark.parametrize("base", [2.0, 0.0])
def test_power_of_a_plain_number(base: float) -> None:
    assert_opens(aten.pow.Scalar, base, numbers(2, 3).abs())


@pytest.mark.parametrize("target", [aten.atan2.default, aten.copysign.Tensor], ids=["atan2", "copysign"])
def test_functions_of_two_numbers(target: Any) -> None:
    assert_opens(target, kinked(2, 3), numbers(3, seed=1))


def test_power_with_negative_exponents() -> None:
    assert_opens(aten.pow.Tensor_Tensor, numbers(2, 3).abs() + 0.1, numbers(3, seed=1))


@pytest.mark.parametrize("target", [aten.heaviside.default, aten.floor_divide.default], ids=["heaviside", "divide"])
def test_functions_without_a_derivative(target: Any) -> None:
    assert_values(target, kinked(2, 3), numbers(3, seed=1))
    assert_values(aten.floor_divide.Scalar, kinked(2, 3), 0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_change_of_precision_is_a_copy_as_it_came_out(dtype: torch.dtype) -> None:
    x = numbers(5)
    rounded = x.to(dtype).float().numpy()
    copied = Call({"self": x.numpy(), "dtype": dtype}, (rounded,), (np.ones(5),))
    copy = op_for("aten._to_copy.default", {"self": TensorShape((5,))})
    assert [copy.terms((i,), copied).total for i in range(5)] == rounded.tolist()
    assert copy.terms_of_gradient("self", (2,), copied).total == 1


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor", "eq", "ne", "lt", "gt", "le", "ge"])
def test_questions(name: str) -> None:
    target = getattr(aten, name).default if name.startswith("logical") else getattr(aten, name).Tensor
    assert_opens(target, kinked(2, 3), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
@pytest.mark.parametrize("bits", [torch.tensor([[True], [False]]), torch.tensor([[5], [-3]])], ids=["truth", "whole"])
def test_bits(name: str, bits: Tensor) -> None:
    others = torch.tensor([True, False]) if bits.dtype is torch.bool else torch.tensor([6, 9])
    assert_opens(getattr(aten, name).Tensor, bits, others)
    assert_opens(getattr(aten, name).Scalar, bits, True if bits.dtype is torch.bool else 12)
    assert_opens(aten.bitwise_not.default, bits)


def test_equal_numbers_share_the_maximum_and_its_gradient() -> None:
    x = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    assert_opens(aten.maximum.default, x, torch.tensor([1.0, 1.0, 5.0], dtype=torch.float64))
    op, call, _ = opened(aten.maximum.default, x.clone(), x.clone())
    assert [group.role for group in op.terms((0,), call).groups] == ["winner", "winner"]


def test_what_is_no_number_wins() -> None:
    nan = float("nan")
    op, call, _ = opened(aten.minimum.default, torch.tensor([1.0, nan]), torch.tensor([nan, 1.0]))
    assert [group.source for at in range(2) for group in op.terms((at,), call).groups if group.role == "winner"] == [
        "other",
        "self",
    ]


def test_choices() -> None:
    condition = torch.tensor([[True], [False]])
    assert_opens(aten.where.self, condition, numbers(2, 3), numbers(3, seed=1))
    assert_opens(aten.where.ScalarSelf, condition, 0.5, numbers(2, 3))
    assert_opens(aten.where.ScalarOther, condition, numbers(2, 3), -2.0)
    assert_opens(aten.where.Scalar, condition, 1.0, 0.0)
    assert_opens(aten.masked_fill.Scalar, numbers(2, 3), condition, 0.5)
    assert_opens(aten.masked_fill.Tensor, numbers(2, 3), condition, of(()))


def test_what_is_not_chosen_adds_nothing_though_it_is_infinite() -> None:
    endless = torch.full((2,), torch.inf, dtype=torch.float64)
    assert_values(aten.where.self, torch.tensor([True, False]), numbers(2), endless)
    assert_values(aten.masked_fill.Scalar, endless, torch.tensor([True, False]), -torch.inf)
    assert_values(aten.minimum.default, endless, numbers(2))


@pytest.mark.parametrize("shapes", SHAPES)
def test_interpolation_and_products_added(shapes: str) -> None:
    left, right = SHAPES[shapes]
    x, y, z = of(left), of(right, seed=1), of(right, seed=2)
    assert_opens(aten.lerp.Tensor, x.clone(), y.clone(), z.clone())
    assert_opens(aten.lerp.Scalar, x.clone(), y.clone(), 0.3)
    assert_opens(aten.addcmul.default, x.clone(), y.clone(), z.clone(), value=-2)
    assert_opens(aten.addcdiv.default, x.clone(), y.clone(), z.clone(), value=0.5)


def test_nothing_is_lost_where_numbers_are_replaced() -> None:
    x = torch.tensor([torch.inf, -torch.inf, 1.5])
    for_all = {"posinf": 3.0, "neginf": -2.0}
    for options in ({}, for_all):
        op, call, _ = opened(aten.nan_to_num.default, x.clone(), **options)
        assert [op.terms((i,), call).total for i in range(3)] == call.result.tolist()


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_concatenation(dim: int) -> None:
    sizes = [[2, 3, 2], [2, 3, 2], [2, 3, 2]]
    for i, size in enumerate(sizes):
        size[dim] = i + 1
    assert_opens(aten.cat.default, [numbers(*size, seed=i) for i, size in enumerate(sizes)], dim)


def test_concatenation_with_an_empty_tensor() -> None:
    assert_opens(aten.cat.default, [numbers(2, 2), torch.zeros(0, dtype=torch.float64), numbers(1, 2, seed=1)], 0)


def test_every_operator_that_is_described_has_a_rule() -> None:
    """Of the names in ``Arithmetic.targets`` not all are operators; of those that are, every one opens."""
    found = [target for target in Arithmetic.targets if _returns_a_tensor(target)]
    assert len(found) > 90
    calls = {target.split(".")[1] for target in found}
    assert not calls - RULES.keys() - ALONE.keys()


def _returns_a_tensor(target: str) -> bool:
    _, call, overload = target.split(".")
    operator = getattr(getattr(aten, call), overload, None)
    return operator is not None and [str(r.type) for r in operator._schema.returns] == ["Tensor"]


def test_an_operand_is_named_with_its_place() -> None:
    op, call, _ = opened(aten.mul.Tensor, numbers(2, 3, 2), numbers(3, 1, seed=1))
    (group,) = op.terms((1, 2, 0), call).groups
    assert (group.source, group.places.tolist()) == ("self", [10])
    assert (group.weight, group.weight_places.tolist()) == ("other", [2])
    gradient = op.terms_of_gradient("other", (2, 0), call)
    assert gradient is not None
    assert gradient.groups[0].places.tolist() == [4, 5, 10, 11]
    assert gradient.groups[0].weight_places.tolist() == [4, 5, 10, 11]
