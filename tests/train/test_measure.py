"""Measures against torchmetrics, SciPy, and slow loops that a student can follow."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from pellucid.errors import ShapeError, TrainingError
from pellucid.train.measure import Measured, measure, wilson


def predictions(n: int, k: int, seed: int, *, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k) that lean to the truth, and labels (n,)."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, k, n)
    outputs = chance.normal(size=(n, k))
    outputs[np.arange(n), labels] += skill
    powers = np.exp(outputs * 1.7)
    return powers / powers.sum(1, keepdims=True), labels


def measured(p: Any, labels: Any, **options: Any) -> Measured:
    p = np.asarray(p)
    names = [f"picture {i}.png" for i in range(len(p))]
    return measure(p, np.asarray(labels), names, [f"class {i}" for i in range(p.shape[1])], **options)


@pytest.mark.parametrize(("n", "k"), [(500, 2), (700, 5), (900, 10), (400, 37)])
def test_measures_agree_with_torchmetrics(n: int, k: int) -> None:
    p, labels = predictions(n, k, seed=n)
    ours = measured(p, labels)
    theirs = torch.tensor(p), torch.tensor(labels)
    assert ours.n == n
    assert ours.accuracy == pytest.approx(multiclass_accuracy(*theirs, k, average="micro").item(), abs=1e-6)
    assert ours.confusion == tuple(map(tuple, multiclass_confusion_matrix(*theirs, k).tolist()))
    for name, function in (
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ):
        of_classes = [getattr(item, name) for item in ours.per_class]
        np.testing.assert_allclose(of_classes, function(*theirs, k, average="none").numpy(), atol=1e-6)
        assert getattr(ours, f"macro_{name}") == pytest.approx(function(*theirs, k, average="macro").item(), abs=1e-6)
    assert ours.loss == pytest.approx(torch.nn.functional.nll_loss(theirs[0].log(), theirs[1]).item(), rel=1e-9)
    error = multiclass_calibration_error(*theirs, k, n_bins=15).item()
    assert ours.calibration_error == pytest.approx(error, abs=1e-6)
    if k > 5:
        assert ours.top5 == pytest.approx(multiclass_accuracy(*theirs, k, average="micro", top_k=5).item(), abs=1e-6)
    else:
        assert ours.top5 is None


def test_calibration_bins_are_open_below_and_closed_above() -> None:
    """Guo et al. 2017, section 2: the bin of m is ((m - 1) / M, m / M]. Here by a loop over bins and pictures."""
    p, labels = predictions(800, 4, seed=3)
    p[:6] = [0.6, 0.4, 0.0, 0.0]  # 0.6 = 9/15 is on an edge
    confidence, right = p.max(1), p.argmax(1) == labels
    bins, error = [], 0.0
    for m in range(1, 16):
        inside = [i for i in range(800) if (m - 1) / 15 < confidence[i] <= m / 15]
        if inside:
            sure, share = sum(confidence[i] for i in inside) / len(inside), sum(right[i] for i in inside) / len(inside)
            bins.append((sure, share, len(inside)))
            error += len(inside) / 800 * abs(sure - share)
    ours = measured(p, labels)
    np.testing.assert_allclose([(b.confidence, b.accuracy, b.count) for b in ours.calibration], bins, atol=1e-12)
    assert ours.calibration_error == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 10), (7, 10), (10, 10), (9102, 10000), (99999, 100000)])
def test_interval_is_wilsons(right: int, n: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(right, n), (expected.low, expected.high), atol=1e-6)


def test_mistakes_are_the_surest_first_with_their_names() -> None:
    p, labels = predictions(300, 6, seed=8)
    wrong = [i for i in range(300) if int(np.argmax(p[i])) != labels[i]]
    wrong.sort(key=lambda i: -max(p[i]))
    ours = measured(p, labels, most=7)
    assert [item.index for item in ours.mistakes] == wrong[:7]
    assert [item.name for item in ours.mistakes] == [f"picture {i}.png" for i in wrong[:7]]
    assert [item.confidence for item in ours.mistakes] == [max(p[i]) for i in wrong[:7]]
    for item in ours.mistakes:
        assert item.truth == f"class {labels[item.index]}"
        assert item.predicted == f"class {np.argmax(p[item.index])}"
    assert measured(p, labels, most=0).mistakes == ()


def test_a_class_without_pictures_has_no_recall_and_counts_in_no_mean() -> None:
    # truth a, a, b; called a, b, b; nobody is c and nobody is called c
    ours = measured([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0]], [0, 0, 1])
    a, b, c = ours.per_class
    assert (a.precision, a.recall, a.f1, a.support) == (1.0, 0.5, pytest.approx(2 / 3), 2)
    assert (b.precision, b.recall, b.f1, b.support) == (0.5, 1.0, pytest.approx(2 / 3), 1)
    assert math.isnan(c.precision)
    assert math.isnan(c.recall)
    assert math.isnan(c.f1)
    assert c.support == 0
    assert (ours.macro_precision, ours.macro_recall, ours.macro_f1) == (0.75, 0.75, pytest.approx(2 / 3))


def test_one_picture() -> None:
    ours = measured([[0.25, 0.75]], [0])
    assert (ours.n, ours.accuracy, ours.loss) == (1, 0.0, pytest.approx(math.log(4)))
    assert ours.calibration_error == 0.75
    assert ours.interval[0] == 0.0
    assert 0.7 < ours.interval[1] < 0.8  # one failure says little
    assert len(ours.mistakes) == 1


def test_a_truth_of_probability_0_gives_a_finite_loss() -> None:
    ours = measured([[1.0, 0.0], [1.0, 0.0]], [1, 0])
    assert math.isfinite(ours.loss)
    assert ours.loss > 100


@pytest.mark.parametrize("empty", [False, True])
def test_json_gives_back_the_same(empty: bool) -> None:
    p, labels = predictions(200, 7, seed=1)
    if empty:
        p, labels = p[:1], labels[:1]  # six classes without a picture: NaN must survive
    ours = measured(p, labels)
    text = json.dumps(ours.to_json(), allow_nan=False)
    again = Measured.from_json(json.loads(text))
    assert repr(again) == repr(ours)  # repr, for NaN equals nothing
    assert ours.text() == again.text()


def test_json_of_before_there_were_macro_means_is_read() -> None:
    values = measured(*predictions(50, 3, seed=2)).to_json()
    del values["macro_precision"]
    assert math.isnan(Measured.from_json(values).macro_precision)


def test_text_says_the_numbers() -> None:
    text = measured([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0]], [0, 0, 1]).text()
    assert "accuracy           0.6667  (95%: 0.2077 to 0.9385) on 3 pictures" in text
    assert "class 0     1.0000  0.5000  0.6667         2" in text


@pytest.mark.parametrize(
    ("p", "labels", "error", "says"),
    [
        ([[0.5, 0.5]], [0, 1], ShapeError, "1 x 2 probabilities, 2 labels, 1 names, 2 classes"),
        (np.zeros((0, 2)), [], ShapeError, "0 x 2 probabilities"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 2], ShapeError, "label 2 of picture 1.png names none of 2 classes"),
        ([[0.5, 0.5]], [-1], ShapeError, "label -1 of picture 0.png"),
        ([[0.5, 0.5], [0.2, np.nan]], [0, 1], TrainingError, r"not finite for 1 of 2 pictures\n  first  picture 1.png"),
        ([[np.inf, 0.0]], [0], TrainingError, "not finite for 1 of 1"),
        ([[0.5, 0.5], [3.5, -1.0]], [0, 1], ShapeError, "for picture 1.png are no probabilities: they sum to 2.5"),
        ([[1.5, -0.5]], [0], ShapeError, "are no probabilities"),
    ],
)
def test_what_is_refused(p: Any, labels: list[int], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        measured(p, np.asarray(labels, np.int64))
