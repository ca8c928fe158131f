"""Sentences with labels from CSV, folders and text files; splits that share no text; batches that repeat."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data.sentences import Sentences, SentenceSplit, load_sentences
from pellucid.data.sentences_batches import SentenceBatches
from pellucid.data.sentences_files import recognised
from pellucid.data.sentences_preprocess import TextPreprocess
from pellucid.errors import DataError, PellucidError, ShapeError, UsageError

GOOD, BAD = "a good film", "a bad film"


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def lines(label: str, count: int = 20) -> str:
    return "".join(f"{label} sentence number {i}\n" for i in range(count))


LAYOUTS: dict[str, dict[str, str | bytes]] = {
    "csv": {"films.csv": 'text,label\n"good, very good",pos\nbad,neg\n'},
    "csv of other names": {"films.csv": "id;Review;Sentiment\n1;good, very good;pos\n2;bad;neg\n"},
    "tsv": {"films.tsv": "sentence\tlabel\ngood, very good\tpos\nbad\tneg\n"},
    "csv in chinese": {
        "films.csv": "文本,标签\n“good, very good”,pos\n".replace("“", '"').replace("”", '"') + "bad,neg\n"
    },
    "csv with a byte order mark": {"films.csv": b"\xef\xbb\xbf" + b'text,label\n"good, very good",pos\nbad,neg\n'},
    "csv in utf-16": {"films.csv": 'text,label\n"good, very good",pos\nbad,neg\n'.encode("utf-16")},
    "a folder for each class": {"pos/1.txt": "good, very good", "neg/1.txt": "bad", "README.txt": "about"},
    "a file for each class": {"rt-polarity.neg.txt": "bad\n", "rt-polarity.pos.txt": "good, very good\n"},
    "with carriage returns": {"neg.txt": "bad\r\n", "pos.txt": "good, very good\r\n"},
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_recognised_and_read(
    name: str, wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    where = write(tmp_path / "data", LAYOUTS[name])
    if wrapped:
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
            for file in LAYOUTS[name]:
                packed.write(where / file, f"wrapper/{file}")
        where = tmp_path / "data.zip"
    found = load_sentences(where, validation=0)
    assert recognised(where)
    assert found.classes == ("neg", "pos")
    rows = {text: found.classes[int(label)] for text, label in zip(found.train.texts, found.train.labels, strict=True)}
    assert rows == {"good, very good": "pos", "bad": "neg"}


def test_a_file_alone_is_read_as_well(tmp_path: Path) -> None:
    file = write(tmp_path, LAYOUTS["csv"]) / "films.csv"
    assert recognised(file)
    assert load_sentences(file, validation=0).train.names == ("films.csv:3", "films.csv:2")[::-1]


SPLITS: dict[str, dict[str, str | bytes]] = {
    "column": {"films.csv": "text,label,split\ngood,pos,train\nbad,neg,training\nfine,pos,dev\npoor,neg,test\n"},
    "tables": {
        "train.csv": "text,label\ngood,pos\nbad,neg\n",
        "val.csv": "text,label\nfine,pos\n",
        "test.csv": "text,label\npoor,neg\n",
    },
    "folders": {
        "train/pos/a.txt": "good",
        "train/neg/a.txt": "bad",
        "valid/pos/a.txt": "fine",
        "test/neg/a.txt": "poor",
    },
    "files in folders": {
        "train/pos.txt": "good\n",
        "train/neg.txt": "bad\n",
        "validation/pos.txt": "fine\n",
        "test/neg.txt": "poor\n",
    },
    "names of files": {
        "train.pos.txt": "good\n",
        "train.neg.txt": "bad\n",
        "dev.pos.txt": "fine\n",
        "test.neg.txt": "poor\n",
    },
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_of_the_source_are_kept(name: str, tmp_path: Path) -> None:
    found = load_sentences(write(tmp_path, SPLITS[name]))
    assert found.classes == ("neg", "pos")
    assert sorted(found.train.texts) == ["bad", "good"]
    assert found.splits["validation"].texts == ("fine",)
    assert found.splits["test"].texts == ("poor",)


def test_a_random_split_is_stratified_and_by_the_seed(tmp_path: Path) -> None:
    where = write(tmp_path, {"neg.txt": lines("bad", 100), "pos.txt": lines("good", 50)})
    one, again, other = (load_sentences(where, seed=seed) for seed in (1, 1, 2))
    assert {name: np.bincount(split.labels).tolist() for name, split in one.splits.items()} == {
        "train": [80, 40],
        "validation": [10, 5],
        "test": [10, 5],
    }
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != other.fingerprint
    assert any("split at random: 120 for train, 15 for validation, 15 for test" in note for note in one.notes)


@given(
    st.lists(st.sampled_from(["a film", "A  Film", "a FILM ", "b", "c", "d", "e", "B"]), min_size=8), st.integers(0, 5)
)
def test_what_a_reader_calls_the_same_is_never_on_both_sides(texts: list[str], seed: int) -> None:
    data = Sentences.of(texts, ["x" if i % 2 else "y" for i in range(len(texts))], validation=0.2, seed=seed)
    places: dict[str, set[str]] = {}
    for name, split in data.splits.items():
        for text in split.texts:
            places.setdefault(" ".join(text.lower().split()), set()).add(name)
    assert all(len(names) == 1 for names in places.values())


def test_the_same_text_in_given_splits_is_said(tmp_path: Path) -> None:
    rows = "text,label,split\nA film,pos,train\nbad,neg,train\na  FILM,pos,test\nnew,neg,test\n"
    found = load_sentences(write(tmp_path, {"a.csv": rows}) / "a.csv")
    assert "1 of 2 texts of the test split stand in the training split too" in found.notes


def test_validation_is_taken_from_training_where_it_is_asked_for(tmp_path: Path) -> None:
    rows = "text,label,split\n" + "".join(f"{c} {i},{c},train\n" for c in ("x", "y") for i in range(10)) + "z,x,test\n"
    found = load_sentences(write(tmp_path, {"a.csv": rows}) / "a.csv", validation=0.2)
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 16, "validation": 4, "test": 1}
    assert found.splits["test"].texts == ("z",)


def test_limit_takes_so_many_of_each_split(tmp_path: Path) -> None:
    where = write(tmp_path, {"neg.txt": lines("bad", 100), "pos.txt": lines("good", 100)})
    found = load_sentences(where, limit=12)
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 12, "validation": 12, "test": 12}


def test_a_network_knows_its_classes(tmp_path: Path) -> None:
    """In their order, though the data hold but one of them, and no training split."""
    where = write(tmp_path, {"a.csv": "text,label,split\ngood,pos,test\n"}) / "a.csv"
    found = load_sentences(where, classes=("pos", "neutral", "neg"))
    assert found.classes == ("pos", "neutral", "neg")
    assert found.splits["test"].labels.tolist() == [0]


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    where = write(tmp_path, {"a.csv": "text,label\n" + "".join(f"t{i},{i}\n" for i in (10, 9, 1))}) / "a.csv"
    assert load_sentences(where, validation=0).classes == ("1", "9", "10")


MISTAKES: dict[str, tuple[dict[str, str | bytes], str]] = {
    "an empty text": ({"a.csv": "text,label\ngood,pos\n  ,neg\n"}, "a.csv:3 has an empty text, labelled 'neg'"),
    "no label": ({"a.csv": "text,label\ngood,pos\nbad\n"}, "a.csv:3 has no label: 'bad'"),
    "no such column": ({"a.csv": "title2,stars\ngood,5\n"}, "a.csv has no column of texts\n *found *title2, stars"),
    "no label column": ({"a.csv": "text,stars\ngood,5\n"}, "a.csv has no column of labels"),
    "one class": (
        {"a.csv": "text,label\ngood,pos\nfine,pos\n"},
        "has one class, 'pos': there is nothing to tell apart",
    ),
    "an unknown split": ({"a.csv": "text,label,split\ngood,pos,exam\n"}, "a.csv:2: there is no split 'exam'"),
    "a split for some": (
        {"a.csv": "text,label,split\na,x,train\nb,y,\n"},
        "1 of 2 texts of .* have no split, such as a.csv:3",
    ),
    "no training part": ({"a.csv": "text,label,split\na,x,test\nb,y,test\n"}, "has no training texts"),
    "an empty table": ({"a.csv": "text,label\n"}, "a.csv is empty"),
    "an empty file": ({"neg.txt": "bad\n", "pos.txt": " \n"}, "pos.txt is an empty text"),
    "an empty text file": ({"neg/1.txt": "bad", "pos/1.txt": ""}, "pos/1.txt is an empty text"),
    "a binary file": (
        {"neg.txt": "bad\n", "pos.txt": b"PK\x03\x04\x00\x01"},
        "pos.txt is no text: byte 2 is the control character 0x03",
    ),
    "another encoding": (
        {"neg.txt": "bad\n", "pos.txt": "这部电影真好看".encode("gb18030")},
        r"pos.txt is no UTF-8 text \(byte 0\)",
    ),
    "damaged utf-16": (
        {"neg.txt": "bad\n", "pos.txt": "good".encode("utf-16") + b"\x00"},
        r"pos.txt is no UTF-16 text \(byte",
    ),
    "no texts": ({"notes.md": "# notes"}, "there are no texts with labels in"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_clear_sentence(name: str, tmp_path: Path) -> None:
    files, message = MISTAKES[name]
    write(tmp_path, files)
    with pytest.raises(DataError, match=message):
        load_sentences(tmp_path)


def test_a_label_that_the_network_does_not_know(tmp_path: Path) -> None:
    where = write(tmp_path, {"a.csv": "text,label\ngood,pos\nso so,meh\n"}) / "a.csv"
    with pytest.raises(
        DataError, match=r"a.csv:3 has a label that the network does not know: 'meh'\n *known *neg, pos"
    ):
        load_sentences(where, classes=("neg", "pos"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": "body"}, "a.csv has no column 'body'"),
        ({"label": "stars"}, "a.csv has no column 'stars'"),
        ({"encoding": "klingon"}, "there is no encoding 'klingon'"),
        ({"encoding": "base64"}, "'base64' is no encoding of text"),
        ({"validation": 1.5}, "validation is 1.5"),
        ({"validation": 0.95}, "validation is 0.95, and the test takes 0.1"),
    ],
)
def test_a_setting_that_does_not_fit(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    where = write(tmp_path, {"a.csv": "text,label\ngood,pos\nbad,neg\n"}) / "a.csv"
    with pytest.raises(UsageError, match=message):
        load_sentences(where, **settings)  # type: ignore[arg-type]


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        load_sentences(tmp_path / "nowhere")
    assert not recognised(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "encoding", "wanted", "note"),
    [
        (
            "ein schöner Film\n".encode("latin-1"),
            None,
            "ein schöner Film",
            "1 file is no UTF-8 and read as Windows-1252",
        ),
        ("“smart” quotes\n".encode("cp1252"), None, "“smart” quotes", "1 file is no UTF-8 and read as Windows-1252"),
        ("这部电影真好看\n".encode("gb18030"), "gb18030", "这部电影真好看", None),
        ("好\n".encode(), None, "好", None),
    ],
)
def test_encodings(content: bytes, encoding: str | None, wanted: str, note: str | None, tmp_path: Path) -> None:
    found = load_sentences(write(tmp_path, {"neg.txt": "bad\n", "pos.txt": content}), encoding=encoding, validation=0)
    assert wanted in found.train.texts
    assert [said.split(" (")[0] for said in found.notes if "UTF-8" in said] == ([note] if note else [])


def test_an_encoding_that_is_not_that_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"neg.txt": "bad\n", "pos.txt": "schön\n".encode("latin-1")})
    with pytest.raises(DataError, match=r"pos.txt is no utf-8 text \(byte 3: invalid"):
        load_sentences(tmp_path, encoding="utf-8")


NOT_MINE: dict[str, dict[str, str | bytes]] = {
    "pictures": {"cats/1.jpg": b"\xff\xd8", "dogs/1.jpg": b"\xff\xd8", "cats/1.txt": "a cat", "dogs/1.txt": "a dog"},
    "sounds": {"cats/1.wav": b"RIFF", "dogs/1.wav": b"RIFF"},
    "pairs in files": {"source.txt": "a\n", "target.txt": "b\n"},
    "pairs in a table": {"pairs.csv": "source,target\na,b\n"},
    "pictures in a table": {"pictures.csv": "path,label\na.jpg,cat\n"},
    "a series": {"prices.csv": "date,price\n2020-01-01,5\n"},
    "one text": {"notes.txt": "a\n"},
    "nothing": {},
}


@pytest.mark.parametrize("name", NOT_MINE)
def test_what_others_read_is_not_taken(name: str, tmp_path: Path) -> None:
    assert not recognised(write(tmp_path, NOT_MINE[name]))


def test_film_reviews_as_they_are_distributed(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = shared_data / "sentence_polarity.zip"
    found = load_sentences(where)
    assert recognised(where)
    assert found.classes == ("neg", "pos")
    assert sum(map(len, found.splits.values())) == 2 * 5331
    assert not any("stand in the training split too" in note for note in found.notes)


def test_from_texts_in_python() -> None:
    with pytest.raises(UsageError, match="2 texts and 1 labels"):
        Sentences.of([GOOD, BAD], ["pos"])
    with pytest.raises(DataError, match="text 1 is empty"):
        Sentences.of([GOOD, " "], ["pos", "neg"])
    with pytest.raises(ShapeError, match="2 texts, .* labels and 1 names do not fit together"):
        SentenceSplit((GOOD, BAD), np.zeros(2, np.int64), ("one",))


def test_the_vocabulary_is_learned_from_training_alone() -> None:
    data = Sentences.of([f"common {i}" for i in range(40)], ["x", "y"] * 20, validation=0.2)
    preprocess = TextPreprocess.of(data, least=1)
    known = set(preprocess.vocabulary.tokens)
    assert known == {"common"} | {text.split()[1] for text in data.train.texts}
    assert TextPreprocess.from_json(preprocess.to_json()) == preprocess


@pytest.mark.parametrize(("words", "least"), [(3000, 2), (100, 1)])
def test_words_seen_once_are_unknown_where_texts_are_many(words: int, least: int) -> None:
    texts = [f"w{i} w{i + 1}" for i in range(0, words, 2)]
    data = Sentences.of(texts, ["x", "y"] * (len(texts) // 2), validation=0, test=0.0)
    assert len(TextPreprocess.of(data).vocabulary.tokens) == (0 if least == 2 else words)


def test_a_long_text_is_cut() -> None:
    data = Sentences.of(["a b c d e", "f g h i j"], ["x", "y"], validation=0, test=0.0)
    preprocess = TextPreprocess.of(data, longest=3)
    assert preprocess.tokens("a b c d e") == ["a", "b", "c"]
    assert [len(text) for text in preprocess.encode(["a b c d e", "a"])] == [3, 1]


def batches(count: int = 37, **settings: object) -> SentenceBatches:
    random = np.random.default_rng(0)
    texts = [random.integers(1, 50, random.integers(1, 30)).tolist() for _ in range(count)]
    return SentenceBatches(texts, np.arange(count) % 3, **{"batch_size": 5, "seed": 3, **settings})  # type: ignore[arg-type]


def test_a_batch_is_the_same_from_wherever_it_is_asked_for() -> None:
    dealt = list(batches(shuffle=True).epoch(4))
    for start in (0, 3, 6):
        again = list(batches(shuffle=True).epoch(4, start))
        assert [b.indices.tolist() for b in again] == [b.indices.tolist() for b in dealt[start:]]
        assert all((a.tokens == b.tokens).all() for a, b in zip(again, dealt[start:], strict=True))


def test_an_epoch_deals_each_text_once_and_only_full_batches() -> None:
    made = batches(shuffle=True)
    dealt = np.concatenate([batch.indices for batch in made.epoch(0)])
    assert len(made) == 7
    assert len(dealt) == len(set(dealt.tolist())) == 35
    assert dealt.tolist() != np.concatenate([batch.indices for batch in made.epoch(1)]).tolist()


def test_texts_of_like_lengths_are_together() -> None:
    made = batches(300, shuffle=True)
    filling = [(batch.tokens == 0).float().mean().item() for batch in made.epoch(0)]
    alone = batches(300)
    assert np.mean(filling) < np.mean([(batch.tokens == 0).float().mean().item() for batch in alone.epoch(0)]) / 2


def test_evaluation_is_in_order_and_whole() -> None:
    made = batches()
    assert np.concatenate([batch.indices for batch in made.epoch(0)]).tolist() == list(range(37))
    assert len(made) == len(list(made.epoch(0))) == 8
    first = next(iter(made.epoch(0)))
    assert (first.count, len(first), first.targets is first.labels, first.inputs[0] is first.tokens) == (
        5,
        5,
        True,
        True,
    )
    assert first.tokens[1].tolist()[: len(made.texts[1])] == made.texts[1]


def test_fewer_texts_than_a_batch_are_one_batch() -> None:
    made = batches(3, shuffle=True)
    assert len(made) == len(list(made.epoch(0))) == 1


def test_a_batch_holds_something() -> None:
    with pytest.raises(PellucidError, match="batch_size is 0"):
        batches(batch_size=0)
