"""Sound, text and forecasting killed with SIGKILL and resumed: the bytes of a run that was left alone. (Pictures,
pixels and translation have theirs in ``test_resume``, ``test_segmentation`` and ``test_translation``.)"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.made_sounds import write_sounds

ROOT = Path(__file__).parents[2]
COMMON: dict[str, Any] = {"epochs": 6, "batch_size": 8, "accumulate": 2, "ema": 0.9, "channels_last": False}


def sounds(folder: Path) -> Path:
    return write_sounds(folder / "pitches", takes=5, seconds=0.3)


def sentences(folder: Path) -> Path:
    chance = np.random.default_rng(0)
    words = np.array("the a film plot actor scene is was good bad slow bright dull warm".split())
    rows = [f"{' '.join(chance.choice(words, 7))} {i},{'good' if i % 2 else 'bad'}" for i in range(200)]
    (folder / "sentences.csv").write_text("\n".join(["text,label", *rows]) + "\n", "utf-8")
    return folder / "sentences.csv"


def series(folder: Path) -> Path:
    days = np.arange("2020-01-01", "2021-02-01", dtype="datetime64[D]")
    values = np.sin(np.arange(len(days)) / 5) + 0.1 * np.random.default_rng(0).normal(size=len(days))
    rows = [f"{day},{value:.4f}" for day, value in zip(days, values, strict=True)]
    (folder / "series.csv").write_text("\n".join(["date,value", *rows]) + "\n", "utf-8")
    return folder / "series.csv"


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "spectrograms": (
        sounds,
        {
            "net": "basic_cnn",
            "net_settings": {"channels": [4, 4], "dropout": 0.2},
            "task_settings": {"names": "label_speaker_take", "split_by": "take"},
        },
    ),
    "waves": (
        sounds,
        {
            "net": "m5",
            "net_settings": {"channels": 3},
            "task_settings": {"names": "label_speaker_take", "split_by": "take"},
        },
    ),
    "sentences": (sentences, {"net": "textcnn", "net_settings": {"width": 8, "maps": 4}}),
    "series": (series, {"net": "gru", "net_settings": {"hidden": 8}, "batch_size": 32}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_and_resumed_it_is_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    make, own = CASES[name]
    (tmp_path / "settings.json").write_text(json.dumps({**COMMON, **own}), "utf-8")
    script = [sys.executable, ROOT / "bench" / "reliability" / "kill.py", "--kills", "4", "--seed", "2"]
    where = ["--data", make(tmp_path), "--settings", tmp_path / "settings.json", "--json", tmp_path / "result.json"]
    done = subprocess.run(
        [*script, *where],
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["kills"] == 4
    assert result["runs_that_differ"] == {}
