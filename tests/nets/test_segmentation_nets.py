"""FCN and U-Net: counts, sizes, forward and gradients against the papers written out, alignment, published weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid import nets, summary
from pellucid.errors import CheckpointError, UsageError
from pellucid.nets.fcn import bilinear, upsampling
from tests.look.numbers import check
from tests.nets.test_counts import on_meta, parameters

FCNS = ("fcn32s", "fcn16s", "fcn8s")
VGG16_BODY = 14_714_688 + (512 * 49 + 1) * 4096 + (4096 + 1) * 4096  # its features and two dense layers


def small(name: str, classes: int = 3, **settings: Any) -> nn.Module:
    """A narrow network in double precision with random weights everywhere."""
    sizes = {"width": 2, "dense": 4} if name in FCNS else {"channels": 4, "depth": 2}
    torch.manual_seed(5)
    net = nets.make(name, classes=classes, in_channels=2, **{**sizes, **settings}).double().eval()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, (2 / layer.weight[0].numel()) ** 0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0, 0.1)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return net


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("fcn32s", 4097 * 21 + 21 * 64 * 64),
        ("fcn16s", 4097 * 21 + 513 * 21 + 21 * 21 * 16 + 21 * 32 * 32),
        ("fcn8s", 4097 * 21 + 513 * 21 + 257 * 21 + 2 * 21 * 21 * 16 + 21 * 16 * 16),
    ],
)
def test_parameters_of_fcn(name: str, own: int) -> None:
    assert parameters(on_meta(name)) == VGG16_BODY + own


@pytest.mark.parametrize("name", FCNS)
def test_only_the_last_upsampling_of_fcn_is_fixed(name: str) -> None:
    fixed = [called for called, parameter in on_meta(name).named_parameters() if not parameter.requires_grad]
    assert fixed == ["upscore.weight"]


@pytest.mark.parametrize("name", FCNS)
def test_the_head_of_fcn_is_the_scores_of_fc7(name: str) -> None:
    assert nets.head(on_meta(name)) == "score"


def unet_count(classes: int, in_channels: int, channels: int, depth: int) -> int:
    """By hand: two 3x3 convolutions a level, 2x2 up, two 3x3 on twice the maps, 1x1 at the end."""
    total, before = 0, in_channels
    for level in range(depth + 1):
        width = channels * 2**level
        total += before * width * 9 + width + width * width * 9 + width
        before = width
    for level in reversed(range(depth)):
        width = channels * 2**level
        total += 2 * width * width * 4 + width + 2 * width * width * 9 + width + width * width * 9 + width
    return total + channels * classes + classes


@pytest.mark.parametrize(("classes", "in_channels"), [(2, 1), (11, 3)])
def test_parameters_of_unet(classes: int, in_channels: int) -> None:
    assert parameters(on_meta("unet", classes=classes, in_channels=in_channels)) == unet_count(
        classes, in_channels, 64, 4
    )


def test_parameters_of_unet_in_figures() -> None:
    assert parameters(on_meta("unet")) == 31_030_658
    assert parameters(on_meta("unet_small", classes=11)) == 7_772_651


@pytest.mark.parametrize("name", [*FCNS, "unet", "unet_small"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 48)], ids=str)
@torch.no_grad()
def test_any_size_comes_out_at_its_own(name: str, size: tuple[int, int]) -> None:
    assert small(name)(numbers(1, 2, *size)).shape == (1, 3, *size)


def fcn_written_out(weights: dict[str, Tensor], x: Tensor, stride: int) -> Tensor:
    """The network of the paper's published definition: padding 100, crops of 19, 27 and 5, 31 and 5 and 9."""
    _, _, height, width = x.shape
    layer, pooled = 0, []
    for stage in (2, 2, 3, 3, 3):
        for _ in range(stage):
            padding = 100 if layer == 0 else 1
            x = F.conv2d(x, weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"], padding=padding)
            x = x.clamp(min=0)
            layer += 2
        layer += 1
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        pooled.append(x)
    for name in ("fc6", "fc7"):
        x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).clamp(min=0)
    x = F.conv2d(x, weights["score.weight"], weights["score.bias"])
    for name, score, offset, from_stride in (
        ("upscore2", "score_pool4", 5, 16),
        ("upscore_pool4", "score_pool3", 9, 8),
    ):
        if stride <= from_stride:
            x = F.conv_transpose2d(x, weights[f"{name}.weight"], stride=2)
            beside = F.conv2d(
                pooled[3 if from_stride == 16 else 2], weights[f"{score}.weight"], weights[f"{score}.bias"]
            )
            x = x + beside[:, :, offset : offset + x.shape[2], offset : offset + x.shape[3]]
    x = F.conv_transpose2d(x, weights["upscore.weight"], stride=stride, groups=x.shape[1])
    first = {32: 19, 16: 27, 8: 31}[stride]
    return x[:, :, first : first + height, first : first + width]


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_is_the_paper_s(stride: int) -> None:
    net = small(f"fcn{stride}s")
    x, y = numbers(2, 2, 40, 51), numbers(2, 3, 40, 51)
    weights = {name: value.detach().clone().requires_grad_() for name, value in net.state_dict().items()}
    found, wanted = net(x), fcn_written_out(weights, x, stride)
    torch.testing.assert_close(found, wanted)
    learned = {name: p for name, p in net.named_parameters() if p.requires_grad}
    ours = torch.autograd.grad((found * y).sum(), list(learned.values()))
    theirs = torch.autograd.grad((wanted * y).sum(), [weights[name] for name in learned])
    for name, one, other in zip(learned, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, msg=name)
        assert other.abs().max() > 0, name


