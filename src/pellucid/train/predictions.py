"""What a network says of pictures: probabilities, and the classes that they speak for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pellucid.train.execution import Execution


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, the first the best."""

    name: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Predictions:
    """probabilities: float32 (N, classes). Iterates as one ``Prediction`` a picture."""

    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def labels(self) -> list[str]:
        """The best class of each picture."""
        return [self.classes[i] for i in self.probabilities.argmax(1)]

    def top(self, count: int) -> Iterator[Prediction]:
        """The ``count`` best classes of each picture."""
        for name, row in zip(self.names, self.probabilities, strict=True):
            order = np.argsort(-row, kind="stable")[:count]
            yield Prediction(name, tuple((self.classes[i], float(row[i])) for i in order))

    def __iter__(self) -> Iterator[Prediction]:
        return self.top(1)


@torch.no_grad()
def outputs_of(net: nn.Module, batches: Iterable[Any], execution: Execution) -> NDArray[np.float32]:
    """The outputs before the softmax, float32 (N, classes), in evaluation mode; the mode is put back."""
    training = net.training
    net.eval()
    try:
        parts = [execution.run(net, batch).float().cpu() for batch in batches]
    finally:
        net.train(training)
    outputs: NDArray[np.float32] = torch.cat(parts).numpy()
    return outputs


def probabilities_of(outputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """softmax over classes in double precision, (N, classes)."""
    shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result


def quick_measures(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Mean cross-entropy (``loss``) and ``accuracy``."""
    probabilities = probabilities_of(outputs)
    right = probabilities[np.arange(len(labels)), labels]
    return {
        "loss": float(-np.log(np.maximum(right, 1e-300)).mean()),
        "accuracy": float((outputs.argmax(1) == labels).mean()),
    }
