"""Losses opened: every number and every gradient, against float64 PyTorch and autograd; their shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.ops import Axis, CrossEntropy, Reach, TensorShape, op_for
from tests.ops.opened import assert_opens, numbers, opened

aten = torch.ops.aten
NONE, MEAN, SUM = 0, 1, 2
REDUCTIONS = pytest.mark.parametrize("reduction", [NONE, MEAN, SUM], ids=["none", "mean", "sum"])
# logits and labels: pictures; pixels; one picture alone
SIZES = {"pictures": ((4, 3), (4,)), "pixels": ((2, 3, 2, 2), (2, 2, 2)), "one": ((3,), ())}


def labels_of(shape: tuple[int, ...], classes: int = 3) -> Tensor:
    """Labels of which, where there are several, the second is class 2 and the first and last the same."""
    count = int(np.prod(shape))
    return (torch.arange(count) * 2 % classes).reshape(shape)


def shares(shape: tuple[int, ...]) -> Tensor:
    """Probabilities over the classes."""
    return numbers(*shape, seed=3).softmax(1 if len(shape) > 1 else 0)


def class_weights() -> Tensor:
    return torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)


@REDUCTIONS
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["sharp", "smoothed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("sizes", SIZES)
def test_cross_entropy_of_labels(sizes: str, weighted: bool, smoothing: float, reduction: int) -> None:
    logits, labels = SIZES[sizes]
    weight = class_weights() if weighted else None
    settings = (weight, reduction, -100, smoothing)
    assert_opens(aten.cross_entropy_loss.default, numbers(*logits), labels_of(labels), *settings, fixed=["weight"])


@REDUCTIONS
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["sharp", "smoothed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_cross_entropy_leaves_out_ignored_labels(weighted: bool, smoothing: float, reduction: int) -> None:
    weight = class_weights() if weighted else None
    settings = (weight, reduction, 2, smoothing)
    assert_opens(aten.cross_entropy_loss.default, numbers(5, 3), labels_of((5,)), *settings, fixed=["weight"])


@REDUCTIONS
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["sharp", "smoothed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("sizes", SIZES)
def test_cross_entropy_of_probabilities(sizes: str, weighted: bool, smoothing: float, reduction: int) -> None:
    logits, _ = SIZES[sizes]
    weight = class_weights() if weighted else None
    settings = (weight, reduction, -100, smoothing)
    assert_opens(aten.cross_entropy_loss.default, numbers(*logits), shares(logits), *settings, fixed=["weight"])


def test_a_mean_over_ignored_labels_alone_has_no_terms() -> None:
    op, call, _ = opened(aten.cross_entropy_loss.default, numbers(2, 3), torch.tensor([-100, -100]))
    assert "every label is ignored" in op.terms((), call).missing


def test_the_facts_of_a_row_and_of_those_left_out() -> None:
    logits = torch.zeros(3, 4, dtype=torch.float64)
    labels = torch.tensor([0, -100, 2])
    op, call, _ = opened(aten.cross_entropy_loss.default, logits, labels, None, NONE)
    assert op.terms((0,), call).facts == {"rows": 1, "divisor": 1, "log of the sum of exp": pytest.approx(np.log(4))}
    assert op.terms((1,), call).facts == {"rows": 1, "divisor": 1, "ignored": 1}
    op, call, _ = opened(aten.cross_entropy_loss.default, logits, labels)
    assert op.terms((), call).facts == {"rows": 3, "divisor": 2, "ignored": 1}


def test_cross_entropy_names_its_terms() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]], dtype=torch.float64)
    op, call, _ = opened(aten.cross_entropy_loss.default, logits, torch.tensor([0, 2]))
    own, normaliser, others = op.terms((), call).groups
    assert (own.role, own.places.tolist(), own.factors.tolist(), own.note) == (
        "logit",
        [0, 5],
        [-0.5, -0.5],
        "-target / 2",
    )
    assert normaliser.products == pytest.approx(np.log(np.exp([[2, 0, 1], [0, 3, 1]]).sum(1)) / 2)
    assert (others.role, others.places.tolist()) == ("denominator", [1, 2, 3, 4])
    probability, target = op.terms_of_gradient("self", (1, 2), call).groups
    assert (probability.role, target.role) == ("probability", "target")
    assert probability.factors.item() == pytest.approx(np.exp(1) / np.exp([0, 3, 1]).sum() / 2)
    assert target.factors.item() == -0.5


def test_cross_entropy_of_large_logits() -> None:
    assert_opens(aten.cross_entropy_loss.default, 1000 * numbers(3, 4), torch.tensor([0, 3, 1]))


@REDUCTIONS
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("sizes", SIZES)
def test_negative_log_likelihood(sizes: str, weighted: bool, reduction: int) -> None:
    logits, labels = SIZES[sizes]
    weight = class_weights() if weighted else None
    x, target = numbers(*logits), labels_of(labels)
    assert_opens(aten.nll_loss_nd.default, x, target, weight, reduction, fixed=["weight"])
    assert_opens(aten.nll_loss_nd.default, x, target, weight, reduction, 1, fixed=["weight"])


@REDUCTIONS
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    ("target", "sizes"),
    [(aten.nll_loss_forward.default, "pictures"), (aten.nll_loss2d_forward.default, "pixels")],
    ids=["pictures", "pixels"],
)
def test_negative_log_likelihood_of_the_core(target: Any, sizes: str, weighted: bool, reduction: int) -> None:
    logits, labels = SIZES[sizes]
    weight = class_weights() if weighted else None
    settings = (labels_of(labels), weight, reduction, 1)
    assert_opens(target, numbers(*logits), *settings, fixed=["weight"])
    op, call, _ = opened(target, numbers(*logits), *settings, fixed=["weight"])
    if reduction != NONE:
        assert op.terms((), replace(call, which=1)).total == pytest.approx(float(call.results[1]))


@REDUCTIONS
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("positive", [False, True], ids=["alike", "positive"])
def test_binary_cross_entropy(positive: bool, weighted: bool, reduction: int) -> None:
    weight = numbers(4, 1, seed=4).abs() if weighted else None
    of_positive = class_weights() if positive else None
    settings = (numbers(4, 3, seed=1).sigmoid(), weight, of_positive, reduction)
    assert_opens(
        aten.binary_cross_entropy_with_logits.default, 5 * numbers(4, 3), *settings, fixed=["weight", "pos_weight"]
    )


@REDUCTIONS
def test_squared_error(reduction: int) -> None:
    assert_opens(aten.mse_loss.default, numbers(2, 3), numbers(2, 3, seed=1), reduction)


@REDUCTIONS
@pytest.mark.parametrize("target", [(3,), (2, 1)], ids=["row", "column"])
def test_squared_error_of_a_target_that_broadcasts(target: tuple[int, ...], reduction: int) -> None:
    with torch.no_grad():
        op, call, _ = opened(aten.mse_loss.default, numbers(2, 3), numbers(*target, seed=1), reduction)
    totals = [op.terms(at, call).total for at in np.ndindex(call.result.shape)]
    np.testing.assert_allclose(totals, call.result.reshape(-1), rtol=1e-12)


@REDUCTIONS
@pytest.mark.parametrize("sizes", SIZES)
def test_shapes(sizes: str, reduction: int) -> None:
    logits, labels = SIZES[sizes]
    x = numbers(*logits)
    calls = [
        (aten.cross_entropy_loss.default, (x, labels_of(labels), None, reduction)),
        (aten.cross_entropy_loss.default, (x, shares(logits), None, reduction)),
        (aten.nll_loss_nd.default, (x, labels_of(labels), None, reduction)),
        (aten.binary_cross_entropy_with_logits.default, (x, shares(logits), None, None, reduction)),
        (aten.mse_loss.default, (x, shares(logits), reduction)),
    ]
    for target, arguments in calls:
        op, call, _ = opened(target, *arguments)
        names = [argument.name for argument in target._schema.arguments]
        shaped = {
            name: TensorShape(value.shape) if isinstance(value, Tensor) else value
            for name, value in zip(names, arguments, strict=False)
        }
        assert op.shape(shaped) == call.result.shape
        assert op.kind == "loss"
        assert op.macs(call.result.shape, shaped) == 0


def test_fields() -> None:
    """Without reduction a row sees what its logits see, with the rows' places moved up; a mean sees everything."""
    arguments = {"self": TensorShape((2, 3, 8, 8)), "target": TensorShape((2, 8, 8)), "reduction": NONE}
    seen = [Reach({2: Axis(0), 3: Axis(1)}), Reach()]
    op = op_for("aten.cross_entropy_loss.default", arguments)
    assert op.field(seen, (2, 8, 8), arguments).dims == {1: Axis(0), 2: Axis(1)}
    plain = {"self": TensorShape((2, 3, 8, 8)), "target": TensorShape((2, 3, 8, 8)), "reduction": NONE}
    squares = op_for("aten.mse_loss.default", plain)
    assert squares.field([seen[0], seen[0]], (2, 3, 8, 8), plain).dims == seen[0].dims
    mean = CrossEntropy()
    assert mean.field(seen, (), arguments).unbounded == {0, 1}


def test_descriptions() -> None:
    arguments: dict[str, Any] = {"self": TensorShape((2, 3)), "target": TensorShape((2,)), "label_smoothing": 0.1}
    op = op_for("aten.cross_entropy_loss.default", arguments)
    assert (op.name, op.describe()) == ("cross_entropy", "Cross-entropy, mean, labels smoothed by 0.1")
    plain: dict[str, Any] = {"self": TensorShape((2, 3)), "target": TensorShape((2, 3)), "reduction": SUM}
    assert op_for("aten.mse_loss.default", plain).describe() == "Squared error, sum"
    assert op_for("aten.binary_cross_entropy_with_logits.default", plain).name == "binary_cross_entropy"
