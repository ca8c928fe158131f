"""Experiments that a course on convolutional networks would want to see, each one grid: what came out, and its noise.

    python bench/experiments.py --cifar10 CIFAR10 --json bench/results/experiments.json --markdown docs/experiments.md
    python bench/experiments.py --only optimizers --json bench/results/experiments.json --markdown docs/experiments.md
    python bench/experiments.py --try --json /tmp/tried.json          # tiny, to see that all of it works

Each is the command ``pellucid compare`` in a process of its own, on one thread; where things are moved at test time,
its networks are then measured on moved pictures (``pellucid.look.probe``). CIFAR10 is the folder of its binary files.
``--work`` keeps the grids, so that what was stopped goes on. ``--only`` renews some and keeps the record of the others.
The page and its figures are made from the record: no number in it is typed.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.draw.grid_page import band, said
from pellucid.train.grid_record import Entry, Grid, read_grid

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
COLOURS = ["#1f6feb", "#d1690e", "#1a7f4b", "#8250df", "#c2317e", "#0d8390"]
TINY = "--seeds 2 --epochs 1 --set limit=80 --set batch_size=20"
MOVED = 1000  # test pictures that are moved


@dataclass(frozen=True)
class Experiment:
    """One grid. data: a known name, or CIFAR10. words: after it on the command line. shifts: by how many pixels the
    test pictures are moved, where they are."""

    title: str
    about: str
    data: str
    words: str
    shifts: tuple[int, ...] = ()


EXPERIMENTS = {
    "optimizers": Experiment(
        "Five optimizers on LeNet",
        "The same network, the same pictures in the same order, five rules. Each has three learning rates to choose "
        "from, and the validation split chooses: a rate that suits one rule says nothing of another.",
        "fashion-mnist",
        "--nets lenet --optimizers sgd,momentum,adagrad,rmsprop,adam --seeds 3 --epochs 5 "
        "--vary sgd:learning_rate=0.03,0.1,0.3 --vary momentum:learning_rate=0.01,0.03,0.1 "
        "--vary adagrad:learning_rate=0.005,0.015,0.05 --vary rmsprop:learning_rate=0.0005,0.0015,0.005 "
        "--vary adam:learning_rate=0.001,0.003,0.01 --choose learning_rate --set activation=relu --set pool=max "
        "--set limit=8000 --set validation=0.1 --set batch_size=64",
    ),
    "classic": Experiment(
        "Six networks on CIFAR-10 at one budget",
        "The budget is the same number of pictures and of epochs for all, not of seconds: what each takes stands in "
        "the table. It is small, a few minutes for all of them, and none of the networks is near what it can reach. "
        "AlexNet does not fit into 32 x 32 pixels and sees the pictures enlarged to 64 x 64.",
        "CIFAR10",
        "--nets mlp,lenet,alexnet,vgg11,inception_small,resnet18 --seeds 2 --epochs 3 --set alexnet:image_size=64 "
        "--set lenet:activation=relu --set lenet:pool=max --set limit=1000 --set batch_size=64",
    ),
    "sharing": Experiment(
        "Dense, local, convolutional: pictures that move",
        "A dense layer sees everything and shares nothing; a locally connected one sees its neighbourhood, with "
        "weights of its own at each place; a convolution shares them. All learn from pictures where they are, and are "
        "then asked about the same test pictures moved by a few pixels, which none has seen.",
        "fashion-mnist",
        '--nets mlp,local_cnn,variant_cnn --set "local_cnn:net.channels=[8,16]" '
        '--set "variant_cnn:net.channels=[8,16]" '
        "--seeds 3 --epochs 4 --set limit=4000 --set batch_size=64",
        (0, 1, 2, 3, 4, 6),
    ),
    "pooling": Experiment(
        "Pooling or not, when pictures move",
        "The largest of each window, the average, or simply every other place (a stride of the convolution before): "
        "the same weights otherwise. Learned from pictures where they are, measured on pictures that moved.",
        "fashion-mnist",
        "--nets lenet,basic_cnn --vary pool=max,average,stride --seeds 3 --epochs 4 --set activation=relu "
        '--set "basic_cnn:net.channels=[16,32]" --set limit=5000 --set batch_size=64',
        (0, 1, 2, 3, 4, 6),
    ),
    "regularisation": Experiment(
        "Batch normalisation and augmentation, with and without",
        "Two by two: batch normalisation or not, pictures shifted by up to two pixels in training or not. Few pictures "
        "and rather many epochs, so that learning by heart is possible.",
        "CIFAR10",
        "--nets basic_cnn --vary batch_norm=false,true --vary crop=0,2 --seeds 3 --epochs 8 "
        '--set "net.channels=[16,32,64]" --set limit=2500 --set batch_size=64',
    ),
}


def command(experiment: Experiment) -> str:
    """As a reader types it."""
    return f"pellucid compare {experiment.data} {experiment.words}"


def run(name: str, data: str, words: Sequence[str], work: Path) -> tuple[Grid, float]:
    """The grid, finished, and how long the command took."""
    folder = work / name
    line = [sys.executable, "-m", "pellucid", "compare", data, *words, "--threads", "1", "--folder", str(folder)]
    began = time.perf_counter()
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    if done.returncode:
        raise SystemExit(f"{shlex.join(line)} failed\n{done.stdout}")
    return read_grid(folder), time.perf_counter() - began


def recorded(name: str, experiment: Experiment, data: str, work: Path, *, tiny: bool) -> dict[str, Any]:
    """Run an experiment; returns what the page is made of."""
    words = shlex.split(experiment.words) + (shlex.split(TINY) if tiny else [])
    grid, seconds = run(name, data, words, work)
    what = f"{'validation' if _has(grid, 'validation') else 'test'}_{grid.score}"
    entries = [_entry(entry, what) for entry in grid.entries]
    if experiment.shifts:
        for entry, found in zip(grid.entries, entries, strict=True):
            found["moved"] = moved(entry, data, experiment.shifts)
    return {
        "command": command(experiment),
        "seconds": round(seconds, 1),
        "score": grid.score,
        "split": grid.split,
        "curve": what,
        "seeds": grid.seeds,
        "said": said(grid),
        "entries": entries,
        "pairs": [
            {"one": p.one, "other": p.other, "mean": p.mean, "p": p.adjusted, "larger": p.is_larger} for p in grid.pairs
        ],
        "choices": [
            {"entry": c.entry, "tried": dict(c.tried), "chosen": c.chosen, "at_edge": c.at_edge} for c in grid.choices
        ],
        "shifts": list(experiment.shifts),
    }


def moved(entry: Entry, data: str, shifts: Sequence[int]) -> list[list[float]]:
    """The accuracy on test pictures that are moved by each size, one list a seed."""
    from pellucid.look import probe
    from pellucid.train import Model

    found = []
    for one in entry.runs:
        if one.measured is not None:
            probed = probe(Model.load(one.folder), data, changes={"shift": shifts}, pictures=MOVED)
            found.append([float(value) for value in probed.curves[0].accuracy])
    return found


def _entry(entry: Entry, what: str) -> dict[str, Any]:
    curve = band(entry, what)
    return {
        "name": entry.name,
        "mean": entry.mean,
        "spread": entry.spread,
        "scores": list(entry.scores),
        "diverged": entry.diverged,
        "asked": entry.asked,
        "seconds": entry.seconds,
        "parameters": entry.parameters,
        "curve": {"x": curve.x, "y": curve.y, "low": curve.low, "high": curve.high},
    }


def _has(grid: Grid, split: str) -> bool:
    return any(f"{split}_{grid.score}" in epoch for e in grid.entries for one in e.runs for epoch in one.epochs)


def page(record: dict[str, Any]) -> str:
    """docs/experiments.md."""
    head = (
        "Each is one command: a grid of ways to train, several seeds each, and which differences are larger than the "
        f"noise. Made by `bench/experiments.py` from [its record](../bench/results/experiments.json): "
        f"{record['machine']}, PyTorch {record['torch']}, one thread, a part of the data so that each takes a few "
        "minutes. Mean and spread (standard deviation) are over the seeds; what was compared how stands in "
        "[the guide](guide/course/20-experiments.md)."
    )
    parts = ["# Experiments", _wrapped(head)]
    for name, experiment in EXPERIMENTS.items():
        found = record["experiments"].get(name)
        if found is not None:
            parts.append(_section(name, experiment, found))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(name: str, experiment: Experiment, found: dict[str, Any]) -> str:
    paragraphs = [
        f"## {experiment.title}",
        _wrapped(experiment.about),
        f"```console\n{_broken(found['command'])}\n```",
        _scores(found),
        *(_wrapped(sentence) for sentence in found["said"]),
        _larger(found),
        _chosen(found),
        f"![{experiment.title}](pictures/experiment-{name}.svg)",
        _moved(found),
        f"Training the runs of this table took {_trained(found) / 60:.1f} minutes in all.",
    ]
    return "\n\n".join(part for part in paragraphs if part)


def _trained(found: dict[str, Any]) -> float:
    """Seconds in epochs, by the runs' own logs: a grid that was stopped and went on is counted whole."""
    return float(sum(entry["seconds"] * len(entry["scores"]) for entry in found["entries"]))


