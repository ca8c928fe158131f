"""The measures against torchmetrics and a loop over pixels; the loss and weights against what they say; tiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import UsageError
from pellucid.nets.unet import unet
from pellucid.train.execution import Execution
from pellucid.train.tasks.segmentation_loss import PixelCrossEntropy, class_weights
from pellucid.train.tasks.segmentation_measure import (
    SegmentationMeasured,
    always,
    confusion_of,
    measure,
    per_class,
    shares,
)
from pellucid.train.tasks.segmentation_tiles import probabilities

K = 5


def masks(seed: int = 0, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Truth with void, and a prediction that is often right, uint8 (N, 20, 30)."""
    chance = np.random.default_rng(seed)
    truth = chance.choice([0, 0, 0, 1, 2, 3, 255], (count, 20, 30)).astype(np.uint8)
    wrong = chance.integers(0, K, truth.shape)
    called = np.where((chance.random(truth.shape) < 0.6) & (truth != 255), truth, wrong).astype(np.uint8)
    return truth, called


def by_loops(truth: np.ndarray, called: np.ndarray) -> tuple[float, float, float, float]:
    """The four formulas of the paper, pixel by pixel; class 4 is never there, but called."""
    n = [[0] * K for _ in range(K)]
    for t, c in zip(truth.ravel().tolist(), called.ravel().tolist(), strict=True):
        if t != 255:
            n[t][c] += 1
    t = [sum(row) for row in n]
    seen = [sum(n[j][i] for j in range(K)) for i in range(K)]
    accuracies = [n[i][i] / t[i] for i in range(K) if t[i]]
    ious = {i: n[i][i] / (t[i] + seen[i] - n[i][i]) for i in range(K) if t[i] + seen[i]}
    return (
        sum(n[i][i] for i in range(K)) / sum(t),
        sum(accuracies) / len(accuracies),
        sum(ious.values()) / len(ious),
        sum(t[i] * iou for i, iou in ious.items()) / sum(t),
    )


def test_the_four_measures_are_the_paper_s() -> None:
    truth, called = masks()
    found = shares(confusion_of(truth, called, K))
    ours = (found.pixel_accuracy, found.mean_accuracy, found.mean_iou, found.frequency_weighted_iou)
    assert ours == pytest.approx(by_loops(truth, called), rel=1e-12)


def test_iou_and_accuracy_are_torchmetrics() -> None:
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

    truth, called = (torch.from_numpy(mask.astype(np.int64)) for mask in masks(1))
    settings: dict[str, Any] = {"num_classes": K, "ignore_index": 255}
    confusion = confusion_of(truth.numpy().astype(np.uint8), called.numpy(), K)
    np.testing.assert_array_equal(confusion, MulticlassConfusionMatrix(**settings)(called, truth).numpy())
    accuracies, ious = per_class(confusion)
    theirs = MulticlassJaccardIndex(average="none", **settings)(called, truth).numpy()
    np.testing.assert_allclose(ious, theirs, rtol=1e-6)
    recalls = MulticlassAccuracy(average="none", **settings)(called, truth).numpy()
    np.testing.assert_allclose(accuracies[:4], recalls[:4], rtol=1e-6)
    assert math.isnan(accuracies[4])
    weighted = MulticlassJaccardIndex(average="weighted", **settings)(called, truth).item()
    assert shares(confusion).frequency_weighted_iou == pytest.approx(weighted, rel=1e-6)


def test_always_the_same_answer() -> None:
    truth, called = masks()
    confusion = confusion_of(truth, called, K)
    wanted = shares(confusion_of(truth, np.zeros_like(truth), K))
    assert always(confusion, 0) == wanted
    assert wanted.pixel_accuracy == wanted.mean_iou * 4


def test_a_record_of_pictures_from_the_worst_to_the_best() -> None:
    truth, called = masks(count=30)
    called[7] = np.where(truth[7] == 255, 0, truth[7])
    called[9] = 4
    confusions = np.stack([confusion_of(t, c, K) for t, c in zip(truth, called, strict=True)])
    names = [f"p{i}" for i in range(30)]
    found = measure(confusions.sum(0), [shares(one) for one in confusions], 0.5, names, list("abcde"), 0, most=9)
    scores = [item.mean_iou for item in found.pictures]
    assert (found.pictures[0].name, found.pictures[-1].name) == ("p9", "p7")
    assert scores == sorted(scores)
    assert len(found.pictures) == 9
    own = sorted(shares(one).mean_iou for one in confusions)
    assert scores[:5] == own[:5]
    assert (found.score, found.always) == (found.mean_iou, "a")
    assert found.headline().startswith(f"mean IoU {found.mean_iou:.4f} on 30 pictures (calling every pixel a gives ")
    assert SegmentationMeasured.from_json(found.to_json()).to_json() == found.to_json()
    assert math.isnan(SegmentationMeasured.from_json(found.to_json()).per_class[4].accuracy)
    assert "frequency-weighted IoU" in found.text()


def test_pictures_of_void_alone_are_left_out() -> None:
    nothing = np.zeros((3, 3), np.int64)
    found = measure(nothing, [shares(nothing)] * 2, 0.0, ["a", "b"], ["x", "y", "z"], 1)
    assert found.pictures == ()
    assert math.isnan(found.mean_iou)


def pixel_losses(outputs: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None, smoothing: float) -> float:
    """By a loop: -sum_k w_k t_k log p_k over pixels that are not void, divided by their number."""
    logs = torch.log_softmax(outputs, 1)
    total, count = 0.0, 0
    for n, y, x in np.ndindex(*targets.shape):
        label = int(targets[n, y, x])
        if label == 255:
            continue
        count += 1
        for k in range(outputs.shape[1]):
            wanted = smoothing / outputs.shape[1] + (1 - smoothing) * (k == label)
            total -= wanted * float(logs[n, k, y, x]) * (1.0 if weight is None else float(weight[k]))
    return total / count


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_over_pixels_that_are_not_void(weighted: bool, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (2, 3, 5), generator=generator)
    targets[0, 1] = 255
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64) if weighted else None
    found = PixelCrossEntropy(weight, smoothing)(outputs, targets)
    assert found.item() == pytest.approx(pixel_losses(outputs, targets, weight, smoothing), rel=1e-9)


def test_the_loss_of_void_alone_is_nothing() -> None:
    outputs = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = PixelCrossEntropy()(outputs, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert not outputs.grad.any()  # type: ignore[union-attr]


COUNTS = np.array([[60, 40, 0, 0], [80, 10, 10, 0]])


def test_weights_of_classes_by_hand() -> None:
    np.testing.assert_allclose(class_weights("balanced", COUNTS), [200 / 560, 1.0, 5.0, 0.0])
    # frequencies: 140 of 200 pixels, 50 of 200, 10 of the 100 of the one picture; median 0.25
    np.testing.assert_allclose(class_weights("median_frequency", COUNTS), [0.25 / 0.7, 1.0, 2.5, 0.0], rtol=1e-6)
    root = class_weights("root", COUNTS)
    assert root is not None
    np.testing.assert_allclose(root[1] / root[0], math.sqrt(140 / 50), rtol=1e-6)
    assert float((root * torch.from_numpy(COUNTS.sum(0))).sum()) == pytest.approx(200, rel=1e-6)
    assert class_weights("none", COUNTS) is None


CPU = Execution(torch.device("cpu"), False, False)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 2, 150, 210, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def net() -> nn.Module:
    """It sees 15 pixels to each side at most."""
    torch.manual_seed(0)
    return unet(3, 2, channels=4, depth=1, batch_norm=True).train()


def test_tiles_are_the_whole_picture_where_the_network_sees_no_border(image: torch.Tensor, net: nn.Module) -> None:
    whole = probabilities(net, image, CPU)
    tiled = probabilities(net, image, CPU, tile=96, overlap=64)
    assert whole.shape == (3, 150, 210)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)
    assert net.training


def test_without_overlap_tiles_differ_at_their_borders_alone(image: torch.Tensor, net: nn.Module) -> None:
    whole = probabilities(net, image, CPU)
    tiled = probabilities(net, image, CPU, tile=96, overlap=0)
    off = np.abs(tiled - whole).max(0) > 1e-5
    assert off[:, 80:112].any()
    assert not off[16:80, 16:80].any()


def test_a_large_picture_is_tiled_of_itself(
    image: torch.Tensor, net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.train.tasks import segmentation_tiles as tiles

    seen: list[tuple[int, ...]] = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[2:])))
    whole = probabilities(net, image, CPU)
    monkeypatch.setattr(tiles, "WHOLE", 1000)
    monkeypatch.setattr(tiles, "TILE", 96)
    np.testing.assert_allclose(probabilities(net, image, CPU, overlap=64), whole, atol=1e-5)
    assert seen[0] == (150, 210)
    assert max(seen[1:]) <= (96, 96)


def test_tiles_must_be_larger_than_their_overlap(image: torch.Tensor, net: nn.Module) -> None:
    with pytest.raises(UsageError, match="tiles of 64 cannot overlap by 64 pixels"):
        probabilities(net, image, CPU, tile=40, overlap=50)
