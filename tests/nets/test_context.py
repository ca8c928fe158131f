"""The context module: its table's fields, the identity that it starts as, values against a slow reference, holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pellucid import look, nets
from pellucid.errors import UsageError
from pellucid.graph import capture

TABLE_1 = [3, 5, 9, 17, 33, 65, 67, 67]  # the fields of the eight layers
WIDTHS = {"basic": [1, 1, 1, 1, 1, 1, 1, 1], "large": [2, 2, 4, 8, 16, 32, 32, 1]}


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize("size", ["basic", "large"])
def test_fields_are_those_of_the_table(size: str) -> None:
    rows = capture(nets.ContextModule(1, size), (1, 96, 96)).account().rows
    fields = [row.field.size for row in rows if row.kind == "convolution" and row.field is not None]
    assert fields == [(side, side) for side in TABLE_1]


@pytest.mark.parametrize("size", ["basic", "large"])
def test_channels_are_those_of_the_table(size: str) -> None:
    assert [layer.out_channels for layer in convolutions(nets.ContextModule(3, size))] == [3 * n for n in WIDTHS[size]]


@pytest.mark.parametrize("size", ["basic", "large"])
def test_it_starts_as_the_identity(size: str) -> None:
    x = torch.rand(2, 3, 20, 24)
    torch.testing.assert_close(nets.ContextModule(3, size)(x), x, rtol=0, atol=1e-6)


def test_noise_stays_small_around_the_identity() -> None:
    torch.manual_seed(0)
    module = nets.ContextModule(2, "large", deviation=1e-3)
    first = convolutions(module)[0].weight.detach()
    middle = first[:, :, 1, 1].clone()
    assert middle.tolist() == [[0.5, pytest.approx(0, abs=0.01)]] * 2 + [[pytest.approx(0, abs=0.01), 0.5]] * 2
    others = first.clone()
    others[:, :, 1, 1] = 0
    assert 0 < float(others.abs().max()) < 0.01


def dilated(
    x: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64], rate: int
) -> NDArray[np.float64]:
    """(C, H, W), (K, C, 3, 3) -> (K, H, W): one output number at a time, zeros around."""
    kernels, channels, *_ = weight.shape
    out = np.zeros((kernels, *x.shape[1:]))
    for k, y, z in np.ndindex(out.shape):
        total = bias[k]
        for c, r, s in np.ndindex(channels, 3, 3):
            i, j = y + (r - 1) * rate, z + (s - 1) * rate
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                total += x[c, i, j] * weight[k, c, r, s]
        out[k, y, z] = total
    return out


def test_values_are_those_of_plain_loops() -> None:
    torch.manual_seed(0)
    module = nets.ContextModule(2).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    x = torch.rand(1, 2, 9, 8, dtype=torch.float64)
    maps = x[0].numpy()
    layers = convolutions(module)
    for layer, rate in zip(layers[:7], (1, 1, 2, 4, 8, 16, 1), strict=True):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
        maps = np.maximum(dilated(maps, weight, bias, rate), 0)
    last = layers[7]
    mixed = np.einsum("kc,chw->khw", last.weight.detach().numpy()[:, :, 0, 0], maps)
    assert last.bias is not None
    expected = mixed + last.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(module(x)[0].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_gradients_are_the_differences() -> None:
    """Central differences in float64, away from the kinks of ReLU."""
    torch.manual_seed(1)
    module = nets.ContextModule(1).double()
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.05, 0.4)
    assert torch.autograd.gradcheck(module, torch.rand(1, 1, 5, 5, dtype=torch.float64).add(0.1).requires_grad_())


@pytest.mark.parametrize(
    ("rates", "pixels", "side"), [([2], 9, 5), ([2, 2], 25, 9), ([1, 2], 49, 7), ([1, 2, 4], 225, 15)]
)
def test_holes_show_where_rates_have_a_common_divisor(rates: list[int], pixels: int, side: int) -> None:
    net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=rate, dilation=rate) for rate in rates))
    field = look.theoretical_field(capture(net, (1, 21, 21)), str(len(rates) - 1), (0, 10, 10))
    assert int(field.mask.sum()) == pixels
    assert field.inside == ((10 - side // 2, 10 + side // 2),) * 2


def test_the_last_number_of_the_module_reads_a_square_without_holes() -> None:
    field = look.theoretical_field(capture(nets.ContextModule(1), (1, 75, 75)), "14", (0, 37, 37))
    assert field.inside == ((4, 70), (4, 70))
    assert bool(field.mask[4:71, 4:71].all())


def test_wrong_settings_are_named() -> None:
    with pytest.raises(UsageError, match="no size of a context module named 'larg'; did you mean 'large'"):
        nets.make("dilated_cnn", size="larg")
    with pytest.raises(UsageError, match="width of dilated_cnn is 0"):
        nets.make("dilated_cnn", width=0)
    with pytest.raises(UsageError, match="a context module of 0 channels"):
        nets.ContextModule(0)
