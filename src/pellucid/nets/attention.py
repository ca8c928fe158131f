"""Attention: a query asks every key how well it fits, and gets the mean of the values by the answers.

Additive (Bahdanau, Cho & Bengio, "Neural machine translation by jointly learning to align and translate", 2015),
scaled dot-product and multi-head (Vaswani et al., "Attention is all you need", 2017), and the positions that a network
without order needs. L stands for queries, S for keys, E for the width of a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import UsageError

Pair = tuple[Tensor, Tensor]  # keys and values


def scaled_dot_product(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """softmax(Q K^T / sqrt(E)) V (Vaswani et al. 2017, eq. 1), step by step.

    Args:
        query: (..., L, E). key: (..., S, E). value: (..., S, D).
        mask: truth values that spread to (..., L, S); False hides a key from a query.
        dropout: the share of weights that become 0; the others grow.

    Returns:
        The weighted values (..., L, D), and the weights (..., L, S).
    """
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = F.dropout(torch.softmax(scores, -1), dropout)
    return weights @ value, weights


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """The same in one call of PyTorch, which keeps no weights; where some are dropped, step by step, so that what
    dropout did can be seen.

    ``causal`` hides from each query the keys after its own place.
    """
    if not dropout:
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
    if causal:
        mask = earlier(query.shape[-2], device=query.device)
    return scaled_dot_product(query, key, value, mask, dropout)[0]


def earlier(length: int, before: int = 0, device: torch.device | None = None) -> Tensor:
    """(length, before + length), True where a query may look: at its own place and those before it.

    The queries are the last ``length`` of all places, as in decoding with a cache of ``before``.

    >>> earlier(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return torch.ones(length, before + length, dtype=torch.bool, device=device).tril(before)


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in a part of the width (Vaswani et al. 2017, section 3.2.2):

    head_h = attention(Q Wq_h, K Wk_h, V Wv_h), and the heads after one another times Wo.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise UsageError(
                f"{heads} heads cannot share a width of {width}", fits="a width that the number of heads divides"
            )
        self.heads, self.dropout = heads, dropout
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        seen: Tensor | None,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        before: Pair | None = None,
    ) -> tuple[Tensor, Pair]:
        """Queries from x (N, L, width), keys and values from what is seen (N, S, width) -> (N, L, width).

        Args:
            seen: None where there is nothing beside what was kept.
            mask: truth values that spread to (N, heads, L, S); False hides a key. causal: hide keys after a query.
            before: keys and values that were kept, which come before those of ``seen``.

        Returns:
            The result, and all keys and values, (N, heads, S, width / heads) each, which decoding keeps.
        """
        kept = before
        if seen is not None:
            kept = self._split(self.k_proj(seen)), self._split(self.v_proj(seen))
            if before is not None:
                kept = torch.cat([before[0], kept[0]], 2), torch.cat([before[1], kept[1]], 2)
        if kept is None:
            raise UsageError("attention has nothing to look at", fits="seen, or before")
        dropout = self.dropout if self.training else 0.0
        found = attend(self._split(self.q_proj(x)), *kept, mask, causal=causal, dropout=dropout)
        return self.out_proj(found.transpose(1, 2).flatten(2)), kept

    def _split(self, x: Tensor) -> Tensor:
        """(N, L, width) -> (N, heads, L, width / heads)"""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class AdditiveAttention(nn.Module):
    """The score of a key h for a query s is v . tanh(W s + U h) (Bahdanau et al. 2015, appendix A.1.2)."""

    def __init__(self, query_width: int, key_width: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, width, bias=False)
        self.key = nn.Linear(key_width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(
        self, query: Tensor, values: Tensor, mask: Tensor | None = None, keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries (N, L, query width) and values (N, S, key width), which are asked too -> (N, L, key width), and the
        weights (N, L, S).

        Args:
            mask: truth values that spread to (N, L, S); False hides a key.
            keys: U h, (N, S, width), where they are there already: they are the same for all queries.
        """
        keys = self.key(values) if keys is None else keys
        scores = self.score(torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))).squeeze(3)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = torch.softmax(scores, -1)
        return weights @ values, weights


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width): what tells the places apart (Vaswani et al. 2017, section 3.5).

    Number 2i of place p is sin(p / 10000^(2i / width)), number 2i + 1 its cosine: each pair turns like a hand of a
    clock, the first once in 2 pi places, the last once in 10000 x 2 pi.
    """
    if width % 2:
        raise UsageError(f"sine and cosine come in pairs, and a width of {width} is odd", fits="an even width")
    places = torch.arange(length, dtype=torch.float64)
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(places, rates)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1).float()
