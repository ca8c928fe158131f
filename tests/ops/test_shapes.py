"""Shapes and names that operations give themselves, against what PyTorch computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid import capture
from pellucid.graph.account import read_arguments
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
    shapes = {tensor: tuple(value.shape) for tensor, value in graph.tensors.items()}
    shapes |= {own.name: own.shape(batch) for own in graph.inputs}
    for node in graph.nodes:
        value = record[node.name]
        first = value[0] if isinstance(value, tuple | list) else value
        if isinstance(first, Tensor):
            shapes[node.name] = tuple(first.shape)
            assert node.shape(batch) == tuple(first.shape), node.name
            if not node.hidden and node.op.kind not in ("bookkeeping",) and _tells(node.op.name):
                told = node.op.shape(read_arguments(node.by_name(), shapes, batch))
                assert tuple(told) == tuple(first.shape), (node.name, node.op)


def _tells(name: str) -> bool:
    """Operations whose result depends on numbers in other arguments than shapes say so by the node alone."""
    return name not in (
        "select",
        "split",
        "split_with_sizes",
        "chunk",
        "slice",
        "upsample",
        "expand",
        "reshape",
        "flatten",
    )


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
