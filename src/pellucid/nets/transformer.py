"""The Transformer: an encoder and a decoder of nothing but attention and dense layers (Vaswani, Shazeer, Parmar,
Uszkoreit, Jones, Gomez, Kaiser & Polosukhin, "Attention is all you need", 2017).

The weights bear the names under which fairseq publishes its Transformers, and Marian and BART theirs.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError, unknown
from pellucid.nets.attention import MultiHeadAttention, earlier, sinusoids
from pellucid.nets.decoding import PADDING, Kept

LONGEST = 512  # places whose sinusoids are kept; those of longer sequences are made when they come


class Layer(nn.Module):
    """What both kinds of layers have: self-attention, a dense layer and back, and a norm for each."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, within: float, pre_norm: bool):
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = MultiHeadAttention(width, heads, within)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, feed_forward)
        self.fc2 = nn.Linear(feed_forward, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def before(self, norm: nn.Module, x: Tensor) -> Tensor:
        """What a sub-layer is given."""
        return norm(x) if self.pre_norm else x

    def added(self, norm: nn.Module, x: Tensor, found: Tensor) -> Tensor:
        """x + what a sub-layer found, normalised where the norm comes last: LayerNorm(x + Sublayer(x))."""
        x = x + self.dropout(found)
        return x if self.pre_norm else norm(x)

    def dense(self, x: Tensor) -> Tensor:
        """x + max(0, x W1 + b1) W2 + b2 (eq. 2), at each place alone."""
        found = self.fc2(torch.relu(self.fc1(self.before(self.final_layer_norm, x))))
        return self.added(self.final_layer_norm, x, found)


class EncoderLayer(Layer):
    """Self-attention, then a dense layer and back, each added to what it was given (Figure 1, left)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, S, width); the mask spreads to (N, heads, S, S) -> (N, S, width)"""
        seen = self.before(self.self_attn_layer_norm, x)
        x = self.added(self.self_attn_layer_norm, x, self.self_attn(seen, seen, mask)[0])
        return self.dense(x)


class DecoderLayer(Layer):
    """Self-attention to what was written so far, attention to the source, a dense layer and back (Figure 1, right)."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, within: float, pre_norm: bool):
        super().__init__(width, heads, feed_forward, dropout, within, pre_norm)
        self.encoder_attn = MultiHeadAttention(width, heads, within)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, states: Tensor, mask: Tensor, cache: Kept = ()) -> tuple[Tensor, Kept]:
        """New places (N, T, width), the encoder's states (N, S, width) and their mask -> (N, T, width), and the cache:
        keys and values of all places so far, and those of the source, (N, heads, places, width / heads) each."""
        past, length = cache[0].shape[2] if cache else 0, x.shape[1]
        seen = self.before(self.self_attn_layer_norm, x)
        later = earlier(length, past, x.device) if past and length > 1 else None
        before = (cache[0], cache[1]) if cache else None
        found, own = self.self_attn(seen, seen, later, causal=not past, before=before)
        x = self.added(self.self_attn_layer_norm, x, found)
        asking = self.before(self.encoder_attn_layer_norm, x)
        if cache:
            found, source = self.encoder_attn(asking, None, mask, before=(cache[2], cache[3]))
        else:
            found, source = self.encoder_attn(asking, states, mask)
        return self.dense(self.added(self.encoder_attn_layer_norm, x, found)), (*own, *source)


class Tokens(nn.Module):
    """Rows of a table by token, times the root of the width (section 3.4), plus sinusoids by place (section 3.5)."""

    sinusoids: Tensor

    def __init__(self, table: nn.Embedding, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = table
        self.register_buffer("sinusoids", sinusoids(LONGEST, table.embedding_dim), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def embedded(self, tokens: Tensor, before: int = 0) -> Tensor:
        """(N, T) int64 at the places from ``before`` on -> (N, T, width)"""
        width, end = self.embed_tokens.embedding_dim, before + tokens.shape[1]
        places = self.sinusoids if end <= LONGEST else sinusoids(end, width).to(self.sinusoids)
        x = self.embed_tokens(tokens) * math.sqrt(width) + places[before:end]
        return cast(Tensor, self.dropout(x))


class Encoder(Tokens):
    """``layers`` of self-attention; a norm at the end where the norms come first."""

    def __init__(self, table: nn.Embedding, layers: list[EncoderLayer], dropout: float, pre_norm: bool) -> None:
        super().__init__(table, dropout)
        self.layers = nn.ModuleList(layers)
        self.layer_norm = nn.LayerNorm(table.embedding_dim) if pre_norm else nn.Identity()

    def forward(self, source: Tensor, mask: Tensor) -> Tensor:
        """(N, S) int64 -> (N, S, width)"""
        x = self.embedded(source)
        for layer in self.layers:
            x = layer(x, mask)
        return cast(Tensor, self.layer_norm(x))


class Decoder(Tokens):
    """``layers`` of attention to what was written and to the source, and the output's dense layer."""

    def __init__(
        self, table: nn.Embedding, layers: list[DecoderLayer], dropout: float, pre_norm: bool, vocabulary: int
    ) -> None:
        super().__init__(table, dropout)
        self.layers = nn.ModuleList(layers)
        self.layer_norm = nn.LayerNorm(table.embedding_dim) if pre_norm else nn.Identity()
        self.output_projection = nn.Linear(table.embedding_dim, vocabulary, bias=False)

    def forward(self, tokens: Tensor, states: Tensor, mask: Tensor, cache: Kept = ()) -> tuple[Tensor, Kept]:
        """New tokens (N, T) int64, the encoder's states (N, S, width) and their mask -> (N, T, vocabulary), and the
        caches of all layers."""
        x = self.embedded(tokens, cache[0].shape[2] if cache else 0)
        kept: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            x, own = layer(x, states, mask, cache[4 * i : 4 * i + 4])
            kept += own
        return self.output_projection(self.layer_norm(x)), tuple(kept)


class Transformer(nn.Module):
    """(source (N, S), target so far (N, T)) of token numbers -> (N, T, vocabulary): what comes after each place.

    Token 0 is padding: nothing looks at it in the source, and in the target nothing looks at what comes later.
    """

    reads: ClassVar[str] = "pairs"

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """(N, S) and (N, T) int64 -> (N, T, vocabulary)"""
        mask = _visible(source)
        return cast(Tensor, self.decoder(target, self.encoder(source, mask), mask)[0])

    def encode(self, source: Tensor) -> Kept:
        """(N, S) int64 -> the encoder's states (N, S, width), and which of them are seen (N, 1, 1, S)."""
        mask = _visible(source)
        return self.encoder(source, mask), mask

    def step(self, tokens: Tensor, memory: Kept, cache: Kept = ()) -> tuple[Tensor, Kept]:
        """The tokens that are new, (N, T) int64 -> outputs (N, T, vocabulary), and the cache with them in it: keys and
        values of every layer."""
        outputs, kept = self.decoder(tokens, *memory, cache)
        return outputs, kept

    def example_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """A source of 12 tokens and a target of 10."""
        device = self.decoder.output_projection.weight.device
        sizes = (self.encoder.embed_tokens.num_embeddings, 12), (self.decoder.embed_tokens.num_embeddings, 10)
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randint(1, n, (batch, length), generator=generator).to(device) for n, length in sizes)


