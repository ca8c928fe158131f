"""How the cost grows with the work, and what lowering and measuring cost at the start."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from lanes_bench.turns import Worker, in_turns, spread

Record = dict[str, Any]
BATCHES = (64, 128, 256, 512, 1024, 2048)
IMAGES = (1_000, 10_000, 100_000, 1_000_000)


def scaling(work: str, engine: str, peers: Path, rounds: int, seconds: float, threads: int) -> Record:
    """Microseconds a picture by batch size on all threads and on one, and by the number of pictures in a row.

    The workers of one batch size take turns; sizes follow one another in both orders, so that a drift of the machine
    shows as a spread.
    """
    found: dict[str, dict[int, list[float]]] = {str(count): {} for count in (threads, 1)}
    for batches in (BATCHES, BATCHES[::-1]):
        for batch in batches:
            workers = {count: Worker(engine, work, threads=count, peers=peers, batch=batch) for count in (threads, 1)}
            for count, worker in workers.items():
                spent = in_turns([worker], "train", max(1, rounds // 2), seconds)[engine]
                found[str(count)].setdefault(batch, []).extend(1000 * ms / batch for ms in spent)
                worker.end()
    by_batch = {
        count: {str(batch): statistics.median(values) for batch, values in batches.items()}
        for count, batches in found.items()
    }
    record: Record = {"engine": engine, "microseconds_a_picture": by_batch}
    record["threads"] = {
        str(batch): by_batch["1"][str(batch)] / by_batch[str(threads)][str(batch)] for batch in BATCHES
    }
    worker = Worker(engine, work, threads=threads, peers=peers)
    worker.ask("train", steps=20)
    record["microseconds_a_picture_by_pictures"] = {}
    for images in IMAGES:
        steps = max(1, images // 128)
        taken = 1e6 * worker.ask("train", steps=steps)["seconds"] / (steps * 128)
        record["microseconds_a_picture_by_pictures"][str(images)] = taken
        print(f"{work} {engine}: {images} pictures, {taken:.2f} us each", file=sys.stderr)
    worker.end()
    return record


def tuning(work: str, peers: Path, threads: int) -> Record:
    """Seconds to the end of the first step: with nothing remembered, and again from the cache in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for _ in range(2):
            worker = Worker("lanes", work, threads=threads, peers=peers, cache=Path(folder))
            step = spread(in_turns([worker], "train", 3, 0.2)["lanes"])["median_ms"] / 1000
            seconds.append((worker.ready["seconds_to_first_step"], step))
            worker.end()
    return {"first_seconds": seconds[0][0], "cached_seconds": seconds[1][0], "step_seconds": seconds[1][1]}
