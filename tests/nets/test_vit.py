"""ViT against transformers' by mapped weights, forward and gradients; published counts; sizes that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor, nn

from pellucid import nets
from pellucid.errors import PellucidError
from pellucid.graph import capture
from pellucid.nets.vit import VisionTransformer


def small(**settings: Any) -> VisionTransformer:
    """Three layers of vit_mini's blocks, with norms and biases that are not 1 and 0."""
    torch.manual_seed(0)
    net = VisionTransformer(5, 3, (2, 3), 4, (16, 3, 4), settings.get("dropout", 0.0), 0.0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return net


RENAMED = {
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "norm.": "vit.layernorm.",
    "head.": "classifier.",
}
IN_BLOCKS = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def mapped(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names as transformers': queries, keys and values apart."""
    found: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            prefix, (part, kind) = f"vit.layers.{layer}", rest.rsplit(".", 1)
            if part == "attn.qkv":
                for one, third in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
                    found[f"{prefix}.attention.{one}.{kind}"] = third
            else:
                found[f"{prefix}.{IN_BLOCKS[part]}.{kind}"] = tensor
            continue
        start = next(start for start in RENAMED if name.startswith(start))
        found[name.replace(start, RENAMED[start], 1)] = tensor
    return found


def twin_of(own: VisionTransformer) -> tf.ViTForImageClassification:
    config = tf.ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=(8, 12),
        patch_size=4,
        num_labels=5,
        layer_norm_eps=1e-6,
    )
    twin = tf.ViTForImageClassification(config).eval()
    twin.load_state_dict(mapped(own.state_dict()))
    return twin.double()


def test_forward_and_gradients_against_transformers() -> None:
    own = small()
    twin = twin_of(own)
    own.double()
    pictures = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found, wanted = own(pictures), twin(pictures).logits
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    for outputs in (found, wanted):
        nn.functional.cross_entropy(outputs, torch.tensor([3, 1])).backward()
    gradients = mapped({name: weight.grad for name, weight in own.named_parameters() if weight.grad is not None})
    assert gradients.keys() == {name for name, _ in twin.named_parameters()}
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-8, atol=1e-11, msg=name)


@pytest.mark.parametrize(
    ("name", "count"), [("vit_tiny", 5_717_416), ("vit_small", 22_050_664), ("vit_b_16", 86_567_656)]
)
def test_parameters_are_as_published(name: str, count: int) -> None:
    with torch.device("meta"):
        net = nets.make(name, classes=1000, in_channels=3, image_size=224)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


NAMES = """cls_token pos_embed patch_embed.proj.weight patch_embed.proj.bias blocks.11.norm1.weight
    blocks.0.attn.qkv.weight blocks.0.attn.qkv.bias blocks.0.attn.proj.weight blocks.0.attn.proj.bias
    blocks.5.norm2.bias blocks.0.mlp.fc1.weight blocks.0.mlp.fc2.bias norm.weight norm.bias head.weight head.bias"""


@pytest.mark.parametrize("name", NAMES.split())
def test_weights_bear_published_names(name: str) -> None:
    with torch.device("meta"):
        assert name in nets.make("vit_tiny").state_dict()


@pytest.mark.parametrize(
    ("size", "patch", "grid"),
    [(32, "auto", (8, 8)), (28, "auto", (7, 7)), (224, "auto", (14, 14)), (224, 32, (7, 7)), ((16, 32), 8, (2, 4))],
)
def test_pictures_are_cut_into_patches(size: int | tuple[int, int], patch: int | str, grid: tuple[int, int]) -> None:
    with torch.device("meta"):
        net = nets.make("vit_mini", image_size=size, patch=patch)
    assert net.grid == grid


def test_patches_are_read_row_by_row() -> None:
    """A change of one patch's pixels changes one row after the matrix, in reading order."""
    net = small()
    pictures = torch.zeros(1, 3, 8, 12)
    before = net.patch_embed(pictures)
    pictures[0, :, 4:, 8:] = 1.0  # second row of patches, third column
    changed = (net.patch_embed(pictures) != before).any(2)[0]
    assert changed.tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 30}, "a picture of 30 x 30 cannot be cut into patches of 4 x 4"),
        ({"image_size": 3}, "too small for a patch of 4 x 4"),
        ({"patch": "four"}, "patch is 'four'"),
        ({"patch": 0}, "patch is 0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        nets.make("vit_mini", **settings)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_nothing_in_the_graph_is_unknown(training: bool) -> None:
    net = nets.make("vit_mini", classes=10, dropout=0.1, attention_dropout=0.1)
    graph = capture(net, (3, 32, 32), training=training)
    assert not graph.opaque
    assert not graph.specialized
    assert graph.account(2).macs == 2 * graph.account(1).macs > 0
