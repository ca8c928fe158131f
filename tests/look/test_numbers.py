"""Random numbers of whole networks opened, in training and in evaluation: sums, gradients, receptive fields.

``bench/open_numbers.py`` does the same with a thousand numbers of each network at its usual size.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import transformers as tf
from torch import Tensor, nn

from pellucid import nets
from tests.look.numbers import check

Size = tuple[int, int, int]


class Variety(nn.Module):
    """What the classic networks do not have: groups, dilation, transposed convolution, several normalisations and
    activations, concatenation, multiplication, attention by hand, local response normalisation, interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.group = nn.GroupNorm(2, 8)
        self.layer = nn.LayerNorm(8)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.batch = nn.BatchNorm2d(4)
        self.slope = nn.PReLU(4)
        self.local = nn.LocalResponseNorm(3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.first(x))
        y = self.layer(self.group(self.depthwise(y)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2) + y
        gate = torch.sigmoid(y.mean((2, 3), keepdim=True))
        y = self.up(F.gelu(y * gate))
        y = self.slope(self.batch(y)) - 0.5 * F.hardswish(y)
        y = torch.cat([self.local(F.max_pool2d(y, 2)), F.avg_pool2d(y, 3, 2, 1)], 1)
        y = F.interpolate(F.elu(y), scale_factor=2, mode="bilinear")
        tokens = y.flatten(2).transpose(1, 2)
        scores = torch.softmax(tokens @ tokens.transpose(1, 2) / 3, -1)
        return self.head((scores @ tokens).amax(1)[:, :4] / 2 + F.dropout(y, 0.2, self.training).mean((2, 3))[:, :4])


def _resnet() -> nn.Module:
    config = tf.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 1], num_labels=5)
    return tf.ResNetForImageClassification(config)


def _mobilenet() -> nn.Module:
    return tf.MobileNetV2ForImageClassification(tf.MobileNetV2Config(depth_multiplier=0.35, num_labels=5))


def _vit() -> nn.Module:
    config = tf.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, num_labels=5
    )
    return tf.ViTForImageClassification(config)


NETS: dict[str, tuple[Callable[[], nn.Module], Size]] = {
    "mlp": (lambda: nets.make("mlp", classes=5), (1, 28, 28)),
    "lenet": (lambda: nets.make("lenet", classes=5), (1, 28, 28)),
    "basic_cnn": (lambda: nets.make("basic_cnn", classes=5, image_size=16), (3, 16, 16)),
    "vgg11": (lambda: nets.make("vgg11", classes=5, image_size=32), (3, 32, 32)),
    "inception_small": (lambda: nets.make("inception_small", classes=5), (3, 32, 32)),
    "resnet18": (lambda: nets.make("resnet18", classes=5), (3, 32, 32)),
    "variety": (Variety, (3, 16, 16)),
    "transformers_resnet": (_resnet, (3, 32, 32)),
    "transformers_mobilenet": (_mobilenet, (3, 32, 32)),
    "transformers_vit": (_vit, (3, 32, 32)),
}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", NETS)
def test_terms_add_up_and_boxes_hold(name: str, training: bool) -> None:
    make, size = NETS[name]
    torch.manual_seed(0)
    net = make()
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    checked = check(net, images, [3, 1], training=training, count=60, boxes=30)
    assert not checked.wrong
    assert checked.activations == 60
    assert checked.gradients == 60
    assert checked.worst < 1e-5
    assert not checked.from_pytorch  # every operation here says its own derivative
