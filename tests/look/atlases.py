"""A small network, pictures of noise, and a capture of equal networks, which the tests of the atlas share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.graph import Graph, capture

SIDE = 16


def network() -> nn.Sequential:
    """Two convolutions, the second on a pooled map and with a stride, and a dense layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 7, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(7 * 16, 4),
    ).eval()


def noise(count: int = 40, side: int = SIDE, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


_graphs: dict[tuple[str, bytes, tuple[int, ...]], Graph] = {}


def capture_once(net: nn.Module, *, inputs: Tensor, training: bool) -> Graph:
    """``capture``, once for all equal networks: it takes longer than what most tests look at."""
    tensors = b"".join(t.numpy().tobytes() for t in net.state_dict().values())
    key = (repr(net), tensors, tuple(inputs.shape[1:]))
    if key not in _graphs:
        _graphs[key] = capture(net, inputs=inputs, training=training)
    return _graphs[key]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
