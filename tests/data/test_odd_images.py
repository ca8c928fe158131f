"""The corpus of odd and broken picture files: each decoded to Pillow's pixels or refused, none a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_BENCH = Path(__file__).parents[2] / "bench" / "odd_images.py"


def run(corpus: Path, *options: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([sys.executable, str(_BENCH), str(corpus), *options], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=250)  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_file_of_the_corpus(shared_data: Path) -> None:
    code, result = run(shared_data / "odd_images.zip", "--flips", "3")
    corpus, damaged = result["corpus"], result["damaged"]
    assert corpus["files"] == 216
    assert corpus["decoded"] + corpus["refused"] == 216
    assert corpus["pixels_compared"] >= 80
    for what in ("crashes", "mismatches", "refused_though_pillow_decodes", "decoded_though_pillow_refuses"):
        assert corpus[what] == [], what
    assert len(corpus["formats_not_read"]) <= 6
    assert corpus["longest_s"][0] < 5
    assert corpus["most_memory_bytes"][0] < 400 * 2**20
    assert damaged["files"] == 3 * 216
    assert damaged["decoded"] + damaged["refused"] == 3 * 216
    assert damaged["crashes"] == damaged["differ"] == []
    assert code == 0


def test_the_harness_sees_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash, a wrong pixel, a hang and a wrong exception are all found when there are any."""
    from bench import odd_images

    def dies(*_: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(*_: object) -> dict[str, Any]:
        while True:
            pass

    def errs(*_: object) -> dict[str, Any]:
        raise ZeroDivisionError("by zero")

    def gorges(*_: object) -> dict[str, Any]:
        return {"held": len(bytearray(3 << 30))}

    monkeypatch.setattr(odd_images, "SECONDS", 0.5)
    assert "died of 9" in odd_images.in_child(dies, b"", {})["crash"]
    assert "not done after 0.5 s" in odd_images.in_child(hangs, b"", {})["crash"]
    assert "ZeroDivisionError" in odd_images.in_child(errs, b"", {})["crash"]
    assert "MemoryError" in odd_images.in_child(gorges, b"", {})["crash"]


def test_the_harness_sees_other_pixels() -> None:
    from bench import odd_images
    from tests.data.pictures import a_picture, encoded

    said = {"decodes": True, "size_upright": [16, 12], "rgb_sha256": "0" * 64}
    assert (
        odd_images.look(encoded(a_picture(1)), {"name": "a", "pillow": said})["mismatch"]
        == "other pixels than Pillow's"
    )
    said = {"decodes": True, "size_upright": [12, 16]}
    assert "in place of" in odd_images.look(encoded(a_picture(1)), {"name": "a", "pillow": said})["mismatch"]
