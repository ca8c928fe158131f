"""Kinds of convolution side by side: one plan of layers, and nothing else that differs.

    python bench/variants.py cifar10 --json bench/results/variants.json --markdown docs/variants.md --html variants.html

The networks are ``variant_cnn`` of each kind: a stem, then six 3x3 layers of 32, 32, 64, 64, 128 and 128 channels. For
each: parameters, multiply-accumulates, the receptive field of the last layer's numbers, which share of its channels
each channel behind the stem reaches, the time of a training step and of a forward pass (all kinds in turns, so that
every round sees the same machine; median, lowest and highest), and the accuracy on the same test pictures after the
same epochs on the same training pictures with the same recipe, for each seed. The page is made from the record: no
number in it is typed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pellucid
from pellucid import data, look, nets
from pellucid.draw.mixing_svg import mixing_svg
from pellucid.draw.page import SORT, page, table
from pellucid.graph import capture
from pellucid.nets.variants import KINDS

Record = dict[str, Any]
SIZE = (3, 32, 32)
WARM_UP = 2
SAID = {
    "standard": "a 3x3 convolution",
    "grouped": "4 groups, each apart",
    "grouped_shuffled": "4 groups, and a channel shuffle",
    "depthwise": "a group for each channel, nothing mixes",
    "separable": "depthwise, then 1x1",
    "dilated": "rates 1 and 2 in turns",
    "local": "a kernel for each place",
    "transposed": "transposed, stride 1",
}


def described(kind: str) -> tuple[Record, look.Mixing]:
    """What can be told without running it."""
    graph = capture(nets.make("variant_cnn", kind=kind), SIZE)
    rows = graph.account().rows
    last = next(row for row in reversed(rows) if row.name.startswith("stages."))
    if last.field is None:
        raise RuntimeError(f"{last.name} has no field")
    mixing = look.channel_mixing(graph, last.name, "stem.3")
    facts = {
        "parameters": sum(row.parameters for row in rows),
        "macs": sum(row.macs or 0 for row in rows),
        "field": last.field.size[0],
        "joined": mixing.share,
        "islands": mixing.islands,
    }
    return facts, mixing


def steps(kind: str, batch: int) -> dict[str, Callable[[], None]]:
    """A training step and a forward pass of a batch of random pictures, as functions."""
    torch.manual_seed(0)
    net = nets.make("variant_cnn", kind=kind)
    still = nets.make("variant_cnn", kind=kind).eval()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    pictures, labels = torch.randn(batch, *SIZE), torch.randint(0, 10, (batch,))

    def train() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pictures), labels).backward()
        optimizer.step()

    def forward() -> None:
        with torch.inference_mode():
            still(pictures)

    return {"step": train, "forward": forward}


def timed(kinds: list[str], batch: int, rounds: int) -> dict[str, Record]:
    """Milliseconds of each kind, all kinds taking turns in an order that moves on with every round."""
    works = {kind: steps(kind, batch) for kind in kinds}
    spent: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in works[kind]} for kind in kinds}
    for turn in range(-WARM_UP, rounds):
        shift = turn % len(kinds)
        for kind in kinds[shift:] + kinds[:shift]:
            for name, work in works[kind].items():
                began = time.perf_counter()
                work()
                if turn >= 0:
                    spent[kind][name].append(1000 * (time.perf_counter() - began))
    return {kind: {f"{name}_ms": spread(values) for name, values in spent[kind].items()} for kind in kinds}


def spread(values: list[float]) -> Record:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "n": len(values)}


def scored(kind: str, pictures: data.Data, epochs: int, batch: int, seeds: int) -> Record:
    """Accuracy on the test pictures after the last epoch, one number for each seed."""
    found, seconds = [], 0.0
    for seed in range(seeds):
        model = pellucid.Model("variant_cnn", kind=kind).compile(
            optimizer="adamw", seed=seed, batch_size=batch, channels_last=False
        )
        began = time.perf_counter()
        model.fit(pictures, epochs=epochs, progress=False)
        seconds += time.perf_counter() - began
        found.append(model.evaluate(pictures).accuracy)
        print(f"  {kind} seed {seed}: {found[-1]:.4f}", file=sys.stderr)
    return {"accuracies": found, "accuracy": statistics.mean(found), "training_seconds": seconds}


def markdown(record: Record) -> str:
    """The page."""
    kinds, n = record["kinds"], record["seeds"]
    lines = [
        "# Kinds of convolution side by side",
        "",
        "<!-- Made by bench/variants.py from its record. -->",
        "",
        "One plan of layers (`variant_cnn`: a stem, then six 3×3 layers of 32, 32, 64, 64, 128 and 128 channels,",
        "halved in front of each new width), and nothing that differs but how the six layers are connected.",
        "",
        f"Data: {record['training_pictures']:,} training pictures of {record['data']}, epochs: {record['epochs']}, the",
        f"same recipe for all; accuracy on {record['test_pictures']:,} test pictures, mean of {n} seed{'s' * (n > 1)}",
        f"(lowest to highest). Time: a training step and a forward pass of {record['batch']} pictures, the kinds in",
        f"turns, median of {record['rounds']} rounds (lowest to highest); {record['machine']}. Joined: the",
        "share of pairs of a channel behind the stem and one of the last layer of which the one reaches the other.",
        "",
        "| kind | what it is | parameters | MACs | field | joined | training step, ms | forward, ms | accuracy |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += ["| " + " | ".join(cells(kind, own)) + " |" for kind, own in kinds.items()]
    lines += ["", *conclusions(record), "", "```console", record["command"], "```", ""]
    return "\n".join(lines)


def cells(kind: str, own: Record) -> list[str]:
    """One row of the table, as text."""

    def between(values: Record, digits: int) -> str:
        low, high = (f"{values[end]:.{digits}f}" for end in ("lowest", "highest"))
        return f"{values['median']:.{digits}f} ({low}–{high})"

    scores = own["accuracies"]
    return [
        kind,
        SAID[kind],
        f"{own['parameters']:,}",
        f"{own['macs']:,}",
        f"{own['field']} × {own['field']}",
        f"{own['joined']:.0%}",
        between(own["step_ms"], 1),
        between(own["forward_ms"], 1),
        f"{own['accuracy']:.3f} ({min(scores):.3f}–{max(scores):.3f})",
    ]


def conclusions(record: Record) -> list[str]:
    """What the numbers say against the standard kind, whichever way they fall."""
    base = record["kinds"].get("standard")
    if base is None:
        return []
    said = []
    for kind, own in record["kinds"].items():
        if kind == "standard":
            continue
        difference = 100 * (own["accuracy"] - base["accuracy"])
        apart = max(own["accuracies"]) < min(base["accuracies"]) or min(own["accuracies"]) > max(base["accuracies"])
        noise = "no seed of the one reaches the other" if apart else "within the spread of the seeds"
        said.append(
            f"- `{kind}` beside `standard`: {own['parameters'] / base['parameters']:.2f} of the parameters, "
            f"{own['macs'] / base['macs']:.2f} of the multiply-accumulates, "
            f"{own['step_ms']['median'] / base['step_ms']['median']:.2f} of the time of a step; "
            f"accuracy {difference:+.1f} points ({noise})."
        )
    return said


def html(record: Record, mixings: dict[str, look.Mixing]) -> str:
    """The same as a page that sorts, with the matrices of who reaches whom."""
    heads = ["kind", "parameters", "MACs", "field", "joined", "step, ms", "forward, ms", "accuracy"]
    rows = [
        [
            kind,
            own["parameters"],
            own["macs"],
            own["field"],
            own["joined"],
            own["step_ms"]["median"],
            own["forward_ms"]["median"],
            own["accuracy"],
        ]
        for kind, own in record["kinds"].items()
    ]
    body = (
        "<h1>Kinds of convolution side by side</h1>"
        f"<p class='soft'>{record['training_pictures']:,} training pictures of {record['data']}, {record['epochs']} "
        f"epochs, {record['seeds']} seeds; times are medians of {record['rounds']} rounds in turns.</p>"
        + table(heads, rows, sortable=True)
        + "<h2>Which channels behind the stem reach which at the end</h2><div class='scroll'>"
        + mixing_svg(list(mixings.items()))
        + "</div>"
    )
    return page("Kinds of convolution", body, script=SORT, style=".scroll svg{max-width:none}")


def measured(asked: argparse.Namespace) -> tuple[Record, dict[str, look.Mixing]]:
    torch.set_num_threads(asked.threads)
    pictures = data.load(asked.data, limit=asked.limit)
    record: Record = {
        "what": "kinds of 3x3 layers in one plan",
        "data": asked.name or Path(asked.data).name,
        "training_pictures": len(pictures.train),
        "test_pictures": len(pictures.test),
        "epochs": asked.epochs,
        "seeds": asked.seeds,
        "batch": asked.batch,
        "rounds": asked.rounds,
        "threads": asked.threads,
        "machine": f"{asked.threads} threads, {platform.system()} {platform.machine()}, PyTorch {torch.__version__}",
        "command": f"python bench/variants.py {asked.name or Path(asked.data).name} --limit {asked.limit} "
        f"--epochs {asked.epochs} --seeds {asked.seeds} --rounds {asked.rounds} --threads {asked.threads}",
        "kinds": {},
    }
    mixings: dict[str, look.Mixing] = {}
    times = timed(asked.kinds, asked.batch, asked.rounds)
    for kind in asked.kinds:
        facts, mixings[kind] = described(kind)
        scores = scored(kind, pictures, asked.epochs, asked.batch, asked.seeds)
        record["kinds"][kind] = {**facts, **times[kind], **scores}
    return record, mixings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="32x32 colour pictures with a test split: cifar10, or where its files are")
    parser.add_argument("--name", default="", help="what the page calls the data")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--limit", type=int, default=4_000, help="training pictures, and at most so many to test")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the record to this file")
    parser.add_argument("--markdown", type=Path, help="write the page to this file")
    parser.add_argument("--html", type=Path, help="write the page that sorts to this file")
    asked = parser.parse_args()
    record, mixings = measured(asked)
    text = markdown(record)
    print(text)
    if asked.json:
        asked.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    if asked.markdown:
        asked.markdown.write_text(text, "utf-8")
    if asked.html:
        asked.html.write_text(html(record, mixings), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
