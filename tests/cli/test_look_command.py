"""``pellucid look`` as a user runs it: it serves until Ctrl-C, or writes one page."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.cli import main

InProcess = Callable[..., tuple[int, str, str]]


def a_photo(photos: Path) -> Path:
    return next(iter(sorted(photos.rglob("*.png")) or sorted(photos.rglob("*.jpg"))))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """The command in this process: its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


def test_it_serves_until_ctrl_c(trained: Path, photos: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "pellucid", "look", trained, a_photo(photos), "--no-browser"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line.startswith("the page is at http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[4], timeout=60) as answer:
            page = answer.read().decode()
        assert '"live":true' in page
        assert '"scene":{"picture":' in page
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_it_writes_one_page(trained: Path, photos: Path, run: InProcess, tmp_path: Path) -> None:
    label = sorted(folder.name for folder in photos.iterdir() if folder.is_dir())[-1]
    code, out, err = run("look", trained, a_photo(photos), "--label", label, "--html", "look.html")
    assert (code, err) == (0, "")
    assert out.startswith("look.html holds ")
    page = (tmp_path / "look.html").read_text("utf-8")
    assert '"predicted":false' in page
    assert f"pellucid look {trained} " in page
    assert [file.name for file in tmp_path.iterdir()] == ["look.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["RUN", "--html", "a.html"], "an offline page is that of a picture"),
        (["RUN", "PHOTO", "--label", "nobody"], "there is no class named 'nobody'"),
        (["RUN", "PHOTO", "--label", "77"], "there is no class 77"),
        (["RUN", "nothing.png", "--no-browser"], "nothing.png cannot be read"),
        (["RUN", "PHOTO", "--html", "PHOTO"], "exists and is no page of pellucid look"),
        (["RUN", "--weights", "worst"], "no weights named 'worst'"),
        (["nowhere", "PHOTO"], "nowhere"),
        (["RUN", "PHOTO", "--port", "PORT", "--no-browser"], "Address already in use"),
    ],
)
def test_mistakes_end_in_one_message(
    trained: Path, photos: Path, run: InProcess, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {"RUN": trained, "PHOTO": a_photo(photos), "PORT": taken.getsockname()[1]}
        code, _, err = run("look", *(words.get(word, word) for word in arguments))
    assert code == 2
    assert said in err
    assert list(tmp_path.iterdir()) == []
