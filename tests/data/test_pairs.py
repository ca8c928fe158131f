"""Pairs of texts from files: every usual form, one clear sentence for what is wrong, and no source on both sides."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.pairs import Pairs, load_pairs
from pellucid.data.pairs_files import recognised
from pellucid.errors import DataError, PellucidError, UsageError

LINES = [f"word {i},Wort {i}" for i in range(40)]


def table(folder: Path, text: str, name: str = "pairs.csv", encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


def everything(pairs: Pairs) -> set[tuple[str, str]]:
    return {pair for split in pairs.splits.values() for pair in zip(split.sources, split.targets, strict=True)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "source,target\nthe cat,die Katze\nthe dog,der Hund\n"),
        ("a.csv", "\ufefftarget,number,source\r\ndie Katze,1,the cat\r\nder Hund,2,the dog\r\n"),
        ("a.csv", 'src;tgt\n"the cat";"die Katze"\n\nthe dog;der Hund'),
        ("a.csv", "Input,Output\nthe  cat ,die Katze\nthe dog, der Hund\n"),
        ("a.csv", "en,de\nthe cat,die Katze\nthe dog,der Hund\n"),
        ("a.csv", "English,German\nthe cat,die Katze\nthe dog,der Hund\n"),
        ("a.tsv", "source\ttarget\nthe cat\tdie Katze\nthe dog\tder Hund\n"),
    ],
)
def test_usual_tables(name: str, text: str, tmp_path: Path) -> None:
    file = table(tmp_path, text, name)
    assert recognised(file)
    assert everything(load_pairs(file)) == {("the cat", "die Katze"), ("the dog", "der Hund")}


def test_quotes_of_csv_hold_lines_and_commas_and_those_of_tsv_are_characters(tmp_path: Path) -> None:
    file = table(tmp_path, 'source,target\n"a, ""b""\nc",x\nd,"y, z"\n')
    assert everything(load_pairs(file)) == {('a, "b" c', "x"), ("d", "y, z")}
    file = table(tmp_path, 'source\ttarget\n"Stop\tHalt"\nb\tc\n', "a.tsv")
    assert everything(load_pairs(file)) == {('"Stop', 'Halt"'), ("b", "c")}


def test_a_table_without_a_header(tmp_path: Path) -> None:
    file = table(tmp_path, "\n".join(LINES))
    assert not recognised(file)
    found = load_pairs(file)
    assert len(everything(found)) == 40
    assert found.notes[0] == "pairs.csv has no header: its first column is the source, its second the target"


def test_columns_that_are_named(tmp_path: Path) -> None:
    file = table(tmp_path, "id,question,hint,note\n1,a,b,c\n2,d,e,f\n")
    assert everything(load_pairs(file, target="hint")) == {("a", "b"), ("d", "e")}
    assert everything(load_pairs(file, source="note", target="hint")) == {("c", "b"), ("f", "e")}
    file = table(tmp_path, "en,zh\na,甲\nb,乙\n")
    assert everything(load_pairs(file, source="zh")) == {("甲", "a"), ("乙", "b")}


def test_splits_of_a_column_stay(tmp_path: Path) -> None:
    rows = ["source,target,split", *(f"a{i},b,train" for i in range(8)), "c,d,valid", "e,f,TEST"]
    found = load_pairs(table(tmp_path, "\n".join(rows)))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 8, "validation": 1, "test": 1}
    assert found.splits["test"].names == ("pairs.csv:11",)
    assert found.notes == ()


def test_splits_by_files(tmp_path: Path) -> None:
    for name, rows in {"train": "a,b\nc,d\n", "test": "e,f\n", "dev": "g,h\n"}.items():
        table(tmp_path, f"source,target\n{rows}", f"{name}.csv")
    assert recognised(tmp_path)
    found = load_pairs(tmp_path)
    assert {name: split.sources for name, split in found.splits.items()} == {
        "train": ("a", "c"),
        "validation": ("g",),
        "test": ("e",),
    }


def test_parallel_files(tmp_path: Path) -> None:
    for name, text in {"train.en": "a\nb\n\nc", "train.zh": "甲\n乙\n\n丙\n", "test.en": "d", "test.zh": "丁"}.items():
        table(tmp_path, text, name)
    assert recognised(tmp_path)
    found = load_pairs(tmp_path)
    assert found.train.sources == ("a", "b", "c")
    assert found.train.targets == ("甲", "乙", "丙")
    assert found.splits["test"].targets == ("丁",)
    assert found.notes == ("en is the source and zh the target (the other way: --set source=zh)",)
    assert load_pairs(tmp_path, source="zh").train.sources == ("甲", "乙", "丙")


def test_source_and_target_as_text_files(tmp_path: Path) -> None:
    table(tmp_path, "\n".join(f"a{i}" for i in range(20)), "source.txt")
    table(tmp_path, "\n".join(f"b{i}" for i in range(20)), "target.txt")
    found = load_pairs(tmp_path)
    assert everything(found) == {(f"a{i}", f"b{i}") for i in range(20)}


def test_a_zip_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "pairs.zip", "w") as packed:
        packed.writestr("corpus/train.en", "a\nb\n")
        packed.writestr("corpus/train.de", "x\ny\n")
    assert recognised(tmp_path / "pairs.zip")
    assert everything(load_pairs(tmp_path / "pairs.zip", source="en")) == {("a", "x"), ("b", "y")}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"p.csv": "source,target\na,b\nc\n"}, "p.csv:3 has 1 column: 'c'"),
        ({"p.csv": "source,target\na,b\nc,\n"}, "p.csv:3 has an empty target, beside 'c'"),
        ({"p.csv": "source,target\na,b\n  ,d\n"}, "p.csv:3 has an empty source, beside 'd'"),
        ({"p.csv": 'source,target\n\n"a\nb",c\nd\n'}, "p.csv:5 has 1 column: 'd'"),
        ({"p.csv": "source,target\n"}, "p.csv is empty"),
        ({"p.csv": "text\na\nb\n"}, "p.csv has one column: 'text'"),
        ({"p.csv": "source,target,split\na,b,train\nc,d,exam\n"}, "p.csv:3: there is no split 'exam'"),
        ({"p.csv": "source,target,split\na,b,train\nc,d,\n"}, "1 of 2 pairs of .* have no split, such as p.csv:3"),
        ({"p.csv": "source,target,split\na,b,test\n"}, "has no training pairs"),
        ({"train.en": "a\nb", "train.de": "x"}, "train.de has 1 lines, .*train.en 2"),
        ({"train.en": "a\nb", "train.de": "x\n "}, "train.de:2 has an empty source, beside 'b'"),
        ({"a.png": "x"}, "holds no pairs of texts"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(files: dict[str, str], match: str, tmp_path: Path) -> None:
    for name, text in files.items():
        table(tmp_path, text, name)
    with pytest.raises(DataError, match=match):
        load_pairs(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"source,target\na,\xff\xfe\n", r"is no UTF-8 text \(byte 16\)"),
        (b"source,target\na,b\0\n", "is no text: it holds zero bytes"),
        (b'source,target\n"a,' + b"b" * 200_000 + b"\n", "is no CSV file"),
    ],
)
def test_a_file_that_is_no_text(content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(DataError, match=match):
        load_pairs(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"source": "french"}, "has no column 'french'"),
        ({"validation": 0.95}, "validation is 0.95, and the test takes 0.1"),
        ({"validation": 1.0}, "validation is 1"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], match: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=match):
        load_pairs(table(tmp_path, "source,target\n" + "\n".join(LINES)), **options)


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no file or folder no/where.csv"):
        load_pairs("no/where.csv")


@given(
    sources=st.lists(st.sampled_from(["A", "a", "b", "c c", "d", "e", "f", "g", "h"]), min_size=3, max_size=60),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_one_source_is_never_on_two_sides(
    sources: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [f"{source},target {i}" for i, source in enumerate(sources)]
    file = table(tmp_path_factory.mktemp("pairs"), "\n".join(["source,target", *rows]))
    try:
        found = load_pairs(file, seed=seed)
    except PellucidError as error:
        assert "has no training pairs" in str(error)  # noqa: PT017
        return
    seen = [{source.casefold() for source in split.sources} for split in found.splits.values()]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert sum(map(len, found.splits.values())) == len(sources)


def test_the_split_is_one_of_the_seed(tmp_path: Path) -> None:
    file = table(tmp_path, "source,target\n" + "\n".join(LINES))
    one, again, other = (load_pairs(file, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == again.fingerprint
    assert one.splits["test"].sources != other.splits["test"].sources
    assert {name: len(split) for name, split in one.splits.items()} == {"train": 32, "validation": 4, "test": 4}


def test_sources_of_a_given_test_that_were_trained_on_are_said(tmp_path: Path) -> None:
    text = "source,target,split\na,b,train\nc,d,train\nA,b,test\ne,f,test\n"
    found = load_pairs(table(tmp_path, text))
    assert found.notes == ("1 of 2 sources of the test split stand in the training split too",)


def test_validation_is_taken_from_training_where_there_is_none(tmp_path: Path) -> None:
    rows = [*(f"a{i},b,train" for i in range(20)), "z,y,test"]
    found = load_pairs(table(tmp_path, "source,target,split\n" + "\n".join(rows)), validation=0.2)
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 16, "validation": 4, "test": 1}


def test_a_limit_takes_the_same_pairs_of_each_split(tmp_path: Path) -> None:
    file = table(tmp_path, "source,target\n" + "\n".join(LINES))
    whole, one, again = load_pairs(file), load_pairs(file, limit=3), load_pairs(file, limit=3)
    assert [len(split) for split in one.splits.values()] == [3, 3, 3]
    assert one.fingerprint == again.fingerprint != whole.fingerprint
    assert everything(one) < everything(whole)


def test_a_path_goes_before_a_known_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dates").mkdir()
    table(tmp_path / "dates", "source,target\n" + "\n".join(LINES))
    found = load_pairs("dates")
    assert len(everything(found)) == 40
    assert "not the known data set of that name" in found.notes[0]


@pytest.mark.parametrize(
    "header", ["path,label", "file,target", "text,label", "date,value", "name", "", "image,class,split"]
)
def test_tables_of_other_tasks_are_left_to_them(header: str, tmp_path: Path) -> None:
    assert not recognised(table(tmp_path, f"{header}\na,b\n"))
