"""Networks that read tokens, one sentence, one window and one product at a time in float64; and a bag of words by
gradient descent on its definition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = Any


def textcnn_scores(weights: Mapping[str, Array], sentence: Sequence[int]) -> list[float]:
    """Kim (2014), eq. 1 to 3, for one sentence without padding. ``weights`` by the names of the state dict."""
    table = weights["embedding.weight"]
    kinds = sum(name.startswith("convs.") and name.endswith("weight") for name in weights)
    strongest: list[float] = []
    for kind in range(kinds):
        kernels, biases = weights[f"convs.{kind}.weight"], weights[f"convs.{kind}.bias"]
        for kernel, bias in zip(kernels, biases, strict=True):
            span = kernel.shape[1]
            numbers = []
            for first in range(1 - span, len(sentence)):
                total = float(bias)
                for tap in range(span):
                    if 0 <= first + tap < len(sentence):
                        for d, factor in enumerate(kernel[:, tap]):
                            total += float(factor) * float(table[sentence[first + tap], d])
                numbers.append(max(0.0, total))
            strongest.append(max(numbers))
    return _dense(weights, strongest)


def bag_scores(weights: Mapping[str, Array], sentence: Sequence[int]) -> list[float]:
    """The mean of the words' rows, then the linear layer."""
    table = weights["embedding.weight"]
    mean = [sum(float(table[token, d]) for token in sentence) / len(sentence) for d in range(table.shape[1])]
    return _dense(weights, mean)


def _dense(weights: Mapping[str, Array], inputs: Sequence[float]) -> list[float]:
    rows, biases = weights["fc.weight"], weights["fc.bias"]
    return [
        float(bias) + sum(float(w) * x for w, x in zip(row, inputs, strict=True))
        for row, bias in zip(rows, biases, strict=True)
    ]


def loss_of(scores: Sequence[float], label: int) -> float:
    """-log softmax(scores)[label]"""
    most = max(scores)
    return math.log(sum(math.exp(score - most) for score in scores)) + most - scores[label]


def numeric_gradient(weights: Mapping[str, Array], name: str, at: tuple[int, ...], loss: Any) -> float:
    """dL/dw by central differences: ``loss(weights)`` with one number moved both ways."""
    moved = []
    for step in (1e-6, -1e-6):
        changed = {key: np.array(value, np.float64) for key, value in weights.items()}
        changed[name][at] += step
        moved.append(loss(changed))
    return float((moved[0] - moved[1]) / 2e-6)


def word_weights(texts: Sequence[Sequence[int]], positive: Sequence[bool], vocabulary: int, penalty: float) -> Array:
    """Wang & Manning (2012), section 2, on sets of words, by Newton's method on the dense problem: the weights of all
    words that are no specials (numbers 0 and 1), and the bias last."""
    held = np.zeros((len(texts), vocabulary))
    for i, text in enumerate(texts):
        for token in text:
            held[i, token] = 1.0
    held[:, :2] = 0.0
    y = np.array(positive, bool)
    p, q = 1 + held[y].sum(0), 1 + held[~y].sum(0)
    p[:2] = q[:2] = 0
    ratio = np.zeros(vocabulary)
    ratio[2:] = np.log((p[2:] / p.sum()) / (q[2:] / q.sum()))
    x = np.hstack([held * ratio, np.ones((len(texts), 1))])
    ridge = np.diag([penalty] * vocabulary + [0.0])
    w = np.zeros(vocabulary + 1)
    for _ in range(50):
        chance = 1 / (1 + np.exp(-x @ w))
        slope = x.T @ (chance - y) + ridge @ w
        curve = (x * (chance * (1 - chance))[:, None]).T @ x + ridge
        w -= np.linalg.solve(curve, slope)
    return np.append(ratio * w[:-1], w[-1])
