"""Texts as a user meets them: training, evaluating, asking for sentences, and every mistake in one clear message."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pellucid.cli import main

SMALL = ["--set", "width=8", "--set", "maps=4", "--epochs", "2", "--threads", "1"]
ROWS = [
    f"{'a good' if i % 2 else 'a bad'} {thing} number {i},{'pos' if i % 2 else 'neg'}"
    for i in range(20)
    for thing in ("film", "story", "cast")
]
TABLE = "text,label\n" + "\n".join(ROWS) + "\n"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    error: str


Run = Callable[..., Done]


@pytest.fixture
def pellucid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))

    def run(*arguments: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on 60 sentences; films.csv lies beside it."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "films.csv").write_text(TABLE)
    before, threads = sys.argv, torch.get_num_threads()
    sys.argv = ["pellucid", "train", str(folder / "films.csv"), *SMALL, "--run", str(folder / "run")]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
        torch.set_num_threads(threads)
    assert not ended.value.code
    return folder / "run"


def test_a_table_is_trained_on_without_naming_the_task(trained: Path) -> None:
    record = json.loads((trained / "metrics.json").read_text())
    assert record["split"] == "test"
    assert {"accuracy", "baseline_accuracy", "beside"} <= set(record)
    assert record["beside"]["verdict"] in ("better", "worse", "not distinguishable")
    assert "bag of words" in (trained / "report.html").read_text()


def test_evaluate_says_how_the_bag_of_words_does(trained: Path, pellucid: Run) -> None:
    done = pellucid("evaluate", trained, trained.parent / "films.csv", "--split", "all")
    assert done.code == 0, done.error
    assert "on 60 sentences" in done.out
    assert "a bag of words 100.0%" in done.out
    as_json = pellucid("evaluate", trained, trained.parent / "films.csv", "--json")
    assert json.loads(as_json.out)["n"] == json.loads((trained / "metrics.json").read_text())["n"]


def test_predict_reads_sentences_files_and_standard_input(trained: Path, pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("a bad story\n\na good cast\n")
    done = pellucid("predict", trained, "a good film", "more.txt", "-", stdin=b"a bad film\n")
    assert done.code == 0, done.error
    asked = [line.partition(":")[0] for line in done.out.splitlines()]
    assert asked == ["a good film", "a bad story", "a good cast", "a bad film"]
    assert all("pos 0." in line for line in done.out.splitlines())


def test_predict_as_csv_and_json(trained: Path, pellucid: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(pellucid("predict", trained, "a good film", "--format", "csv").out)))
    assert [row["sentence"] for row in rows] == ["a good film"] * 2
    assert {row["class"] for row in rows} == {"neg", "pos"}
    (record,) = json.loads(pellucid("predict", trained, "zzz qqq", "--format", "json").out)
    assert record["sentence"] == "zzz qqq"
    assert record["known"] is False


def test_a_sentence_of_strange_words_is_said_to_be_one(trained: Path, pellucid: Run) -> None:
    assert "(it holds no word that training knew)" in pellucid("predict", trained, "zzz qqq").out
    assert "(it holds" not in pellucid("predict", trained, "zzz film").out


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ("", "there is an empty text among the sentences"),
        ("missing.txt", "there is no file missing.txt"),
        ("folder", "folder is a folder"),
        ("empty.txt", "empty.txt is empty"),
        ("binary.txt", "binary.txt is no text: byte 2 is the control character 0x03"),
        ("chinese.txt", "chinese.txt is no UTF-8 text (byte 0)"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_answered(
    thing: str, message: str, trained: Path, pellucid: Run, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"PK\x03\x04\x00")
    (tmp_path / "chinese.txt").write_bytes("这部电影真好看".encode("gb18030"))
    done = pellucid("predict", trained, thing, "a good film")
    assert done.code == 1
    assert message in done.error
    assert done.out.startswith("a good film: ")
    assert "Traceback" not in done.error


MISTAKES: dict[str, tuple[dict[str, bytes], list[str], str]] = {
    "an empty text": ({"a.csv": b"text,label\ngood,pos\n ,neg\n"}, [], "a.csv:3 has an empty text, labelled 'neg'"),
    "no label": ({"a.csv": b"text,label\ngood,pos\nbad\n"}, [], "a.csv:3 has no label: 'bad'"),
    "one class": ({"a.csv": b"text,label\ngood,pos\n"}, [], "has one class, 'pos': there is nothing to tell apart"),
    "no such columns": ({"a.csv": b"words,stars\nx,5\n"}, ["--task", "text"], "a.csv has no column of texts"),
    "no such column": ({"a.csv": TABLE.encode()}, ["--set", "text=body"], "a.csv has no column 'body'"),
    "a binary file": ({"neg.txt": b"bad\n", "pos.txt": b"\x00\x01"}, [], "pos.txt is no text: byte 0 is the control"),
    "an encoding": ({"neg.txt": b"bad\n", "pos.txt": b"\xc4\xe3\xba\xc3\n"}, [], "pos.txt is no UTF-8 text (byte 0)"),
    "a wrong encoding": (
        {"neg.txt": b"bad\n", "pos.txt": b"sch\xf6n\n"},
        ["--set", "encoding=utf-8"],
        "pos.txt is no utf-8 text (byte 3",
    ),
    "no such encoding": ({"a.csv": TABLE.encode()}, ["--set", "encoding=klingon"], "there is no encoding 'klingon'"),
    "a wrong setting": ({"a.csv": TABLE.encode()}, ["--set", "tokens=syllables"], "tokens cannot be 'syllables'"),
    "a network of pictures": (
        {"a.csv": TABLE.encode()},
        ["--net", "lenet"],
        "the network refuses sentences of",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message_and_leaves_nothing(name: str, pellucid: Run, tmp_path: Path) -> None:
    files, words, message = MISTAKES[name]
    (tmp_path / "data").mkdir()
    for file, content in files.items():
        (tmp_path / "data" / file).write_bytes(content)
    done = pellucid("train", "data", *words, "--epochs", 1, "--threads", 1)
    assert done.code == 2, done.out + done.error
    assert message in done.error
    assert "Traceback" not in done.error
    assert {item.name for item in tmp_path.iterdir()} <= {"data", "runs"}
    assert not list((tmp_path / "runs").glob("*/checkpoints")) if (tmp_path / "runs").exists() else True


EVALUATED = {
    "a label that is not known": (
        "text,label\na good film,meh\n",
        "a.csv:2 has a label that the network does not know: 'meh'",
    ),
    "no such split": ("text,label,split\na good film,pos,validation\n", "has no test split"),
    "no label": ("text,label\na good film,\n", "a.csv:2 has no label: 'a good film'"),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_a_mistake_in_evaluation_gets_one_message(name: str, trained: Path, pellucid: Run, tmp_path: Path) -> None:
    table, message = EVALUATED[name]
    (tmp_path / "a.csv").write_text(table)
    done = pellucid("evaluate", trained, "a.csv")
    assert done.code == 2
    assert message in done.error
    assert "Traceback" not in done.error


def test_sentences_of_one_class_can_be_evaluated(trained: Path, pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,split\na good film,pos,test\n")
    done = pellucid("evaluate", trained, "a.csv")
    assert done.code == 0, done.error
    assert "on 1 sentences" in done.out


def test_check_counts_the_sentences(trained: Path, pellucid: Run) -> None:
    done = pellucid("check", trained.parent / "films.csv")
    assert done.code == 0, done.error
    assert "data for text, sentences: train 48, validation 6, test 6" in done.out


def test_a_run_that_was_killed_goes_on(pellucid: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.train.loop import Loop

    (tmp_path / "films.csv").write_text(TABLE)
    words = [*SMALL, "--set", "checkpoint_steps=1"]
    assert pellucid("train", "films.csv", *words, "--run", "alone").code == 0
    began, steps = Loop._step, []

    def until_the_fifth(loop: Loop, *given: object) -> object:
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return began(loop, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", until_the_fifth)
        assert pellucid("train", "films.csv", *words, "--run", "killed").code != 0
    done = pellucid("train", "--resume", "killed")
    assert done.code == 0, done.error
    one, other = ((tmp_path / name / "metrics.json").read_bytes() for name in ("alone", "killed"))
    assert one == other
    assert os.listdir("killed/checkpoints")
