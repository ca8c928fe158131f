"""Recordings on the command line: trained, asked, measured; what is wrong is one sentence and code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.data.waves import encoded
from tests.cli.conftest import Run
from tests.data.made_sounds import riff, sine, write_sounds

WORDS = ("--set", "split_by=speaker", "--set", "mels=16", "--set", "net.channels=[4,4]", "--threads", 1)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds") / "pitches")


@pytest.fixture(scope="module")
def trained(sounds: Path, pellucid: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = pellucid("train", sounds, "--epochs", 1, "--run", folder / "run", *WORDS, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "split by speaker, so that none stands in two splits: train " in done.stderr + done.stdout
    return folder / "run"


def test_predict_and_evaluate(trained: Path, sounds: Path, pellucid: Run, tmp_path: Path) -> None:
    done = pellucid("predict", trained, sounds / "low_s0_0.wav", "--format", "json", "--top", 3, cwd=tmp_path)
    (answer,) = json.loads(done.stdout)
    assert answer["recording"] == str(sounds / "low_s0_0.wav")
    assert sum(item["probability"] for item in answer["classes"]) == pytest.approx(1)
    measured = pellucid("evaluate", trained, sounds, "--json", cwd=tmp_path)
    assert json.loads(measured.stdout)["n"] == 9


def test_standard_input_and_a_broken_file_among_good_ones(
    trained: Path, sounds: Path, pellucid: Run, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(encoded(sine(300).astype("int16"), 4000)[:60])
    good = (sounds / "low_s0_0.wav").read_bytes()
    done = pellucid("predict", trained, "bad.wav", "-", cwd=tmp_path, stdin=good)
    assert done.returncode == 1
    assert done.stdout.startswith("-: ")
    assert "bad.wav is truncated: 16 of 800 bytes of samples are there" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (riff(17, 4, b"abcd"), "is compressed (IMA ADPCM)"),
        (b"", "is empty"),
        (riff(1, 16, b""), "holds no samples"),
    ],
)
def test_files_that_cannot_be_read(content: bytes, said: str, pellucid: Run, tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "pitches", speakers=1)
    for file in sorted(folder.iterdir())[:2]:
        file.write_bytes(content)
    done = pellucid("train", folder, cwd=tmp_path)
    assert done.returncode == 2
    assert "2 of 9 recordings in" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "split_by=speeker"), "did you mean 'speaker'?"),
        (("--set", "split_by=speaker", "--set", "held_out=s7"), "there is no group to hold out named 's7'"),
        (("--set", "mels=0"), "mels cannot be 0"),
        (("--set", "form=wave", "--net", "basic_cnn"), "recordings"),
        (("--net", "textcnn"), "the network reads tokens"),
        (("--set", "seconds=0.01", "--net", "m5"), "the network refuses recordings of 1 x 40"),
    ],
)
def test_settings_that_do_not_fit(
    words: tuple[str, ...], said: str, sounds: Path, pellucid: Run, tmp_path: Path
) -> None:
    done = pellucid("train", sounds, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
