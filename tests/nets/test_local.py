"""Locally connected layers against a slow loop and against a convolution of copied kernels; a plan of eight kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import nets
from pellucid.errors import ShapeError, UsageError
from pellucid.graph import capture
from pellucid.nets.variants import KINDS
from tests.nets.test_counts import parameters


@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 1, 3), (2, 0, 3), (2, 1, (3, 2)), (1, 0, 1)])
def test_values_and_gradients_are_those_of_a_slow_loop(
    stride: int, padding: int, kernel: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = nets.LocallyConnected2d(2, 3, kernel, (6, 5), stride, padding).double()
    assert layer.bias is not None
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    signal = np.random.default_rng(0).normal(size=tuple(out.shape))
    out.backward(torch.from_numpy(signal))
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    padded = np.pad(x.detach().numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width, kernels, channels, rows, columns = weight.shape
    expected, of_input, of_weight = np.zeros(out.shape), np.zeros(padded.shape), np.zeros(weight.shape)
    for n, k, p, q in np.ndindex(2, kernels, height, width):
        for c, r, s in np.ndindex(channels, rows, columns):
            i, j = p * stride + r, q * stride + s
            expected[n, k, p, q] += padded[n, c, i, j] * weight[p, q, k, c, r, s]
            of_input[n, c, i, j] += signal[n, k, p, q] * weight[p, q, k, c, r, s]
            of_weight[p, q, k, c, r, s] += signal[n, k, p, q] * padded[n, c, i, j]
        expected[n, k, p, q] += bias[k, p, q]
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    inner = of_input[:, :, padding : padding + 6, padding : padding + 5]
    np.testing.assert_allclose(x.grad.numpy(), inner, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.weight.grad.numpy(), of_weight, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.bias.grad.numpy(), signal.sum(0), rtol=1e-10, atol=1e-12)


def test_the_same_kernel_at_every_place_is_a_convolution() -> None:
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    layer = nets.LocallyConnected2d(3, 4, 3, 9, stride=2, padding=1)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(conv.weight.expand_as(layer.weight))
        layer.bias.copy_(conv.bias[:, None, None].expand_as(layer.bias))  # type: ignore[index]
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(layer(x), conv(x))


def test_it_starts_from_he() -> None:
    torch.manual_seed(0)
    weight = nets.LocallyConnected2d(16, 16, 3, 8).weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.02)


def test_a_map_of_another_size_is_refused() -> None:
    layer = nets.LocallyConnected2d(1, 1, 3, (6, 5))
    with pytest.raises(ShapeError, match="for maps of 6 x 5 was given 5 x 6"):
        layer(torch.zeros(1, 1, 5, 6))


def test_a_window_larger_than_the_map_is_refused() -> None:
    with pytest.raises(ShapeError, match="a window of 5 x 5 does not fit on a map of 4 x 8 padded by 0"):
        nets.LocallyConnected2d(1, 1, 5, (4, 8))


# 3x3 weights of the six layers of 32, 32 | 64, 64 | 128, 128 channels; stem, norms and dense layer are the same.
PAIRS = [(32, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
CELLS = [16 * 16] * 2 + [8 * 8] * 2 + [4 * 4] * 2
COMMON = 27 * 32 + 2 * 32 + 2 * (32 + 32 + 64 + 64 + 128 + 128) + 128 * 10 + 10
WEIGHTS = {
    "standard": sum(9 * a * b for a, b in PAIRS),
    "grouped": sum(9 * a * b for a, b in PAIRS) // 4,
    "grouped_shuffled": sum(9 * a * b for a, b in PAIRS) // 4,
    "depthwise": sum(9 * b for _, b in PAIRS),
    "separable": sum(9 * a + 2 * a + a * b for a, b in PAIRS),
    "dilated": sum(9 * a * b for a, b in PAIRS),
    "local": sum(9 * a * b * cells for (a, b), cells in zip(PAIRS, CELLS, strict=True)),
    "transposed": sum(9 * a * b for a, b in PAIRS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_the_weights_of_its_formula(kind: str) -> None:
    with torch.device("meta"):
        assert parameters(nets.make("variant_cnn", kind=kind)) == COMMON + WEIGHTS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_field_is_that_of_two_3x3_layers_a_stage(kind: str) -> None:
    """By hand: 3, halved 4; then 2 more pixels at steps of 2, 4 and 8 for each layer, twice as many for rate 2."""
    rates = (1, 2) if kind == "dilated" else (1, 1)
    side, step = 4, 2
    for stage in range(2):
        side += 2 * step * sum(rates) + (step if stage == 0 else 0)
        step *= 2
    rows = capture(nets.make("variant_cnn", kind=kind, channels=[4, 4]), (3, 32, 32)).account().rows
    last = next(row.field for row in reversed(rows) if row.name.startswith("stages."))
    assert last is not None
    assert last.size == (side, side)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_with_all_its_parameters(kind: str) -> None:
    torch.manual_seed(0)
    net = nets.make("variant_cnn", kind=kind, classes=3, image_size=8, channels=[8, 16])
    loss = nn.functional.cross_entropy(net(torch.randn(4, 3, 8, 8)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert 0.2 < loss.item() < 5
    assert [key for key, own in net.named_parameters() if own.grad is None or not own.grad.any()] == []


@pytest.mark.parametrize("kind", ["dilated", "transposed"])
def test_a_kind_of_the_same_size_starts_from_the_same_deviation(kind: str) -> None:
    """He et al. (2015), eq. 14, as the standard kind does: variance 2 / (9 outputs)."""
    torch.manual_seed(0)
    layer = nets.make("variant_cnn", kind=kind).get_submodule("stages.2.2.0")
    assert float(layer.weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "groupt"}, "no kind named 'groupt'; did you mean 'grouped'"),
        ({"kind": "grouped", "channels": [6]}, r"channels \[6\] are not divided by 4 groups"),
        ({"kind": "grouped_shuffled", "groups": 0}, "are not divided by 0 groups"),
        ({"kind": "depthwise", "channels": [4, 6]}, r"channels \[4, 6\]: a depthwise layer"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nets.make("variant_cnn", **settings)
