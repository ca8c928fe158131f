"""Engines side by side: all alive at once, taking turns, so that each round sees the same machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanes_bench.engine import ENGINES

Record = dict[str, Any]
LANES = Path(__file__).resolve().parents[1] / "lanes.py"


class Worker:
    """An engine's process (see worker.py)."""

    def __init__(
        self, engine: str, work: str, *, threads: int, peers: Path, batch: int | None = None, cache: Path | None = None
    ) -> None:
        self.engine = engine
        made = ENGINES[engine]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_NUM_INTEROP_THREADS": str(threads),
            "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
            **made.environment,
        }
        if cache is not None:
            environment["XDG_CACHE_HOME"] = str(cache)
        if threads == 1:
            environment["NPROC"] = "1"  # how many threads JAX's own pool has
        command = [str(peers if made.peer else sys.executable), str(LANES), "--worker", engine, work]
        if batch is not None:
            command += ["--batch", str(batch)]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.ready = self.answer()

    def answer(self) -> Record:
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            code = self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{self.engine} ended with code {code}: {said[-1] if said else 'it said nothing'}")
        found: Record = json.loads(line)
        return found

    def ask(self, do: str, **more: Any) -> Record:
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


def steps_for(worker: Worker, do: str, seconds: float) -> int:
    """How many steps of this engine take about so long."""
    worker.ask(do, steps=1)
    one = worker.ask(do, steps=1)["seconds"]
    if one < seconds / 4:
        several = max(1, int(seconds / 4 / max(one, 1e-6)))
        one = worker.ask(do, steps=several)["seconds"] / several
    return max(1, round(seconds / one))


def in_turns(workers: list[Worker], do: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds a step of each worker in each round; who begins moves on with every round."""
    steps = {worker.engine: steps_for(worker, do, seconds) for worker in workers}
    spent: dict[str, list[float]] = {worker.engine: [] for worker in workers}
    for turn in range(rounds):
        first = turn % len(workers)
        for worker in workers[first:] + workers[:first]:
            count = steps[worker.engine]
            spent[worker.engine].append(1000 * worker.ask(do, steps=count)["seconds"] / count)
    return spent


def spread(values: list[float]) -> Record:
    """Of milliseconds: the median over rounds, lowest and highest."""
    return {
        "median_ms": round(statistics.median(values), 4),
        "lowest_ms": round(min(values), 4),
        "highest_ms": round(max(values), 4),
        "rounds": len(values),
    }


@contextlib.contextmanager
def all_alive(engines: list[str], work: str, failed: dict[str, str], **more: Any) -> Iterator[list[Worker]]:
    """The engines' workers, started one after another (what one tries out at its start, it tries on a quiet machine).

    An engine that cannot be started is left out, and ``failed`` says why.
    """
    workers: list[Worker] = []
    try:
        for engine in engines:
            try:
                workers.append(Worker(engine, work, **more))
            except RuntimeError as problem:
                failed[engine] = str(problem)
                print(f"{work}: {problem}", file=sys.stderr)
        yield workers
    finally:
        for worker in workers:
            worker.end()


@contextlib.contextmanager
def busy(count: int = 1) -> Iterator[None]:
    """So many other processes that use a whole core each."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.send_signal(signal.SIGKILL)
            process.wait()
