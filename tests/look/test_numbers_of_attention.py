"""Random numbers of the networks with attention opened, in training and in evaluation: every sum and gradient, back to
the queries, keys and values; and the weights and scores that a fused call makes on its way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid import nets
from pellucid.errors import ShapeError
from pellucid.look import Lens, Scene
from tests.look.numbers import check

TOKENS: dict[str, Any] = {"source_vocabulary": 20, "target_vocabulary": 24}
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("transformer", {**TOKENS, "width": 16, "heads": 4, "layers": 1, "feed_forward": 24}),
    "transformer_pre_norm": (
        "transformer",
        {**TOKENS, "width": 8, "heads": 2, "layers": 2, "feed_forward": 16, "attention_dropout": 0.2, "pre_norm": True},
    ),
    "seq2seq_gru": ("seq2seq", {**TOKENS, "width": 8}),
    "seq2seq_lstm": ("seq2seq", {**TOKENS, "width": 8, "cell": "lstm"}),
}


class TokenLoss(nn.Module):
    """Cross-entropy over the tokens that are no padding."""

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=0)


def made(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor], Tensor]:
    """A network, two pairs of which one has padding, and what comes next."""
    torch.manual_seed(0)
    factory, settings = NETS[name]
    net = nets.make(factory, **settings)
    source, target = net.example_inputs(2)
    source[0, 4:] = 0
    labels = target.roll(-1, 1)
    labels[1, -2:] = 0
    return net, (source, target), labels


MODES = [  # to capture one takes seconds: each kind of layer in both modes, each network in one
    ("transformer", False),
    ("transformer_pre_norm", True),
    ("seq2seq_gru", True),
    ("seq2seq_lstm", False),
]


@pytest.mark.parametrize(("name", "training"), MODES)
def test_terms_of_sequence_networks_add_up(name: str, training: bool) -> None:
    net, inputs, labels = made(name)
    checked = check(net, inputs, labels, training=training, count=150, boxes=0, loss=TokenLoss())
    assert not checked.wrong
    assert checked.activations + checked.gradients == 300
    assert checked.worst < 1e-5
    assert not checked.from_pytorch  # every operation here says its own derivative


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_terms_of_vit_add_up_and_boxes_hold(training: bool) -> None:
    torch.manual_seed(0)
    net = nets.make("vit_mini", classes=5, image_size=8, dropout=0.1, attention_dropout=0.2)
    pictures = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    checked = check(net, pictures, [3, 1], training=training, count=150, boxes=30)
    assert not checked.wrong
    assert checked.worst < 1e-5
    assert not checked.from_pytorch


@pytest.fixture(scope="module")
def scene() -> Scene:
    net, inputs, labels = made("transformer")
    return Lens(net, loss=TokenLoss()).open(inputs, labels)


def test_an_attended_number_opens_down_to_query_x_key(scene: Scene) -> None:
    """By hand: the weight is exp(score) over the sum of exponentials, the score the sum of query x key / sqrt(4)."""
    path = "decoder.layers.0.encoder_attn.attention"
    out = scene.at(path, (0, 1, 2, 3))
    assert len(out.terms()) == 12
    weight = out.terms()[3].weight
    assert weight is not None
    assert weight.address == f"{path}~weights[0,1,2,3]"
    score = weight.terms()[0].open()
    assert len(score.terms()) == 4
    query, key = (
        scene.values("decoder.layers.0.encoder_attn.q_proj"),
        scene.values("decoder.layers.0.encoder_attn.k_proj"),
    )
    q, k = query[0, 2].reshape(4, 4)[1].astype(np.float64), key[0].reshape(12, 4, 4)[:, 1].astype(np.float64)
    scores = k[:4] @ q / math.sqrt(4)  # the other eight keys are padding
    assert score.value == pytest.approx(float(scores[3]), rel=1e-5)
    assert weight.value == pytest.approx(float(np.exp(scores[3]) / np.exp(scores).sum()), rel=1e-5)
    assert scene.at(f"{path}~weights", (0, 1, 2, 5)).value == 0.0


def test_an_additive_weight_opens_down_to_its_tanh() -> None:
    net, inputs, _ = made("seq2seq_gru")
    opened = Lens(net).open(inputs)
    weight = opened.at("decoder.attention.softmax", (0, 0, 2))
    share = weight.terms()[0]
    assert share.role == "share"
    score = share.open()
    passed = []
    while score.operation != "Linear 8 to 1":
        passed.append(score.operation)
        score = score.terms()[0].open()
    assert passed == ["Masked fill", "Reshape"]
    assert len(score.terms()) == 8
    assert all(term.source is not None and term.source.operation == "Tanh" for term in score.terms())


def test_a_scene_of_two_inputs_knows_both(scene: Scene) -> None:
    assert scene.inputs == ("source", "target")
    assert scene.at("source", (0, 1)).kind == "pixel"
    assert scene.output.shape == (2, 10, 24)
    assert scene.loss.value > 0


def test_inputs_of_different_lengths_are_named() -> None:
    net, (source, target), _ = made("transformer")
    with pytest.raises(ShapeError, match=r"different first dimensions: \(2, 12\), \(1, 10\)"):
        Lens(net).open((source, target[:1]))