def _scores(found: dict[str, Any]) -> str:
    """The best first; without a mean last."""
    rows = [
        f"| | {found['split']} {found['score']} | spread | seeds | seconds a run | parameters |",
        "|---|---|---|---|---|---|",
    ]
    for entry in sorted(found["entries"], key=lambda entry: -(entry["mean"] or -1.0)):
        seeds = f"{len(entry['scores'])}" + (f", {entry['diverged']} diverged" if entry["diverged"] else "")
        cells = [_figure(entry["mean"]), _figure(entry["spread"]), seeds, _figure(entry["seconds"], 1)]
        rows.append(f"| {entry['name']} | {' | '.join(cells)} | {entry['parameters']:,} |")
    return "\n".join(rows)


def _larger(found: dict[str, Any]) -> str:
    larger = [f"{p['one']} over {p['other']} by {abs(p['mean']):.3f}" for p in found["pairs"] if p["larger"]]
    return _wrapped(f"Larger than the noise: {'; '.join(larger)}.") if larger else ""


def _chosen(found: dict[str, Any]) -> str:
    if not found["choices"]:
        return ""
    each = [
        f"{c['entry']} {c['chosen']}{' (the end of what was tried)' if c['at_edge'] else ''}" for c in found["choices"]
    ]
    return _wrapped(f"Chosen on the validation split: {'; '.join(each)}.")


