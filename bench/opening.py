"""How long it takes to open a picture, and a number in it, beside a forward pass.

    python bench/opening.py --json opening.json

Claims, on ResNet-18 at 224x224 with the picture already open: a number with its terms takes under 50 ms; opening the
picture takes under three forward passes. One process; a forward pass and an opening take turns; medians and quartiles.
The network is captured once before (``capture``); the first gradient of a scene runs the backward pass (``backward``).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid import nets
from pellucid.look import Lens, Scene
from pellucid.look.record import record_of


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what the function returned."""
    began = time.perf_counter()
    result = function()
    return 1000 * (time.perf_counter() - began), result


def spread(times: list[float]) -> dict[str, float]:
    """Median and quartiles, and the longest."""
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median": round(middle, 2), "low": round(low, 2), "high": round(high, 2), "most": round(max(times), 2)}


def openings(scene: Scene, count: int, seed: int = 0) -> dict[str, list[float]]:
    """Random numbers opened: every activation, gradient and weight's gradient with its record, all terms made."""
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {"activation": [], "gradient": [], "gradient of a weight": []}
    for _ in range(count):
        name = scene.nodes[int(random.integers(len(scene.nodes)))]
        place = tuple(int(random.integers(n)) for n in scene.values(name).shape)
        weight = scene.parameters[int(random.integers(len(scene.parameters)))]
        where = tuple(int(random.integers(n)) for n in scene.graph.tensors[weight].shape)
        found["activation"].append(timed(lambda n=name, p=place: record_of(scene.at(n, p)))[0])
        found["gradient"].append(timed(lambda n=name, p=place: record_of(scene.gradient(n, p)))[0])
        found["gradient of a weight"].append(timed(lambda n=weight, p=where: record_of(scene.gradient(n, p)))[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    net = nets.make("resnet18").eval()
    picture = torch.randn(1, 3, 224, 224)
    lens = Lens(net)
    capture, _ = timed(lambda: lens.open(picture, 3))
    forward: list[float] = []
    opening: list[float] = []
    labelled: list[float] = []
    for _ in range(asked.rounds):
        with torch.no_grad():
            forward.append(timed(lambda: net(picture))[0])
        opening.append(timed(lambda: lens.open(picture))[0])
        labelled.append(timed(lambda: lens.open(picture, 3))[0])
    scene = lens.open(picture, 3)
    backward, _ = timed(lambda: scene.gradient("conv1.weight", (0, 0, 0, 0)))
    numbers = openings(scene, asked.count)
    record = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": asked.threads,
        "capture_ms": round(capture, 1),
        "forward_ms": spread(forward),
        "open_picture_ms": spread(opening),
        "open_picture_with_label_ms": spread(labelled),
        "forward_passes": round(statistics.median(opening) / statistics.median(forward), 2),
        "forward_passes_with_label": round(statistics.median(labelled) / statistics.median(forward), 2),
        "backward_ms": round(backward, 1),
        "numbers_ms": {kind: spread(times) for kind, times in numbers.items()},
    }
    print(json.dumps(record, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
