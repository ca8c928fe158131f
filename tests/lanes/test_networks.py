"""Every network of ``nets`` and five families of transformers on the engine, against float64 PyTorch.

A rectifier or a maximum near a tie may fall the other way in any float32 arithmetic, and then whole gradients move a
little: PyTorch's own float32 gradients differ from float64 by up to some 1e-2 in such networks, by the luck of the
weights. So a gradient may be off by 5e-2 of its norm here, which a wrong kernel exceeds by far (it is off by about 1);
the blocks' own tests, and the network without rectifiers, are held to 1e-5.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pellucid import nets
from tests.lanes.networks import Compared, compared

PICTURES: dict[str, tuple[int, ...]] = {  # network -> (N, C, H, W)
    "alexnet": (3, 3, 96, 96),
    "basic_cnn": (21, 3, 32, 32),
    "dilated_cnn": (5, 3, 32, 32),
    "googlenet": (6, 3, 64, 64),
    "inception_small": (19, 3, 32, 32),
    "mlp": (33, 3, 8, 8),
    "mobilenet_v1": (3, 3, 64, 64),
    "mobilenet_v2": (3, 3, 64, 64),
    "resnet18": (18, 3, 32, 32),
    "resnet34": (3, 3, 64, 64),
    "resnet50": (6, 3, 64, 64),
    "shufflenet_v1": (3, 3, 64, 64),
    "shufflenet_v2_x0_5": (3, 3, 64, 64),
    "unet_small": (2, 3, 48, 48),
    "variant_cnn": (17, 3, 32, 32),
    "vgg11": (3, 3, 32, 32),
    "vgg11_bn": (17, 3, 32, 32),
    "vgg16_bn": (3, 3, 32, 32),
    "zfnet": (2, 3, 96, 96),
}
PARTLY = {"local_cnn": (5, 3, 16, 16), "vit_mini": (3, 3, 32, 32)}  # PyTorch runs some of their operations


def close(found: Compared, gradients: float, outputs: float = 1e-4) -> None:
    """Outputs, buffers and gradients as near to float64 as they should be."""
    assert found.output < max(outputs, 3 * found.pytorch_output)
    assert max(found.buffers.values(), default=0.0) < 1e-4
    assert found.worst[0] < max(gradients, 3 * found.pytorch), found.worst
    assert found.input < max(gradients, 3 * found.pytorch)


def reasons(found: Compared) -> dict[str, str]:
    (plan,) = found.lanes._plans.values()
    return dict(plan.lowered.reasons)


@pytest.mark.parametrize("name", PICTURES)
def test_a_network_of_pictures(name: str) -> None:
    torch.manual_seed(1)
    shape = PICTURES[name]
    net = nets.make(name, **_settings(name, shape))
    found = compared(net, torch.randn(shape))
    assert not reasons(found)
    close(found, gradients=5e-2)


@pytest.mark.parametrize("name", PARTLY)
def test_a_network_that_pytorch_runs_in_part(name: str) -> None:
    torch.manual_seed(1)
    shape = PARTLY[name]
    found = compared(nets.make(name, **_settings(name, shape)), torch.randn(shape))
    assert all(reasons(found).values())
    assert any(block.algorithm != "PyTorch" for plan in found.lanes._plans.values() for block in plan.lowered.blocks)
    close(found, gradients=5e-2)


def _settings(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    from pellucid.nets.registry import signature

    given = {"classes": 10, "in_channels": shape[1], "image_size": shape[-1]}
    return {key: value for key, value in given.items() if key in signature(name)}


@pytest.mark.parametrize("batch", [1, 16, 37])
def test_lenet_with_sigmoids_is_near_to_the_bit(batch: int) -> None:
    torch.manual_seed(2)
    found = compared(nets.make("lenet"), torch.randn(batch, 1, 28, 28))
    assert not reasons(found)
    close(found, gradients=1e-5, outputs=2e-6)


@pytest.mark.parametrize("name", ["basic_cnn", "resnet18", "mobilenet_v2"])
def test_evaluation(name: str) -> None:
    torch.manual_seed(3)
    shape = PICTURES[name]
    found = compared(nets.make(name, **_settings(name, shape)), torch.randn(shape), training=False)
    assert not reasons(found)
    close(found, gradients=5e-2)


def test_a_signal_network() -> None:
    torch.manual_seed(4)
    found = compared(nets.make("m5", classes=10), torch.randn(3, 1, 2000))
    assert not reasons(found)
    close(found, gradients=5e-2)


FAMILIES = ("resnet", "mobilenet_v2", "regnet", "efficientnet", "convnext")


def transformers_network(family: str) -> nn.Module:
    """A small network of a family, with random weights."""
    import transformers

    if family == "resnet":
        sizes = [16, 24, 32, 48]
        config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=sizes, depths=[1, 1, 1, 1])
        return transformers.ResNetModel(config)
    if family == "mobilenet_v2":
        return transformers.MobileNetV2Model(transformers.MobileNetV2Config(depth_multiplier=0.35, image_size=64))
    if family == "regnet":
        config = transformers.RegNetConfig(
            embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], groups_width=16
        )
        return transformers.RegNetModel(config)
    if family == "efficientnet":
        return transformers.EfficientNetModel(
            transformers.EfficientNetConfig(image_size=64, width_coefficient=0.4, depth_coefficient=0.3, hidden_dim=512)
        )
    config = transformers.ConvNextConfig(hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 2, 1])
    return transformers.ConvNextModel(config)


class Pooled(nn.Module):
    """A network of transformers as a function of a tensor."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x, return_dict=False)[1].flatten(1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_transformers(family: str) -> None:
    torch.manual_seed(5)
    found = compared(Pooled(transformers_network(family)), torch.randn(3, 3, 64, 64))
    assert not reasons(found)
    close(found, gradients=5e-2)
