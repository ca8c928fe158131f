"""The bag of words that a network for texts is held against: which words a text holds, in no order.

Logistic regression on words, each scaled by its log-count ratio under naive Bayes (Wang & Manning, "Baselines and
bigrams: simple, good sentiment and topic classification", ACL 2012, section 2: binarized counts, eq. 1), one class
against the rest. It is convex, so there is one answer, and it takes no seed.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_PENALTY = 3.0  # of half the squared weights, beside the sum of losses over all texts
_STEPS = 200
_SMOOTHING = 1.0  # what every word is taken to have been seen more often
_SPECIAL = 2  # padding and unknown


@dataclass(frozen=True, eq=False)
class WordWeights:
    """weights: float32 (V, K), what each word adds to each class; bias: float32 (K,)."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def scores(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Of each class for each of N texts of token numbers, (N, K)."""
        rows, columns = present(texts)
        return _sums(rows, self.weights[columns].astype(np.float64), len(texts)) + self.bias

    def predicted(self, texts: Sequence[Sequence[int]]) -> NDArray[np.int64]:
        """The class of each text, (N,)."""
        best: NDArray[np.int64] = self.scores(texts).argmax(1)
        return best

    def heaviest(self, count: int) -> list[list[tuple[int, float]]]:
        """Of each class the words that speak for it most, beside the mean of the others: numbers and weights."""
        k = self.weights.shape[1]
        beside = self.weights - (self.weights.sum(1, keepdims=True) - self.weights) / max(1, k - 1)
        order = np.argsort(-beside, axis=0, kind="stable")[:count]
        return [[(int(i), float(beside[i, c])) for i in order[:, c] if beside[i, c] > 0] for c in range(k)]

    def to_json(self) -> dict[str, Any]:
        """Plain values: the weights as base64 of little-endian float32."""
        packed = base64.b64encode(np.ascontiguousarray(self.weights, "<f4").tobytes()).decode()
        return {"classes": self.weights.shape[1], "weights": packed, "bias": self.bias.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WordWeights:
        """What ``to_json`` gave."""
        flat = np.frombuffer(base64.b64decode(values["weights"]), "<f4").astype(np.float32)
        return cls(flat.reshape(-1, int(values["classes"])), np.array(values["bias"], np.float32))


def fit(
    texts: Sequence[Sequence[int]], labels: NDArray[np.int64], classes: int, vocabulary: int, penalty: float = _PENALTY
) -> WordWeights:
    """Learn from the training texts.

    Args:
        texts: token numbers, N lists.
        labels: int64 (N,).
        classes: K; where there are two, one regression tells them apart.
        vocabulary: V.
        penalty: of half the squared weights.
    """
    rows, columns = present(texts)
    weights, bias = np.zeros((vocabulary, classes)), np.zeros(classes)
    for one in range(classes):
        if classes == 2 and one == 0:
            continue
        weights[:, one], bias[one] = _one(rows, columns, labels == one, vocabulary, penalty)
    return WordWeights(weights.astype(np.float32), bias.astype(np.float32))


def present(texts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each word that a text holds once: the number of the text, and of the word. Unknown words say nothing."""
    held = [sorted({token for token in text if token >= _SPECIAL}) for text in texts]
    rows = np.repeat(np.arange(len(held)), [len(words) for words in held])
    return rows, np.array([word for words in held for word in words], np.int64)


def _one(
    rows: NDArray[np.int64], columns: NDArray[np.int64], its: NDArray[np.bool_], vocabulary: int, penalty: float
) -> tuple[NDArray[np.float64], float]:
    """The words' weights (V,) and the bias of one class against the rest, by L-BFGS in float64."""
    counts = [np.bincount(columns[its[rows] == side], minlength=vocabulary) + _SMOOTHING for side in (True, False)]
    counts = [of_side * (np.arange(vocabulary) >= _SPECIAL) for of_side in counts]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(np.log((counts[0] / counts[0].sum()) / (counts[1] / counts[1].sum())))
    sign = np.where(its, 1.0, -1.0)
    values = torch.zeros(vocabulary + 1, dtype=torch.float64, requires_grad=True)
    # The bias has no penalty; the sums below run in one order, so the answer is the same on any number of threads.
    search = torch.optim.LBFGS([values], max_iter=_STEPS, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        now = values.detach().numpy()
        margin = sign * (_sums(rows, (ratio * now[:-1])[columns], len(its)) + now[-1])
        pull = -sign / (1 + np.exp(np.minimum(margin, 700)))
        slope = np.bincount(columns, weights=pull[rows], minlength=vocabulary) * ratio + penalty * now[:-1]
        values.grad = torch.from_numpy(np.append(slope, pull.sum()))
        return torch.tensor(np.logaddexp(0, -margin).sum() + penalty / 2 * (now[:-1] ** 2).sum())

    search.step(loss)  # type: ignore[no-untyped-call]
    found = values.detach().numpy()
    return ratio * found[:-1], float(found[-1])


def _sums(rows: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sums of values (M,) or (M, K) by their rows: (N,) or (N, K), each in the order in which they stand."""
    if values.ndim == 1:
        return np.bincount(rows, weights=values, minlength=count).astype(np.float64, copy=False)
    return np.stack([_sums(rows, column, count) for column in values.T], axis=1)
