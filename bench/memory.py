"""The forecast of training memory against what training takes, network by network.

    python bench/memory.py --json memory.json

Claim: within 10% on five networks. Each is trained for two steps (forward, cross-entropy, backward, AdamW) on the CPU
in a process of its own. What it takes is what PyTorch's profiler sees allocated at the highest moment of step two,
beside what stays (parameters, buffers, optimizer, batch). The growth of the process's resident memory is printed
beside it as a cross-check: it holds oneDNN's own scratch and the allocator's leftovers as well.

LeNet is listed as the sixth: oneDNN copies maps of few channels (1, 6, 16) into blocks of 16 channels, and these
copies, which nobody above it sees, are a sixth of so small a network's memory. They are not forecast.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

CASES: dict[str, tuple[str, dict[str, Any], tuple[int, int, int], int]] = {
    "basic_cnn": ("basic_cnn", {}, (3, 32, 32), 128),
    "vgg11_bn": ("vgg11_bn", {"image_size": 32}, (3, 32, 32), 64),
    "resnet18": ("resnet18", {"image_size": 32}, (3, 32, 32), 32),
    "inception": ("inception", {}, (3, 224, 224), 4),
    "resnet50": ("resnet50", {}, (3, 224, 224), 4),
    "lenet": ("lenet", {}, (1, 28, 28), 128),
}
FIVE = ("basic_cnn", "vgg11_bn", "resnet18", "inception", "resnet50")


def measure(case: str) -> dict[str, Any]:
    """Forecast and truth for one case, in this process."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from pellucid import nets
    from pellucid.graph import forecast

    name, settings, size, batch = CASES[case]
    module = nets.make(name, classes=10, **settings).train()
    told = forecast(module, size, batch=batch, optimizer="adamw")
    images, labels = torch.randn(batch, *size), torch.zeros(batch, dtype=torch.long)
    optimizer = torch.optim.AdamW(module.parameters())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def step() -> None:
        torch.nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    gc.collect()
    kept = [*module.parameters(), *module.buffers(), images]
    kept += [value for state in optimizer.state.values() for value in state.values()]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    now = highest = 0
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    took = sum(tensor.numel() * tensor.element_size() for tensor in kept) + highest
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "batch": batch,
        "forecast_bytes": told.peak,
        "took_bytes": took,
        "error": told.peak / took - 1,
        "resident_growth_bytes": resident,
    }


def main() -> int:
    """Run every case, print a table, write JSON; exit 1 where one of the five is off by more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(arguments.case)))
        return 0
    results = {}
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, "--case", case], capture_output=True, text=True, check=True)
        results[case] = json.loads(done.stdout.strip().splitlines()[-1])
        row = results[case]
        told, took = row["forecast_bytes"] / 2**20, row["took_bytes"] / 2**20
        print(f"{case:<10} forecast {told:7.1f} MiB  took {took:7.1f} MiB  "
              f"{row['error']:+.1%}  (resident +{row['resident_growth_bytes'] / 2**20:.0f} MiB)")  # fmt: skip
    import torch

    record = {
        "what": "memory forecast",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cases": results,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))
    return int(any(abs(results[case]["error"]) > 0.10 for case in FIVE))


if __name__ == "__main__":
    sys.exit(main())
