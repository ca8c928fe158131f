"""How sums are written: whole, cut to the largest terms, functions by name, constants, padding, and what is missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.look import open as look_open


def test_a_function_is_written_with_its_number() -> None:
    scene = look_open(nn.Sequential(nn.ReLU(), nn.Sigmoid()), torch.tensor([[-1.5, 2.0]]))
    assert "= relu(-1.5) = 0" in str(scene.at("0", channel=0))
    assert "sigmoid(2)" in str(scene.at("1", channel=1))


def test_a_long_sum_shows_the_largest_and_the_rest() -> None:
    net = nn.Linear(50, 1, bias=False)
    net.weight.data = torch.arange(50.0)[None]
    text = str(look_open(net, torch.ones(1, 50)).at("linear", channel=0))
    assert "= 1·49 + 1·48 + 1·47" in text
    assert "38 more (703) = 1225" in " ".join(text.split())


def test_a_part_of_a_long_sum_keeps_its_sign() -> None:
    net = nn.Linear(3, 1)
    net.weight.data, net.bias.data = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([-4.0])
    text = str(look_open(net, torch.tensor([[2.0, 3.0, -4.0]])).at("linear", channel=0))
    assert "= 2·1 + 3·(-2) + (-4)·0.5 + (-4) = -10" in text


def test_what_nobody_has_described_says_so() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.i0(x)

    number = look_open(Odd(), torch.ones(1, 2)).at("special_i0", channel=0)
    assert "it has no terms: nobody has described" in str(number)
    assert not number.adds_up
