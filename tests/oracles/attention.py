"""Attention one number at a time, in float64, as the papers' formulas are read aloud."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def attended(score: Callable[[int, int], float], values: Array, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """For each query l the mean of the values by exp(score(l, s)), over the keys s that it sees; and the weights.

    values: (S, D). seen: (L, S).
    """
    out, weights = np.zeros((len(seen), values.shape[1])), np.zeros(seen.shape)
    for query in range(seen.shape[0]):
        keys = [key for key in range(seen.shape[1]) if seen[query, key]]
        powers = {key: math.exp(score(query, key)) for key in keys}
        for key in keys:
            weights[query, key] = powers[key] / sum(powers.values())
            for column in range(values.shape[1]):
                out[query, column] += weights[query, key] * values[key, column]
    return out, weights


def scaled_dot_product(query: Array, key: Array, value: Array, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Vaswani et al. 2017, eq. 1. (L, E), (S, E), (S, D)"""

    def score(at: int, to: int) -> float:
        return sum(float(query[at, e] * key[to, e]) for e in range(query.shape[1])) / math.sqrt(query.shape[1])

    return attended(score, value, seen)


def additive(
    query: Array, values: Array, seen: NDArray[np.bool_], w: Array, u: Array, bias: Array, v: Array
) -> tuple[Array, Array]:
    """Bahdanau et al. 2015, A.1.2: v . tanh(W s + U h). query (L, Q), values (S, K), w (A, Q), u (A, K),
    bias and v (A,)."""

    def score(at: int, to: int) -> float:
        total = 0.0
        for a in range(len(v)):
            inner = bias[a]
            inner += sum(float(w[a, i] * query[at, i]) for i in range(query.shape[1]))
            inner += sum(float(u[a, i] * values[to, i]) for i in range(values.shape[1]))
            total += float(v[a]) * math.tanh(inner)
        return total

    return attended(score, values, seen)


def sinusoid(place: int, number: int, width: int) -> float:
    """Vaswani et al. 2017, section 3.5."""
    angle = place / 10000 ** ((number - number % 2) / width)
    return math.cos(angle) if number % 2 else math.sin(angle)
