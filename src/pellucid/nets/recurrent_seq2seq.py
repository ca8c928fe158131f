"""Sequence to sequence with recurrent cells and additive attention (Bahdanau, Cho & Bengio, "Neural machine
translation by jointly learning to align and translate", 2015).

The encoder reads both ways; before it writes a token, the decoder asks with its state which of the encoder's states
matter now. Differs from the paper: the output is one dense layer on state, context and last token, without maxout.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError, unknown
from pellucid.nets.attention import AdditiveAttention
from pellucid.nets.cells import Cell, GRUCell, LSTMCell, State
from pellucid.nets.decoding import PADDING, Kept

_RECURRENT: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}
_CELLS: dict[str, type[Cell]] = {"gru": GRUCell, "lstm": LSTMCell}


class BothWays(nn.Module):
    """A recurrent layer forwards and one backwards; the backward one begins at each sequence's own end."""

    def __init__(self, cell: str, before: int, width: int) -> None:
        super().__init__()
        self.forwards = _RECURRENT[cell](before, width, batch_first=True)
        self.backwards = _RECURRENT[cell](before, width, batch_first=True)

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """(N, S, before), and for each place the one that it changes with, (N, S, 1) -> (N, S, 2 width)"""
        there = self.forwards(x)[0]
        back = _taken(self.backwards(_taken(x, turned))[0], turned)
        return torch.cat([there, back], 2)


def _taken(x: Tensor, places: Tensor) -> Tensor:
    """(N, S, C) with place ``places[n, s]`` of each sequence at s."""
    return x.gather(1, places.expand(-1, -1, x.shape[2]))


class Encoder(nn.Module):
    """Embeddings, then layers that read both ways."""

    def __init__(self, vocabulary: int, cell: str, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        sizes = [width] + [2 * width] * (layers - 1)
        self.layers = nn.ModuleList(BothWays(cell, size, width) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source: Tensor) -> Tensor:
        """(N, S) int64 -> (N, S, 2 width): for each place what was read up to it, and back to it from the end."""
        x, turned = self.embed_tokens(source), _turned(source != PADDING)
        for layer in self.layers:
            x = layer(self.dropout(x), turned)
        return cast(Tensor, x)


def _turned(visible: Tensor) -> Tensor:
    """(N, S) truth values, True up to each length -> (N, S, 1): l - 1 to 0, then the padding's own places."""
    places = torch.arange(visible.shape[1], device=visible.device)
    lengths = visible.sum(1, keepdim=True)
    return torch.where(visible, lengths - 1 - places, places)[:, :, None]


class Decoder(nn.Module):
    """One cell: its state asks (attention), what it gets and the last token make the next state."""

    def __init__(self, vocabulary: int, cell: str, width: int, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.first_state = nn.Linear(width, width)
        self.attention = AdditiveAttention(width, 2 * width, width)
        self.cell = _CELLS[cell](width + 2 * width, width)
        self.output_projection = nn.Linear(width + 2 * width + width, vocabulary)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Tensor, states: Tensor, keys: Tensor, mask: Tensor, state: State = ()
    ) -> tuple[Tensor, State]:
        """One token after another.

        Args:
            tokens: (N, T) int64. states: the encoder's, (N, S, 2 width); keys: U h of them, (N, S, width); mask: which
            of them are seen, (N, 1, S). state: after the tokens before, nothing at first.

        Returns:
            (N, T, vocabulary), and the state after the tokens.
        """
        state = state or self._first(states)
        embedded = self.dropout(self.embed_tokens(tokens))
        found = []
        for last in embedded.unbind(1):
            context = self.attention(state[0][:, None], states, mask, keys)[0][:, 0]
            state = self.cell(torch.cat([last, context], 1), state)
            found.append(torch.cat([state[0], context, last], 1))
        return self.output_projection(self.dropout(torch.stack(found, 1))), state

    def _first(self, states: Tensor) -> State:
        """The state before the first token, from what the encoder read backwards down to the first place (A.2.2); an
        LSTM begins with nothing in its cell."""
        first = torch.tanh(self.first_state(states[:, 0, states.shape[2] // 2 :]))
        return (first,) if self.cell.states == 1 else (first, torch.zeros_like(first))


class Seq2Seq(nn.Module):
    """(source (N, S), target so far (N, T)) of token numbers -> (N, T, vocabulary): what comes after each place.

    Token 0 is padding, and stands only after a source's end: nothing looks at it.
    """

    reads: ClassVar[str] = "pairs"

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """(N, S) and (N, T) int64 -> (N, T, vocabulary)"""
        return cast(Tensor, self.decoder(target, *self.encode(source))[0])

    def encode(self, source: Tensor) -> Kept:
        """(N, S) int64 -> the encoder's states (N, S, 2 width), their keys (N, S, width), and which are seen
        (N, 1, S)."""
        states = self.encoder(source)
        return states, self.decoder.attention.key(states), (source != PADDING)[:, None, :]

    def step(self, tokens: Tensor, memory: Kept, cache: Kept = ()) -> tuple[Tensor, Kept]:
        """The tokens that are new, (N, T) int64 -> outputs (N, T, vocabulary), and the decoder's state after them."""
        outputs, state = self.decoder(tokens, *memory, cache)
        return outputs, state

    def example_inputs(self, batch: int) -> tuple[Tensor, ...]:
        """A source of 6 tokens and a target of 3."""
        device = self.decoder.output_projection.weight.device
        sizes = (self.encoder.embed_tokens.num_embeddings, 6), (self.decoder.embed_tokens.num_embeddings, 3)
        generator = torch.Generator().manual_seed(0)
        return tuple(torch.randint(1, n, (batch, length), generator=generator).to(device) for n, length in sizes)


def seq2seq(
    source_vocabulary: int = 1000,
    target_vocabulary: int = 1000,
    width: int = 256,
    layers: int = 1,
    cell: str = "gru",
    dropout: float = 0.1,
) -> Seq2Seq:
    """A recurrent encoder and decoder with additive attention.

    Args:
        source_vocabulary, target_vocabulary: how many tokens there are, padding (0) among them.
        width: of embeddings, states and attention. layers: of the encoder. cell: ``gru`` or ``lstm``.
        dropout: on embeddings, between layers and before the output.
    """
    if cell not in _CELLS:
        raise unknown("cell", cell, _CELLS)
    for name, value in {"layers": layers, "width": width}.items():
        if value < 1:
            raise UsageError(f"{name} of seq2seq is {value}", fits="a whole number from 1 on")
    encoder = Encoder(source_vocabulary, cell, width, layers, dropout)
    return Seq2Seq(encoder, Decoder(target_vocabulary, cell, width, dropout))
