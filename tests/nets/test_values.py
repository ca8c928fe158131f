"""What the networks compute and start from: LeNet against plain loops, initial weights against the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pellucid import nets

Array = NDArray[np.float64]


def convolved(x: Array, weight: Array, bias: Array, padding: int) -> Array:
    """(C, H, W) and (K, C, R, S) -> (K, P, Q), one output number at a time."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    kernels, _, rows, columns = weight.shape
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    out = np.empty((kernels, height, width))
    for p in range(height):
        for q in range(width):
            out[:, p, q] = (weight * x[None, :, p : p + rows, q : q + columns]).sum((1, 2, 3)) + bias
    return out


def pooled(x: Array, kind: str) -> Array:
    """(C, H, W) -> (C, H / 2, W / 2)"""
    cells = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2].reshape(len(x), x.shape[1] // 2, 2, -1, 2)
    return cells.mean((2, 4)) if kind == "average" else cells.max((2, 4))


@pytest.mark.parametrize(("activation", "pool"), [("sigmoid", "average"), ("relu", "max")])
def test_lenet_computes_what_its_figure_says(activation: str, pool: str) -> None:
    torch.manual_seed(3)
    net = nets.make("lenet", activation=activation, pool=pool).double()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    picture = np.random.default_rng(1).normal(size=(1, 28, 28))

    def active(x: Array) -> Array:
        return 1 / (1 + np.exp(-x)) if activation == "sigmoid" else np.maximum(x, 0)

    x = pooled(active(convolved(picture, weights["0.weight"], weights["0.bias"], 2)), pool)
    x = pooled(active(convolved(x, weights["3.weight"], weights["3.bias"], 0)), pool).reshape(-1)
    x = active(weights["7.weight"] @ x + weights["7.bias"])
    x = active(weights["9.weight"] @ x + weights["9.bias"])
    x = weights["11.weight"] @ x + weights["11.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(net(torch.from_numpy(picture)[None])[0].numpy(), x, rtol=1e-10)


@pytest.mark.parametrize("name", ["basic_cnn", "googlenet", "inception_small", "resnet18", "vgg11", "zfnet"])
def test_convolutions_start_from_he(name: str) -> None:
    """He et al. (2015), eq. 14: variance 2 / (kernels x k x k), and no bias."""
    torch.manual_seed(0)
    net = nets.make(name, image_size=64, classes=2)
    found = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 20_000]
    assert found, "no layer is large enough to measure its deviation"
    for layer in found:
        deviation = math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]))
        assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
        assert layer.bias is None or not layer.bias.any()


def test_sigmoids_start_from_glorot_and_relu_does_not() -> None:
    """Glorot & Bengio (2010), eq. 16: uniform within sqrt(6 / (inputs + outputs))."""
    torch.manual_seed(0)
    net = nets.make("lenet")
    dense = net.get_parameter("7.weight")
    bound = math.sqrt(6 / (400 + 120))
    assert 0.999 * bound < float(dense.detach().abs().max()) <= bound
    assert float(dense.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)
    relu = nets.make("lenet", activation="relu").get_parameter("7.weight")
    assert float(relu.detach().abs().max()) <= 1 / math.sqrt(400)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("basic_cnn", 32),
        ("googlenet", 64),
        ("inception_small", 32),
        ("lenet", 28),
        ("mlp", 28),
        ("resnet18", 32),
        ("resnet50", 32),
        ("vgg11_bn", 32),
        ("zfnet", 64),
    ],
)
def test_every_parameter_learns(name: str, size: int) -> None:
    torch.manual_seed(0)
    net = nets.make(name, classes=3, in_channels=1, image_size=size)
    loss = nn.functional.cross_entropy(net(torch.randn(4, 1, size, size)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert 0.2 < loss.item() < 5, "a new network is near chance"
    idle = [key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert idle == []


def test_making_a_network_twice_from_one_seed_gives_the_same_weights() -> None:
    for name in ("basic_cnn", "lenet", "inception_small"):
        made = []
        for _ in range(2):
            torch.manual_seed(11)
            made.append(nets.make(name).state_dict())
        assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_dropout_and_normalisation_are_where_the_settings_say() -> None:
    net = nets.make("basic_cnn", channels=[4, 8], convolutions=2, dropout=0.3, activation="silu", pool="average")
    kinds = [type(layer).__name__ for layer in net[1]]
    assert kinds == ["Conv2d", "BatchNorm2d", "SiLU", "Conv2d", "BatchNorm2d", "SiLU", "AvgPool2d", "Dropout"]
    assert net[1][7].p == 0.3
    plain = nets.make("basic_cnn", channels=4, dropout=0, batch_norm=False)
    assert [type(layer).__name__ for layer in plain[0]] == ["Conv2d", "ReLU", "MaxPool2d"]
