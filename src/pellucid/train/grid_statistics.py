"""Which differences between ways of training are larger than the noise of a few seeds.

Welch's t-test of each pair that is compared (1947, with Satterthwaite's degrees of freedom): the seeds of the two may
spread differently. Its p-values are Holm's over all the pairs (1979), so that the chance of calling any difference real
that is none stays below 5%.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.05  # the chance, at most, of calling any of the differences real where all are chance


@dataclass(frozen=True)
class Difference:
    """Two ways of training compared.

    mean: of the first minus the second; low, high: its 95% interval. p: Welch's; adjusted: Holm's. visible:
    the smallest difference that would have been larger than the noise, with these spreads and so many seeds, at the
    level that Holm's procedure has for the pair. None where fewer than two seeds, or no spread at all, say nothing.
    """

    one: str
    other: str
    mean: float
    low: float | None
    high: float | None
    p: float | None
    adjusted: float | None
    visible: float | None

    @property
    def is_larger(self) -> bool:
        """Than the noise."""
        return self.adjusted is not None and self.adjusted < LEVEL


def spread(scores: Sequence[float]) -> float | None:
    """The standard deviation over seeds (n - 1 in its denominator); None for fewer than two."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95% interval of the mean over seeds; None for fewer than two."""
    deviation = spread(scores)
    if deviation is None:
        return None
    half = float(stdtrit(len(scores) - 1, 1 - LEVEL / 2)) * deviation / math.sqrt(len(scores))
    middle = float(np.mean(scores))
    return middle - half, middle + half


def differences(scores: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """Each pair compared.

    Args:
        scores: of each way of training, one a seed.
        pairs: the names of two that are compared.
    """
    tests = [_welch(scores[one], scores[other]) for one, other in pairs]
    known = [test[0] for test in tests if test is not None]
    adjusted, levels = iter(holm(known)), iter(_levels(known))
    found = []
    for (one, other), test in zip(pairs, tests, strict=True):
        mean = float(np.mean(scores[one]) - np.mean(scores[other]))
        if test is None:
            found.append(Difference(one, other, mean, None, None, None, None, None))
            continue
        p, error, freedom = test
        half = error * float(stdtrit(freedom, 1 - LEVEL / 2))
        visible = error * float(stdtrit(freedom, 1 - next(levels) / 2))
        found.append(Difference(one, other, mean, mean - half, mean + half, p, next(adjusted), visible))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: the k-th smallest of m times m - k + 1, none below a smaller one's, none above 1."""
    m, highest = len(p_values), 0.0
    adjusted = [0.0] * m
    for k, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - k) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def _levels(p_values: Sequence[float]) -> list[float]:
    """What Holm's procedure compares each p-value with: the k-th smallest of m with 5% / (m - k + 1)."""
    m = len(p_values)
    ranks = {i: k for k, i in enumerate(sorted(range(m), key=lambda i: p_values[i]))}
    return [LEVEL / (m - ranks[i]) for i in range(m)]


def _welch(one: Sequence[float], other: Sequence[float]) -> tuple[float, float, float] | None:
    """p of two sides, the standard error of the difference, and the degrees of freedom (Satterthwaite 1946)."""
    if min(len(one), len(other)) < 2:
        return None
    parts = [float(np.var(scores, ddof=1)) / len(scores) for scores in (one, other)]
    error = math.sqrt(sum(parts))
    if not error:
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(scores) - 1) for part, scores in zip(parts, (one, other), strict=True)
    )
    t = abs(float(np.mean(one) - np.mean(other))) / error
    return 2 * float(stdtr(freedom, -t)), error, freedom