@pytest.mark.parametrize("name", FCNS)
@torch.no_grad()
def test_scores_of_fcn_stand_where_the_picture_is(name: str) -> None:
    """With kernels that are their own mirror images, the map of a mirrored picture is the mirrored map: 58 + 198 pixels
    divide by 32, so nothing is left over on one side. A crop that is off by one pixel fails."""
    net = small(name)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.copy_((layer.weight + layer.weight.flip(3)) / 2)
    x = numbers(1, 2, 40, 58)
    torch.testing.assert_close(net(x.flip(3)), net(x).flip(3))
    assert net(x).std() > 0


@pytest.mark.parametrize("by", [2, 8, 32])
def test_upsampling_begins_as_bilinear_interpolation(by: int) -> None:
    maps = numbers(1, 3, 5, 4)
    found = upsampling(3, by, each=by > 2).double()(maps)
    inner = found[:, :, by // 2 : -(by // 2), by // 2 : -(by // 2)]
    wanted = F.interpolate(maps, scale_factor=by, mode="bilinear", align_corners=False)
    torch.testing.assert_close(inner[..., by:-by, by:-by], wanted[..., by:-by, by:-by])
    assert bilinear(2 * by).sum().item() == pytest.approx(by * by)


def unet_written_out(net: Any, x: Tensor, depth: int) -> Tensor:
    """The figure of the paper, layer by layer from its weights; sizes that divide."""
    weights = net.state_dict()

    def twice(x: Tensor, block: str) -> Tensor:
        for i in (0, 2):
            x = F.conv2d(x, weights[f"{block}.{i}.weight"], weights[f"{block}.{i}.bias"], padding=1).clamp(min=0)
        return x

    passed = []
    for level in range(depth):
        x = twice(x, f"down.{level}")
        passed.append(x)
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    x = twice(x, f"down.{depth}")
    for i in range(depth):
        up = torch.einsum("nchw,ckrs->nkhrws", x, weights[f"up.{i}.weight"])
        up = up.reshape(up.shape[0], up.shape[1], 2 * x.shape[2], 2 * x.shape[3])
        up = up + weights[f"up.{i}.bias"].view(1, -1, 1, 1)
        x = twice(torch.cat([passed.pop(), up], 1), f"merge.{i}")
    return torch.einsum("nchw,kc->nkhw", x, weights["score.weight"][:, :, 0, 0]) + weights["score.bias"].view(
        1, -1, 1, 1
    )


def test_unet_is_the_paper_s() -> None:
    net = small("unet")
    x, y = numbers(2, 2, 16, 24), numbers(2, 3, 16, 24)
    found = net(x)
    torch.testing.assert_close(found, unet_written_out(net, x, 2))
    x.requires_grad_()
    (ours,) = torch.autograd.grad((net(x) * y).sum(), x)
    (theirs,) = torch.autograd.grad((unet_written_out(net, x, 2) * y).sum(), x)
    torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_unet_at_odd_sizes_is_unet_on_what_is_there() -> None:
    """Nothing is made up at the border: in the corner far from it the map is that of the larger picture."""
    net = small("unet")
    image = numbers(1, 2, 64, 64)
    torch.testing.assert_close(net(image[..., :63, :61])[..., :20, :20], net(image)[..., :20, :20])


@pytest.mark.parametrize("name", [*FCNS, "unet", "unet_small"])
def test_no_node_is_opaque(name: str) -> None:
    table = summary(small(name).float(), (2, 37, 45), show=False)
    assert "opaque" not in {row.kind for row in table.account.rows}
    assert table.account.macs > 0


class Pooled(nn.Module):
    """Mean scores over the picture, so that the loss of a classifier is there to be opened."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


@pytest.mark.parametrize("name", ["fcn8s", "unet", "unet_small"])
def test_numbers_open(name: str) -> None:
    net = Pooled(small(name).float())
    count = 150
    checked = check(net, numbers(2, 2, 13, 11).float(), [0, 2], training=False, count=count, boxes=10)
    assert not checked.wrong
    assert checked.activations == checked.gradients == count


def vgg16_weights() -> dict[str, Tensor]:
    """Those of a VGG-16 with the widths of the narrow network."""
    net = small("fcn8s")
    given = {name: torch.randn_like(value) for name, value in net.state_dict().items() if name.startswith("features")}
    given |= {"classifier.0.weight": numbers(4, 16 * 49), "classifier.0.bias": numbers(4)}
    given |= {"classifier.3.weight": numbers(4, 4), "classifier.3.bias": numbers(4)}
    return given | {"classifier.6.weight": numbers(1000, 4), "classifier.6.bias": numbers(1000)}


def test_weights_of_vgg16_go_into_features_and_dense_layers(tmp_path: Any) -> None:
    given = vgg16_weights()
    save_file(given, tmp_path / "vgg16.safetensors")
    net = small("fcn8s")
    score = net.score.weight.clone()
    nets.load_weights(net, tmp_path / "vgg16.safetensors")
    features = {name: value for name, value in net.state_dict().items() if name.startswith("features")}
    for name, value in features.items():
        torch.testing.assert_close(value, given[name])
    maps = numbers(2, 16, 7, 7)
    dense = F.linear(maps.flatten(1), given["classifier.0.weight"], given["classifier.0.bias"])
    torch.testing.assert_close(net.fc6(maps)[:, :, 0, 0], dense)
    torch.testing.assert_close(net.fc7.weight[:, :, 0, 0], given["classifier.3.weight"])
    assert torch.equal(net.score.weight, score)


def test_weights_of_another_width_are_refused(tmp_path: Any) -> None:
    given = vgg16_weights()
    given["classifier.0.weight"] = numbers(4, 16 * 36)
    save_file(given, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="weights of another network"):
        nets.load_weights(small("fcn8s"), tmp_path / "other.safetensors")


def test_a_unet_of_depth_0_is_none() -> None:
    with pytest.raises(UsageError, match="a U-Net of 4 channels and depth 0 is none"):
        nets.make("unet", channels=4, depth=0)
    with pytest.raises(UsageError, match="fcn8s with width 0 and 4096 dense maps is none"):
        nets.make("fcn8s", width=0)
