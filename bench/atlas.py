"""The atlas of basic_cnn on CIFAR-10: how fast beside plain evaluation, how long in all, and in how much memory.

    python bench/atlas.py cifar10 --run runs/2026-11-24-1015-basic_cnn --json atlas.json

Claims: the pass over the pictures runs at no less than half the speed of ``Model.evaluate``; the atlas of all layers of
10,000 pictures, patches, projections, whole pictures and the page included, takes under 60 s on two cores; memory does
not grow with the pictures.

Speed: evaluation and the pass (``look.atlas`` without a folder: it captures the network, searches all pictures and cuts
nothing yet) take turns in one process. The pass is timed with the layers that are taken by default, convolutions and
dense layers, and with every node that has channels. In all: the command ``pellucid atlas`` in a process of its own,
from start to end. Memory: the highest resident memory of the pass in a process of its own, beside that of plain
evaluation, for the 10,000 test pictures and the 50,000 training pictures. Without ``--run`` the weights are random.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def model_of(run: Path | None, data: Any) -> Any:
    """The trained network, or one of random weights."""
    from pellucid import Model
    from pellucid.data import Preprocess

    if run is not None:
        return Model.load(run)
    model = Model("basic_cnn", classes=data.classes, preprocess=Preprocess.of(data))
    model.build(data)
    return model


def speed(run: Path | None, where: str, rounds: int) -> dict[str, Any]:
    """Evaluation and passes in turns."""
    import torch

    from pellucid.data import load
    from pellucid.graph import capture
    from pellucid.look import atlas

    torch.set_num_threads(2)
    data = load(where)
    model = model_of(run, data)
    graph = capture(model.net, (data.channels, *data.image_size), training=False)
    every = [node.name for node in graph.shown if len(node.shape(1)) in (2, 4)]
    ways = {
        "evaluate": lambda: model.evaluate(data),
        "atlas": lambda: atlas(model, data),
        "atlas_of_every_node": lambda: atlas(model, data, layers=every),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if i:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
    plain = seconds["evaluate"]
    ratios = {
        name: [a / b for a, b in zip(plain, own, strict=True)] for name, own in seconds.items() if name != "evaluate"
    }
    return {
        "pictures": len(data.splits["test"]),
        "nodes": {"atlas": len(atlas(model, data, k=1)), "atlas_of_every_node": len(every)},
        "seconds": {name: [round(s, 3) for s in own] for name, own in seconds.items()},
        "share_of_evaluation_speed": {name: statistics.median(own) for name, own in ratios.items()},
        "lowest": {name: min(own) for name, own in ratios.items()},
    }


def in_all(run: Path | None, where: str) -> dict[str, Any]:
    """The command from start to end, twice: the second finds everything there."""
    from pellucid.data import load

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "run"
        if run is None:
            model_of(None, load(where)).save(folder)
        else:
            shutil.copytree(run / "best" if (run / "best").is_dir() else run, folder)
        command = [sys.executable, "-m", "pellucid", "atlas", str(folder), where]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begun)
        sizes = {
            str(file.relative_to(folder / "atlas")): file.stat().st_size
            for file in sorted((folder / "atlas").rglob("*"))
            if file.is_file()
        }
    return {"seconds": seconds[0], "seconds_when_complete": seconds[1], "bytes": sizes}


def memory(run: Path | None, where: str, split: str, what: str) -> int:
    """The highest resident memory of this process, in bytes, after a pass (or nothing but the data) over a split."""
    import torch

    from pellucid.data import load
    from pellucid.look import atlas

    torch.set_num_threads(2)
    data = load(where)
    model = model_of(run, data)
    if what == "atlas":
        atlas(model, data, split=split)
    else:
        model.evaluate(data, split=split)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return (
        int(status["VmHWM"].split()[0]) * 1024
    )  # ru_maxrss would begin with that of the process that started this one


def main() -> int:
    """Measure, print, write JSON; exit 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(memory(arguments.run, arguments.data, *arguments.memory))
        return 0
    import torch

    record: dict[str, Any] = {
        "what": "atlas of basic_cnn on CIFAR-10",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0],
        "speed": speed(arguments.run, arguments.data, arguments.rounds),
        "in_all": in_all(arguments.run, arguments.data),
        "memory_bytes": {},
    }
    own = ["--run", str(arguments.run)] if arguments.run else []
    for split in ("test", "train"):
        for what in ("evaluate", "atlas"):
            command = [sys.executable, __file__, arguments.data, *own, "--memory", split, what]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            record["memory_bytes"][f"{what} {split}"] = int(done.stdout)
    record["load_average_after"] = os.getloadavg()[0]
    shares = record["speed"]["share_of_evaluation_speed"]
    used = record["memory_bytes"]
    record["grown_bytes"] = {split: used[f"atlas {split}"] - used[f"evaluate {split}"] for split in ("test", "train")}
    print(f"speed beside evaluation: {shares}")
    print(f"in all: {record['in_all']['seconds']:.1f} s; again: {record['in_all']['seconds_when_complete']:.1f} s")
    print("memory: " + ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in used.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(min(shares.values()) < 0.5 or record["in_all"]["seconds"] > 60)


if __name__ == "__main__":
    sys.exit(main())
