"""Convolutions and dense layers opened: every number and every gradient, against float64 PyTorch and autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.ops.opened import assert_opens, numbers

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("shape", "weight", "settings"),
    [
        ((2, 3, 5, 6), (4, 3, 3, 2), {}),
        ((2, 3, 6, 5), (4, 3, 3, 3), {"stride": [2, 1], "padding": [1, 2]}),
        ((1, 2, 7, 8), (2, 2, 2, 3), {"stride": [3, 2], "padding": [1, 1], "dilation": [2, 1]}),
        ((2, 4, 5, 5), (6, 2, 3, 3), {"padding": [1, 1], "groups": 2}),
        ((1, 4, 4, 4), (4, 1, 3, 3), {"padding": [2, 2], "dilation": [2, 2], "groups": 4}),
        ((3, 4, 4), (2, 3, 3, 3), {"padding": [1, 1]}),
    ],
    ids=["plain", "stride", "dilation", "groups", "depthwise", "without_batch"],
)
def test_convolution(shape: tuple[int, ...], weight: tuple[int, ...], settings: dict[str, Any]) -> None:
    x = numbers(*shape) if len(shape) == 4 else numbers(3, 4, 4)
    settings = {"bias": numbers(weight[0], seed=2), **settings}
    assert_opens(aten.conv2d.default, x, numbers(*weight, seed=1), **settings)


def test_convolution_in_one_and_three_dimensions_and_padding_by_name() -> None:
    assert_opens(aten.conv1d.default, numbers(2, 2, 7), numbers(3, 2, 3, seed=1), None, [2], [1])
    assert_opens(
        aten.conv3d.default, numbers(1, 2, 3, 4, 3), numbers(2, 2, 2, 3, 2, seed=1), None, [1, 2, 1], [1, 0, 1]
    )
    assert_opens(aten.conv2d.padding, numbers(1, 2, 5, 4), numbers(2, 2, 4, 3, seed=1), None, [1, 1], "same")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": [2, 3], "padding": [1, 0]},
        {"stride": [2, 2], "output_padding": [1, 0], "dilation": [2, 1], "groups": 2},
    ],
    ids=["plain", "stride", "groups"],
)
def test_transposed_convolution(settings: dict[str, Any]) -> None:
    weight = numbers(4, 3, 3, 2, seed=1)
    bias = numbers(3 * settings.get("groups", 1), seed=2)
    assert_opens(aten.conv_transpose2d.input, numbers(2, 4, 3, 4), weight, bias, **settings)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (5,)], ids=["rows", "tokens", "one"])
def test_linear(shape: tuple[int, ...]) -> None:
    assert_opens(aten.linear.default, numbers(*shape), numbers(4, 5, seed=1), numbers(4, seed=2))
