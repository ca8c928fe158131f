"""Any size of picture, any number of channels and classes; sizes that are too small are refused with the smallest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pellucid import nets
from pellucid.errors import PellucidError, ShapeError, UsageError
from tests.nets.test_counts import on_meta

SMALLEST = {
    "alexnet": 63,
    "basic_cnn": 8,
    "dilated_cnn": 8,
    "googlenet": 15,
    "inception_small": 1,
    "lenet": 12,
    "local_cnn": 4,
    "mlp": 1,
    "mobilenet_v1": 1,
    "mobilenet_v2": 1,
    "resnet18": 1,
    "shufflenet_v1": 1,
    "shufflenet_v2_x0_5": 1,
    "variant_cnn": 8,
    "vgg11": 32,
    "vgg16_bn": 32,
    "zfnet": 53,
}
CASES = [
    ("mlp", 3, (20, 13)),
    ("lenet", 3, 32),
    ("lenet", 1, (28, 45)),
    ("basic_cnn", 1, 28),
    ("basic_cnn", 3, (100, 75)),
    ("basic_cnn", 4, (16, 200)),
    ("alexnet", 1, 100),
    ("zfnet", 4, (64, 200)),
    ("vgg11", 1, 32),
    ("vgg11_bn", 3, (130, 40)),
    ("vgg13", 3, 256),
    ("vgg19_bn", 2, 65),
    ("googlenet", 1, 28),
    ("googlenet", 3, (97, 131)),
    ("inception_small", 1, 28),
    ("resnet18", 1, 28),
    ("resnet34", 3, (64, 65)),
    ("resnet101", 5, 33),
    ("shufflenet_v1", 1, 28),
    ("shufflenet_v2_x1_0", 3, (97, 131)),
    ("mobilenet_v1", 4, (33, 20)),
    ("mobilenet_v2", 1, 100),
    ("dilated_cnn", 1, (28, 130)),
    ("local_cnn", 2, (30, 21)),
    ("variant_cnn", 1, (28, 45)),
]


@pytest.mark.parametrize(("name", "channels", "size"), CASES)
def test_every_size_gives_one_number_a_class(name: str, channels: int, size: int | tuple[int, int]) -> None:
    net = on_meta(name, classes=7, in_channels=channels, image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert net(torch.zeros(3, channels, height, width, device="meta")).shape == (3, 7)


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_the_smallest_size_works_and_one_less_is_refused(name: str) -> None:
    smallest = SMALLEST[name]
    known = nets.signature(name)
    channels = known["in_channels"].default
    net = on_meta(name, image_size=smallest)
    assert net(torch.zeros(2, channels, smallest, smallest, device="meta")).shape[0] == 2
    with pytest.raises(ShapeError, match=f"nothing is left of 300 x {smallest - 1}\n.*at least {smallest}$"):
        nets.make(name, image_size=(300, smallest - 1))


def test_a_size_may_come_as_a_list_from_a_settings_file() -> None:
    assert nets.make("lenet", image_size=[28, 32])(torch.zeros(1, 1, 28, 32)).shape == (1, 10)


def stems(name: str, **settings: Any) -> tuple[int, ...]:
    weight = on_meta(name, **settings).get_parameter("conv1.weight")
    return tuple(weight.shape[2:])


def test_resnet_takes_the_stem_that_suits_the_picture() -> None:
    assert stems("resnet18", image_size=32) == (3, 3)
    assert stems("resnet18", image_size=64) == (3, 3)
    assert stems("resnet18", image_size=65) == (7, 7)
    assert stems("resnet18", image_size=32, stem="imagenet") == (7, 7)
    assert stems("resnet18", image_size=224, stem="small") == (3, 3)
    maps = on_meta("resnet18", image_size=32)
    small = nn.Sequential(*list(maps.children())[:-2])  # up to layer4: 32x32 halved three times
    assert small(torch.zeros(1, 3, 32, 32, device="meta")).shape == (1, 512, 4, 4)


def test_basic_cnn_has_a_head_of_one_size_for_large_pictures() -> None:
    features = {
        size: on_meta("basic_cnn", image_size=size, channels=[32, 64, 128])[-1].in_features
        for size in (32, 71, 72, 300)
    }
    assert features == {32: 128 * 4 * 4, 71: 128 * 8 * 8, 72: 128 * 4 * 4, 300: 128 * 4 * 4}


def test_vgg_has_the_top_that_suits_the_picture() -> None:
    assert len(on_meta("vgg11", image_size=127).get_submodule("classifier")) == 1
    assert len(on_meta("vgg11", image_size=128).get_submodule("classifier")) == 7
    large = on_meta("vgg11", image_size=32, top="imagenet")
    assert large(torch.zeros(1, 3, 32, 32, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet18", {"stem": "smal"}, "no stem named 'smal'; did you mean 'small'"),
        ("vgg11", {"top": "imagenett"}, "no top named 'imagenett'; did you mean 'imagenet'"),
        ("lenet", {"activation": "rellu"}, "no activation named 'rellu'; did you mean 'relu'"),
        ("basic_cnn", {"pool": "maximum"}, "no pooling named 'maximum'"),
        ("basic_cnn", {"convolutions": 0}, "convolutions is 0: a block has at least one"),
        ("basic_cnn", {"channels": [32, 0]}, r"channels is \[32, 0\]: a layer has at least one number"),
        ("mlp", {"hidden": -3}, "hidden is -3: a layer has at least one number"),
        ("lenet", {"classes": 0}, "classes of lenet is 0"),
        ("lenet", {"in_channels": "three"}, "in_channels of lenet is 'three'"),
        ("lenet", {"image_size": "big"}, "lenet cannot be made"),
        ("basic_cnn", {"dropout": 1.5}, "basic_cnn cannot be made: ValueError: dropout probability"),
    ],
)
def test_wrong_settings_are_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nets.make(name, **settings)


OF_PICTURES = [name for name in nets.names() if "image_size" in nets.signature(name)]  # the others read words, series


@pytest.mark.parametrize("name", OF_PICTURES)
def test_a_network_of_pictures_knows_the_three_facts_of_the_data(name: str) -> None:
    assert {"classes", "in_channels"} <= set(nets.signature(name))
    with pytest.raises(PellucidError, match="nothing is left|is too small|shrinks|is smaller than|from 1 on"):
        nets.make(name, image_size=0)


@pytest.mark.parametrize(
    ("size", "blocks"), [(28, 3), (32, 3), (64, 3), (71, 3), (72, 4), (100, 4), (224, 5), ((16, 200), 4)]
)
def test_basic_cnn_takes_more_blocks_for_larger_pictures(size: int | tuple[int, int], blocks: int) -> None:
    network = on_meta("basic_cnn", image_size=size)
    assert sum(isinstance(layer, nn.Conv2d) for layer in network.modules()) == blocks
