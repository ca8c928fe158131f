"""What a classifier's probabilities are worth: accuracy, confusion, precision and recall, calibration, mistakes.

Counted with NumPy from the finished probabilities, once: torchmetrics, which takes seconds to import and knows neither
file names nor intervals, is what the tests compare with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ShapeError, TrainingError

BINS = 15


@dataclass(frozen=True)
class OfClass:
    """One class: of those called it, how many are it (precision); of those that are it, how many are called it (recall)
    and the harmonic mean of the two (F1); how many there are (support). NaN where nothing can be divided by."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Bin:
    """Pictures whose confidence lies in one interval: their mean confidence, the share that is right, their number."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Mistake:
    """A picture that was called something else, by its index in the split."""

    name: str
    truth: str
    predicted: str
    confidence: float
    index: int


@dataclass(frozen=True)
class Measured:
    """Everything that is measured on one split.

    loss: mean of -log p(truth). confusion: counts [truth][predicted]. calibration_error: the expected calibration error
    (Guo et al. 2017, eq. 3) over 15 bins. interval: Wilson's 95% interval of the accuracy. top5: None up to 5 classes.
    macro_*: means over the classes for which there is a value, each class counting the same.
    """

    n: int
    loss: float
    accuracy: float
    interval: tuple[float, float]
    top5: float | None
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_class: tuple[OfClass, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[Bin, ...]
    calibration_error: float
    mistakes: tuple[Mistake, ...]

    @property
    def score(self) -> float:
        """The main figure: accuracy."""
        return self.accuracy

    def headline(self, things: str = "pictures") -> str:
        """One line for a terminal."""
        return f"accuracy {self.accuracy:.4f} on {self.n:,} {things}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measured:
        """What ``to_json`` gave."""
        own: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__ if not name.startswith("macro")}
        own["per_class"] = tuple(_of_class(item) for item in own["per_class"])
        own["calibration"] = tuple(Bin(**item) for item in own["calibration"])
        own["mistakes"] = tuple(Mistake(**item) for item in own["mistakes"])
        own["confusion"] = tuple(tuple(row) for row in own["confusion"])
        own["interval"] = tuple(own["interval"])
        for name in ("macro_precision", "macro_recall", "macro_f1"):
            own[name] = math.nan if values.get(name) is None else float(values[name])
        return cls(**own)

    def text(self, things: str = "pictures") -> str:
        """For a terminal."""
        low, high = self.interval
        lines = [
            f"accuracy           {self.accuracy:.4f}  (95%: {low:.4f} to {high:.4f}) on {self.n:,} {things}",
            f"loss               {self.loss:.4f}",
            *([f"top 5              {self.top5:.4f}"] if self.top5 is not None else []),
            f"calibration error  {self.calibration_error:.4f}",
            "",
        ]
        width, column = max(5, *(len(item.name) for item in self.per_class)), max(8, len(things))
        lines.append(f"{'class':<{width}}  precision  recall      F1  {things:>8}")
        for item in self.per_class:
            values = f"{item.precision:9.4f}  {item.recall:6.4f}  {item.f1:6.4f}  {item.support:{column},}"
            lines.append(f"{item.name:<{width}}  {values}")
        means = f"{self.macro_precision:9.4f}  {self.macro_recall:6.4f}  {self.macro_f1:6.4f}  {self.n:{column},}"
        return "\n".join([*lines, "", f"{'mean':<{width}}  {means}"])


def measure(
    probabilities: NDArray[Any],
    labels: NDArray[np.int64],
    names: Sequence[str],
    classes: Sequence[str],
    *,
    most: int = 25,
) -> Measured:
    """Measure predictions.

    Args:
        probabilities: of each class for each picture, (N, K); rows sum to 1.
        labels: the truth, (N,).
        names: of the pictures, N.
        classes: names of the classes, K.
        most: how many of the most confident mistakes to keep.

    Raises:
        ShapeError: where the sizes do not fit together, a label names no class, or rows are no probabilities.
        TrainingError: where a probability is NaN or infinite.
    """
    p, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    _check(p, labels, names, classes)
    n, k = p.shape
    predicted = p.argmax(1)
    right = predicted == labels
    confidence = p[np.arange(n), predicted]
    confusion = np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)
    per_class = _per_class(confusion, classes)
    bins = _calibration(confidence, right)
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    return Measured(
        n=n,
        loss=float(-np.log(np.maximum(p[np.arange(n), labels], 1e-300)).mean()),
        accuracy=float(right.mean()),
        interval=wilson(int(right.sum()), n),
        top5=_top(p, labels, 5) if k > 5 else None,
        macro_precision=_mean(item.precision for item in per_class),
        macro_recall=_mean(item.recall for item in per_class),
        macro_f1=_mean(item.f1 for item in per_class),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        calibration=bins,
        calibration_error=sum(item.count / n * abs(item.accuracy - item.confidence) for item in bins),
        mistakes=tuple(
            Mistake(str(names[i]), classes[labels[i]], classes[predicted[i]], float(confidence[i]), int(i))
            for i in worst
        ),
    )


def wilson(right: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927): honest for few pictures and near 1."""
    share, zz = right / n, z * z / n
    middle = (share + zz / 2) / (1 + zz)
    half = z / (1 + zz) * math.sqrt(share * (1 - share) / n + zz / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _check(p: NDArray[np.float64], labels: NDArray[np.int64], names: Sequence[str], classes: Sequence[str]) -> None:
    shape = " x ".join(map(str, p.shape))
    if p.ndim != 2 or p.shape != (len(names), len(classes)) or labels.shape != p.shape[:1] or p.size == 0:
        raise ShapeError(
            f"{shape} probabilities, {len(labels)} labels, {len(names)} names, {len(classes)} classes",
            fits="N x K probabilities of N labels and N names in K classes, N at least 1",
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= p.shape[1]))
    if len(wrong):
        raise ShapeError(
            f"label {labels[wrong[0]]} of {names[wrong[0]]} names none of {p.shape[1]} classes",
            fits=f"labels from 0 to {p.shape[1] - 1}",
        )
    bad = np.flatnonzero(~np.isfinite(p).all(1))
    if len(bad):
        raise TrainingError(
            f"the network's outputs are not finite for {len(bad):,} of {len(p):,} pictures",
            first=names[bad[0]],
            fits="train again with a lower learning rate",
        )
    off = np.flatnonzero((np.abs(p.sum(1) - 1) > 0.01) | (p < 0).any(1))
    if len(off):
        raise ShapeError(
            f"the outputs for {names[off[0]]} are no probabilities: they sum to {p[off[0]].sum():.4g}",
            fits="what softmax gives: none negative, each row sums to 1",
        )