def _moved(found: dict[str, Any]) -> str:
    if not found["shifts"]:
        return ""
    rows = [
        f"| moved by pixels | {' | '.join(map(str, found['shifts']))} |",
        f"|---{'|---' * len(found['shifts'])}|",
    ]
    for entry in found["entries"]:
        means = [sum(column) / len(column) for column in zip(*entry["moved"], strict=True)]
        rows.append(f"| {entry['name']} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    about = f"Accuracy on {MOVED:,} test pictures, each moved into one of eight directions; means over the seeds."
    return about + "\n\n" + "\n".join(rows)


def figure(name: str, found: dict[str, Any]) -> None:
    """docs/pictures/experiment-NAME.svg: the curves with their bands, over epochs, or over pixels."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    drawn = Figure((6.4, 3.4), layout="constrained")
    axes = drawn.add_subplot()
    for i, entry in enumerate(found["entries"]):
        style = {"color": COLOURS[i % 6], "linestyle": ("-", "--", ":")[i // 6 % 3]}
        if found["shifts"]:
            columns = list(zip(*entry["moved"], strict=True))
            x, y = found["shifts"], [sum(column) / len(column) for column in columns]
            low, high = [min(column) for column in columns], [max(column) for column in columns]
        else:
            x, y, low, high = (entry["curve"][key] for key in ("x", "y", "low", "high"))
        axes.plot(x, y, label=entry["name"], **style)
        if low:
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set_xlabel("moved by pixels" if found["shifts"] else "epoch")
    axes.set_ylabel(f"test {found['score']}" if found["shifts"] else found["curve"].replace("_", " "))
    axes.grid(color="#c9d2dd", linewidth=0.5)
    axes.legend(fontsize=8, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        drawn.savefig(PICTURES / f"experiment-{name}.svg", facecolor="white", metadata={"Date": None})


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 124, break_long_words=False, break_on_hyphens=False)


def _broken(line: str) -> str:
    """A long command in several lines, as a shell reads it, each option with its value."""
    lines = [""]
    for part in line.replace(" --", "\n--").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > 110:
            lines.append("")
        lines[-1] += f" {part}" if lines[-1] else part
    return " \\\n    ".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, help="the folder of CIFAR-10's binary files")
    parser.add_argument("--only", action="append", choices=EXPERIMENTS, help="this one alone; may be repeated")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--work", type=Path, help="keep the grids here")
    parser.add_argument("--try", dest="tiny", action="store_true", help="a few pictures and one epoch: does it work?")
    asked = parser.parse_args()
    import torch

    names = asked.only or list(EXPERIMENTS)
    if asked.cifar10 is None and any(EXPERIMENTS[name].data == "CIFAR10" for name in names):
        parser.error("--cifar10 FOLDER is needed for some of these; or --only NAME")
    record: dict[str, Any] = {"experiments": {}}
    if asked.json.is_file():
        record = json.loads(asked.json.read_text("utf-8"))
    record |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__.partition("+")[0]}
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            experiment = EXPERIMENTS[name]
            print(command(experiment), flush=True)
            data = str(asked.cifar10) if experiment.data == "CIFAR10" else experiment.data
            work = asked.work or Path(temporary)
            record["experiments"][name] = recorded(name, experiment, data, work, tiny=asked.tiny)
            for sentence in record["experiments"][name]["said"]:
                print(sentence, flush=True)
            asked.json.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", "utf-8")
    if asked.markdown:
        asked.markdown.write_text(page(record), "utf-8")
        for name, found in record["experiments"].items():
            figure(name, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
