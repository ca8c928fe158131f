"""One engine in a process of its own: a line of JSON in, work, a line of JSON out.

    python bench/lanes.py --worker lanes lenet

Asked {"do": "train" or "evaluate", "steps": N} it answers with the seconds, those of all its threads together, and the
last loss or sum; asked {"do": "memory"} with the bytes that a step takes at most.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lanes_bench.engine import ENGINES
from lanes_bench.workloads import WORKLOADS

WARM_UP = 3
KIBIBYTE = 1024


def resident(which: str = "VmRSS") -> int | None:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM); None where the system does not say."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines[which].split()[0]) * KIBIBYTE if which in lines else None


def step_memory(works: Any, before: int | None) -> int | None:
    """The most bytes of a training step above what there was before the network was built."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    except OSError:
        return None
    works.train(2)
    highest = resident("VmHWM")
    return None if highest is None or before is None else highest - before


def serve(engine_name: str, work_name: str, batch: int | None) -> None:
    """Build, warm up, say so, and answer until the input ends."""
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print does not mix with the answers
    engine, work = ENGINES[engine_name], WORKLOADS[work_name]
    if batch is not None:
        work = replace(work, batch=batch)
    works = importlib.import_module(f"lanes_bench.{engine.module}").prepared(engine, work)
    gc.collect()
    before = resident()
    began = time.perf_counter()
    works.build()
    losses = [works.train(1)]
    seconds = time.perf_counter() - began - works.network_seconds
    losses += [works.train(1) for _ in range(WARM_UP - 1)]
    ready = {"parameters": works.parameters, "losses": losses, "seconds_to_first_step": seconds}
    evaluated = False
    said.write(json.dumps(ready) + "\n")
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "memory":
            said.write(json.dumps({"bytes": step_memory(works, before)}) + "\n")
            continue
        if asked["do"] == "evaluate" and not evaluated:
            works.evaluate(WARM_UP)
            evaluated = True
        run = works.evaluate if asked["do"] == "evaluate" else works.train
        began, used = time.perf_counter(), time.process_time()
        last = run(asked["steps"])
        took = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - used}
        said.write(json.dumps({**took, "last": last}) + "\n")
