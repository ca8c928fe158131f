"""Two classifiers on the same things: is one better, or is it chance?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ShapeError

_Z = 1.959964
_LEVEL = 0.05


@dataclass(frozen=True)
class Paired:
    """How a first and a second classifier did on the same n things.

    only_first, only_second: how many one alone has right. difference: of their accuracies, first - second, with its 95%
    interval for paired shares (Wald, as in Agresti 2013, eq. 11.2). p_value: of McNemar's exact test (1947): how likely
    such a split of the things on which they differ, or a more uneven one, would be if both were equally good.
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    interval: tuple[float, float]
    p_value: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``not distinguishable``, at 5%: what the first is beside the second."""
        if self.p_value >= _LEVEL:
            return "not distinguishable"
        return "better" if self.difference > 0 else "worse"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "interval": list(self.interval), "verdict": self.verdict}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Paired:
        """What ``to_json`` gave."""
        own = {name: values[name] for name in cls.__dataclass_fields__}
        return cls(**{**own, "interval": tuple(own["interval"])})


def paired(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare by which things each has right.

    Args:
        first, second: whether each thing was right, (N,) both, in one order.

    Raises:
        ShapeError: where they are not of one length, at least 1.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ShapeError(f"{first.shape} answers beside {second.shape}", fits="one for each of the same things")
    n, b, c = len(first), int((first & ~second).sum()), int((~first & second).sum())
    difference = (b - c) / n
    half = _Z * math.sqrt(max(0.0, (b + c) - (b - c) ** 2 / n)) / n
    return Paired(n, b, c, difference, (max(-1.0, difference - half), min(1.0, difference + half)), mcnemar(b, c))


def mcnemar(b: int, c: int) -> float:
    """The two-sided exact p-value: twice the chance of at most min(b, c) heads in b + c throws of a fair coin.

    >>> mcnemar(1, 5)
    0.21875
    """
    n, least = b + c, min(b, c)
    ways, total = 1, 1  # whole numbers: nothing is lost however many there are
    for i in range(1, least + 1):
        ways = ways * (n - i + 1) // i
        total += ways
    return min(1.0, (2 * total) / (1 << n))
