"""Published numbers: parameters, multiply-accumulates, and the sizes of feature maps in the papers' tables.

The large networks live on PyTorch's `meta` device, where tensors have shapes and no numbers.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid import nets

PARAMETERS = {  # for 1,000 classes and pictures of 3 x 224 x 224, as published with the ImageNet weights
    "alexnet": 61_100_840,
    "googlenet": 6_624_904,
    "inception": 6_624_904,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "resnet101": 44_549_160,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "shufflenet_v2_x0_5": 1_366_792,
    "shufflenet_v2_x1_0": 2_278_604,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}
GIGA_MACS = {  # likewise; convolutions and dense layers of one picture
    "alexnet": 0.714,
    "googlenet": 1.498,
    "mobilenet_v1": 0.569,
    "mobilenet_v2": 0.301,
    "resnet101": 7.801,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "shufflenet_v2_x0_5": 0.041,
    "shufflenet_v2_x1_0": 0.145,
    "vgg11": 7.609,
    "vgg13": 11.308,
    "vgg16": 15.470,
    "vgg19": 19.632,
}


def on_meta(name: str, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        return nets.make(name, **settings).eval()


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_are_as_published(name: str) -> None:
    assert parameters(on_meta(name, classes=1000, in_channels=3, image_size=224)) == PARAMETERS[name]


@pytest.mark.parametrize("name", sorted(GIGA_MACS))
def test_multiply_accumulates_are_as_published(name: str) -> None:
    net = on_meta(name)
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(GIGA_MACS[name], abs=0.0006)


def test_lenet_has_the_parameters_of_its_figure() -> None:
    layers = [6 * 25 + 6, 16 * 6 * 25 + 16, 400 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    assert sum(layers) == 61_706
    for settings in ({}, {"activation": "relu", "pool": "max"}):
        assert parameters(nets.make("lenet", **settings)) == 61_706


def test_zfnet_has_the_parameters_of_its_figure() -> None:
    kernels = [(96, 3 * 49), (256, 96 * 25), (384, 256 * 9), (384, 384 * 9), (256, 384 * 9)]
    dense = [(4096, 6 * 6 * 256), (4096, 4096), (1000, 4096)]
    assert parameters(on_meta("zfnet")) == sum(outputs * (inputs + 1) for outputs, inputs in kernels + dense)


def test_small_inception_has_the_parameters_of_its_paper() -> None:
    """Zhang et al. (2016), Table 1: 1,649,402, the scales of batch normalisation not among them."""
    net = on_meta("inception_small", classes=10)
    scales = sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.BatchNorm2d))
    assert parameters(net) - scales == 1_649_402


def test_mlp_and_basic_cnn_add_up() -> None:
    assert parameters(nets.make("mlp", hidden=[256, 128])) == 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10
    assert parameters(nets.make("mlp", hidden=[])) == 7_850  # softmax regression
    assert parameters(nets.make("mlp", hidden=30)) == 784 * 30 + 30 + 30 * 10 + 10
    kernels = 9 * (3 * 32 + 32 * 64 + 64 * 128)
    norms = 2 * (32 + 64 + 128)
    assert parameters(nets.make("basic_cnn")) == kernels + norms + 128 * 4 * 4 * 10 + 10
    twice = nets.make("basic_cnn", channels=[8, 16], convolutions=2, batch_norm=False, image_size=8)
    biases = 2 * (8 + 16)
    assert parameters(twice) == 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16) + biases + 16 * 2 * 2 * 10 + 10


# Channels x height x width behind each layer, from the figures and tables of the papers.
MAPS: dict[str, dict[str, tuple[int, ...]]] = {
    "lenet": {"0": (6, 28, 28), "2": (6, 14, 14), "3": (16, 10, 10), "5": (16, 5, 5), "7": (120,), "9": (84,)},
    "alexnet": {
        "features.0": (64, 55, 55),
        "features.2": (64, 27, 27),
        "features.5": (192, 13, 13),
        "features.12": (256, 6, 6),
    },
    "zfnet": {
        "features.0": (96, 110, 110),
        "features.2": (96, 55, 55),
        "features.4": (256, 26, 26),
        "features.6": (256, 13, 13),
        "features.14": (256, 6, 6),
    },
    "vgg16": {"features.4": (64, 112, 112), "features.9": (128, 56, 56), "features.30": (512, 7, 7)},
    "googlenet": {
        "conv1": (64, 112, 112),
        "maxpool1": (64, 56, 56),
        "conv3": (192, 56, 56),
        "maxpool2": (192, 28, 28),
        "inception3a": (256, 28, 28),
        "inception3b": (480, 28, 28),
        "maxpool3": (480, 14, 14),
        "inception4a": (512, 14, 14),
        "inception4b": (512, 14, 14),
        "inception4c": (512, 14, 14),
        "inception4d": (528, 14, 14),
        "inception4e": (832, 14, 14),
        "maxpool4": (832, 7, 7),
        "inception5a": (832, 7, 7),
        "inception5b": (1024, 7, 7),
        "avgpool": (1024, 1, 1),
    },
    "resnet34": {
        "conv1": (64, 112, 112),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
    },
    "resnet50": {
        "conv1": (64, 112, 112),
        "layer1": (256, 56, 56),
        "layer2": (512, 28, 28),
        "layer3": (1024, 14, 14),
        "layer4": (2048, 7, 7),
    },
}


@pytest.mark.parametrize("name", sorted(MAPS))
def test_feature_maps_have_the_sizes_of_the_papers(name: str) -> None:
    net = on_meta(name)
    seen: dict[str, tuple[int, ...]] = {}
    for path in MAPS[name]:
        net.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, path=path: seen.update({path: tuple(output.shape[1:])})
        )
    size = (1, 1, 28, 28) if name == "lenet" else (1, 3, 224, 224)
    net(torch.zeros(size, device="meta"))
    assert seen == MAPS[name]


# Kernel, stride, padding of each convolution and pooling, as published: the maps' sizes alone do not tell the padding.
WINDOWS = {
    "alexnet": [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)],
    "zfnet": [(7, 2, 1), (3, 2, 1), (5, 2, 0), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)],
}


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_windows_are_as_published(name: str) -> None:
    def one(number: int | tuple[int, ...]) -> int:
        return number if isinstance(number, int) else number[0]

    windows = [layer for layer in on_meta(name).modules() if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
    assert [(one(w.kernel_size), one(w.stride), one(w.padding)) for w in windows] == WINDOWS[name]
