"""Kill a grid with SIGKILL at random moments, start it again, and compare every cell with those of a grid left alone.

    python bench/reliability/kill_grid.py --kills 50 --json kill_grid.json

Claim: a grid that was killed and started again is the grid that never stopped. Of each cell the weights, optimizer,
state, best weights, measures and log (without its times) are compared byte for byte, and ``grid.json``; one of the
cells diverges. PyTorch is imported once; each life is a process of its own, forked from there before any thread exists.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.reliability.kill import OFTEN, differences, remains

from pellucid.train import Axis, Plan, Settings, plan_of, read_log, run_grid

SMALL: dict[str, Any] = {
    **OFTEN,
    "task": "classification",
    "limit": 160,
    "validation": 0.2,
    "epochs": 2,
    "batch_size": 10,
    "channels_last": False,
    "threads": 1,
    "schedule": "constant",
}
DIVERGES = 1e30  # a learning rate


def plan() -> Plan:
    """Two networks by two optimizers, plain descent with a rate that diverges as well, one seed."""

    def place(values: Mapping[str, Any]) -> Settings:
        return Settings.parse({**SMALL, **values})

    axes = [
        Axis("net", ("mlp", "lenet")),
        Axis("optimizer", ("sgd", "adam")),
        Axis("learning_rate", (0.02, DIVERGES), "sgd"),
    ]
    return plan_of("fashion-mnist-small", axes, 1, place)


def born(folder: Path, output: Path) -> int:
    """Fork a process that runs the grid; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with output.open("a") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        run_grid(folder, plan())
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def whole(folder: Path) -> dict[str, bytes]:
    """Everything of a grid that must not differ, by name."""
    found = {"grid.json": (folder / "grid.json").read_bytes()}
    for cell in plan().cells:
        place = folder / cell.name
        if (place / "metrics.json").exists():
            found |= {f"{cell.name}/{name}": content for name, content in remains(place).items()}
        else:
            found[f"{cell.name}/config.yaml"] = (place / "config.yaml").read_bytes()
            found[f"{cell.name}/end"] = read_log(place)[-1]["reason"].encode()
    return found


def killed_grid(folder: Path, chance: random.Random, kills: int, longest: float) -> list[str]:
    """Run to the end with so many kills on the way, at most; returns what each one met."""
    met: list[str] = []
    output = folder.with_suffix(".txt")
    while True:
        child = born(folder, output)
        if len(met) < kills:
            until = time.monotonic() + chance.random() * longest
            while time.monotonic() < until and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                time.sleep(0.005)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            made = [cell.name for cell in plan().cells if (folder / cell.name).is_dir()]
            met.append(made[-1] if made else "before the first cell")
        elif os.WEXITSTATUS(status):
            raise RuntimeError(output.read_text())
        else:
            return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        began = time.monotonic()
        killed_grid(root / "alone", chance, 0, 0.0)
        longest = (time.monotonic() - began) / 2
        wanted = whole(root / "alone")
        met: list[str] = []
        different: dict[str, list[str]] = {}
        grids = 0
        while len(met) < asked.kills:
            place = root / f"killed-{grids}"
            met += killed_grid(place, chance, min(6, asked.kills - len(met)), longest)
            if found := differences(wanted, whole(place)):
                different[place.name] = found
            grids += 1
        result = {
            "what": "grids killed with SIGKILL at random moments and started again, against one left alone",
            "kills": len(met),
            "grids": grids,
            "cells": len(plan().cells),
            "met": met,
            "grids_that_differ": different,
            "compared": sorted(wanted),
            "seed": asked.seed,
            "torch": torch.__version__,
        }
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
