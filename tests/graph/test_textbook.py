"""Facts of any course on convolutional networks, as the account of real modules has them."""

from __future__ import annotations

import pytest
from torch import nn

from pellucid import capture


def macs(*layers: nn.Module, size: tuple[int, ...]) -> int:
    return capture(nn.Sequential(*layers), size).account().macs


@pytest.mark.parametrize(
    ("n", "k", "p", "s"), [(28, 5, 2, 1), (32, 3, 1, 2), (7, 7, 3, 2), (224, 11, 2, 4), (9, 2, 0, 3)]
)
def test_output_size(n: int, k: int, p: int, s: int) -> None:
    graph = capture(nn.Conv2d(1, 1, k, stride=s, padding=p), (1, n, n))
    assert graph.account().rows[-1].shape[2:] == (((n + 2 * p - k) // s + 1),) * 2


@pytest.mark.parametrize("x", range(6, 16))
def test_two_3x3_layers_see_what_one_5x5_sees_and_are_cheaper_from_ten_on(x: int) -> None:
    two = capture(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)), (1, x, x)).account()
    one = capture(nn.Conv2d(1, 1, 5), (1, x, x)).account()
    assert two.rows[-1].field is not None
    assert one.rows[-1].field is not None
    assert two.rows[-1].field.box((0, 0)) == one.rows[-1].field.box((0, 0)) == ((0, 4), (0, 4))
    assert two.macs == (x - 2) ** 2 * 9 + (x - 4) ** 2 * 9
    assert one.macs == (x - 4) ** 2 * 25
    # 9 (x-2)^2 + 9 (x-4)^2 < 25 (x-4)^2 where (x-2)/(x-4) < 4/3: from x = 11 on; equal at 10.
    assert (two.macs < one.macs) == (x > 10)
    assert (two.macs == one.macs) == (x == 10)


def test_a_dense_layer_on_a_picture_has_thirty_million_weights() -> None:
    layer = nn.Linear(100 * 100 * 3, 1000, bias=False)
    account = capture(nn.Sequential(nn.Flatten(), layer), (3, 100, 100)).account()
    assert account.parameters == 3 * 10**7


def test_dense_local_and_shared_weights_of_a_hundred_by_hundred_picture() -> None:
    places = capture(nn.Conv2d(1, 10, 3, padding=1, bias=False), (1, 100, 100)).account()
    neurons = 10 * 100 * 100
    assert neurons == 10**5
    assert 100 * 100 * neurons == 10**9  # dense: every pixel to every neuron
    assert places.macs == 9 * 10**5  # local: nine weights a neuron, and so many products
    assert capture(nn.Conv2d(1, 1, 3, padding=1, bias=False), (1, 100, 100)).account().parameters == 9  # shared
    assert capture(nn.Conv2d(1, 100, 3, padding=1, bias=False), (1, 100, 100)).account().parameters == 900


def test_macs_per_parameter_of_a_convolution_is_its_output_height_times_width() -> None:
    account = capture(nn.Conv2d(3, 8, 3, stride=2, groups=1), (3, 33, 21)).account(batch=4)
    row = account.rows[-1]
    assert row.macs_per_parameter == row.shape[2] * row.shape[3]


def test_a_depthwise_separable_pair_costs_one_over_k_plus_one_over_nine() -> None:
    full = macs(nn.Conv2d(32, 64, 3, padding=1), size=(32, 16, 16))
    pair = macs(nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 64, 1), size=(32, 16, 16))
    assert pair / full == pytest.approx(1 / 64 + 1 / 9)
