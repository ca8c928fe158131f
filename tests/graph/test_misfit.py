"""Layers that do not fit: the rows up to there, the layer, both shapes, the arithmetic, what would fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.errors import ShapeError


class Joins(nn.Module):
    """Adds or concatenates maps of two sizes."""

    def __init__(self, concatenate: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 5)
        self.concatenate = concatenate

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        return torch.cat([a, b], 1) if self.concatenate else a + b


MISFITS: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "dense too small": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 10)),
        (3, 18, 18),
        (
            "3 (Linear): it expects 400 numbers and was given 2,048\n"
            "  input  (N, 2048)\n"
            "  layer  Linear(in_features=400, out_features=10, bias=True)\n"
            "  fits   nn.Linear(2048, 10)"
        ),
    ),
    "not flattened": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 2)),
        (3, 8, 8),
        (
            "1 (Linear): it expects 144 numbers and was given maps that have not been flattened\n"
            "  input       (N, 4, 6, 6)\n"
            "  layer       Linear(in_features=144, out_features=2, bias=True)\n"
            "  arithmetic  4 x 6 x 6 = 144\n"
            "  fits        nn.Flatten() before it"
        ),
    ),
    "channels": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)),
        (3, 8, 8),
        (
            "2 (Conv2d): it expects 16 channels and was given 8\n"
            "  input  (N, 8, 6, 6)\n"
            "  layer  Conv2d(16, 4, kernel_size=(3, 3), stride=(1, 1))\n"
            "  fits   nn.Conv2d(8, 4, ...)"
        ),
    ),
    "window too large": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 4, dilation=2)),
        (3, 8, 8),
        (
            "1 (Conv2d): its window spans 7 samples (kernel=4, dilation=2) but the padded height has 6\n"
            "  input       (N, 4, 6, 6)\n"
            "  layer       Conv2d(4, 4, kernel_size=(4, 4), stride=(1, 1), dilation=(2, 2))\n"
            "  arithmetic  6 + 0 before + 0 after = 6 < 7\n"
            "  fits        padding of 1 more in all, a smaller kernel, or larger pictures"
        ),
    ),
    "pooling": (
        nn.Sequential(nn.MaxPool2d(4), nn.MaxPool2d(3)),
        (3, 8, 8),
        "1 (MaxPool2d): its window spans 3 samples (kernel=3, dilation=1) but the padded height has 2\n",
    ),
    "normalisation": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(16)),
        (3, 8, 8),
        "1 (BatchNorm2d): it normalises 16 channels and was given 8\n",
    ),
    "dimensions": (
        nn.Sequential(nn.Flatten(), nn.Conv2d(3, 8, 3)),
        (3, 8, 8),
        "1 (Conv2d): it expects 4 dimensions and was given 2\n",
    ),
    "add": (Joins(False), (3, 8, 8), "the network (Joins): The size of tensor a (6) must match"),
    "concatenate": (Joins(True), (3, 8, 8), "the network (Joins): Sizes of tensors must match except in dimension 1"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_said_line_by_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, size, text = MISFITS[name]
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(ShapeError) as caught:
        pellucid.summary(module, size)
    assert str(caught.value).startswith(text), str(caught.value)
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    printed = capsys.readouterr().out
    assert "input" in printed
    assert "not counted" in printed


def test_every_row_before_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    module, size, _ = MISFITS["dense too small"]
    with pytest.raises(ShapeError):
        pellucid.summary(module, size)
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    assert names == ["0", "1", "2"]
