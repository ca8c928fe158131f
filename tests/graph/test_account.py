"""Counts against other libraries: FlopCounterMode, torchscan, torchlens, and PyTorch's own numbers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid import capture, nets

NETS = {
    "lenet": ("lenet", {}, (1, 28, 28)),
    "basic_cnn": ("basic_cnn", {}, (3, 32, 32)),
    "vgg11": ("vgg11", {"classes": 10, "image_size": 32}, (3, 32, 32)),
    "resnet18": ("resnet18", {"classes": 10, "image_size": 32}, (3, 32, 32)),
    "inception_small": ("inception_small", {}, (3, 32, 32)),
    "inception": ("inception", {"classes": 10, "image_size": 64}, (3, 64, 64)),
}


@pytest.mark.parametrize("name", NETS)
def test_macs_are_half_of_the_flops_that_pytorch_counts(name: str) -> None:
    net, settings, size = NETS[name]
    module = nets.make(net, **settings).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.randn(3, *size))
    account = capture(module, size).account(3)
    assert 2 * account.macs == counter.get_total_flops()
    assert account.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert sum(row.parameters for row in account.rows) == account.parameters
    assert account.status == "complete"


def test_macs_of_transposed_convolution_and_attention() -> None:
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    with FlopCounterMode(display=False) as counter:
        up(torch.randn(2, 4, 7, 7))
    assert 2 * capture(up, (4, 7, 7)).account(2).macs == counter.get_total_flops()

    class Attend(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    account = capture(Attend(), (2, 5, 8)).account(3)
    assert account.macs == 3 * 2 * (5 * 5 * 8 + 5 * 5 * 8)


@pytest.mark.parametrize(
    ("equation", "others"),
    [("nchw,ndhw->ncd", 1), ("nchw,cd->ndhw", 0), ("...hw,...vw->...hv", 1), ("nchw->nc", -1)],
)
def test_macs_and_shape_of_an_einsum(equation: str, others: int) -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            operands = {1: (x, x), 0: (x, self.weight), -1: (x,)}[others]
            return torch.einsum(equation, *operands)

    x = torch.randn(3, 4, 5, 6)
    with FlopCounterMode(display=False) as counter:
        wanted = Product()(x)
    row = capture(Product(), (4, 5, 6)).account(3).rows[-1]
    assert row.shape == tuple(wanted.shape)
    assert row.macs is not None
    assert 2 * row.macs == counter.get_total_flops()


def test_what_cannot_be_counted_is_said() -> None:
    account = capture(Projected(), (7, 4)).account()
    assert account.status == "partial"
    assert account.missing == ("recurrent: nobody has described aten.lstm.input",)
    row = account["recurrent"]
    assert (row.status, row.kind, row.macs) == ("unavailable", "opaque", None)
    assert row.parameters == sum(parameter.numel() for parameter in Projected().recurrent.parameters())
    assert account.parameters == sum(parameter.numel() for parameter in Projected().parameters())
    assert account["head"].status == "complete"


class Projected(nn.Module):
    """A recurrent layer whose state is projected: nobody has described that kind."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(4, 6, proj_size=5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


def test_shapes_and_macs_agree_with_torchlens() -> None:
    import torchlens

    module = nets.make("resnet18", classes=10, image_size=32).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torchlens.trace(module, torch.randn(2, 3, 32, 32))
    theirs = {
        (tuple(layer.shape), layer.macs_forward) for layer in traced.layers if layer.func_name in ("conv2d", "linear")
    }
    rows = capture(module, (3, 32, 32)).account(2).rows
    ours = {(row.shape, row.macs) for row in rows if row.kind in ("convolution", "linear")}
    assert len(ours) > 5
    assert ours == theirs


def test_macs_agree_with_torchscan() -> None:
    from torchscan import crawl_module

    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5)).eval()
    layers = {layer["name"]: layer["metrics"] for layer in crawl_module(module, (3, 32, 32))["layers"]}
    for row in capture(module, (3, 32, 32)).account().rows[1:]:
        if row.kind == "convolution":
            assert row.macs == layers[row.name]["macs"]["value"]


def test_activation_bytes_are_those_of_the_values() -> None:
    module = nets.make("basic_cnn").eval()
    graph = capture(module, (3, 32, 32))
    x = torch.randn(4, 3, 32, 32)
    _, record = graph.run(x, record=True)
    for row in graph.account(4).rows[1:]:
        value = record[row.name]
        value = value[0] if isinstance(value, tuple) else value
        assert row.activation_bytes in (0, value.numel() * value.element_size())
        assert (row.activation_bytes == 0) == (row.kind == "shape")


def test_frozen_parameters_are_told_apart() -> None:
    module = nets.make("lenet")
    nets.freeze_all_but_head(module)
    account = capture(module, (1, 28, 28)).account()
    assert account.trainable_parameters == 850
    assert account.parameters == 61_706
