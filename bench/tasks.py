"""Every task on real data, one command each: what it scores beside its baseline, and how long it takes.

    python bench/tasks.py DATA --json bench/results/tasks.json --markdown docs/tasks.md
    python bench/tasks.py DATA --only dates --json bench/results/tasks.json --markdown docs/tasks.md

DATA is the folder that holds the data sets (camvid_small.zip, spoken_digits.zip, sentence_polarity.zip); the stock
series comes with matplotlib, and the dates are made by the package. Each is trained by the command ``pellucid train``
in a process of its own. ``--only`` renews some and keeps the record of the others.
The page is made from the record: no number in it is typed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recorded:
    """One run: the data, the words after them on the command line, and what a reader should know of the split.

    figures: what is shown of metrics.json, a title and the path of keys to it.
    """

    title: str
    data: str
    words: str
    about: str
    split: str
    figures: tuple[tuple[str, str], ...]
    chapter: str


def command(run: Recorded) -> str:
    """As a reader types it."""
    return f"pellucid train {run.data} {run.words}".strip()


def where(run: Recorded, root: Path, made: Path) -> str:
    """The data on this machine: a file of the folder, a series that a package brings, or a known name."""
    if (root / run.data).exists():
        return str(root / run.data)
    if run.data in SERIES:
        file = made / run.data
        file.write_text("\n".join(SERIES[run.data]()) + "\n")
        return str(file)
    return run.data


def prices() -> list[str]:
    """The daily price of one stock, August 2004 to October 2008, as matplotlib brings it."""
    import numpy as np
    from matplotlib import cbook

    rows = np.load(cbook.get_sample_data("goog.npz", asfileobj=False))["price_data"]
    return ["date,close", *(f"{row['date']},{row['adj_close']}" for row in rows)]


def temperatures() -> list[str]:
    """The sea surface temperature of El Nino by quarters, 1871 to 1996, as PyWavelets brings it."""
    import pywt

    years, values = pywt.data.nino()
    rows = zip(years, values, strict=True)
    return ["date,temperature", *(f"{int(year)}Q{int(year % 1 * 4) + 1},{value}" for year, value in rows)]


SERIES = {"google.csv": prices, "nino.csv": temperatures}


def train(run: Recorded, root: Path, threads: int) -> dict[str, Any]:
    """Train in a process of its own; returns what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        words = [
            sys.executable,
            "-m",
            "pellucid",
            "train",
            where(run, root, Path(folder)),
            *shlex.split(run.words),
            "--run",
            str(place),
        ]
        began = time.perf_counter()
        done = subprocess.run(
            [*words, "--threads", str(threads)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{command(run)} failed\n{done.stdout}{done.stderr}")
        measured = json.loads((place / "metrics.json").read_text("utf-8"))
        return {
            "command": command(run),
            "seconds": round(seconds, 1),
            "threads": threads,
            "headline": done.stdout.splitlines()[0],
            "split": measured["split"],
            "n": measured["n"],
            "figures": {title: at(measured, path) for title, path in run.figures},
        }


def at(record: Any, path: str) -> Any:
    """The value at ``a.b.0``; ``mean`` of a list is its mean."""
    for key in path.split("."):
        if isinstance(record, list):
            record = sum(record) / len(record) if key == "mean" else record[int(key)]
        else:
            record = record[key]
    return record


def page(record: dict[str, Any]) -> str:
    """docs/tasks.md."""
    head = (
        "What Pellucid learns beside the classification of pictures: each with one command, on real data, and what "
        f"came out. Made by `bench/tasks.py` from [its record](../bench/results/tasks.json): {record['machine']}, "
        f"PyTorch {record['torch']}. One run each, one seed; the seconds are for the whole command, data "
        "and report included, and mean little on another machine; this one had other work at the same time."
    )
    parts = ["# Tasks", _wrapped(head)]
    for name, run in RUNS.items():
        found = record["runs"].get(name)
        if found is None:
            continue
        minutes = (
            f"{found['seconds'] / 60:.1f} minutes" if found["seconds"] >= 90 else f"{found['seconds']:.0f} seconds"
        )
        threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
        figures = "\n".join(f"| {title} | {_shown(value)} |" for title, value in found["figures"].items())
        parts.append(
            f"## {run.title}\n\n{_wrapped(run.about)}\n\n```console\n{found['command']}\n```\n\n"
            f"| {found['split']} split, {found['n']:,} | |\n|---|---|\n{figures}\n| time, {threads} | {minutes} |\n\n"
            f"{_wrapped(run.split)}\n\nThe chapter: [{run.title.lower()}](guide/course/{run.chapter})."
        )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 124)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


_FORECAST = (
    ("mean absolute error", "methods.0.mae.mean"),
    ("the same of the naive forecast (tomorrow is today)", "methods.1.mae.mean"),
    ("of the seasonal naive forecast", "methods.2.mae.mean"),
    ("of a linear model", "methods.3.mae.mean"),
    ("share inside the interval of 80%", "coverage.mean"),
)

RUNS: dict[str, Recorded] = {
    "segmentation": Recorded(
        "A label for every pixel",
        "camvid_small.zip",
        "--epochs 25",
        """CamVid: 240 photographs of streets, 240 x 180, a class for every pixel: 140 to learn from, 40 to choose by,
        60 to measure on.""",
        """The three parts are those of the source. The baseline calls every pixel the most frequent class of the
        training part.""",
        (
            ("mean IoU", "mean_iou"),
            ("mean IoU of always the most frequent class", "baseline.mean_iou"),
            ("pixel accuracy", "pixel_accuracy"),
            ("pixel accuracy of always the most frequent class", "baseline.pixel_accuracy"),
        ),
        "14-a-label-for-every-pixel.md",
    ),
    "digits-by-take": Recorded(
        "Sound: spoken digits, other takes",
        "spoken_digits.zip",
        "--set split_by=take --epochs 30",
        """600 recordings of ten digits by six speakers, ten takes each.""",
        """By takes: the network has heard each speaker, but no recording of a held-out take. That is the setting of a
        machine that knows its users. The defaults for sound were compared on these
        recordings, so this figure may flatter a little.""",
        (("accuracy", "accuracy"), ("95% interval, from", "interval.0"), ("to", "interval.1")),
        "15-sound.md",
    ),
    "digits-as-waves": Recorded(
        "Sound: spoken digits, the raw wave",
        "spoken_digits.zip",
        "--net m5 --set net.channels=32 --set split_by=take --epochs 40",
        """The same recordings without a spectrogram: M5 reads the wave itself, 8,000 numbers a second.""",
        """By takes, as above.""",
        (("accuracy", "accuracy"), ("95% interval, from", "interval.0"), ("to", "interval.1")),
        "15-sound.md",
    ),
    "digits-by-speaker": Recorded(
        "Sound: spoken digits, another speaker",
        "spoken_digits.zip",
        "--set split_by=speaker --epochs 30",
        """The same recordings. Four speakers to learn from, one to choose by, one to measure on.""",
        """By speakers: the harder and the more honest question for whoever sells to strangers. One speaker is one
        sample: the interval counts recordings, not speakers.""",
        (("accuracy", "accuracy"), ("95% interval, from", "interval.0"), ("to", "interval.1")),
        "15-sound.md",
    ),
    "reviews": Recorded(
        "Text: sentences of film reviews",
        "sentence_polarity.zip",
        "--epochs 5",
        """10,662 sentences, for or against the film (Pang & Lee 2005), without word vectors from elsewhere.""",
        """Split by chance, no sentence on two sides. The rival is learned from the same training part.""",
        (
            ("accuracy of TextCNN", "accuracy"),
            ("of a bag of words", "baseline_accuracy"),
            ("TextCNN is", "beside.verdict"),
            ("p (McNemar)", "beside.p_value"),
        ),
        "16-text.md",
    ),
    "dates": Recorded(
        "Translation: dates",
        "dates",
        "",
        """Dates as people write them, in English and Chinese, to ISO 8601; made by rule and a seed.""",
        """A date that is in one split is in no other, in whatever spelling. The validation split chose the epoch.""",
        (
            ("exact match, greedy", "decoded.0.exact"),
            ("exact match, 4 beams", "decoded.1.exact"),
            ("BLEU, greedy", "decoded.0.bleu"),
        ),
        "19-translation.md",
    ),
    "prices": Recorded(
        "Forecasting: prices",
        "google.csv",
        "--net gru --epochs 30",
        """One stock's daily price from 2004 to 2008, five business days ahead; matplotlib brings the numbers. It is an
        example of the method and no advice: what is known today is in today's price, so the naive forecast is hard to
        beat, and this network does not.""",
        """Split by time: the test part begins after all that was learned from, the choice of the epoch included.""",
        _FORECAST,
        "17-sequences.md",
    ),
    "temperatures": Recorded(
        "Forecasting: temperatures",
        "nino.csv",
        "--net tcn --epochs 40",
        """The temperature of the sea in the Pacific by quarters from 1871 to 1996, which comes with PyWavelets: it has
        seasons, and a memory.""",
        """Split by time, as above. Beside a linear model the difference may be chance; the report says so.""",
        _FORECAST,
        "17-sequences.md",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of data sets")
    parser.add_argument("--only", action="append", choices=RUNS, help="this one alone; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    asked = parser.parse_args()
    import torch

    record: dict[str, Any] = json.loads(asked.json.read_text("utf-8")) if asked.json.is_file() else {"runs": {}}
    record |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__.partition("+")[0]}
    for name in asked.only or RUNS:
        print(command(RUNS[name]), flush=True)
        record["runs"][name] = train(RUNS[name], asked.data, asked.threads)
        print(json.dumps(record["runs"][name], ensure_ascii=False, indent=1), flush=True)
        asked.json.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", "utf-8")
    if asked.markdown:
        asked.markdown.write_text(page(record), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
