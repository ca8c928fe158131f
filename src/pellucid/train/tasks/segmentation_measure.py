"""What predicted masks are worth: the four measures of Long, Shelhamer & Darrell (2015), section 5, and the classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.train.measure import without_nan

VOID = 255
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Shares:
    """With n_ij pixels of class i called class j, and t_i = sum_j n_ij of class i:

    pixel_accuracy: sum_i n_ii / sum_i t_i. mean_accuracy: the mean over classes of n_ii / t_i. mean_iou: the mean over
    classes of n_ii / (t_i + sum_j n_ji - n_ii), intersection over union. frequency_weighted_iou: the mean of the same,
    each class weighted by t_i. Classes for which there is nothing to divide by are left out of a mean.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float


@dataclass(frozen=True)
class OfClass:
    """One class: accuracy and intersection over union (NaN where there is none), and its share of the pixels."""

    name: str
    accuracy: float
    iou: float
    share: float


@dataclass(frozen=True)
class OfPicture:
    """One picture, by its index in the split: its own mean IoU over the classes that are in it or were seen in it."""

    name: str
    index: int
    mean_iou: float
    pixel_accuracy: float


@dataclass(frozen=True)
class SegmentationMeasured:
    """Everything that is measured on one split.

    n: pictures. pixels: those that are not void. loss: mean of -log p(truth) over them. baseline: the same measures for
    calling every pixel ``always``, the most frequent class of training. pictures: some from the worst to the best.
    """

    n: int
    pixels: int
    loss: float
    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    always: str
    baseline: Shares
    per_class: tuple[OfClass, ...]
    confusion: tuple[tuple[int, ...], ...]
    pictures: tuple[OfPicture, ...]

    @property
    def score(self) -> float:
        """The main figure: mean IoU."""
        return self.mean_iou

    def headline(self) -> str:
        """One line for a terminal."""
        return (
            f"mean IoU {self.mean_iou:.4f} on {self.n:,} pictures "
            f"(calling every pixel {self.always} gives {self.baseline.mean_iou:.4f})"
        )

    def text(self) -> str:
        """For a terminal."""
        rows = [
            ("mean IoU", self.mean_iou, self.baseline.mean_iou),
            ("pixel accuracy", self.pixel_accuracy, self.baseline.pixel_accuracy),
            ("mean accuracy", self.mean_accuracy, self.baseline.mean_accuracy),
            ("frequency-weighted IoU", self.frequency_weighted_iou, self.baseline.frequency_weighted_iou),
        ]
        lines = [f"{'':<24}network  always {self.always}"]
        lines += [f"{name:<24}{value:7.4f}  {other:7.4f}" for name, value, other in rows]
        lines += [f"{'loss':<24}{self.loss:7.4f}", "", f"on {self.pixels:,} pixels of {self.n:,} pictures", ""]
        width = max(5, *(len(item.name) for item in self.per_class))
        lines.append(f"{'class':<{width}}     IoU  accuracy   share")
        for item in self.per_class:
            lines.append(f"{item.name:<{width}}  {item.iou:6.4f}    {item.accuracy:6.4f}  {item.share:6.4f}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SegmentationMeasured:
        """What ``to_json`` gave."""
        own: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__}
        own["baseline"] = Shares(**_with_nan(own["baseline"]))
        own["per_class"] = tuple(OfClass(**_with_nan(item)) for item in own["per_class"])
        own["pictures"] = tuple(OfPicture(**_with_nan(item)) for item in own["pictures"])
        own["confusion"] = tuple(tuple(row) for row in own["confusion"])
        return cls(**_with_nan(own))


def _with_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in values.items()}


def confusion_of(truth: NDArray[np.uint8], called: NDArray[np.integer[Any]], classes: int) -> Counts:
    """Pixels of each class (rows) by what they were called (columns), (K, K); void pixels are left out.

    truth, called: of one shape; ``called`` holds classes alone.
    """
    there = truth != VOID
    pairs = truth[there].astype(np.int64) * classes + called[there].astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def shares(confusion: Counts) -> Shares:
    """The four measures of a table of counts (K, K); NaN where there is no pixel."""
    accuracies, ious = per_class(confusion)
    there, hits = confusion.sum(1), np.diag(confusion)
    whole = there.sum()
    weighted = float(np.nansum(there * ious) / whole) if whole else math.nan
    return Shares(
        pixel_accuracy=float(hits.sum() / whole) if whole else math.nan,
        mean_accuracy=_mean(accuracies),
        mean_iou=_mean(ious),
        frequency_weighted_iou=weighted,
    )


def per_class(confusion: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and IoU of each class, (K,) both; NaN where there is nothing to divide by."""
    hits = np.diag(confusion).astype(np.float64)
    there, union = confusion.sum(1), confusion.sum(1) + confusion.sum(0) - np.diag(confusion)
    nothing = np.full(len(hits), math.nan)
    accuracies = np.divide(hits, there, out=nothing.copy(), where=there > 0)
    return accuracies, np.divide(hits, union, out=nothing, where=union > 0)


def always(confusion: Counts, label: int) -> Shares:
    """The measures of calling every pixel ``label``."""
    fixed = np.zeros_like(confusion)
    fixed[:, label] = confusion.sum(1)
    return shares(fixed)


def measure(
    confusion: Counts,
    own: Sequence[Shares],
    loss: float,
    names: Sequence[str],
    classes: Sequence[str],
    frequent: int,
    *,
    most: int = 12,
) -> SegmentationMeasured:
    """Measure predicted masks.

    Args:
        confusion: of all pictures together, (K, K).
        own: the measures of each picture by itself, N.
        loss: mean of -log p(truth) over pixels that are not void.
        names: of the pictures, N.
        classes: names of the classes, K.
        frequent: the most frequent class of the training masks.
        most: how many pictures to keep: half of them the worst, the others evenly from there to the best.
    """
    accuracies, ious = per_class(confusion)
    there = confusion.sum(1)
    measurable = [i for i, one in enumerate(own) if not math.isnan(one.mean_iou)]
    order = sorted(measurable, key=lambda i: (own[i].mean_iou, i))
    return SegmentationMeasured(
        n=len(own),
        pixels=int(there.sum()),
        loss=loss,
        **asdict(shares(confusion)),
        always=classes[frequent],
        baseline=always(confusion, frequent),
        per_class=tuple(
            OfClass(name, float(accuracy), float(iou), float(count / max(1, there.sum())))
            for name, accuracy, iou, count in zip(classes, accuracies, ious, there, strict=True)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        pictures=tuple(
            OfPicture(str(names[i]), i, own[i].mean_iou, own[i].pixel_accuracy) for i in _shown(order, most)
        ),
    )


def _shown(order: Sequence[int], most: int) -> list[int]:
    """The worst half of ``most``, and the rest evenly spaced to the best."""
    worst, rest = list(order[: most - most // 2]), list(order[most - most // 2 :])
    if not rest:
        return worst
    places = np.linspace(0, len(rest) - 1, min(most // 2, len(rest))).round().astype(int)
    return worst + [rest[i] for i in dict.fromkeys(places.tolist())]


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan
