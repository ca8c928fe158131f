"""A classifier that was made to slide says at every place what it says of the window there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid import nets
from pellucid.errors import ShapeError, UsageError
from pellucid.nets.convolutionalize import Dense, convolutionalize
from pellucid.nets.mobilenet import mobilenet_v2
from pellucid.nets.shufflenet import shufflenet_v1, shufflenet_v2_x0_5

SMALL: dict[str, tuple[Any, int]] = {  # classifiers and the side of their pictures
    "alexnet": (lambda: nets.make("alexnet", classes=3, image_size=127), 127),
    "basic_cnn": (lambda: nets.make("basic_cnn", classes=3, image_size=28, channels=[4, 6]), 28),
    "basic_cnn_averaged": (lambda: nets.make("basic_cnn", classes=3, image_size=44, channels=[4, 6]), 44),
    "googlenet": (lambda: nets.make("googlenet", classes=3, image_size=64), 64),
    "inception_small": (lambda: nets.make("inception_small", classes=3, image_size=32), 32),
    "lenet": (lambda: nets.make("lenet", classes=3), 28),
    "mlp": (lambda: nets.make("mlp", classes=3, in_channels=2, image_size=9, hidden=[7], dropout=0.2), 9),
    "mobilenet_v2": (lambda: mobilenet_v2(3, image_size=64, stem="imagenet"), 64),
    "resnet18": (lambda: nets.make("resnet18", classes=3, image_size=32), 32),
    "resnet50": (lambda: nets.make("resnet50", classes=3, image_size=96), 96),
    "shufflenet_v1": (lambda: shufflenet_v1(3, image_size=64), 64),
    "shufflenet_v2": (lambda: shufflenet_v2_x0_5(3, image_size=64), 64),
    "vgg11_small": (lambda: nets.make("vgg11", classes=3, image_size=32), 32),
    "zfnet": (lambda: nets.make("zfnet", classes=3, image_size=96), 96),
}
CHAINS = ("alexnet", "basic_cnn", "basic_cnn_averaged", "lenet", "mlp", "vgg11_small", "zfnet")
STRIDES = {
    "alexnet": 32, "basic_cnn": 4, "basic_cnn_averaged": 4, "googlenet": 32, "inception_small": 4, "lenet": 4, "mlp": 1,
    "mobilenet_v2": 32, "resnet18": 8, "resnet50": 32, "shufflenet_v1": 8, "shufflenet_v2": 8, "vgg11_small": 32,
    "zfnet": 32,
}  # fmt: skip


def made(name: str) -> nn.Module:
    """The classifier in double precision with random numbers everywhere; the widest dense layers have 16 units."""
    torch.manual_seed(3)
    with torch.device("meta"):  # no number of the wide layers is ever made
        net = SMALL[name][0]().double().eval()
        if name in ("alexnet", "zfnet"):
            net.classifier = nn.Sequential(nn.Dropout(), nn.Linear(256 * 36, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    net.to_empty(device="cpu").eval()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, (2 / layer.weight[0].numel()) ** 0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0, 0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return net


def pictures(net: nn.Module, height: int, width: int) -> Tensor:
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    channels = first.in_channels if isinstance(first, nn.Conv2d) else 2
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slid(classifier: Any, dense: Dense, images: Tensor) -> Tensor:
    """The classifier on every window by itself, (N, classes, P, Q)."""
    (height, width), step = dense.window, dense.stride
    rows = [
        torch.stack(
            [
                classifier(images[:, :, top : top + height, left : left + width])
                for left in range(0, images.shape[3] - width + 1, step)
            ],
            -1,
        )
        for top in range(0, images.shape[2] - height + 1, step)
    ]
    return torch.stack(rows, -2)


def unpadded(classifier: nn.Module) -> Any:
    """The classifier with its padding set to 0; adaptive pooling gives what it gave."""
    bare = copy.deepcopy(classifier)
    for layer in bare.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (0, 0)
        elif isinstance(layer, nn.MaxPool2d):
            layer.padding = 0
    return bare


@pytest.mark.parametrize("name", sorted(SMALL))
@torch.no_grad()
def test_a_picture_of_one_window_gives_what_the_classifier_gives(name: str) -> None:
    classifier, size = made(name), SMALL[name][1]
    images = pictures(classifier, size, size)
    dense = convolutionalize(classifier, size)
    found = dense(images)
    torch.testing.assert_close(found, classifier(images)[:, :, None, None], rtol=1e-9, atol=1e-12)
    assert dense.stride == STRIDES[name]
    assert found.abs().min() > 0


@pytest.mark.parametrize("name", CHAINS)
@torch.no_grad()
def test_without_padding_every_place_is_the_classifier_on_its_window(name: str) -> None:
    classifier, size = made(name), SMALL[name][1]
    dense = convolutionalize(classifier, size, padding=False)
    height, width = dense.window
    images = pictures(classifier, height + 2 * dense.stride, width + dense.stride)
    assert dense.exact
    wanted = slid(unpadded(classifier), dense, images)
    assert wanted.shape == (2, 3, 3, 2)
    torch.testing.assert_close(dense(images), wanted, rtol=1e-9, atol=1e-12)


def tail(net: Any, maps: Tensor) -> Tensor:
    """What a classifier makes of the map that stands before its pooling or flattening."""
    if isinstance(net, nn.Sequential):
        flat = next(i for i, layer in enumerate(net) if isinstance(layer, nn.Flatten))
        return net[flat - isinstance(net[flat - 1], nn.AdaptiveAvgPool2d) :](maps)
    if hasattr(net, "features") and hasattr(net, "avgpool"):
        return net.classifier(torch.flatten(net.avgpool(maps), 1))
    return (net.classifier if hasattr(net, "classifier") else net.fc)(maps.mean((2, 3)))


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"mlp"}))
@torch.no_grad()
def test_with_padding_the_head_slides_over_the_map_and_the_padding_is_named(name: str) -> None:
    classifier, size = made(name), SMALL[name][1]
    dense = convolutionalize(classifier, size)
    assert dense.padded
    assert not dense.exact
    images = pictures(classifier, size + 2 * dense.stride, size + dense.stride)
    maps = dense.body(images)
    height, width = dense.body(images[..., :size, :size]).shape[2:]
    wanted = torch.stack(
        [
            torch.stack([tail(classifier, maps[..., y : y + height, x : x + width]) for x in (0, 1)], -1)
            for y in range(3)
        ],
        -2,
    )
    torch.testing.assert_close(dense(images), wanted, rtol=1e-9, atol=1e-12)


def test_mlp_slides_pixel_by_pixel() -> None:
    net = made("mlp")
    dense = convolutionalize(net, 9)
    assert (dense.window, dense.stride, dense.exact) == ((9, 9), 1, True)
    images = pictures(net, 12, 10)
    torch.testing.assert_close(dense(images), slid(net, dense, images))


def test_lenet_needs_no_size_and_without_padding_sees_the_paper_s_32_pixels() -> None:
    net = made("lenet")
    assert convolutionalize(net).window == (28, 28)
    assert convolutionalize(net, padding=False).window == (32, 32)


def test_the_classifier_stays_as_it_is() -> None:
    net = made("lenet")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    dense = convolutionalize(net, padding=False)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[0].padding == (2, 2)
    assert sum(p.numel() for p in dense.parameters()) == sum(p.numel() for p in net.parameters())


def test_gradients_are_those_of_the_windows() -> None:
    net = made("basic_cnn")
    dense = convolutionalize(net, 28, padding=False)
    height, width = dense.window
    images = pictures(net, height + 4, width).requires_grad_()
    weights = torch.randn(2, 3, 2, 1, dtype=torch.float64)
    (one,) = torch.autograd.grad((dense(images) * weights).sum(), images)
    (other,) = torch.autograd.grad((slid(unpadded(net), dense, images) * weights).sum(), images)
    torch.testing.assert_close(one, other)


def test_a_resnet_cannot_lose_its_padding() -> None:
    with pytest.raises(UsageError, match="padding of a BasicBlock cannot be taken away: its branches must keep their"):
        convolutionalize(made("resnet18"), 32, padding=False)


@pytest.mark.parametrize("name", ["vit_mini", "gru"])
def test_what_does_not_slide_says_why(name: str) -> None:
    net = nets.make(name)
    with pytest.raises(UsageError, match="cannot be made to slide: how its layers follow one another is not known"):
        convolutionalize(net)


def test_a_size_that_does_not_follow_must_be_said() -> None:
    with pytest.raises(UsageError, match="the size of the pictures .* does not follow from its layers"):
        convolutionalize(made("resnet18"))


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="the classifier was not made for pictures of 40 x 40"):
        convolutionalize(made("lenet"), 40)
    with pytest.raises(ShapeError, match="a dense layer of 162 inputs was not made for maps of 10 x 10"):
        convolutionalize(made("mlp"), 10)


def test_a_picture_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ShapeError, match="a picture of 20 x 28 is smaller than the window"):
        convolutionalize(made("lenet"))(torch.zeros(1, 1, 20, 28, dtype=torch.float64))


def test_layers_that_do_not_slide_are_named() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 16, 4), nn.LayerNorm(4))
    with pytest.raises(UsageError, match="a LayerNorm after the flattening cannot be made to slide"):
        convolutionalize(net)
    with pytest.raises(UsageError, match="there are 0 nn.Flatten in the network"):
        convolutionalize(nn.Sequential(nn.Conv2d(1, 2, 3)))
