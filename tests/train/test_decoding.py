"""Greedy and beam decoding against an exhaustive search, on networks whose probabilities are a table."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.data.subwords import END, START
from pellucid.nets.recurrent_seq2seq import seq2seq
from pellucid.nets.transformer import transformer
from pellucid.train.decoding import Decoded, Kept, beam_search, greedy, length_penalty

VOCABULARY = 6  # padding, unknown, start, end, and two that mean something
SAID = (1, 4, 5)


class Table:
    """The next token depends on the source and on all that was said: outputs are drawn from a hash of both."""

    def __init__(self, seed: int, sharp: float = 1.5) -> None:
        self.seed, self.sharp = seed, sharp
        self.steps = 0

    def outputs(self, source: int, said: tuple[int, ...]) -> np.ndarray:
        chance = np.random.default_rng([self.seed, source, *said])
        return chance.normal(size=VOCABULARY) * self.sharp

    def encode(self, source: Tensor) -> Kept:
        return (source[:, 0],)

    def step(self, tokens: Tensor, memory: Kept, cache: Kept = ()) -> tuple[Tensor, Kept]:
        self.steps += 1
        said = torch.cat([*cache, tokens], 1)
        rows = [self.outputs(int(s), tuple(row)) for s, row in zip(memory[0], said.tolist(), strict=True)]
        return torch.tensor(np.array(rows))[:, None], (said,)


def log_p(net: Table, source: int, tokens: tuple[int, ...]) -> float:
    """Of a whole text with its end, term by term."""
    total, said = 0.0, (START,)
    for token in (*tokens, END):
        outputs = net.outputs(source, said)
        total += outputs[token] - math.log(sum(math.exp(value) for value in outputs))
        said += (token,)
    return total


def every_text(limit: int) -> list[tuple[int, ...]]:
    return [text for length in range(limit + 1) for text in itertools.product(SAID, repeat=length)]


def sources(count: int = 3) -> Tensor:
    return torch.arange(4, 4 + count)[:, None]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_best_of_all_texts(seed: int, alpha: float) -> None:
    net, limit = Table(seed), 3
    everything = every_text(limit)
    found = beam_search(net, sources(), limit, width=len(everything) + 5, alpha=alpha)
    for source, texts in zip(sources()[:, 0].tolist(), found, strict=True):
        scores = {text: log_p(net, source, text) / ((5 + len(text) + 1) / 6) ** alpha for text in everything}
        best = max(scores, key=lambda text: scores[text])
        assert texts[0].tokens == best
        assert texts[0].score(alpha) == pytest.approx(scores[best], rel=1e-6)
        assert {text.tokens for text in texts} == set(everything)


@given(
    seed=st.integers(0, 10_000), limit=st.integers(0, 6), count=st.integers(1, 4), alpha=st.sampled_from([0.0, 0.6, 2])
)
@settings(max_examples=80, deadline=None)
def test_one_beam_is_greedy(seed: int, limit: int, count: int, alpha: float) -> None:
    net = Table(seed)
    alone = greedy(net, sources(count), limit)
    beams = beam_search(net, sources(count), limit, width=1, alpha=alpha)
    assert [[one] for one in alone] == beams


@given(seed=st.integers(0, 10_000), width=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_more_beams_say_what_they_are_worth(seed: int, width: int) -> None:
    """Whatever is found: its probability is that of the text, no text comes twice, and the best stands first."""
    net = Table(seed)
    for source, texts in zip(sources()[:, 0].tolist(), beam_search(net, sources(), 5, width=width), strict=True):
        assert [text.log_probability for text in texts] == pytest.approx(
            [log_p(net, source, text.tokens) for text in texts]
        )
        assert len({text.tokens for text in texts}) == len(texts) <= width
        assert sorted(texts, key=lambda text: -text.score(0.6)) == texts


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_an_end_that_is_a_little_possible_everywhere_does_not_stop_the_search(width: int) -> None:
    """As after label smoothing: the right token has 0.9, every other 0.02, the end among them."""

    class Smoothed(Table):
        def outputs(self, source: int, said: tuple[int, ...]) -> np.ndarray:
            right = (4, 5, 4, 4, 5, 5, 4, 5, END)[min(len(said) - 1, 8)]
            return np.log(np.where(np.arange(VOCABULARY) == right, 0.9, 0.02))

    (texts,) = beam_search(Smoothed(0), sources(1), 12, width=width)
    assert texts[0].tokens == (4, 5, 4, 4, 5, 5, 4, 5)


def test_greedy_takes_the_most_probable_token_at_each_step() -> None:
    net, limit = Table(11), 8
    for source, found in zip(sources()[:, 0].tolist(), greedy(net, sources(), limit), strict=True):
        said: tuple[int, ...] = (START,)
        while len(said) <= limit:
            outputs = net.outputs(source, said)
            outputs[[0, START]] = -np.inf
            token = int(outputs.argmax())
            if token == END:
                break
            said += (token,)
        assert found.tokens == said[1:]
        assert found.log_probability == pytest.approx(log_p(net, source, found.tokens))


@pytest.mark.parametrize(
    "decode", [greedy, lambda *a: [t[0] for t in beam_search(*a, width=3)]], ids=["greedy", "beam"]
)
def test_a_text_that_does_not_end_is_cut_and_says_so(decode: Any) -> None:
    class Endless(Table):
        def outputs(self, source: int, said: tuple[int, ...]) -> np.ndarray:
            return np.array([0.0, 0.0, 0.0, -50.0, 9.0, 0.0])

    (found,) = decode(Endless(0), sources(1), 4)
    assert found.tokens == (4, 4, 4, 4)
    assert found.cut


def test_decoding_stops_where_all_texts_have_ended() -> None:
    class Short(Table):
        def outputs(self, source: int, said: tuple[int, ...]) -> np.ndarray:
            return np.array([0.0, 0.0, 0.0, 9.0 if len(said) > 2 else -9.0, 3.0, 0.0])

    net = Short(0)
    assert [found.tokens for found in greedy(net, sources(2), 1000)] == [(4, 4), (4, 4)]
    assert net.steps == 3


def test_the_length_penalty_is_that_of_wu() -> None:
    assert [length_penalty(n, 0.6) for n in (1, 7, 13)] == pytest.approx([1.0, 2**0.6, 3**0.6])
    assert length_penalty(40, 0.0) == 1.0
    short, long = Decoded((4,), -2.0), Decoded((4,) * 10, -3.0)
    assert short.score(0.0) > long.score(0.0)
    assert short.score(1.0) < long.score(1.0)


@pytest.mark.parametrize("make", [transformer, seq2seq])
def test_a_cache_gives_what_a_full_pass_gives(make: Any) -> None:
    """Decoding with a real network, against one forward pass over everything for each token."""
    torch.manual_seed(3)
    options = {"heads": 2, "feed_forward": 24} if make is transformer else {}
    net = make(source_vocabulary=11, target_vocabulary=9, width=16, layers=2, **options).eval()
    for parameter in net.parameters():
        parameter.data *= 1.6  # so that it says more than one token again and again
    source = torch.tensor([[4, 5, 6, 7, 3], [8, 9, 0, 0, 0], [10, 4, 4, 3, 0]])
    for row, found in zip(source, greedy(net, source, 12), strict=True):
        said, total = [START], 0.0
        while True:
            with torch.no_grad():
                outputs = net(row[row > 0][None], torch.tensor([said]))[0, -1].double().log_softmax(-1)
            outputs[[0, START]] = -torch.inf
            token = int(outputs.argmax()) if len(said) <= 12 else END
            total += float(outputs[token])
            if token == END:
                break
            said.append(token)
        assert found.tokens == tuple(said[1:])
        assert found.log_probability == pytest.approx(total, rel=1e-4)
    for one, many in zip(greedy(net, source, 12), beam_search(net, source, 12, width=1), strict=True):
        assert many == [one]
