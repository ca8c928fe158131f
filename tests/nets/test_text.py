"""TextCNN and the bag of words: against loops in float64, whatever the padding; counted, summed up, opened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import nets
from pellucid.errors import UsageError
from pellucid.look import Lens
from pellucid.summarize import summary
from tests.look.numbers import check
from tests.oracles.text import bag_scores, loss_of, numeric_gradient, textcnn_scores

SENTENCES = [[5, 7, 9, 3, 11, 2, 2], [8], [4, 4], [6, 10, 3, 5, 9]]
LABELS = [0, 2, 1, 1]
ORACLES = {"textcnn": textcnn_scores, "bag_of_words": bag_scores}
SMALL: dict[str, dict[str, Any]] = {
    "textcnn": {"classes": 3, "vocabulary": 12, "width": 4, "kernels": (1, 3, 4), "maps": 3},
    "bag_of_words": {"classes": 3, "vocabulary": 12, "width": 4},
}


def small(name: str) -> nn.Module:
    """In evaluation mode and float64, with numbers of many sizes."""
    torch.manual_seed(3)
    net = nets.make(name, **SMALL[name]).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        net.embedding.weight[0] = 0
    return net


def padded(sentences: list[list[int]], more: int = 0) -> torch.Tensor:
    length = max(map(len, sentences)) + more
    return torch.tensor([[*sentence, *[0] * (length - len(sentence))] for sentence in sentences])


def arrays(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("name", ORACLES)
def test_scores_are_those_of_the_loops(name: str) -> None:
    net = small(name)
    wanted = [ORACLES[name](arrays(net), sentence) for sentence in SENTENCES]
    np.testing.assert_allclose(net(padded(SENTENCES)).detach().numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ORACLES)
def test_gradients_are_those_of_the_loops(name: str) -> None:
    net = small(name)

    def loss(weights: dict[str, np.ndarray]) -> float:
        return float(
            np.mean([loss_of(ORACLES[name](weights, s), label) for s, label in zip(SENTENCES, LABELS, strict=True)])
        )

    nn.functional.cross_entropy(net(padded(SENTENCES, 2)), torch.tensor(LABELS)).backward()
    weights, random = arrays(net), np.random.default_rng(1)
    for key, parameter in net.named_parameters():
        for _ in range(6):
            at = tuple(int(random.integers(n)) for n in parameter.shape)
            if key == "embedding.weight" and at[0] == 0:
                continue
            wanted = numeric_gradient(weights, key, at, loss)
            assert abs(float(parameter.grad[at]) - wanted) < 1e-8, f"{key} at {at}"


@pytest.mark.parametrize("more", [1, 2, 5, 40])
@pytest.mark.parametrize("name", ORACLES)
def test_padding_changes_nothing(name: str, more: int) -> None:
    """With biases so high that an empty window would win."""
    net = small(name)
    with torch.no_grad():
        for conv in getattr(net, "convs", ()):
            conv.bias += 5.0
    alone = torch.cat([net(padded([sentence])) for sentence in SENTENCES])
    torch.testing.assert_close(net(padded(SENTENCES, more)), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ORACLES)
def test_padding_learns_nothing(name: str) -> None:
    net = small(name)
    net(padded(SENTENCES, 3)).square().sum().backward()
    assert not net.embedding.weight.grad[0].any()
    assert net.embedding.weight.grad[2].any()


@pytest.mark.parametrize(
    ("name", "classes", "vocabulary", "wanted"),
    [
        ("textcnn", 2, 18_765, 18_765 * 300 + 360_300 + 602),  # the vocabulary of Kim's MR
        ("textcnn", 6, 1_000, 300_000 + 360_300 + 1_806),
        ("bag_of_words", 2, 1_000, 300_000 + 602),
    ],
)
def test_parameter_counts(name: str, classes: int, vocabulary: int, wanted: int) -> None:
    with torch.device("meta"):
        net = nets.make(name, classes=classes, vocabulary=vocabulary)
    assert sum(parameter.numel() for parameter in net.parameters()) == wanted


def test_kernels_span_3_4_and_5_words_with_100_maps_each() -> None:
    with torch.device("meta"):
        net = nets.make("textcnn", vocabulary=50)
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert shapes["convs.0.weight"] == (100, 300, 3)
    assert shapes["convs.1.weight"] == (100, 300, 4)
    assert shapes["convs.2.weight"] == (100, 300, 5)
    assert shapes["fc.weight"] == (2, 300)


@pytest.mark.parametrize("name", ORACLES)
def test_summary_describes_every_operation(name: str) -> None:
    table = summary(small(name).float(), show=False)
    assert [row.name for row in table.account.rows if row.kind == "opaque"] == []
    assert not table.account.missing
    assert table.account.parameters == sum(p.numel() for p in small(name).parameters())


def test_multiply_accumulates_are_those_of_the_windows() -> None:
    """A kernel of k tokens stands at 20 + k - 1 places of 20 tokens; the last layer has 9 x 3."""
    table = summary(small("textcnn").float(), show=False)
    assert table.account.macs == sum(3 * 4 * k * (20 + k - 1) for k in (1, 3, 4)) + 9 * 3


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_any_number_opens(name: str, training: bool) -> None:
    found = check(small(name).float(), padded(SENTENCES, 1), LABELS, training=training, count=75, boxes=0)
    assert found.wrong == []
    assert not found.from_pytorch
    assert found.activations + found.gradients == 150


def test_a_number_of_a_map_opens_into_words_times_kernel() -> None:
    net = small("textcnn").float()
    scene = Lens(net).open(padded([SENTENCES[0]]))
    number = scene.at("convs.1", (0, 2, 4))  # window 4 of three tokens holds tokens 2 to 4
    terms = number.terms()
    kernel, table = net.convs[1].weight[2].detach(), net.embedding.weight.detach()
    wanted = [float(kernel[d, tap] * table[SENTENCES[0][2 + tap], d]) for d in range(4) for tap in range(3)]
    found = [terms[i].product for i in range(len(terms)) if terms[i].role != "bias"]
    np.testing.assert_allclose(sorted(found), sorted(wanted), rtol=1e-5, atol=1e-7)


def test_the_gradient_of_a_word_is_the_sum_over_its_places() -> None:
    """Token 2 stands twice in the first sentence, and nowhere else."""
    net = small("textcnn").float()
    scene = Lens(net).open(padded(SENTENCES), LABELS)
    gradient = scene.at("embedding.weight", (2, 1)).gradient()
    assert gradient.adds_up
    assert len(gradient.terms()) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 1}, "a vocabulary of 1 has no token beside padding"),
        ({"kernels": (3, 0)}, r"kernels is \(3, 0\): a layer has at least one number"),
        ({"maps": 0}, "maps is 0"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nets.make("textcnn", **settings)
