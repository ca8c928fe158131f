"""The blocks of pooling, moves and resizing between two borders, against float64 PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pellucid.errors import UsageError
from pellucid.lanes.blocks.base import Block
from pellucid.lanes.blocks.border import Enter, Leave
from pellucid.lanes.blocks.moves import CopyBlock, PadBlock, ShuffleBlock, SliceBlock
from pellucid.lanes.blocks.pooling import AdaptivePoolBlock, AveragePoolBlock, MaxPoolBlock, MeanBlock, SoftmaxBlock
from pellucid.lanes.blocks.resize import PixelShuffleBlock, UpsampleBlock
from pellucid.lanes.build import Build
from pellucid.lanes.frame import ArenaMemory, Frame
from pellucid.lanes.memory import place
from pellucid.lanes.program import Program
from pellucid.lanes.values import Value
from tests.lanes.lane_arrays import on_target

N = 19
MAP, SIGNAL = (N, 8, 7, 6), (N, 8, 1, 13)
Make = Callable[[Value, Value], Block]
Oracle = Callable[[Tensor], Tensor]


def signal(oracle: Oracle) -> Oracle:
    """Of a function of signals (N, C, W) the one of maps of one row."""
    return lambda t: oracle(t[:, :, 0])[:, :, None]


MAPS: dict[str, tuple[Make, Oracle]] = {
    "max pool": (lambda x, y: MaxPoolBlock(x, y, (2, 2), (2, 2)), lambda t: functional.max_pool2d(t, 2)),
    "max pool in ceil mode": (
        lambda x, y: MaxPoolBlock(x, y, (3, 3), (2, 2), (1, 1)),
        lambda t: functional.max_pool2d(t, 3, 2, 1, ceil_mode=True),
    ),
    "max pool, dilated": (
        lambda x, y: MaxPoolBlock(x, y, (2, 3), (1, 2), (0, 1), (3, 1)),
        lambda t: functional.max_pool2d(t, (2, 3), (1, 2), (0, 1), (3, 1)),
    ),
    "average pool": (
        lambda x, y: AveragePoolBlock(x, y, (3, 3), (1, 1), (1, 1), include_pad=False),
        lambda t: functional.avg_pool2d(t, 3, 1, 1, count_include_pad=False),
    ),
    "sum pool": (
        lambda x, y: AveragePoolBlock(x, y, (2, 3), (2, 3), divisor=1),
        lambda t: functional.avg_pool2d(t, (2, 3), divisor_override=1),
    ),
    "adaptive": (AdaptivePoolBlock, lambda t: functional.adaptive_avg_pool2d(t, (3, 4))),
    "global": (AdaptivePoolBlock, lambda t: functional.adaptive_avg_pool2d(t, 1)),
    "adaptive max": (
        lambda x, y: AdaptivePoolBlock(x, y, largest=True),
        lambda t: functional.adaptive_max_pool2d(t, (3, 4)),
    ),
    "global max": (lambda x, y: AdaptivePoolBlock(x, y, largest=True), lambda t: functional.adaptive_max_pool2d(t, 1)),
    "mean over H": (lambda x, y: MeanBlock(x, y, "H"), lambda t: t.mean(2, keepdim=True)),
    "sum over C": (lambda x, y: MeanBlock(x, y, "C", "sum"), lambda t: t.sum(1, keepdim=True)),
    "amax over H W": (lambda x, y: MeanBlock(x, y, "HW", "amax"), lambda t: t.amax((2, 3), keepdim=True)),
    "amin over C H W": (lambda x, y: MeanBlock(x, y, "CHW", "amin"), lambda t: t.amin((1, 2, 3), keepdim=True)),
    "softmax": (SoftmaxBlock, lambda t: functional.softmax(t, 1)),
    "log softmax": (lambda x, y: SoftmaxBlock(x, y, logarithm=True), lambda t: functional.log_softmax(t, 1)),
    "copy": (CopyBlock, lambda t: t * 1),
    "shuffle": (lambda x, y: ShuffleBlock(x, y, 4), lambda t: functional.channel_shuffle(t, 4)),
    "slice": (lambda x, y: SliceBlock(x, y, (1, 0, 2), (3, 2, 1)), lambda t: t[:, 1::3, ::2, 2:]),
    "flip": (lambda x, y: SliceBlock(x, y, (0, 6, 5), (1, -1, -1)), lambda t: t.flip(2, 3)),
    "pad": (
        lambda x, y: PadBlock(x, y, ((1, 2), (0, -3), (2, 1)), value=0.5),
        lambda t: functional.pad(t, (1, 2, 0, -3, 2, 1), value=0.5),
    ),
    "reflect": (
        lambda x, y: PadBlock(x, y, ((2, 1), (3, 0)), "reflect"),
        lambda t: functional.pad(t, (2, 1, 3, 0), "reflect"),
    ),
    "nearest": (
        lambda x, y: UpsampleBlock(x, y, "nearest", (1.7, 2.0)),
        lambda t: functional.interpolate(t, scale_factor=(1.7, 2.0)),
    ),
    "bilinear": (
        lambda x, y: UpsampleBlock(x, y, "bilinear"),
        lambda t: functional.interpolate(t, (13, 5), mode="bilinear"),
    ),
    "bilinear with corners": (
        lambda x, y: UpsampleBlock(x, y, "bilinear", (2.0, 2.0), corners=True),
        lambda t: functional.interpolate(t, scale_factor=2, mode="bilinear", align_corners=True),
    ),
    "bicubic": (
        lambda x, y: UpsampleBlock(x, y, "bicubic"),
        lambda t: functional.interpolate(t, (10, 9), mode="bicubic"),
    ),
    "pixel shuffle": (lambda x, y: PixelShuffleBlock(x, y, 2), lambda t: functional.pixel_shuffle(t, 2)),
    "pixel unshuffle": (
        lambda x, y: PixelShuffleBlock(x, y, 3, back=True),
        lambda t: functional.pixel_unshuffle(t, 3),
    ),
}
SIGNALS: dict[str, tuple[Make, Oracle]] = {
    "max pool": (
        lambda x, y: MaxPoolBlock(x, y, (3,), (2,), (1,)),
        signal(lambda t: functional.max_pool1d(t, 3, 2, 1)),
    ),
    "average pool": (lambda x, y: AveragePoolBlock(x, y, (3,), (2,)), signal(lambda t: functional.avg_pool1d(t, 3, 2))),
    "adaptive": (AdaptivePoolBlock, signal(lambda t: functional.adaptive_avg_pool1d(t, 5))),
    "nearest": (
        lambda x, y: UpsampleBlock(x, y, "nearest", (2.3,)),
        signal(lambda t: functional.interpolate(t, scale_factor=2.3)),
    ),
    "linear": (
        lambda x, y: UpsampleBlock(x, y, "linear", (None,)),
        signal(lambda t: functional.interpolate(t, 21, mode="linear")),
    ),
}


def there_and_back(make: Make, x: Tensor, gradients: tuple[Tensor, Tensor], target: str) -> tuple[Tensor, ...]:
    """Two of a block that read the same map: both results and the gradient of the map."""
    library = on_target(target)
    build = Build(len(x), library.lanes, 1, frozenset(), True)
    _, C, H, W = x.shape
    source = replace(build.value("x", C, H, W), needs_gradient=True)
    blocks: list[Block] = [Enter("x", source)]
    leaves: list[Block] = []
    for i, gradient in enumerate(gradients):
        _, C, H, W = gradient.shape
        output = replace(build.value(f"y{i}", C, H, W), needs_gradient=True)
        blocks.append(make(source, output))
        leaves.append(Leave(output, f"y{i}", tuple(gradient.shape)))
    build.emit([*blocks, *leaves])
    there, back = build.steps("forward"), build.steps("backward")
    arena = place([there, back], build.groups, 1)
    frame = Frame(build.bases, build.slot_shapes, ArenaMemory(library, arena.bytes), {}.__getitem__)
    frame.tensors["x"] = x
    Program(library, there, arena, build.groups, build.slots)(frame)
    results = frame.tensors["y0"], frame.tensors["y1"]
    frame.gradients |= {"y0": gradients[0], "y1": gradients[1]}
    frame.shapes = {"x": x.shape}
    Program(library, back, arena, build.groups, build.slots)(frame)
    return *results, frame.gradients["x"]


def agrees(make: Make, oracle: Oracle, x: Tensor, target: str) -> None:
    """With PyTorch, forward and back."""
    leaf = x.double().requires_grad_()
    right = oracle(leaf)
    gradients = torch.randn_like(right).float(), torch.randn_like(right).float()
    right.backward(gradients[0].double() + gradients[1].double())
    assert leaf.grad is not None
    assert float(right.detach().std()) > 1e-3
    assert float(leaf.grad.std()) > 1e-3
    first, second, gradient = there_and_back(make, x, gradients, target)
    torch.testing.assert_close(first.double(), right.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(first, second)
    torch.testing.assert_close(gradient.double(), leaf.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", MAPS)
@pytest.mark.parametrize("target", ["avx512", "avx2", "portable"])
def test_maps(target: str, block: str) -> None:
    torch.manual_seed(0)
    make, oracle = MAPS[block]
    size = (N, 8, 6, 6) if block == "pixel unshuffle" else MAP
    agrees(make, oracle, torch.randn(size), target)


@pytest.mark.parametrize("block", SIGNALS)
def test_signals(block: str) -> None:
    torch.manual_seed(0)
    agrees(*SIGNALS[block], torch.randn(SIGNAL), "portable")


def test_largest_of_a_large_window() -> None:
    """More places than a byte can tell apart."""
    torch.manual_seed(0)
    make, oracle = MAPS["global max"]
    agrees(make, oracle, torch.randn(5, 2, 20, 17), "portable")


def test_axes_that_no_kernel_reduces_over() -> None:
    assert MeanBlock.reduces("CW", (8, 1, 6))
    assert MeanBlock.reduces("H", (8, 7, 6))
    assert not MeanBlock.reduces("CW", (8, 7, 6))
    build = Build(4, 4, 1, frozenset(), True)
    with pytest.raises(UsageError, match=r"no kernel that reduces \(8, 7, 6\) over CW"):
        MeanBlock(build.value("x", 8, 7, 6), build.value("y", 1, 7, 1), "CW")
    with pytest.raises(UsageError, match="median"):
        MeanBlock(build.value("x", 8, 7, 6), build.value("y", 8, 1, 1), "HW", "median")
