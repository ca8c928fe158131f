"""From a source to the text that a network makes of it, one token after another: greedy, or by beam search.

A network that decodes reads the source once (``encode``), and then takes one token after another (``step``); it keeps
what it computed of the tokens before, so that a step needs only the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pellucid.data.subwords import END, PADDING, START

LENGTH_PENALTY = 0.6
Kept = tuple[Tensor, ...]
"""What a network keeps of a source, or of the tokens so far: each tensor with the batch in front."""


class Decoder(Protocol):
    """A network that reads a source and writes a target, token by token."""

    def encode(self, source: Tensor) -> Kept:
        """(N, S) int64 -> what each step looks at."""
        ...

    def step(self, tokens: Tensor, memory: Kept, cache: Kept = ()) -> tuple[Tensor, Kept]:
        """The tokens that are new, (N, T) int64 -> outputs (N, T, V), and the cache with them in it."""
        ...


@dataclass(frozen=True)
class Decoded:
    """The tokens of one text without start and end; log P of the whole, the end included; whether the end was forced
    because the limit was reached."""

    tokens: tuple[int, ...]
    log_probability: float
    cut: bool = False

    @property
    def probability(self) -> float:
        """P of the whole text."""
        return math.exp(self.log_probability)

    def score(self, alpha: float) -> float:
        """log P / penalty: what beams are compared by."""
        return self.log_probability / length_penalty(len(self.tokens) + 1, alpha)


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14): without it every further token makes a text less probable."""
    return float(((5 + length) / 6) ** alpha)


def _logarithms(outputs: Tensor, *, last: bool) -> Tensor:
    """log P (N, V) of the next token; padding and start are never said, and at the last step only the end."""
    logarithms = outputs.double().log_softmax(-1)
    refused = torch.zeros(logarithms.shape[-1], dtype=torch.bool, device=logarithms.device)
    refused[[PADDING, START]] = True
    if last:
        refused[:] = True
        refused[END] = False
    return logarithms.masked_fill(refused, -torch.inf)


def _step(net: Decoder, tokens: Tensor, memory: Kept, cache: Kept) -> tuple[Tensor, Kept]:
    """The last tokens (N,) -> outputs (N, V) of what comes next, and the cache with them in it."""
    outputs, kept = net.step(tokens[:, None], memory, cache)
    return outputs[:, -1], kept


def _close(searches: Sequence[_Search], values: Tensor, length: int, width: int, alpha: float) -> None:
    """End the searches whose beams are used up, or are worth no more than the last of ``width`` finished texts."""
    penalty = length_penalty(length, alpha)
    for search, best in zip(searches, (values[:, 0] / penalty).tolist(), strict=True):
        scores = sorted((text.score(alpha) for text in search.finished), reverse=True)
        enough = len(scores) >= width and best <= scores[width - 1]
        search.over = search.over or best == -torch.inf or enough


def rows(kept: Kept, index: Tensor) -> Kept:
    """A memory or cache of other texts: row ``index[i]`` becomes row i."""
    return tuple(tensor.index_select(0, index) for tensor in kept)


@torch.no_grad()
def greedy(net: Decoder, source: Tensor, limit: int) -> list[Decoded]:
    """The most probable token at each step, until the end or ``limit`` tokens.

    Args:
        net: in evaluation mode.
        source: (N, S), filled up with 0.
        limit: of tokens, the end not counted.
    """
    count = len(source)
    memory = net.encode(source)
    cache: Kept = ()
    tokens = torch.full((count,), START, device=source.device)
    total = torch.zeros(count, dtype=torch.float64, device=source.device)
    going = torch.ones(count, dtype=torch.bool, device=source.device)
    said: list[Tensor] = []
    cut = ~going
    for length in range(limit + 1):
        outputs, cache = _step(net, tokens, memory, cache)
        best, chosen = _logarithms(outputs, last=length == limit).max(-1)
        if length == limit:
            cut = going & (_logarithms(outputs, last=False).argmax(-1) != END)
        total += torch.where(going, best, 0.0)
        tokens = torch.where(going, chosen, PADDING)
        said.append(tokens)
        going = going & (tokens != END)
        if not bool(going.any()):
            break
    written = torch.stack(said, 1).tolist()
    return [
        Decoded(tuple(row[: row.index(END)]), value, forced)
        for row, value, forced in zip(written, total.tolist(), cut.tolist(), strict=True)
    ]


