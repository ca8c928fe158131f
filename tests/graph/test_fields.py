"""Receptive fields against autograd: the pixels with a gradient that is not zero, in float64 with positive weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pellucid import capture


class Residual(nn.Module):
    """A branch of 3x3 convolutions beside a strided 1x1, added."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        self.b = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
        self.short = nn.Conv2d(1, 2, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) + self.short(x)


class Branches(nn.Module):
    """1x1, 5x5 and a pooling, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.five = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.five(x), nn.functional.avg_pool2d(x, 3, 1, 1)], 1)


class ChannelsLast(nn.Module):
    """A dense layer over channels, as ConvNeXt has it: it does not widen the field."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Shuffle(nn.Module):
    """Channels in another order by reshaping."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


NETS = {
    "stack": nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(2, 2, 3, padding=1), nn.AvgPool2d(3, 2)
    ),
    "dilated": nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.Conv2d(2, 2, 3, dilation=4, padding=4)),
    "asymmetric": nn.Sequential(nn.ZeroPad2d((2, 0, 1, 0)), nn.Conv2d(1, 2, (2, 3))),
    "same, even kernel": nn.Sequential(nn.Conv2d(1, 2, 4, padding="same"), nn.Conv2d(2, 1, 2, padding="same")),
    "transposed": nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ConvTranspose2d(2, 1, 4, stride=2, padding=1)),
    "upsampled": nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Upsample(scale_factor=2), nn.Conv2d(2, 1, 3)),
    "adaptive": nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(5)),
    "residual": Residual(),
    "branches": Branches(),
    "channels last": ChannelsLast(),
    "shuffle": Shuffle(),
}
EXACT = {"stack", "asymmetric", "same, even kernel", "residual", "branches", "channels last", "shuffle"}


def support(net: nn.Module, size: int, at: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row and column with a gradient of the outputs at one place."""
    x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    net(x)[:, :, at[0], at[1]].sum().backward()
    assert x.grad is not None
    rows, columns = torch.nonzero(x.grad[0, 0], as_tuple=True)
    return (int(rows.min()), int(rows.max())), (int(columns.min()), int(columns.max()))


@pytest.mark.parametrize("name", NETS)
def test_the_box_holds_all_of_the_gradients_support(name: str) -> None:
    net, size = NETS[name].double().eval(), 29
    for parameter in net.parameters():
        parameter.data.abs_().add_(0.01)
    account = capture(net, (1, size, size)).account()
    row = account.rows[-1]
    assert row.field is not None
    for at in [(0, 0), (1, 2), (row.shape[2] // 2, row.shape[3] // 2), (row.shape[2] - 1, row.shape[3] - 1)]:
        found = support(net, size, at)
        told = tuple((max(0, first), min(size - 1, last)) for first, last in row.field.box(at))
        assert all(t[0] <= f[0] and f[1] <= t[1] for t, f in zip(told, found, strict=True)), (at, told, found)
        if name in EXACT and at == (row.shape[2] // 2, row.shape[3] // 2):
            assert told == found, at  # away from the borders, where windows reach into padding between the layers


@pytest.mark.parametrize(
    "last", [nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 2)), nn.GroupNorm(2, 4)]
)
def test_what_sees_everything_is_unbounded(last: nn.Module) -> None:
    row = capture(nn.Sequential(nn.Conv2d(1, 4, 3), last), (1, 10, 10)).account().rows[-1]
    assert row.field is not None
    assert row.field.unbounded
    assert str(row.field) == "everything"


def test_the_field_of_resnet18_is_as_published() -> None:
    from pellucid import nets

    account = capture(nets.make("resnet18"), (3, 224, 224), training=False).account()
    field = account["layer4.1.relu_2"].field
    assert field is not None
    assert field.size == (435, 435)  # Araujo, Norris & Sim 2019 give 483 for ResNet-50 and 435 for ResNet-18
    assert field.step == (32, 32)
