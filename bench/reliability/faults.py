"""Damage checkpoints, one fault at a time, and count how many are noticed.

    python bench/reliability/faults.py --flips 1000 --json faults.json

Claim: a flipped bit, a file cut short or missing and a disk that fills up are always detected, and what was good before
is used instead. Flips are of single random bits of any of the four files; the disk is a tmpfs of 256 KiB where this
process may mount one, else the system's answers are forged: every write and rename fails in its turn.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from pellucid.errors import CheckpointError
from pellucid.train import checkpoint

FILES = ("MANIFEST.json", "model.safetensors", "optimizer.safetensors", "state.json")


def write(root: Path, step: int, numbers: int = 300) -> Path:
    """A small checkpoint with numbers of its own."""
    generator = torch.Generator().manual_seed(step)
    model = {"weight": torch.randn(numbers, generator=generator), "count": torch.tensor(step)}
    optimizer = {"optimizer.0.exp_avg": torch.randn(numbers, generator=generator)}
    return checkpoint.write(root, step, model, optimizer, {"position": {"step": step, "loss_sum": 0.1 * step}})


def is_noticed(root: Path, damaged: Path, good: Path) -> bool:
    """Whether reading the damaged one is refused and the good one is used in its place, unchanged."""
    try:
        checkpoint.read(damaged)
    except CheckpointError:
        found, errors = checkpoint.latest_good(root)
        return found is not None and found.step == int(good.name) and len(errors) == 1
    return False


def flips(root: Path, count: int, seed: int) -> dict[str, Any]:
    """Flip single bits: of a file drawn evenly, at a place drawn evenly."""
    chance = random.Random(seed)
    good, victim = write(root, 1), write(root, 2)
    tried: Counter[str] = Counter()
    missed = []
    for _ in range(count):
        name = chance.choice(FILES)
        file = victim / name
        before = file.read_bytes()
        bit = chance.randrange(8 * len(before))
        changed = bytearray(before)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        tried[name] += 1
        if not is_noticed(root, victim, good):
            missed.append(f"{name} bit {bit}")
        file.write_bytes(before)
    checkpoint.read(victim)  # the damage is undone: it was the flips that were noticed
    return {"tried": count, "noticed": count - len(missed), "by_file": dict(tried), "missed": missed}


def cuts(root: Path, seed: int, each: int = 25) -> dict[str, Any]:
    """Cut each file at random lengths, at nothing, by its last byte, and remove it."""
    chance = random.Random(seed)
    good, victim = write(root, 1), write(root, 2)
    missed, tried = [], 0
    for name in FILES:
        file = victim / name
        before = file.read_bytes()
        lengths = [None, 0, len(before) - 1, *(chance.randrange(len(before)) for _ in range(each))]
        for length in lengths:
            file.unlink() if length is None else file.write_bytes(before[:length])
            tried += 1
            if not is_noticed(root, victim, good):
                missed.append(f"{name} cut at {length}")
            file.write_bytes(before)
    return {"tried": tried, "noticed": tried - len(missed), "missed": missed}


def refused_calls(root: Path) -> dict[str, Any]:
    """Let each call to the system fail in its turn with "no space left" until a checkpoint gets through."""
    good = write(root, 1)
    before = {name: (good / name).read_bytes() for name in FILES}
    tried, missed = 0, []
    for turn in range(1000):
        with failing(turn) as calls:
            try:
                write(root, 2)
            except CheckpointError:
                tried += 1
            else:
                if calls[0] <= turn:
                    break
                missed.append(f"call {turn} failed and nothing was said")
        found, _ = checkpoint.latest_good(root)
        if found is None or any((good / name).read_bytes() != content for name, content in before.items()):
            missed.append(f"call {turn} failed and the checkpoint before is not intact")
        for item in root.iterdir():  # after the last rename the new one may be whole: begin each turn with the good one
            if item != good:
                shutil.rmtree(item)
    return {"tried": tried, "noticed": tried - len(missed), "missed": missed}


@contextmanager
def failing(turn: int) -> Iterator[list[int]]:
    """Inside, the ``turn``-th of the calls that write, sync, make or rename raises ENOSPC."""
    calls = [0]

    def wrap(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] - 1 == turn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)

        return call

    with (
        mock.patch.object(checkpoint.os, "fsync", wrap(os.fsync)),
        mock.patch.object(checkpoint.Path, "open", wrap(Path.open)),
        mock.patch.object(checkpoint.Path, "mkdir", wrap(Path.mkdir)),
        mock.patch.object(checkpoint.Path, "rename", wrap(Path.rename)),
    ):
        yield calls


@contextmanager
def small_disk(kibibytes: int) -> Iterator[Path | None]:
    """A tmpfs of that size, or None where this process may not mount one."""
    folder = Path(tempfile.mkdtemp())
    options = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def full_disk() -> dict[str, Any]:
    """Fill a small disk to all but some kilobytes, write a checkpoint that needs more, then make room and write it."""
    with small_disk(256) as disk:
        if disk is None:
            return {"tried": 0, "noticed": 0, "missed": [], "why": "this process may not mount a tmpfs"}
        root = disk / "checkpoints"
        missed, tried = [], 0
        for free in range(0, 40, 4):
            good = write(root, 1, numbers=4000)
            filler = disk / "filler"
            filler.write_bytes(b"\0" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 1024 * free))
            tried += 1
            try:
                write(root, 2, numbers=4000)
            except CheckpointError as error:
                found, damaged = checkpoint.latest_good(root)
                if "No space left" not in str(error) or found is None or found.step != 1 or damaged:
                    missed.append(f"{free} KiB free: {error}")
            else:
                missed.append(f"{free} KiB free: nothing was said")
            filler.unlink()
            checkpoint.read(write(root, 2, numbers=4000))
            shutil.rmtree(root)
            del good
        return {"tried": tried, "noticed": tried - len(missed), "missed": missed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        result = {
            "what": "faults in checkpoints: how many were tried, how many noticed with the good one intact",
            "flipped_bits": flips(place / "flips", asked.flips, asked.seed),
            "cut_or_missing": cuts(place / "cuts", asked.seed),
            "refused_calls": refused_calls(place / "calls"),
            "full_disk": full_disk(),
            "seed": asked.seed,
        }
    text = json.dumps(result, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    return 1 if any(part["missed"] for part in result.values() if isinstance(part, dict)) else 0


if __name__ == "__main__":
    sys.exit(main())
