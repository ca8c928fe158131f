"""Kill a training run with SIGKILL at random moments, resume it, and compare the result with a run left alone.

    python bench/reliability/kill.py --kills 200 --json kill.json
    python bench/reliability/kill.py --kills 20 --data pairs.csv --settings small.json    # another task

Claim: resuming equals not stopping. Weights, optimizer, state, the best epoch's weights, the final measures and the log
(without its times) are compared byte for byte, with augmentation, mixup, dropout, gradient accumulation and a running
average on. PyTorch is imported once; each life is a process of its own, forked from there before any thread exists.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from pellucid.train import Settings, read_log, resume, start

REPORT = "while the report was written"
TIMES = ("seconds", "samples_per_second")
EVERYTHING: dict[str, Any] = {
    "net": "basic_cnn",
    "net_settings": {"channels": [4, 8], "dropout": 0.2},
    "limit": 800,
    "validation": 0.2,
    "epochs": 8,
    "batch_size": 10,
    "accumulate": 2,
    "ema": 0.9,
    "clip_norm": 1.0,
    "crop": 2,
    "flip": True,
    "rotation": 10.0,
    "cutout": 6,
    "mixup": 0.4,
    "early_stop": 20,
    "class_weight": "balanced",
    "channels_last": False,
}
OFTEN: dict[str, Any] = {"checkpoint_steps": 5, "checkpoint_seconds": 0.1, "log_steps": 3}  # in every run


def live(folder: Path, data: str, settings: dict[str, Any]) -> None:
    """What a user does: start the run, or go on with it where there is one."""
    if (folder / "config.yaml").exists():
        resume(folder)
    else:
        start(data, Settings.parse(settings), folder=folder)


def born(folder: Path, data: str, settings: dict[str, Any], output: Path) -> int:
    """Fork a process that lives; returns its id."""
    child = os.fork()
    if child:
        return child
    with output.open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    code = 1
    try:
        live(folder, data, settings)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def moment(folder: Path) -> str:
    """What the run was doing when it was killed, from what it left behind."""
    log = read_log(folder)
    kinds = [record["kind"] for record in log]
    if not kinds:
        return "before its first step"
    if kinds[-1] == "end":
        return REPORT
    steps = [record["step"] for record in log if record["kind"] in ("step", "resume")]
    epochs = [record["step"] for record in log if record["kind"] == "epoch"]
    return "between epochs" if epochs and (not steps or epochs[-1] >= max(steps)) else "within an epoch"


def remains(folder: Path) -> dict[str, bytes]:
    """Everything that must not differ, by name."""
    last = sorted(item for item in (folder / "checkpoints").iterdir() if item.name.isdecimal())[-1]
    names = ("model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json")
    found = {f"checkpoints/{last.name}/{name}": (last / name).read_bytes() for name in names}
    for name in ("best/model.safetensors", "best/classes.json", "metrics.json", "config.yaml"):
        found[name] = (folder / name).read_bytes()
    records = [record for record in read_log(folder) if record["kind"] in ("step", "epoch")]
    kept = [{name: value for name, value in record.items() if name not in TIMES} for record in records]
    found["log.jsonl"] = json.dumps(kept).encode()
    return found


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The names of what is not the same in both."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _sleep(child: int, seconds: float) -> None:
    """Wait, but no longer than the child lives."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.01)


def _wait_for_step(child: int, folder: Path, step: int) -> None:
    """Wait until the run has logged a step, but no longer than the child lives: a moment in training that does not
    depend on how busy the machine is."""
    while not any(record["kind"] == "step" and record["step"] >= step for record in read_log(folder)):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.003)


def killed_run(
    folder: Path, data: str, settings: dict[str, Any], chance: random.Random, longest: float, most: int, steps: int = 0
) -> list[str]:
    """Run to the end with up to ``most`` kills on the way; returns the moments at which it was killed.

    Every other kill comes after a random time, every other at a random one of the ``steps`` that are left.
    """
    moments: list[str] = []
    output = folder.with_suffix(".txt")
    while True:
        child = born(folder, data, settings, output)
        if len(moments) < most and REPORT not in moments:  # training is the subject: one kill amid the report will do
            done = max((record["step"] for record in read_log(folder) if record["kind"] == "step"), default=0)
            if len(moments) % 2 and done < steps:
                _wait_for_step(child, folder, chance.randint(done + 1, done + max(1, (steps - done) // 2)))
            else:
                _sleep(
                    child, longest * chance.random() ** 2
                )  # short lives are more frequent: most run on from a resume
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            moments.append(moment(folder))
        elif os.WEXITSTATUS(status):
            raise RuntimeError(output.read_text())
        else:
            return moments


def run(kills: int, seed: int, root: Path, data: str, settings: dict[str, Any]) -> dict[str, Any]:
    """All of it; returns what is written as JSON."""
    chance = random.Random(seed)
    began = time.time()
    if killed_run(root / "alone", data, settings, chance, 0.0, most=0):
        raise RuntimeError("the run that was to be left alone was killed")
    longest = 1.2 * ((root / "alone" / "log.jsonl").stat().st_mtime - began)  # the end of training, and a little more
    wanted = remains(root / "alone")
    steps = max(record["step"] for record in read_log(root / "alone") if record["kind"] == "step")
    moments: list[str] = []
    differing: dict[str, list[str]] = {}
    runs = 0
    while len(moments) < kills:
        folder = root / f"killed-{runs}"
        moments += killed_run(folder, data, settings, chance, longest, kills - len(moments), steps)
        different = differences(wanted, remains(folder))
        if different:
            differing[folder.name] = different
        else:
            shutil.rmtree(folder)
        runs += 1
    return {
        "seconds_of_training": round(longest / 1.2, 2),
        "what": "training runs killed with SIGKILL at random moments and resumed, against one left alone",
        "kills": len(moments),
        "moments": dict(Counter(moments)),
        "runs": runs,
        "runs_that_differ": differing,
        "compared": sorted(wanted),
        "seed": seed,
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": settings["threads"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", default="fashion-mnist-small", help="any data that pellucid train takes")
    parser.add_argument("--settings", type=Path, help="a JSON file of settings for these data")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = json.loads(asked.settings.read_text()) if asked.settings else EVERYTHING
        settings = {**OFTEN, **own, "threads": asked.threads}
        result = run(asked.kills, asked.seed, Path(folder), asked.data, settings)
    text = json.dumps(result, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    return 1 if result["runs_that_differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
