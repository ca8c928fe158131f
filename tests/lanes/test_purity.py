"""Networks whose Python code keeps or draws something of its own: a capture would freeze it, so PyTorch runs them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import lanes
from pellucid.lanes.purity import impurity

EXAMPLES = (torch.randn(3, 1, 6, 6),)


class Net(nn.Module):
    """A convolution, and something that ``more`` does at each pass."""

    def __init__(self, more: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)
        self.calls, self.seen, self.sizes = 0, [], {}
        self.more = more

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.drop(self.norm(self.conv(images)))
        self.more(self, result)
        return result


def count(net: Any, result: Tensor) -> None:
    net.calls += 1


def keep(net: Any, result: Tensor) -> None:
    net.kept = result


def append(net: Any, result: Tensor) -> None:
    net.seen.append(1)


def note(net: Any, result: Tensor) -> None:
    net.sizes["last"] = float(result.shape[2])


IMPURE = {
    "a counter": (count, "keeps calls from pass to pass"),
    "a feature map": (keep, "keeps kept from pass to pass"),
    "a list": (append, "keeps seen from pass to pass"),
    "a dict": (note, "keeps sizes from pass to pass"),
    "Python's generator": (lambda *given: random.random(), "draws random numbers that are not PyTorch's"),
    "NumPy's generator": (lambda *given: np.random.rand(), "draws random numbers that are not PyTorch's"),
}


@pytest.mark.parametrize("name", IMPURE)
def test_what_a_pass_leaves_behind_is_said(name: str) -> None:
    more, words = IMPURE[name]
    assert words in impurity(Net(more), EXAMPLES)


def test_a_pass_that_leaves_nothing_is_pure_and_nothing_is_touched() -> None:
    net = Net(lambda *given: None).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    wanted, python, numpy = torch.rand(1), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    torch.manual_seed(3)
    assert impurity(net, EXAMPLES) == ""
    assert torch.equal(torch.rand(1), wanted)
    assert random.getstate() == python
    assert np.array_equal(np.random.get_state()[1], numpy)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_path_of_an_inner_module_is_named() -> None:
    assert "keeps 1.calls from" in impurity(nn.Sequential(nn.Identity(), Net(count)), EXAMPLES)


@pytest.mark.skipif(bool(lanes.why_not()), reason=f"lanes cannot run: {lanes.why_not()}")
def test_such_a_network_computes_what_pytorch_does() -> None:
    def scale(net: Any, result: Tensor) -> None:
        net.calls += 1
        result.mul_(net.calls)

    net = Net(scale).eval()
    lowered = pellucid.lower(net)
    with torch.no_grad():
        first, second = lowered(EXAMPLES[0]), lowered(EXAMPLES[0])
    torch.testing.assert_close(second, 2 * first)
    assert list(lowered.reasons.values()) == ["its code keeps calls from pass to pass"]
