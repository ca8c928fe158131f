"""Translation as a user meets it: training on a CSV file, asking for texts, and every mistake in one clear message."""

from __future__ import annotations

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

SMALL = [
    "--set", "width=16", "--set", "heads=2", "--set", "layers=1", "--set", "feed_forward=32", "--epochs", "2",
    "--batch-size", "16", "--threads", "1",
]  # fmt: skip
COLOURS = {"red": "rot", "blue": "blau", "green": "grün", "old": "alt"}
THINGS = {"cat": "Katze", "dog": "Hund", "house": "Haus", "tree": "Baum", "book": "Buch"}
ROWS = [
    f"the {colour} {thing} and {number} more,{in_german} {german} und {number} mehr"
    for colour, in_german in COLOURS.items()
    for thing, german in THINGS.items()
    for number in range(5)
]


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
    """A run of two epochs on 100 pairs."""
    folder = tmp_path_factory.mktemp("translation")
    (folder / "pairs.csv").write_text("source,target\n" + "\n".join(ROWS), "utf-8")
    before, threads = sys.argv, torch.get_num_threads()
    sys.argv = ["pellucid", "train", str(folder / "pairs.csv"), *SMALL, "--run", str(folder / "run")]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
        torch.set_num_threads(threads)
    assert not ended.value.code
    return folder / "run"


def test_a_csv_file_of_pairs_needs_no_task(trained: Path) -> None:
    assert "task: translation" in (trained / "config.yaml").read_text("utf-8")
    metrics = json.loads((trained / "metrics.json").read_text("utf-8"))
    assert metrics["split"] == "test"
    assert metrics["n"] == 10
    assert [item["width"] for item in metrics["decoded"]] == [1, 4]
    page = (trained / "report.html").read_text("utf-8")
    for title in ("Decoding", "Attention", "Wrong", "Right", "Length", "How it was made"):
        assert f">{title}</h2>" in page
    assert 'class="attention"' in page


def test_texts_are_translated(trained: Path, pellucid: Run) -> None:
    done = pellucid("predict", trained, "the red cat and 3 more", "the  blue dog")
    assert done.code == 0
    assert [line.partition(": ")[0] for line in done.out.splitlines()] == ["the red cat and 3 more", "the blue dog"]


def test_beams_are_asked_for_and_answers_are_as_many_as_asked(trained: Path, pellucid: Run) -> None:
    done = pellucid("predict", trained, "the red cat", "--set", "beam=5", "--top", 4, "--format", "json")
    (record,) = json.loads(done.out)
    assert record["source"] == "the red cat"
    assert len(record["texts"]) == 4
    greedy = pellucid("predict", trained, "the red cat", "--set", "beam=1", "--format", "csv")
    assert greedy.out.splitlines()[0] == "source,rank,text,probability"
    assert len(greedy.out.splitlines()) == 2


def test_files_and_standard_input_are_read_line_by_line(trained: Path, pellucid: Run, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("the red cat\n\nthe old dog\n", "utf-8")
    done = pellucid("predict", trained, "lines.txt", "-", stdin=b"the blue book\n")
    assert [line.partition(": ")[0] for line in done.out.splitlines()] == [
        "the red cat",
        "the old dog",
        "the blue book",
    ]


def test_a_character_that_training_never_saw_is_said_and_no_end(trained: Path, pellucid: Run) -> None:
    done = pellucid("predict", trained, "the red cat ☃ Ж")
    assert done.code == 0
    assert "never seen in training: ☃ Ж" in done.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no text in an empty source"),
        ("   ", "there is no text in '   '"),
        ("a" * 300, "has 300 tokens, and the limit is 256"),
        ("empty.txt", "there is no text in empty.txt"),
        ("binary.dat", "binary.dat is no UTF-8 text (byte 0)"),
    ],
)
def test_a_text_that_cannot_be_read_does_not_stop_the_others(
    text: str, message: str, trained: Path, pellucid: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", "utf-8")
    (tmp_path / "binary.dat").write_bytes(b"\xff\xfe\x00")
    done = pellucid("predict", trained, text, "the red cat")
    assert done.code == 1
    assert message in done.error
    assert done.out.startswith("the red cat: ")


def test_it_is_measured_again(trained: Path, pellucid: Run) -> None:
    done = pellucid("evaluate", trained, trained.parent / "pairs.csv")
    metrics = json.loads((trained / "metrics.json").read_text("utf-8"))
    assert done.out.startswith(f"exact match      {metrics['decoded'][0]['exact']:.4f}  (95%:")
    assert f"loss             {metrics['loss']:.4f}" in done.out
    done = pellucid("evaluate", trained, trained.parent / "pairs.csv", "--split", "all", "--json")
    assert json.loads(done.out)["n"] == 100


def test_a_finished_run_that_is_resumed_has_nothing_left(trained: Path, pellucid: Run) -> None:
    done = pellucid("train", "--resume", trained)
    assert done.code == 0
    assert "nothing is left to train" in done.out + done.error


def test_a_data_set_is_counted(pellucid: Run, trained: Path) -> None:
    done = pellucid("check", trained.parent / "pairs.csv")
    assert "data for translation, pairs: train 80, validation 10, test 10" in done.out


GOOD = "source,target\n" + "\n".join(ROWS[:30])
MISTAKES: dict[str, tuple[bytes, list[str], str]] = {
    "one column": (f"{GOOD}\nalone\n".encode(), [], "pairs.csv:32 has 1 column: 'alone'"),
    "an empty text": (f"{GOOD}\n,leer\n".encode(), [], "pairs.csv:32 has an empty source, beside 'leer'"),
    "no text at all": (GOOD.encode() + b"\na,\xff\n", [], "is no UTF-8 text (byte"),
    "zeros": (GOOD.encode() + b"\na,\0\n", [], "is no text: it holds zero bytes"),
    "too long": (GOOD.encode(), ["--set", "longest=20"], "tokens, and the limit is 20"),
    "no such column": (GOOD.encode(), ["--set", "source=french"], "has no column 'french'"),
    "a wrong setting": (GOOD.encode(), ["--set", "beems=3"], "there is no setting named 'beems'"),
    "a wrong value": (GOOD.encode(), ["--set", "beam=0"], "beam cannot be 0"),
    "a wrong vocabulary": (GOOD.encode(), ["--set", "vocabulary=words"], "vocabulary cannot be 'words'"),
    "a network of pictures": (GOOD.encode(), ["--net", "lenet"], "the network"),
    "a loss of pictures": (GOOD.encode(), ["--set", "loss=focal"], "translation learns by cross_entropy"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_message_and_leaves_nothing(name: str, pellucid: Run, tmp_path: Path) -> None:
    content, options, message = MISTAKES[name]
    (tmp_path / "pairs.csv").write_bytes(content)
    small = [] if name == "a network of pictures" else SMALL
    done = pellucid("train", "pairs.csv", "--task", "translation", *small, *options, "--run", "run")
    assert done.code == 2, done.out + done.error
    assert message in done.error
    assert "Traceback" not in done.error
    assert name == "a network of pictures" or os.listdir(tmp_path) == ["pairs.csv"]
