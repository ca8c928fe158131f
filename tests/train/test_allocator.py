"""Page faults, counted by the system, while a network trains and after."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
import numpy as np, torch
from pathlib import Path
from torch import nn
from pellucid.data import Data
from pellucid.train import Model, Quiet

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

class Counter(Quiet):
    at = []
    def on_step(self, step):
        self.at.append(faults())

pictures = np.random.default_rng(0).integers(0, 256, (1280, 32, 32, 1), np.uint8)
net = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(32), nn.Flatten(), nn.Linear(64, 10))
model = Model(net).compile("momentum", batch_size=256, learning_rate=0.01, ema=0.0)
model.fit(Data.from_arrays(pictures, np.arange(1280) % 10, layout="NHWC"), epochs=6, listeners=[Counter()],
          progress=False)
steps = [after - before for before, after in zip(Counter.at, Counter.at[1:])]
afterwards = resident()
block = torch.ones(64 << 20)  # 256 MiB
held = resident() - afterwards
del block
print(min(steps), held, resident() - afterwards)
"""


def test_a_step_finds_its_memory_where_the_last_one_left_it_and_fit_gives_it_back() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip(
            f"the allocator of {platform.libc_ver()[0] or platform.system()} is left as it is: only glibc's is set"
        )
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    per_step, held, left = map(int, done.stdout.split())
    # the feature maps of one step alone (256 x 64 x 32 x 32 floats, twice) are 32,768 pages of 4 KiB
    assert per_step < 100
    assert held > 250 << 20
    assert left < 10 << 20  # what the program around allocates and frees after fit goes back to the system again
