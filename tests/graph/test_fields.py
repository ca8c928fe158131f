"""Receptive fields against autograd: the pixels with a gradient that is not zero, in float64 with positive weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid import capture
from pellucid.ops import Reach, TensorShape, op_for


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


class Function(nn.Module):
    """A convolution and then a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(1, 2, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


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
    "strided transposed": nn.Sequential(
        nn.Conv2d(1, 2, 5, stride=3), nn.ConvTranspose2d(2, 2, 3, stride=3, dilation=2), nn.Conv2d(2, 1, 2, stride=2)
    ),
    "max pool, ceil": nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(1, 2, 2), nn.AvgPool2d(3, 2, 1)),
    "local response norm": nn.Sequential(nn.Conv2d(1, 4, 3), nn.LocalResponseNorm(3), nn.Conv2d(4, 1, 2)),
    "one channel, local response norm": nn.Sequential(nn.Conv2d(1, 1, 3), nn.LocalResponseNorm(3)),
    "reflected in front": nn.Sequential(nn.ReflectionPad2d((3, 0, 4, 0)), nn.Conv2d(1, 1, 2)),
    "reflected behind": nn.Sequential(nn.ReflectionPad2d((0, 3, 0, 4)), nn.Conv2d(1, 1, 2)),
    "border copied": nn.Sequential(nn.ReplicationPad2d((3, 1, 0, 4)), nn.Conv2d(1, 1, 2)),
    "circular": nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
    "cut": Function(lambda x: nn.functional.pad(x, (-2, -1, -3, 0))),
    "slice": Function(lambda x: x[:, :, 2:-1:2, 1::3]),
    "nearest by 3": Function(lambda x: nn.functional.interpolate(x, scale_factor=3.0)),
    "nearest by 1.5": Function(lambda x: nn.functional.interpolate(x, scale_factor=1.5)),
    "nearest to 11": Function(lambda x: nn.functional.interpolate(x, size=(11, 40))),
    "nearest exact": Function(lambda x: nn.functional.interpolate(x, size=(11, 40), mode="nearest-exact")),
    "bilinear": Function(lambda x: nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")),
    "bilinear to 11": Function(lambda x: nn.functional.interpolate(x, size=(11, 40), mode="bilinear")),
    "bilinear, corners": Function(
        lambda x: nn.functional.interpolate(x, (11, 40), mode="bilinear", align_corners=True)
    ),
    "bicubic": Function(lambda x: nn.functional.interpolate(x, size=(11, 40), mode="bicubic")),
    "bilinear, smooth": Function(lambda x: nn.functional.interpolate(x, (11, 9), mode="bilinear", antialias=True)),
    "adaptive, dividing": Function(lambda x: nn.functional.adaptive_avg_pool2d(x, (9, 3))),
    "adaptive, larger": Function(lambda x: nn.functional.adaptive_avg_pool2d(x, (40, 31))),
    "pixel shuffle": nn.Sequential(nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.Conv2d(1, 1, 3)),
    "pixel unshuffle": nn.Sequential(nn.Conv2d(1, 1, 2), nn.PixelUnshuffle(2), nn.Conv2d(4, 1, 2)),
    "stacked": Function(lambda x: torch.stack([x, x.roll(1, 1)], 2).mean(2)),
    "batch norm and activations": nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Dropout(), nn.GELU()
    ),
    "gate over channels": Function(lambda x: nn.functional.glu(x, 1) * nn.functional.softmax(x, 1)[:, :1]),
    "transposed map": Function(lambda x: x.transpose(2, 3).transpose(2, 3)),
}
EXACT = {
    "stack", "asymmetric", "same, even kernel", "residual", "branches", "channels last", "shuffle", "max pool, ceil",
    "local response norm", "one channel, local response norm", "cut", "slice", "nearest by 3", "nearest by 1.5",
    "nearest to 11", "nearest exact", "pixel shuffle", "pixel unshuffle", "stacked", "batch norm and activations",
    "gate over channels", "transposed map", "adaptive, dividing", "adaptive, larger",
}  # fmt: skip


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
    assert row.field.unbounded == (name == "circular")
    if row.field.unbounded:
        return
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


