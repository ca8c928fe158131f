"""The recipe of bench/speedrun.py: each of its parts does what the published listing says."""

from __future__ import annotations

import airbench
import pytest
import torch
from speedrun import Average, Batches, Pictures, Recipe, factor, optimizer_of, score, six_views, train
from torch import nn
from torch.nn import functional


def made(count: int, channels: int = 3, side: int = 32, seed: int = 0) -> Pictures:
    chance = torch.Generator().manual_seed(seed)
    images = torch.randn(count, channels, side, side, generator=chance).cumsum(-1) / side**0.5
    return Pictures(images, torch.randint(0, 10, (count,), generator=chance))


def test_the_network_has_the_published_size() -> None:
    net = airbench.airbench()
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 1_971_352
    sides = [32]
    x = torch.randn(2, 3, 32, 32)
    for layer in net:
        x = layer(x)
        if x.ndim == 4 and x.shape[-1] != sides[-1]:
            sides.append(x.shape[-1])
    assert sides == [32, 31, 15, 7, 3, 1]
    assert x.shape == (2, 10)
    assert airbench.airbench(in_channels=1)(torch.randn(2, 1, 28, 28)).shape == (2, 10)


def test_whitened_patches_are_not_correlated() -> None:
    pictures = made(50)
    net = airbench.airbench()
    airbench.whiten(net, pictures.images)
    first = net[0]
    assert isinstance(first, nn.Conv2d)
    assert not first.weight.requires_grad
    answers = functional.conv2d(pictures.images.double(), first.weight.double()).transpose(0, 1).flatten(1)
    half = len(answers) // 2
    assert torch.equal(answers[:half], -answers[half:])
    covariance = answers[:half] @ answers[:half].T / answers.shape[1]
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 1e-4
    assert covariance.diagonal().max() < 1
    # The largest eigenvalue first, hardly shrunk by the epsilon
    assert covariance[0, 0] == pytest.approx(1, abs=1e-3)


def test_the_first_kernels_hand_their_inputs_on() -> None:
    layer = airbench.convolution(4, 6)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(layer(x)[:, :4], x)
    assert not torch.equal(layer(x)[:, 4:], x[:, :2])


def test_the_rate_is_a_triangle() -> None:
    recipe = Recipe()
    rates = [factor(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[23] == 1
    assert rates[99] == pytest.approx(0.07, abs=0.02)
    assert rates[:24] == sorted(rates[:24])
    assert rates[23:] == sorted(rates[23:], reverse=True)


def test_biases_of_norms_learn_faster_and_decay_as_the_rest() -> None:
    fast, rest = optimizer_of(airbench.airbench(), Recipe()).param_groups
    assert fast["lr"] == pytest.approx(64 * rest["lr"])
    assert rest["lr"] == pytest.approx(11.5 / 1024 / (1 + 1 / 0.15))
    assert fast["lr"] * fast["weight_decay"] == pytest.approx(rest["lr"] * rest["weight_decay"])
    assert len(fast["params"]) == 6
    assert sum(p.numel() for group in (fast, rest) for p in group["params"]) == 1_971_352


def test_every_picture_is_seen_mirrored_in_one_of_two_epochs() -> None:
    pictures = made(8, side=10)
    batches = Batches(pictures, Recipe(batch=4), torch.Generator().manual_seed(1))
    padded = functional.pad(pictures.images, (2,) * 4, "reflect")
    views = {}
    for mirrored in (False, True):
        source = padded.flip(-1) if mirrored else padded
        for down in range(5):
            for right in range(5):
                views[mirrored, down, right] = source[:, :, down : down + 10, right : right + 10]
    seen: list[dict[int, bool]] = []
    for _ in range(2):
        seen.append({})
        for images, labels in batches:
            for image, label in zip(images, labels, strict=True):
                found = [
                    (i, mirrored)
                    for (mirrored, _, _), view in views.items()
                    for i in range(8)
                    if torch.equal(view[i], image)
                ]
                assert len(found) == 1
                i, mirrored = found[0]
                assert pictures.labels[i] == label
                seen[-1][i] = mirrored
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(8))
    assert all(seen[0][i] != seen[1][i] for i in range(8))
    assert len(set(seen[0].values())) == 2


def test_the_average_replaces_the_weights() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        average = Average(layer)
        layer.weight.fill_(3.0)
        average.update(0.75)
        assert layer.weight.item() == pytest.approx(1.5)
        layer.weight.fill_(7.0)
        average.update(1.0)
    assert layer.weight.item() == pytest.approx(1.5)


class Pixel(nn.Module):
    """Answers the second pixel of the first row as the score of class 1, against nothing for class 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x[:, 0, 0, 1]
        return torch.stack((torch.zeros_like(value), value), 1)


def test_six_views_are_weighed_as_published() -> None:
    weights = {(0, 1): 1 / 4, (0, 2): 1 / 4, (1, 0): 1 / 8, (1, 1): 1 / 8, (1, 2): 1 / 8, (1, 3): 1 / 8}
    for row in range(4):
        for column in range(4):
            image = torch.zeros(1, 1, 4, 4)
            image[0, 0, row, column] = 1
            assert six_views(Pixel(), image)[0, 1].item() == weights.get((row, column), 0), (row, column)


def test_the_score_is_that_of_the_views_asked_for() -> None:
    image = torch.zeros(3, 1, 4, 4)
    image[:, 0, 0, 1] = -1  # class 0 as it is
    image[:2, 0, 0, 2] = 2  # class 1 together with its mirror image
    pictures = Pictures(image, torch.tensor([1, 1, 1]))
    assert score(Pixel(), pictures, views=False) == 0
    assert score(Pixel(), pictures, views=True, batch=2) == pytest.approx(2 / 3)


def test_a_short_run_learns_and_leaves_the_whitening_alone() -> None:
    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (64,), generator=chance)
    images = torch.randn(64, 1, 28, 28, generator=chance) / 4
    images[torch.arange(64), 0, 2 * labels + 2] += 2.0  # a bright row says the class
    pictures = Pictures(images, labels)
    net = airbench.airbench(in_channels=1)
    first = net[0]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(first.bias, nn.Parameter)
    recipe = Recipe(epochs=5, batch=32)
    losses, biases = [], []
    for loss in train(net, net, pictures, recipe, seed=0):
        losses.append(loss)
        biases.append(first.bias.detach().clone())
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    assert not torch.equal(biases[0], biases[4])
    # Frozen after the third epoch; the average, taken at steps 5 and 10, alone may move it
    assert torch.equal(biases[6], biases[8])
    whitened = first.weight.detach().clone()
    airbench.whiten(net, pictures.images)
    assert torch.equal(first.weight, whitened)
