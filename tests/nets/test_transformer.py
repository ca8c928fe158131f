"""The Transformer against torch.nn.Transformer and Marian, forward and gradients; masks; decoding with a cache."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor, nn

from pellucid import nets
from pellucid.errors import UsageError
from pellucid.graph import capture
from pellucid.nets.attention import earlier, sinusoids
from pellucid.nets.decoding import rows
from pellucid.nets.transformer import Transformer, transformer

SMALL: dict[str, Any] = {
    "source_vocabulary": 20,
    "target_vocabulary": 24,
    "width": 16,
    "heads": 4,
    "layers": 2,
    "feed_forward": 32,
}


def small(**settings: Any) -> Transformer:
    torch.manual_seed(0)
    net = transformer(**{**SMALL, **settings}).eval()
    generator = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        if weight.ndim == 1:  # norms and biases that are not 1 and 0
            with torch.no_grad():
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return net


def pairs(batch: int = 3, source: int = 7, target: int = 6) -> tuple[Tensor, Tensor]:
    """Sources of 7, 5 and 3 tokens, filled up with padding."""
    generator = torch.Generator().manual_seed(2)
    left = torch.randint(1, 20, (batch, source), generator=generator)
    for row, length in enumerate((7, 5, 3)[:batch]):
        left[row, length:] = 0
    return left, torch.randint(1, 24, (batch, target), generator=generator)


class Twin(nn.Module):
    """The same network out of torch.nn's layers."""

    def __init__(self, own: Transformer, pre_norm: bool) -> None:
        super().__init__()
        norms = (nn.LayerNorm(16), nn.LayerNorm(16)) if pre_norm else (None, None)
        shape: dict[str, Any] = {"dim_feedforward": 32, "dropout": 0.0, "batch_first": True, "norm_first": pre_norm}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 4, **shape), 2, norms[0], enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, **shape), 2, norms[1])
        self.source, self.target = nn.Embedding(20, 16), nn.Embedding(24, 16)
        self.out = nn.Linear(16, 24, bias=False)
        self.double()
        with torch.no_grad():
            for name, value in mapped(dict(own.named_parameters())).items():
                self.get_parameter(name).copy_(value)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        padding = source == 0
        left = self.source(source) * math.sqrt(16) + sinusoids(source.shape[1], 16)
        right = self.target(target) * math.sqrt(16) + sinusoids(target.shape[1], 16)
        states = self.encoder(left, src_key_padding_mask=padding)
        found = self.decoder(
            right, states, tgt_mask=~earlier(target.shape[1]), tgt_is_causal=True, memory_key_padding_mask=padding
        )
        return self.out(found)


