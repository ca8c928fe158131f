"""Shapes and names that operations give themselves, against what PyTorch computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid import capture
from pellucid.graph.account import read_arguments
from pellucid.graph.ir import Size
from pellucid.ops import Opaque, op_for

MAPS = (6, 13, 17)
CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv 1-D": (nn.Conv1d(6, 4, 5, stride=2, padding=1, dilation=2), (6, 40)),
    "conv 2-D": (nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 3)), MAPS),
    "conv 3-D": (nn.Conv3d(2, 4, 3, padding=1), (2, 7, 8, 9)),
    "conv same": (nn.Conv2d(6, 8, 4, padding="same", dilation=2), MAPS),
    "conv valid": (nn.Conv2d(6, 8, 3, padding="valid"), MAPS),
    "conv groups": (nn.Conv2d(6, 12, 3, groups=3), MAPS),
    "conv reflect": (nn.Conv2d(6, 4, 3, padding=2, padding_mode="reflect"), MAPS),
    "conv asymmetric": (nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(6, 4, 3)), MAPS),
    "transposed 1-D": (nn.ConvTranspose1d(6, 4, 4, stride=3, padding=1, output_padding=2), (6, 9)),
    "transposed 2-D": (nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2), MAPS),
    "transposed 3-D": (nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 3, 4, 5)),
    "linear": (nn.Sequential(nn.Flatten(), nn.Linear(6 * 13 * 17, 5)), MAPS),
    "linear on the last": (nn.Linear(17, 3), MAPS),
    "batch norm": (nn.BatchNorm2d(6), MAPS),
    "layer norm": (nn.LayerNorm([13, 17]), MAPS),
    "group norm": (nn.GroupNorm(2, 6), MAPS),
    "instance norm": (nn.InstanceNorm2d(6, affine=True), MAPS),
    "local response norm": (nn.LocalResponseNorm(3), MAPS),
    "max pool": (nn.MaxPool2d(3, stride=2, padding=1, dilation=2), MAPS),
    "max pool ceil": (nn.MaxPool2d(2, stride=2, ceil_mode=True), MAPS),
    "max pool 1-D": (nn.MaxPool1d(3), (6, 20)),
    "max pool 3-D": (nn.MaxPool3d(2), (2, 6, 7, 8)),
    "average pool": (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), MAPS),
    "sum pool": (nn.AvgPool2d(3, divisor_override=1), MAPS),
    "adaptive": (nn.AdaptiveAvgPool2d((3, 4)), MAPS),
    "adaptive max": (nn.AdaptiveMaxPool2d(2), MAPS),
    "global": (nn.AdaptiveAvgPool2d(1), MAPS),
    "relu": (nn.ReLU(inplace=True), MAPS),
    "relu6": (nn.ReLU6(), MAPS),
    "leaky": (nn.LeakyReLU(0.1), MAPS),
    "silu": (nn.SiLU(), MAPS),
    "gelu": (nn.GELU(), MAPS),
    "sigmoid": (nn.Sigmoid(), MAPS),
    "tanh": (nn.Tanh(), MAPS),
    "hardswish": (nn.Hardswish(), MAPS),
    "hardsigmoid": (nn.Hardsigmoid(), MAPS),
    "prelu": (nn.PReLU(6), MAPS),
    "elu": (nn.ELU(), MAPS),
    "softmax": (nn.Softmax(dim=1), MAPS),
    "log softmax": (nn.LogSoftmax(dim=-1), MAPS),
    "dropout": (nn.Dropout(0.3), MAPS),
    "dropout 2-D": (nn.Dropout2d(0.3), MAPS),
    "upsample": (nn.Upsample(scale_factor=2), MAPS),
    "upsample bilinear": (nn.Upsample(size=(20, 30), mode="bilinear"), MAPS),
    "pad": (nn.ConstantPad2d((1, 2, 3, 4), 0.5), MAPS),
    "reflection pad": (nn.ReflectionPad2d(2), MAPS),
    "replication pad": (nn.ReplicationPad2d((1, 0, 2, 0)), MAPS),
    "pixel shuffle": (nn.PixelShuffle(2), (8, 5, 7)),
    "unflatten": (nn.Unflatten(1, (2, 3)), MAPS),
    "attention": (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (9, 16)),
}


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda x: x + x.mean((2, 3), keepdim=True),
    "multiply": lambda x: x * torch.sigmoid(x),
    "subtract in place": lambda x: x.clone().sub_(1),
    "concat": lambda x: torch.cat([x, x[:, :2]], 1),
    "stack": lambda x: torch.stack([x, x], 2),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(1, 3),
    "flatten": lambda x: x.flatten(2),
    "view": lambda x: x.view(x.shape[0], 2, 3, 13, 17),
    "slice": lambda x: x[:, :, 1:-1:2, 3:],
    "select": lambda x: x[:, 0],
    "split": lambda x: x.split(3, 1)[1],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "squeeze": lambda x: x.mean(1, keepdim=True).squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "expand": lambda x: x[:, :1].expand(-1, 4, -1, -1),
    "roll": lambda x: x.roll(2, 3),
    "sum": lambda x: x.sum((1, 2)),
    "maximum": lambda x: x.amax((2, 3)),
    "minimum pooling": lambda x: -F.max_pool2d(-x, 2),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "clamp": lambda x: x.clamp(0, 1),
    "power": lambda x: (x.abs() + 1) ** 0.5,
    "divide": lambda x: x / (1 + x.exp()),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
    "interpolate by 1.5": lambda x: F.interpolate(x, scale_factor=1.5),
    "interpolate corners": lambda x: F.interpolate(x, size=(9, 40), mode="bilinear", align_corners=True),
    "interpolate smooth": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
    "interpolate bicubic": lambda x: F.interpolate(x, scale_factor=2.0, mode="bicubic"),
    "interpolate exact": lambda x: F.interpolate(x, size=(20, 20), mode="nearest-exact"),
    "repeat": lambda x: x.repeat(2, 1, 1, 3)[: x.shape[0]],
    "tile": lambda x: x.tile(2, 1),
    "split by sizes": lambda x: x.split([1, 2, 3], 1)[2],
    "unbind": lambda x: x.unbind(2)[3],
    "pick": lambda x: x[:, [0, 2, 1]],
    "pick two": lambda x: x[:, [0, 2], :, [1, 3]],
    "pick neighbours": lambda x: x[:, [0, 2], [1, 3]],
    "flip": lambda x: x.flip(2, 3),
    "largest": lambda x: x.topk(2, 1)[0],
    "sort": lambda x: x.sort(2)[0],
    "maximum of one dimension": lambda x: x.max(1)[0],
    "variance and mean": lambda x: torch.var_mean(x, (2, 3), keepdim=True)[0],
    "all of it": lambda x: x - x.mean(),
    "norm": lambda x: F.normalize(x),
    "power pooling": lambda x: F.lp_pool2d(x, 2, 2),
    "circular": lambda x: F.pad(x, (1, 1, 2, 2), mode="circular"),
    "gate": lambda x: F.glu(x, 1),
    "clamp below": lambda x: x.clamp_min(0.1) + x.clamp_max(0.2),
    "softmin": lambda x: F.softmin(x, 1),
    "logsigmoid": lambda x: F.logsigmoid(x),
    "shrink": lambda x: F.tanhshrink(x) + F.softshrink(x) + F.hardshrink(x) + F.threshold(x, 0.1, 0) + F.softsign(x),
    "other activations": lambda x: F.rrelu(x) + F.mish(x) + F.celu(x) + F.selu(x) + F.softplus(x) + F.hardtanh(x),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :12, :16], 2),
    "channel shuffle": lambda x: F.channel_shuffle(x, 3),
    "choose": lambda x: torch.where(x > 0, x, 0.0).masked_fill(x > 1, 1.0),
    "einsum": lambda x: torch.einsum("nchw,ndhw->ncd", x, x),
    "einsum with dots": lambda x: torch.einsum("...hw,...vw->...hv", x, x),
    "einsum without arrow": lambda x: torch.einsum("nchw,ndhw", x, x),
    "vector": lambda x: x @ torch.ones(17),
    "linear to one": lambda x: F.linear(x, torch.ones(17)),
    "root mean square norm": lambda x: F.rms_norm(x, (17,)),
    "narrow": lambda x: x.narrow(2, 1, 5)[:, :, -3:],
    "view from the batch": lambda x: x.reshape(x.shape[0] * 2, 3, -1).view(x.shape[0], -1),
}
ALL = {**CASES, **{f"function {name}": (Function(function), MAPS) for name, function in FUNCTIONS.items()}}


@pytest.mark.parametrize("name", ALL)
def test_every_node_knows_its_shape_and_runs_as_the_module(name: str) -> None:
    module, size = ALL[name]
    module.eval()
    graph = capture(module, size)
    assert not graph.opaque
    batch = 4
    x = torch.randn(batch, *size)
    wanted = module(x)
    result, record = graph.run(x, record=True)
    torch.testing.assert_close(result, wanted, rtol=0, atol=0)
    shapes: dict[str, tuple[int, ...] | int] = {name: tuple(value.shape) for name, value in graph.tensors.items()}
    shapes |= {own.name: own.shape(batch) for own in graph.inputs}
    for node in graph.nodes:
        value = record[node.name]
        if isinstance(value, int):
            shapes[node.name] = value
            assert value == (node.number.of(batch) if isinstance(node.number, Size) else node.number)
            continue
        first = value[0] if isinstance(value, tuple | list) else value
        shapes[node.name] = tuple(first.shape)
        assert node.shape(batch) == tuple(first.shape), node.name
        if not node.op.is_bookkeeping:
            told = node.op.shape(read_arguments(node.by_name(), shapes, batch))
            assert tuple(told) == tuple(first.shape), (node.name, node.op)


def test_an_unknown_operator_is_opaque() -> None:
    op = op_for("aten.linalg_svd.default", {})
    assert isinstance(op, Opaque)
    assert op.macs((3, 3), {}) is None
    assert op.describe() == "linalg_svd (not described)"


def test_an_opaque_node_is_counted_drawn_and_run() -> None:
    module = Function(lambda x: torch.linalg.svdvals(x.flatten(2)))
    graph = capture(module, (3, 4, 4))
    account = graph.account(2)
    x = torch.randn(2, 3, 4, 4)
    assert [node.op.described for node in graph.opaque] == [False]
    assert account.status == "partial"
    assert "nobody has described" in account.missing[0]
    torch.testing.assert_close(graph.run(x), module(x))
