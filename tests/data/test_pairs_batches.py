"""Batches of pairs: filled up right, of like lengths, and a function of (seed, epoch, step) alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data.pairs import Pairs, PairSplit
from pellucid.data.pairs_batches import PairBatches
from pellucid.data.pairs_preprocess import PairPreprocess
from pellucid.data.subwords import END, START
from pellucid.errors import DataError, UsageError

CHANCE = np.random.default_rng(5)
SOURCES = [CHANCE.integers(4, 40, CHANCE.integers(1, 30)).tolist() for _ in range(500)]
TARGETS = [CHANCE.integers(4, 40, CHANCE.integers(1, 20)).tolist() for _ in range(500)]


def batches(size: int = 16, **options: object) -> PairBatches:
    return PairBatches(SOURCES, TARGETS, batch_size=size, **options)


def test_a_batch_is_what_teacher_forcing_needs() -> None:
    for batch in batches(seed=3, shuffle=True).epoch(1):
        for row, i in enumerate(batch.indices.tolist()):
            length, written = len(SOURCES[i]), len(TARGETS[i])
            assert batch.source[row].tolist() == SOURCES[i] + [0] * (batch.source.shape[1] - length)
            rest = [0] * (batch.targets.shape[1] - written - 1)
            assert batch.before[row].tolist() == [START, *TARGETS[i], *rest]
            assert batch.targets[row].tolist() == [*TARGETS[i], END, *rest]
        assert batch.count == sum(len(TARGETS[i]) + 1 for i in batch.indices.tolist())
        assert batch.source.shape[1] == max(len(SOURCES[i]) for i in batch.indices.tolist())


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 100), size=st.integers(1, 60))
def test_each_pair_comes_once_in_an_epoch(seed: int, epoch: int, size: int) -> None:
    plan = batches(size, seed=seed, shuffle=True).plan(epoch)
    assert sorted(np.concatenate(plan).tolist()) == list(range(500))
    assert len(plan) == len(batches(size)) == -(-500 // size)
    assert {len(part) for part in plan} <= {size, 500 % size}


@pytest.mark.parametrize("start", [0, 1, 7, 31])
def test_a_batch_is_the_same_from_wherever_one_starts(start: int) -> None:
    whole = list(batches(seed=9, shuffle=True).epoch(4))
    dealt = batches(seed=9, shuffle=True)
    list(dealt.epoch(0))  # what was asked for before does not matter
    rest = list(dealt.epoch(4, start))
    assert len(rest) == len(whole) - start
    for one, other in zip(whole[start:], rest, strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        assert one.source.tolist() == other.source.tolist()


def test_epochs_and_seeds_differ() -> None:
    plans = [
        [part.tolist() for part in batches(seed=seed, shuffle=True).plan(epoch)]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert plans[0] != plans[1] != plans[2] != plans[0]
    assert {tuple(sorted(part)) for part in plans[0]} != {tuple(sorted(part)) for part in plans[1]}


def test_batches_of_like_lengths_need_little_filling() -> None:
    def filling(dealt: PairBatches) -> float:
        shapes = [(batch.source == 0).sum().item() for batch in dealt.epoch(0)]
        return sum(shapes) / sum(map(len, SOURCES))

    assert filling(batches(seed=1, shuffle=True)) < 0.1


def test_the_order_of_batches_is_not_that_of_lengths() -> None:
    lengths = [batch.source.shape[1] for batch in batches(seed=1, shuffle=True).epoch(0)]
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.6


def test_the_order_of_lengths_is_another_in_each_epoch() -> None:
    dealt = batches(seed=1, shuffle=True)
    first, second = ([batch.source.shape[1] for batch in dealt.epoch(number)] for number in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.6


def test_a_batch_size_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size is 0"):
        batches(0)


def pairs(**splits: list[tuple[str, str]]) -> Pairs:
    return Pairs({name: PairSplit.made(name, rows) for name, rows in splits.items()})


def test_vocabularies_see_the_training_pairs_alone() -> None:
    made = PairPreprocess.of(pairs(train=[("abc", "xy"), ("b", "z")], test=[("q", "w")], validation=[("k", "v")]))
    assert made.source.characters == ("a", "b", "c")
    assert made.target.characters == ("x", "y", "z")
    assert made.target_length == 2
    assert PairPreprocess.from_json(made.to_json()) == made


def test_long_texts_are_read_by_subwords_and_a_shared_vocabulary_is_one() -> None:
    long = ("the same words again and again " * 4, "x")
    assert PairPreprocess.of(pairs(train=[long]), size=400).source.with_bytes
    shared = PairPreprocess.of(pairs(train=[("ab", "cd")]), shared=True)
    assert shared.source == shared.target
    assert shared.source.characters == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("splits", "match"),
    [
        ({"train": [("ab", "x"), ("a", "xyxyxy")]}, "the target of train:1 has 6 tokens, and the limit is 5"),
        ({"train": [("ab", "x")], "test": [("aaaaaaa", "x")]}, "the source of test:0 has 7 tokens, and the limit is 5"),
    ],
)
def test_a_text_that_is_too_long_is_named(splits: dict[str, list[tuple[str, str]]], match: str) -> None:
    with pytest.raises(DataError, match=match):
        PairPreprocess.of(pairs(**splits), most=5)


def test_a_source_to_translate_must_hold_something() -> None:
    made = PairPreprocess.of(pairs(train=[("ab", "x")]), most=5)
    assert made.source_of("ba", "") == [5, 4]
    with pytest.raises(DataError, match="there is no text in lines.txt:3"):
        made.source_of("", "lines.txt:3")
    with pytest.raises(DataError, match="the source of 'aaaaaa' has 6 tokens, and the limit is 5"):
        made.source_of("aaaaaa", "'aaaaaa'")


def test_translations_are_cut_at_some_length() -> None:
    assert PairPreprocess.of(pairs(train=[("ab", "x" * 8)])).limit == 22
    assert PairPreprocess.of(pairs(train=[("ab", "x" * 8)]), most=9).limit == 9
