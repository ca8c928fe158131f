"""Subwords: no text is lost, and the pairs are those of the published algorithm, counted anew at every step."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from pellucid.data.subwords import (
    END,
    START,
    UNKNOWN,
    Subwords,
    learn_characters,
    learn_subwords,
    normalised,
    pieces,
)
from pellucid.errors import UsageError

TEXTS = (
    "low low low low low lower lower newest newest newest newest newest newest widest widest widest",
    "the lowest of the low, and the widest: 1998 1999 1998",
    "你好，世界 你好 世界世界",
    "a rare § sign",
)
SIZE = 4 + 256 + 60


def pairs_by_recounting(texts: tuple[str, ...], alphabet: set[str], most: int) -> list[tuple[str, str]]:
    """Sennrich et al. 2016, algorithm 1, as it stands there: count all pairs, join the most frequent, count again."""
    words = Counter(tuple(piece) for text in texts for piece in pieces(text))
    learned: list[tuple[str, str]] = []
    while len(learned) < most:
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                if all(set(part) <= alphabet for part in pair):
                    counts[pair] += count
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        learned.append(best)
        merged: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            out: list[str] = []
            for symbol in word:
                out.append(symbol)
                # "aaa" joins its first two: what was joined just now is longer and cannot be joined again
                if len(out) > 1 and (out[-2], out[-1]) == best:
                    out[-2:] = ["".join(best)]
            merged[tuple(out)] += count
        words = merged
    return learned


@pytest.mark.parametrize("texts", [TEXTS, ("aaaa aaa aa a aaaaaaa",), ("abab ababab abcabc",), ("你好你好你好世界",)])
def test_the_pairs_are_those_of_the_published_algorithm(texts: tuple[str, ...]) -> None:
    found = learn_subwords(texts, SIZE)
    wanted = pairs_by_recounting(texts, set(found.characters), len(found.pairs))
    assert list(found.pairs) == wanted
    assert wanted


@given(st.lists(st.text("abc ", max_size=30), min_size=1, max_size=8))
def test_the_pairs_are_those_of_the_published_algorithm_on_any_texts(texts: list[str]) -> None:
    found = learn_subwords(texts, 4 + 256 + 20)
    assert list(found.pairs) == pairs_by_recounting(tuple(texts), set(found.characters), 20 - len(found.characters))


@given(st.text())
def test_no_text_is_lost(text: str) -> None:
    vocabulary = learn_subwords(TEXTS, SIZE)
    numbers = vocabulary.encode(text)
    assert vocabulary.decode(numbers) == text
    assert all(END < number < len(vocabulary) for number in numbers)


@given(st.text())
def test_pieces_put_together_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


@given(st.text(st.sampled_from("lowernstid "), max_size=40))
def test_joins_are_those_of_another_implementation(text: str) -> None:
    """The library ``tokenizers``, given the same symbols and pairs, cuts every piece into the same symbols."""
    vocabulary = learn_subwords(TEXTS, SIZE)
    first = vocabulary._first_character
    symbols = [*vocabulary.characters, *(one + other for one, other in vocabulary.pairs)]
    other = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=list(vocabulary.pairs)))
    for piece in pieces(text):
        assert [number - first for number in vocabulary.encode(piece)] == other.encode(piece).ids


def test_frequent_words_are_one_symbol_and_rare_characters_are_bytes() -> None:
    vocabulary = learn_subwords(TEXTS, SIZE)
    assert [vocabulary.symbol(number) for number in vocabulary.encode("a lowest § 你好")] == [
        "a",
        "␣low",
        "est",
        "␣",
        "<0xC2>",
        "<0xA7>",
        "␣",
        "你好",
    ]


def test_digits_stay_apart() -> None:
    vocabulary = learn_subwords(["in 1998 and 1999, 1998 1998 1998"] * 9, SIZE)
    assert [vocabulary.symbol(number) for number in vocabulary.encode(" 1998")] == ["␣1", "9", "9", "8"]


def test_a_vocabulary_of_characters_says_what_it_does_not_know() -> None:
    vocabulary = learn_characters(["abc", "cd e"])
    assert vocabulary.characters == (" ", "a", "b", "c", "d", "e")
    assert vocabulary.encode("b☃d") == [4 + 2, UNKNOWN, 4 + 4]
    assert vocabulary.unseen("b☃dz☃") == ["☃", "z"]
    assert vocabulary.decode([4 + 2, UNKNOWN, 4 + 4]) == "b\ufffdd"


def test_decoding_stops_at_the_end_and_passes_over_the_start() -> None:
    vocabulary = learn_characters(["ab"])
    assert vocabulary.decode([START, 4, 5, END, 4, 0]) == "ab"


@pytest.mark.parametrize("vocabulary", [learn_characters(["zoë", "你 好"]), learn_subwords(TEXTS, SIZE)])
def test_it_survives_json(vocabulary: Subwords) -> None:
    again = Subwords.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    assert again.encode("low 你好 zoë") == vocabulary.encode("low 你好 zoë")


def test_the_size_is_kept_and_room_is_asked_for() -> None:
    assert len(learn_subwords(TEXTS, SIZE)) <= SIZE
    many = learn_subwords(["".join(map(chr, range(0x4E00, 0x4F00)))] * 2, 300)
    assert (len(many.characters), len(many.pairs)) == (20, 19)  # half of the room, and all that stand side by side
    with pytest.raises(UsageError, match="a vocabulary of 200 subwords has no room"):
        learn_subwords(TEXTS, 200)


def test_what_looks_the_same_is_the_same() -> None:
    assert normalised("  Zoe\u0308 \t\n b ") == "Zoë b"