def _visible(source: Tensor) -> Tensor:
    """(N, S) int64 -> (N, 1, 1, S), True where a token is no padding."""
    return (source != PADDING)[:, None, None, :]


def transformer(
    source_vocabulary: int = 1000,
    target_vocabulary: int = 1000,
    width: int = 256,
    heads: int = 4,
    layers: int = 3,
    feed_forward: int = 1024,
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
    tied: str = "target",
    pre_norm: bool = False,
) -> Transformer:
    """A Transformer; the paper's base model is ``width=512, heads=8, layers=6, feed_forward=2048``.

    Args:
        source_vocabulary, target_vocabulary: how many tokens there are, padding (0) among them.
        width: of each token's vector. heads: of each attention. layers: of the encoder, and of the decoder.
        feed_forward: the width of the dense layer in each layer.
        dropout: after each sub-layer and on the embeddings (section 5.4). attention_dropout: on the weights.
        tied: which tables are one matrix: ``none``; ``target``, the target's and that before the softmax; ``all``,
            also the source's (section 3.4; both sides have one vocabulary then).
        pre_norm: whether norms come before the sub-layers instead of after the sums (Xiong et al. 2020).
    """
    if tied not in ("none", "target", "all"):
        raise unknown("choice of tied", tied, ("none", "target", "all"))
    if tied == "all" and source_vocabulary != target_vocabulary:
        raise UsageError(
            f"one table cannot be that of {source_vocabulary} source and {target_vocabulary} target tokens",
            fits="tied='target', or one vocabulary for both sides",
        )
    for name, value in {"layers": layers, "width": width, "feed_forward": feed_forward}.items():
        if value < 1:
            raise UsageError(f"{name} of a transformer is {value}", fits="a whole number from 1 on")
    shape = (width, heads, feed_forward, dropout, attention_dropout, pre_norm)
    table = nn.Embedding(target_vocabulary, width, padding_idx=PADDING)
    source = table if tied == "all" else nn.Embedding(source_vocabulary, width, padding_idx=PADDING)
    encoder = Encoder(source, [EncoderLayer(*shape) for _ in range(layers)], dropout, pre_norm)
    decoder = Decoder(table, [DecoderLayer(*shape) for _ in range(layers)], dropout, pre_norm, target_vocabulary)
    if tied != "none":
        decoder.output_projection.weight = table.weight
    made = Transformer(encoder, decoder)
    _initialize(made)
    return made


def _initialize(net: Transformer) -> None:
    """As fairseq and tensor2tensor: matrices by Glorot & Bengio (2010), tables with deviation 1 / sqrt(width), so that
    their numbers are about 1 after the root of the width."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in net.modules():  # after the dense layers: a table may be the output's matrix too
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            with torch.no_grad():
                module.weight[PADDING].zero_()