window = st.tuples(
    st.sampled_from(["conv", "pool", "transposed", "nearest"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(1, 2),
)


@settings(max_examples=25, deadline=None)
@given(layers=st.lists(window, min_size=1, max_size=4), place=st.floats(0, 1))
def test_any_stack_of_windows_sees_no_more_than_its_box(
    layers: list[tuple[str, int, int, int, int]], place: float
) -> None:
    made: list[nn.Module] = []
    for kind, kernel, stride, padding, dilation in layers:
        if kind == "conv":
            made.append(nn.Conv1d(1, 1, kernel, stride, min(padding, kernel - 1), dilation, bias=False))
        elif kind == "pool":
            made.append(nn.AvgPool1d(kernel, stride, min(padding, kernel // 2)))
        elif kind == "transposed":
            made.append(nn.ConvTranspose1d(1, 1, kernel, stride, min(padding, kernel - 1), dilation=dilation))
        else:
            made.append(nn.Upsample(scale_factor=stride))
    net = nn.Sequential(*made).double()
    for parameter in net.parameters():
        parameter.data.fill_(1.0)
    x = torch.ones(1, 1, 64, dtype=torch.float64, requires_grad=True)
    out = net(x)
    index = int(place * (out.shape[2] - 1))
    out[0, 0, index].backward()
    assert x.grad is not None
    seen = torch.nonzero(x.grad[0, 0]).flatten().tolist()
    reach = Reach.of_input(3)
    for layer in made:
        call, arguments = _call(layer, reach)
        reach = op_for(call, arguments).field([reach], (1, 1, 0), arguments)
    first, last = reach.dims[2].box(index)
    assert all(first <= i <= last for i in seen), (first, last, seen)
    if all(kind in ("conv", "pool") and not padding for kind, _, _, padding, _ in layers):
        assert (first, last) == (seen[0], seen[-1])


def _call(layer: nn.Module, reach: Reach) -> tuple[str, dict[str, object]]:
    """What PyTorch calls for a layer, without the seconds that an export takes."""
    x = TensorShape((1, 1, 64))
    if isinstance(layer, nn.Upsample):
        return "aten.upsample_nearest1d.vec", {"input": x, "scale_factors": [layer.scale_factor]}
    if isinstance(layer, nn.AvgPool1d):
        sizes = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
        return "aten.avg_pool1d.default", {"self": x, **{name: list(size) for name, size in sizes.items()}}
    assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
    named = {"weight": TensorShape(layer.weight.shape), "stride": list(layer.stride), "padding": list(layer.padding)}
    name = "conv1d" if isinstance(layer, nn.Conv1d) else "conv_transpose1d"
    return f"aten.{name}.default", {"input": x, **named, "dilation": list(layer.dilation)}


def test_dense_layers_over_space_and_attention_see_everything() -> None:
    class Attend(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    for last in (Attend(), nn.Linear(8, 3), nn.Softmax(dim=3), nn.LayerNorm([8, 8])):
        field = capture(nn.Sequential(nn.Conv2d(1, 4, 3), last), (1, 10, 10)).account().rows[-1].field
        assert field is not None
        assert field.unbounded, last


def test_a_squeeze_and_excitation_makes_the_branch_that_it_weighs_unbounded() -> None:
    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y * torch.sigmoid(self.dense(y.mean((2, 3), keepdim=True)))

    account = capture(Squeeze(), (1, 10, 10)).account()
    fields = {row.name: row.field for row in account.rows}
    assert fields["conv"] is not None
    assert fields["conv"].size == (3, 3)
    assert fields["mul"] is not None
    assert fields["mul"].unbounded
