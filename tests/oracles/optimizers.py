"""Optimizers as their papers write them, one array at a time, in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rule = Callable[[Array, Iterable[Array]], Array]


def sgd(rate: float, decay: float) -> Rule:
    def run(w: Array, gradients: Iterable[Array]) -> Array:
        for g in gradients:
            w = w - rate * (g + decay * w)
        return w

    return run


def momentum(rate: float, decay: float, mu: float) -> Rule:
    def run(w: Array, gradients: Iterable[Array]) -> Array:
        v = np.zeros_like(w)
        for g in gradients:
            v = mu * v + g + decay * w
            w = w - rate * v
        return w

    return run


def adagrad(rate: float, decay: float) -> Rule:
    def run(w: Array, gradients: Iterable[Array]) -> Array:
        s = np.zeros_like(w)
        for raw in gradients:
            g = raw + decay * w
            s = s + g**2
            w = w - rate * g / (np.sqrt(s) + 1e-10)
        return w

    return run


def rmsprop(rate: float, decay: float, smoothing: float = 0.99) -> Rule:
    def run(w: Array, gradients: Iterable[Array]) -> Array:
        s = np.zeros_like(w)
        for raw in gradients:
            g = raw + decay * w
            s = smoothing * s + (1 - smoothing) * g**2
            w = w - rate * g / (np.sqrt(s) + 1e-8)
        return w

    return run


def adam(rate: float, decay: float, decoupled: bool) -> Rule:
    def run(w: Array, gradients: Iterable[Array]) -> Array:
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, raw in enumerate(gradients, start=1):
            g = raw if decoupled else raw + decay * w
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g**2
            step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            w = w - rate * step - (rate * decay * w if decoupled else 0)
        return w

    return run


def muon(rate: float, decay: float, mu: float) -> Rule:
    """Jordan et al. (2024) for a matrix or a kernel; the iteration in its textbook form, on the singular values."""

    def odd_polynomial(s: Array) -> Array:
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        return s

    def run(w: Array, gradients: Iterable[Array]) -> Array:
        buffer = np.zeros_like(w)
        for g in gradients:
            buffer = mu * buffer + g
            matrix = (g + mu * buffer).reshape(len(w), -1)
            u, s, v = np.linalg.svd(matrix, full_matrices=False)
            direction = (u * odd_polynomial(s / (np.linalg.norm(s) + 1e-7))) @ v
            size = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            w = w * (1 - rate * decay) - rate * size * direction.reshape(w.shape)
        return w

    return run
