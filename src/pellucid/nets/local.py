"""Locally connected layers: the windows of a convolution, but at every place a kernel of its own.

LeCun, "Generalization and network design strategies", 1989; Taigman, Yang, Ranzato & Wolf, "DeepFace", 2014.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pellucid.errors import ShapeError
from pellucid.nets.parts import pair


class LocallyConnected2d(nn.Module):
    """(N, C, H, W) -> (N, K, P, Q): y[n, k, p, q] = sum over c, r, s of x[n, c, p t + r, q t + s] w[p, q, k, c, r, s].

    What a convolution with stride t computes, without the sharing: ``weight`` is (P, Q, K, C, R, S) and ``bias``
    (K, P, Q), P Q times as many numbers. The size of the maps is a part of the layer, as it is of a dense one.

    Args:
        size: of the maps that come in, one number or (H, W).

    Raises:
        ShapeError: where the window is larger than the padded map, or (in ``forward``) for maps of another size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        size: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.kernel_size, self.stride, self.padding = pair(size), pair(kernel_size), stride, padding
        height, width = (
            (side + 2 * padding - window) // stride + 1
            for side, window in zip(self.size, self.kernel_size, strict=True)
        )
        if min(height, width) < 1:
            raise ShapeError(
                f"a window of {_by(self.kernel_size)} does not fit on a map of {_by(self.size)} padded by {padding}",
                fits="a smaller window, or more padding",
            )
        self.weight = nn.Parameter(torch.empty(height, width, out_channels, in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels, height, width)) if bias else None
        # He et al. (2015), fan in: each output has its own kernel, so that no other fan is to be counted.
        nn.init.normal_(self.weight, 0, math.sqrt(2 / (in_channels * math.prod(self.kernel_size))))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K, P, Q)"""
        if (x.shape[2], x.shape[3]) != self.size:
            raise ShapeError(
                f"a locally connected layer for maps of {_by(self.size)} was given {_by(x.shape[2:])}",
                fits=f"pictures of the size that the network was made for: each place of {_by(self.size)} has weights",
            )
        if self.padding:
            x = nn.functional.pad(x, (self.padding,) * 4)
        rows, columns = self.kernel_size
        windows = x.unfold(2, rows, self.stride).unfold(3, columns, self.stride)  # (N, C, P, Q, R, S)
        out = torch.einsum("ncpqrs,pqkcrs->nkpq", windows, self.weight)
        return out if self.bias is None else out + self.bias

    def extra_repr(self) -> str:
        """For a person, as torch.nn's own layers."""
        _, _, after, before, *_ = self.weight.shape
        return (
            f"{before}, {after}, kernel_size={self.kernel_size}, size={self.size}, stride={self.stride}, "
            f"padding={self.padding}"
        )


def _by(sides: Sequence[int]) -> str:
    return " x ".join(str(int(side)) for side in sides)
