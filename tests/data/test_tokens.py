"""Texts as tokens without a word list, and tokens as numbers."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data.tokens import joined, kind_for, tokens_of
from pellucid.data.vocabulary import PADDING, UNKNOWN, Vocabulary, padded
from pellucid.errors import UsageError

WORDS = {
    "english": ("It isn't well-made: 7/10.", ["it", "isn't", "well-made", ":", "7", "/", "10", "."]),
    "a typographic apostrophe": ("don’t", ["don’t"]),
    "quotes are no part": ("'so' --- \"no\"", ["'", "so", "'", "-", "-", "-", '"', "no", '"']),
    "chinese": ("这部电影真好看！", ["这", "部", "电", "影", "真", "好", "看", "！"]),
    "chinese and latin": ("我爱Python3和C++", ["我", "爱", "python3", "和", "c", "+", "+"]),
    "a character beyond 16 bits": ("𠮷野家", ["𠮷", "野", "家"]),
    "japanese": ("カレーを食べる", ["カ", "レ", "ー", "を", "食", "べ", "る"]),
    "korean sets spaces": ("영화가 좋아요", ["영화가", "좋아요"]),
    "thai with its marks": ("ดีมาก", ["ดี", "ม", "า", "ก"]),
    "hindi with its marks": ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
    "arabic with its marks": ("مُحَمَّد كتب", ["مُحَمَّد", "كتب"]),
    "german": ("Straße, ÄRGER", ["straße", ",", "ärger"]),
    "decomposed": (unicodedata.normalize("NFD", "café"), ["café"]),
    "underscores": ("foo_bar", ["foo", "_", "bar"]),
    "nothing": (" \t\n", []),
}


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    text, wanted = WORDS[name]
    assert tokens_of(text) == wanted


def test_characters_keep_their_marks_and_one_space() -> None:
    assert tokens_of("Né  \n हि", "characters") == ["n", "é", " ", "हि"]


def test_capitals_stay_where_they_are_asked_for() -> None:
    assert tokens_of("Ada B", lower=False) == ["Ada", "B"]


def test_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="tokens cannot be 'syllables'"):
        tokens_of("a", "syllables")


@given(st.text())
def test_no_sign_is_lost_but_spaces(text: str) -> None:
    def bare(one: str) -> str:
        lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", one).lower())
        return "".join(lowered.split())

    tokens = tokens_of(text)
    assert "".join(tokens) == bare(text)
    assert all(token and not token.isspace() for token in tokens)


@given(st.text(min_size=1))
def test_what_is_not_empty_has_a_token(text: str) -> None:
    assert bool(tokens_of(text)) == bool(text.strip())


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["Anna", "Boris", "Chloë", "van Dyck"], "characters"),
        (["a good film", "bad"], "characters"),
        (["a good film", "bad one", "so so"], "words"),
        (["很好", "不好看"], "words"),
        ([], "words"),
    ],
)
def test_names_are_made_of_characters_and_sentences_of_words(texts: list[str], wanted: str) -> None:
    assert kind_for(texts) == wanted


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        (["not", "bad"], "not bad"),
        (["很", "好", "看", "！"], "很好看！"),
        (["我", "爱", "python"], "我爱 python"),
        ([], ""),
    ],
)
def test_joined_reads_as_a_person_writes(tokens: list[str], wanted: str) -> None:
    assert joined(tokens) == wanted


def test_the_frequent_come_first_and_equals_by_the_alphabet() -> None:
    vocabulary = Vocabulary.learn([["b", "a", "c"], ["c", "b"], ["c"]])
    assert vocabulary.tokens == ("c", "b", "a")
    assert Vocabulary.learn([["b", "a"], ["a", "b"]]).tokens == ("a", "b")


def test_what_is_seen_too_seldom_is_unknown() -> None:
    vocabulary = Vocabulary.learn([["a", "a", "b"]], least=2)
    assert vocabulary.tokens == ("a",)
    assert vocabulary.encode(["a", "b"]) == [2, UNKNOWN]
    assert len(vocabulary) == 3


def test_at_most_so_many() -> None:
    assert Vocabulary.learn([["a", "b", "c"]], most=2).tokens == ("a", "b")


def test_decode_leaves_padding_out() -> None:
    vocabulary = Vocabulary(("good", "film"))
    assert vocabulary.decode([2, UNKNOWN, 3, PADDING, PADDING]) == ["good", "<unknown>", "film"]
    assert vocabulary.token(PADDING) == "<padding>"
    assert "film" in vocabulary
    assert "bad" not in vocabulary


@given(st.lists(st.text(min_size=1), unique=True))
def test_json_brings_back_the_same(tokens: list[str]) -> None:
    vocabulary = Vocabulary(tuple(tokens))
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


def test_a_token_stands_once() -> None:
    with pytest.raises(UsageError, match="the token 'a' stands twice"):
        Vocabulary(("a", "b", "a"))


@pytest.mark.parametrize(
    ("length", "wanted", "lengths"),
    [
        (None, [[5, 6, 7], [8, 0, 0], [0, 0, 0]], [3, 1, 0]),
        (2, [[5, 6], [8, 0], [0, 0]], [2, 1, 0]),
        (4, [[5, 6, 7, 0], [8, 0, 0, 0], [0, 0, 0, 0]], [3, 1, 0]),
    ],
)
def test_padded(length: int | None, wanted: list[list[int]], lengths: list[int]) -> None:
    array, found = padded([[5, 6, 7], [8], []], length)
    assert array.tolist() == wanted
    assert found.tolist() == lengths


def test_padded_of_nothing_has_one_column() -> None:
    assert padded([])[0].shape == (0, 1)
    assert padded([[]])[0].tolist() == [[0]]
