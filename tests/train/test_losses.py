"""Losses against sums written out, weights that balance, and parts of a batch that add up to it."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.train import losses

NAMES = ("binary_cross_entropy", "cross_entropy", "focal")


@pytest.fixture
def outputs() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 3, 1, 1, 2, 0])
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.25])


def by_hand(name: str, outputs: torch.Tensor, target: list[list[float]], weight: list[float]) -> float:
    """The mean over pictures of the sum over classes, number by number."""
    total = 0.0
    for row, wanted in zip(outputs.tolist(), target, strict=True):
        norm = math.log(sum(math.exp(z) for z in row))
        for z, y, w in zip(row, wanted, weight, strict=True):
            p = math.exp(z - norm)
            if name == "cross_entropy":
                total -= w * y * math.log(p)
            elif name == "focal":
                total -= w * y * (1 - p) ** 2 * math.log(p)
            else:
                q = 1 / (1 + math.exp(-z))
                total -= w * (y * math.log(q) + (1 - y) * math.log(1 - q))
    return total / len(outputs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_labels_and_probabilities_by_hand(name: str, weighted: bool, outputs: torch.Tensor) -> None:
    weight = WEIGHT if weighted else None
    loss = losses.make(name, 4, weight=weight)
    one_hot = functional.one_hot(LABELS, 4).float()
    wanted = by_hand(name, outputs, one_hot.tolist(), (WEIGHT if weighted else torch.ones(4)).tolist())
    assert float(loss(outputs, LABELS)) == pytest.approx(wanted, rel=1e-5)
    assert float(loss(outputs, one_hot)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "cross_entropy"])
def test_smoothing_is_a_softer_target(name: str, outputs: torch.Tensor) -> None:
    soft = functional.one_hot(LABELS, 4).float() * 0.8 + 0.2 / 4
    wanted = by_hand(name, outputs, soft.tolist(), [1.0] * 4)
    assert float(losses.make(name, 4, smoothing=0.2)(outputs, LABELS)) == pytest.approx(wanted, rel=1e-5)
    weighted = by_hand(name, outputs, soft.tolist(), WEIGHT.tolist())
    assert float(losses.make(name, 4, smoothing=0.2, weight=WEIGHT)(outputs, LABELS)) == pytest.approx(
        weighted, rel=1e-5
    )


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_batch_add_up_to_it(name: str, weight: torch.Tensor | None, outputs: torch.Tensor) -> None:
    loss = losses.make(name, 4, weight=weight)
    parts = sum(len(rows) / 6 * loss(outputs[rows], LABELS[rows]) for rows in ([0, 1], [2, 3, 4, 5]))
    torch.testing.assert_close(parts, loss(outputs, LABELS))


def test_balanced_weights_give_each_class_the_same_say() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2] * 1)
    weights = losses.balanced_weights(labels, 3)
    shares = [float(weights[k]) * int((labels == k).sum()) for k in range(3)]
    assert shares == pytest.approx([100 / 3] * 3)
    assert losses.balanced_weights(torch.tensor([0, 0, 2]), 3)[1] == 0


def test_an_unknown_loss() -> None:
    with pytest.raises(UsageError, match="there is no loss named 'cross_entrpy'; did you mean 'cross_entropy'"):
        losses.make("cross_entrpy", 3)