@dataclass
class _Search:
    """The search for one source: what has ended so far, and whether it is over."""

    finished: list[Decoded]
    over: bool = False


@torch.no_grad()
def beam_search(
    net: Decoder, source: Tensor, limit: int, *, width: int = 4, alpha: float = LENGTH_PENALTY
) -> list[list[Decoded]]:
    """The best texts that ``width`` beams find for each source, the best first.

    At each step every beam goes on with every token. The continuations are taken from the best on: one that ends is
    finished, until ``width`` go on, which are the beams of the next step. A source is done when ``width`` are finished
    and the best beam is worth no more than the last of them. (To stop at any ``width`` would be too early: a network
    that learned with smoothed labels holds an end possible everywhere.)

    Args:
        net: in evaluation mode.
        source: (N, S), filled up with 0.
        limit: of tokens, the end not counted.
        width: beams for each source; 1 is greedy.
        alpha: of the length penalty; 0 compares plain probabilities.
    """
    count, device = len(source), source.device
    memory = rows(net.encode(source), torch.arange(count, device=device).repeat_interleave(width))
    cache: Kept = ()
    tokens = torch.full((count * width,), START, device=device)
    said = torch.empty((count * width, 0), dtype=torch.long, device=device)
    # At first all beams of a source are the same: only the first may go on.
    values = torch.full((count, width), -torch.inf, dtype=torch.float64, device=device)
    values[:, 0] = 0.0
    searches = [_Search([]) for _ in range(count)]
    for length in range(limit + 1):
        outputs, cache = _step(net, tokens, memory, cache)
        logarithms = _logarithms(outputs, last=length == limit).view(count, width, -1)
        natural = (_logarithms(outputs, last=False).argmax(-1) == END).tolist()
        size = logarithms.shape[-1]
        reached, places = (values[:, :, None] + logarithms).flatten(1).topk(min(2 * width, width * size))
        found = _Found(reached.tolist(), (places // size).tolist(), (places % size).tolist())
        origin, values, tokens = _go_on(searches, said, found, width, natural)
        _close(searches, values, length + 1, width, alpha)
        if all(search.over for search in searches):
            break
        said = torch.cat([said[origin], tokens[:, None]], 1)
        cache = rows(cache, origin)
    return [sorted(search.finished, key=lambda one: -one.score(alpha))[:width] for search in searches]


@dataclass(frozen=True)
class _Found:
    """The best continuations of each source, the best first: their log P, the beam each goes on from, its token."""

    reached: list[list[float]]
    beams: list[list[int]]
    tokens: list[list[int]]


def _go_on(
    searches: Sequence[_Search], said: Tensor, found: _Found, width: int, natural: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Take what has ended to the finished; return origin (N * width), values (N, width) and tokens (N * width) of the
    beams that go on. A place that no beam takes has the value -inf."""
    count = len(searches)
    origin = [[i * width] * width for i in range(count)]
    tokens = [[PADDING] * width for _ in range(count)]
    values = [[-torch.inf] * width for _ in range(count)]
    for i, search in enumerate(searches):
        alive = 0
        for value, beam, token in zip(found.reached[i], found.beams[i], found.tokens[i], strict=True):
            row = i * width + beam
            if search.over or value == -torch.inf or alive == width:
                break
            if token == END:
                search.finished.append(Decoded(tuple(said[row].tolist()), value, not natural[row]))
            else:
                origin[i][alive], tokens[i][alive], values[i][alive] = row, token, value
                alive += 1
    device = said.device
    return (
        torch.tensor(origin, device=device).flatten(),
        torch.tensor(values, dtype=torch.float64, device=device),
        torch.tensor(tokens, device=device).flatten(),
    )