def _mean(values: Iterable[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return float(np.mean(there)) if there else math.nan


def _of_class(values: Mapping[str, Any]) -> OfClass:
    shares = {name: math.nan if values[name] is None else float(values[name]) for name in ("precision", "recall", "f1")}
    return OfClass(name=str(values["name"]), support=int(values["support"]), **shares)


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> tuple[OfClass, ...]:
    hits, called, there = np.diag(confusion), confusion.sum(0), confusion.sum(1)

    def share(part: int, whole: int) -> float:
        return float(part / whole) if whole else math.nan

    return tuple(
        OfClass(
            str(classes[i]),
            share(hits[i], called[i]),
            share(hits[i], there[i]),
            share(2 * hits[i], called[i] + there[i]),
            int(there[i]),
        )
        for i in range(len(classes))
    )


def _calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    # Guo's bins are open below and closed above, ((m - 1) / M, m / M]
    index = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = []
    for i in range(BINS):
        inside = index == i
        if inside.any():
            bins.append(Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    return tuple(bins)


def _top(p: NDArray[np.float64], labels: NDArray[np.int64], count: int) -> float:
    best = np.argpartition(-p, count - 1, axis=1)[:, :count]
    return float((best == labels[:, None]).any(1).mean())


def without_nan(value: Any) -> Any:
    """Records as JSON takes them: NaN becomes None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
