"""Where attention looks, against transformers' own weights, and rolled out against loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pellucid import Model, look, nets
from pellucid.data import Data
from pellucid.errors import ShapeError, UsageError
from pellucid.look.attention_page import write_attention
from pellucid.look.attention_weights import AttentionWeights
from pellucid.train.tasks.translation_attention import cross_attention


def theirs(kind: str) -> Any:
    """A small ViT of transformers with random weights, its attention fused ("sdpa") or written out ("eager")."""
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        image_size=12,
        patch_size=4,
        attn_implementation=kind,
    )
    return transformers.ViTForImageClassification(config).eval()


class Logits(nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x).logits
        return logits


PICTURES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_the_weights_are_those_that_transformers_gives(kind: str) -> None:
    with torch.no_grad():
        wanted = theirs("eager")(PICTURES, output_attentions=True).attentions
    found = look.attention(look.open(Logits(theirs(kind)), PICTURES))
    assert len(found) == len(wanted) == 2
    for own, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(own.weights, other.numpy(), rtol=0, atol=1e-6)


def test_a_weight_opens_under_its_path() -> None:
    scene = look.open(nets.make("vit_mini", classes=3, image_size=8), torch.randn(1, 3, 8, 8))
    layer = look.attention(scene)[1]
    number = scene.at(layer.path, (0, 2, 1, 3))
    assert number.value == pytest.approx(float(layer.weights[0, 2, 1, 3]))
    assert sum(term.product for term in number.terms()) == pytest.approx(number.value)


@pytest.mark.parametrize("name", ["seq2seq", "transformer"])
def test_words_that_a_token_looks_at(name: str) -> None:
    torch.manual_seed(0)
    net = nets.make(name, source_vocabulary=20, target_vocabulary=24, width=8).eval()
    source, before = net.example_inputs(2)
    wanted = cross_attention(net, source, before)
    assert wanted is not None
    found = look.attention(look.open(net, (source, before)))
    across = [one for one in found if "encoder_attn" in one.layer or name == "seq2seq"]
    if name == "seq2seq":  # one call a token
        joined = np.concatenate([one.mean for one in across], 1)
        np.testing.assert_allclose(joined, wanted[0].numpy(), rtol=0, atol=1e-6)
    else:
        for one, other in zip(across, wanted, strict=True):
            np.testing.assert_allclose(one.mean, other.numpy(), rtol=0, atol=1e-6)


def test_rolled_out_by_loops() -> None:
    chance = np.random.default_rng(0)
    layers = []
    for i in range(3):
        weights = chance.random((2, 4, 5, 5)).astype(np.float32)
        layers.append(AttentionWeights(str(i), str(i), weights / weights.sum(-1, keepdims=True)))
    for n in range(2):
        seen = [[float(i == j) for j in range(5)] for i in range(5)]
        for layer in layers:
            mean = layer.weights[n].mean(0).tolist()
            mixed = [[(mean[i][j] + (i == j)) / 2 for j in range(5)] for i in range(5)]
            seen = [[sum(mixed[i][k] * seen[k][j] for k in range(5)) for j in range(5)] for i in range(5)]
        np.testing.assert_allclose(look.rollout(layers)[n], seen, rtol=1e-6)
        np.testing.assert_allclose(look.rollout(layers)[n].sum(1), 1, rtol=1e-6)


def test_what_looks_elsewhere_is_not_rolled_out() -> None:
    across = AttentionWeights("a", "a", np.ones((1, 1, 2, 3), np.float32) / 3)
    with pytest.raises(ShapeError, match="cannot be rolled out"):
        look.rollout([across])


@pytest.mark.parametrize(
    ("places", "size", "wanted"),
    [
        (50, (28, 28), (1, 7, 7)),
        (197, (224, 224), (1, 14, 14)),
        (198, (224, 224), (2, 14, 14)),
        (49, (28, 28), (0, 7, 7)),
        (33, (16, 32), (1, 4, 8)),
    ],
)
def test_the_grid_of_patches(places: int, size: tuple[int, int], wanted: tuple[int, int, int]) -> None:
    assert look.grid_of(places, *size) == wanted


def test_places_that_are_no_grid() -> None:
    with pytest.raises(ShapeError, match="24 places are no grid of patches of a picture of 28 x 30"):
        look.grid_of(24, 28, 30)


def test_a_network_without_attention_is_told_so() -> None:
    with pytest.raises(UsageError, match="has no attention"):
        look.attention(look.open(nets.make("lenet"), torch.zeros(1, 1, 28, 28)))


def test_a_page_of_a_picture(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    pictures = chance.integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    model = Model("vit_mini")
    data = Data.from_arrays(pictures, np.arange(20) % 2, ("a", "b"))
    model.compile().fit(data, epochs=1, progress=False, folder=tmp_path / "run", batch_size=10)
    Image.fromarray(pictures[0]).save(tmp_path / "<i>one.png")
    said = write_attention(tmp_path / "page.html", tmp_path / "run", tmp_path / "<i>one.png")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert said == f"the maps of 6 layers are in {tmp_path / 'page.html'}"
    assert page.count("<figure>") == 1 + 6 * 4
    assert "&lt;i&gt;one.png" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    with pytest.raises(UsageError, match="is there already"):
        write_attention(tmp_path / "page.html", tmp_path / "run", tmp_path / "<i>one.png")
