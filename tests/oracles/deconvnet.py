"""A network of two convolutions in loops over NumPy float64, forwards and back as in Zeiler & Fergus (2013).

convolution (stride, padding) - ReLU - 2x2 max-pooling - convolution - ReLU, of one picture (C, H, W). Nothing here
knows of autograd, of strides in memory, or of the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """weight (K, C, R, S), bias (K,)."""

    weight: Floats
    bias: Floats
    stride: int = 1
    padding: int = 0


def convolve(x: Floats, layer: Layer) -> Floats:
    """(C, H, W) -> (K, P, Q)."""
    kernels, channels, rows, columns = layer.weight.shape
    p = (x.shape[1] + 2 * layer.padding - rows) // layer.stride + 1
    q = (x.shape[2] + 2 * layer.padding - columns) // layer.stride + 1
    out = np.zeros((kernels, p, q))
    for k, i, j in np.ndindex(kernels, p, q):
        out[k, i, j] = layer.bias[k]
        for c, r, s in np.ndindex(channels, rows, columns):
            y, z = i * layer.stride - layer.padding + r, j * layer.stride - layer.padding + s
            if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                out[k, i, j] += layer.weight[k, c, r, s] * x[c, y, z]
    return out


def transpose(signal: Floats, layer: Layer, shape: tuple[int, int, int]) -> Floats:
    """(K, P, Q) -> (C, H, W): each signal times its kernel is laid where the kernel stood."""
    back = np.zeros(shape)
    for k, i, j in np.ndindex(*signal.shape):
        for c, r, s in np.ndindex(*layer.weight.shape[1:]):
            y, z = i * layer.stride - layer.padding + r, j * layer.stride - layer.padding + s
            if 0 <= y < shape[1] and 0 <= z < shape[2]:
                back[c, y, z] += layer.weight[k, c, r, s] * signal[k, i, j]
    return back


def pool(x: Floats) -> tuple[Floats, dict[tuple[int, int, int], tuple[int, int, int]]]:
    """(C, H, W) -> (C, H // 2, W // 2), and the switches: which place of x each number came from."""
    out = np.zeros((x.shape[0], x.shape[1] // 2, x.shape[2] // 2))
    switches = {}
    for c, i, j in np.ndindex(*out.shape):
        places = [(c, 2 * i + r, 2 * j + s) for r in range(2) for s in range(2)]
        switches[c, i, j] = max(places, key=lambda place: x[place])
        out[c, i, j] = x[switches[c, i, j]]
    return out, switches


def forward(x: Floats, one: Layer, two: Layer) -> Floats:
    """The second ReLU's maps."""
    pooled, _ = pool(np.maximum(convolve(x, one), 0))
    return np.maximum(convolve(pooled, two), 0)


def deconvnet(x: Floats, one: Layer, two: Layer, keep: NDArray[np.bool_]) -> Floats:
    """What the kept activations of the second ReLU were strong for, (C, H, W)."""
    rectified = np.maximum(convolve(x, one), 0)
    pooled, switches = pool(rectified)
    signal = np.where(keep, np.maximum(convolve(pooled, two), 0), 0.0)
    signal = transpose(np.maximum(signal, 0), two, pooled.shape)
    unpooled = np.zeros(rectified.shape)
    for place, switch in switches.items():
        unpooled[switch] += signal[place]
    return transpose(np.maximum(unpooled, 0), one, x.shape)