def mapped(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors (weights or their gradients) under torch.nn's names, queries, keys and values in one."""
    found: dict[str, Tensor] = {}
    renamed = {
        "self_attn_layer_norm": "norm1",
        "encoder_attn_layer_norm": "norm2",
        "encoder_attn": "multihead_attn",
        "fc1": "linear1",
        "fc2": "linear2",
        ".layer_norm": ".norm",
    }
    for name, tensor in own.items():
        if name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"):
            short = {"encoder.e": "source", "decoder.e": "target", "decoder.o": "out"}[name[:9]]
            found[f"{short}.weight"] = tensor
            continue
        last = "norm2" if name.startswith("encoder") else "norm3"
        for before, after in {**renamed, "final_layer_norm": last}.items():
            name = name.replace(before, after)
        for part in ("q_proj", "k_proj", "v_proj"):
            if f".{part}." in name:
                joined = name.replace(f".{part}.", ".in_proj_")
                found[joined] = torch.cat([found[joined], tensor]) if joined in found else tensor
                break
        else:
            found[name] = tensor
    return found


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post_norm", "pre_norm"])
def test_forward_against_torch(pre_norm: bool) -> None:
    own = small(pre_norm=pre_norm, tied="none").double()
    source, target = pairs()
    twin = Twin(own, pre_norm)
    torch.testing.assert_close(own(source, target), twin(source, target), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post_norm", "pre_norm"])
def test_gradients_against_torch(pre_norm: bool) -> None:
    own = small(pre_norm=pre_norm, tied="none").double()
    twin = Twin(own, pre_norm)
    source, target = pairs()
    labels = torch.arange(18) % 24
    for net in (own, twin):
        nn.functional.cross_entropy(net(source, target).flatten(0, 1), labels).backward()
    gradients = mapped({name: weight.grad for name, weight in own.named_parameters() if weight.grad is not None})
    wanted = {name: weight.grad for name, weight in twin.named_parameters()}
    wanted["source.weight"][0] = 0  # torch's table here has no row that pads
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-7, atol=1e-10, msg=name)


def marian(own: Transformer) -> tf.MarianMTModel:
    """Marian with our weights: the published names are ours behind ``model.``."""
    config = tf.MarianConfig(
        vocab_size=20,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=16,
        pad_token_id=0,
        decoder_start_token_id=1,
        eos_token_id=2,
        forced_eos_token_id=2,
        attn_implementation="eager",
    )
    twin = tf.MarianMTModel(config).eval()
    weights = {f"model.{name}": value for name, value in own.state_dict().items()}
    weights["lm_head.weight"] = weights.pop("model.decoder.output_projection.weight")
    weights["model.shared.weight"] = weights["model.decoder.embed_tokens.weight"]
    weights["final_logits_bias"] = torch.zeros(1, 20)
    for side in ("encoder", "decoder"):  # Marian puts all sines first, the paper every sine beside its cosine
        weights[f"model.{side}.embed_positions.weight"] = sinusoids(16, 16)
    twin.load_state_dict(weights)
    return twin


def test_forward_and_gradients_against_marian() -> None:
    own = small(target_vocabulary=20, tied="all")
    twin = marian(own)
    source, target = pairs()
    target = target % 19 + 1
    wanted = twin(input_ids=source, attention_mask=source != 0, decoder_input_ids=target).logits
    found = own(source, target)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    for outputs in (found, wanted):
        nn.functional.cross_entropy(outputs.flatten(0, 1), torch.arange(18)).backward()
    gradients = {name: weight.grad for name, weight in own.named_parameters()}
    checked = 0
    for name, weight in twin.named_parameters():
        own_name = name.removeprefix("model.").replace("shared", "encoder.embed_tokens")
        if weight.grad is not None and own_name in gradients:
            torch.testing.assert_close(gradients[own_name], weight.grad, rtol=1e-3, atol=1e-6, msg=name)
            checked += 1
    assert checked == len(gradients)


def test_padding_changes_nothing() -> None:
    net = small()
    source, target = pairs()
    longer = torch.cat([source, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(net(longer, target), net(source, target), rtol=1e-5, atol=1e-5)
    alone = net(source[2:, :3], target[2:])
    torch.testing.assert_close(net(source, target)[2:], alone, rtol=1e-5, atol=1e-5)


def test_no_gradient_comes_to_padding() -> None:
    net = small()
    source, target = pairs()
    target[:, 4:] = 0
    net(source, target)[:, :4].sum().backward()
    for table in (net.encoder.embed_tokens, net.decoder.embed_tokens):
        assert table.weight.grad is not None
    assert not net.encoder.embed_tokens.weight.grad[0].any()  # type: ignore[index]


@pytest.mark.parametrize("place", [1, 3, 5])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_what_comes_later_changes_nothing(place: int, training: bool) -> None:
    net = small(attention_dropout=0.5, dropout=0.5).train(training)
    source, target = pairs()
    torch.manual_seed(5)
    before = net(source, target)
    target[:, place:] = target[:, place:] % 23 + 1
    torch.manual_seed(5)
    after = net(source, target)
    torch.testing.assert_close(after[:, :place], before[:, :place], rtol=1e-6, atol=1e-6)
    assert float((after[:, place:] - before[:, place:]).detach().abs().max()) > 1e-2


@pytest.mark.parametrize("pre_norm", [False, True], ids=["post_norm", "pre_norm"])
@pytest.mark.parametrize("steps", [(1, 1, 1, 1, 1, 1), (6,), (2, 1, 3)], ids=str)
def test_the_cache_gives_what_the_whole_gives(steps: tuple[int, ...], pre_norm: bool) -> None:
    net = small(pre_norm=pre_norm).double()
    source, target = pairs()
    memory, cache, found, start = net.encode(source), (), [], 0
    for length in steps:
        outputs, cache = net.step(target[:, start : start + length], memory, cache)
        found.append(outputs)
        start += length
    torch.testing.assert_close(torch.cat(found, 1), net(source, target), rtol=1e-12, atol=1e-12)


def test_rows_of_a_cache_are_the_cache_of_rows() -> None:
    net = small()
    source, target = pairs()
    chosen = torch.tensor([2, 0, 0])
    _, cache = net.step(target[:, :3], net.encode(source))
    memory = rows(net.encode(source), chosen)
    found, _ = net.step(target[chosen, 3:4], memory, rows(cache, chosen))
    torch.testing.assert_close(found, net(source, target)[chosen, 3:4], rtol=1e-5, atol=1e-5)


def test_a_source_of_nothing_but_padding_gives_numbers() -> None:
    assert torch.isfinite(small()(torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 2, dtype=torch.long))).all()


def test_a_sequence_longer_than_the_table_of_sinusoids() -> None:
    net = small(layers=1).double()
    long = torch.randint(1, 20, (1, 600), generator=torch.Generator().manual_seed(0))
    moved = net.encoder.embedded(long, 0) - net.encoder.embed_tokens(long) * 4
    torch.testing.assert_close(moved[0], sinusoids(600, 16).double(), rtol=0, atol=1e-6)


def test_the_parameters_of_the_base_model() -> None:
    """Table 3: 65 million with 37,000 tokens of both languages; the layers are torch.nn.Transformer's."""
    with torch.device("meta"):
        own = transformer(37_000, 37_000, width=512, heads=8, layers=6, feed_forward=2048, tied="all")
        twin = nn.Transformer(512, 8, 6, 6, 2048, batch_first=True)
    count = sum(parameter.numel() for parameter in own.parameters())
    layers = sum(parameter.numel() for parameter in twin.parameters()) - 2 * 2 * 512  # its two norms at the ends
    assert count == layers + 37_000 * 512
    assert count / 1e6 == pytest.approx(65, abs=2.5)


@pytest.mark.parametrize(
    ("tied", "one"),
    [("none", set()), ("target", {"decoder.output_projection"}), ("all", {"decoder.output_projection", "encoder"})],
)
def test_tied_tables_are_one(tied: str, one: set[str]) -> None:
    net = transformer(9, 9, width=8, heads=2, layers=1, feed_forward=8, tied=tied)
    table = net.decoder.embed_tokens.weight
    found = {
        name
        for name, weight in (
            ("decoder.output_projection", net.decoder.output_projection.weight),
            ("encoder", net.encoder.embed_tokens.weight),
        )
        if weight is table
    }
    assert found == one
    assert not table[0].any()


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_nothing_in_the_graph_is_unknown(training: bool) -> None:
    net = small(attention_dropout=0.1)
    graph = capture(net, inputs=net.example_inputs(3), training=training)
    assert not graph.opaque
    assert not graph.specialized
    assert graph.account(2).macs == 2 * graph.account(1).macs > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tied": "both"}, "no choice of tied named 'both'"),
        ({"tied": "all"}, "one table cannot be that of 20 source and 24 target tokens"),
        ({"heads": 3}, "3 heads cannot share a width of 16"),
        ({"layers": 0}, "layers of a transformer is 0"),
        ({"width": 15, "heads": 3}, "a width of 15 is odd"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nets.make("transformer", **{**SMALL, **settings})
