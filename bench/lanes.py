"""Pellucid's engine "lanes" beside PyTorch and Keras: the time of a whole training step, and of a forward pass.

    python bench/lanes.py --evaluation --busy --json bench/results/lanes.json --python-peers PEERS/bin/python
    python bench/lanes.py --roofline --json bench/results/lanes_roofline.json
    python bench/lanes.py --scaling --tuning --json bench/results/lanes_scaling.json
    python bench/lanes.py --from bench/results/lanes*.json --docs docs/lanes.md

The last writes the tables and the figure of docs/lanes.md from the records, and measures nothing.

One process for each engine, all alive at once, taking turns, so that each round sees the same machine; medians over the
rounds, lowest and highest. The same network, pictures, loss (cross-entropy), optimizer (SGD, momentum 0.9) and batch;
a step is zero_grad, forward, loss, backward, optimizer. Every peer at its default and at its best float32 setting:
layouts, torch.compile, memory that is kept between steps, fused optimizer; Keras with its own compiled step. PyTorch's
bfloat16 is shown beside them and is no float32 peer. The claim is the ratio of the fastest float32 peer to lanes.

The Keras engines may live in another environment: --python-peers names its interpreter. torch.compile needs g++.
Memory: the process's peak during a step, above what it held before the network was built, frameworks loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lanes_bench import extras, facts, figure, turns
from lanes_bench.engine import ENGINES
from lanes_bench.report import TITLES, markdown, ratio
from lanes_bench.roofline import roofline
from lanes_bench.worker import serve
from lanes_bench.workloads import WORKLOADS

Record = dict[str, Any]
SECONDS = 1.0  # of one turn
BEGIN, END = "<!-- Measured: made by bench/lanes.py from its records. -->", "<!-- End of what was measured. -->"
PICTURE = "pictures/lanes-ratios.svg"
CLOSE = 2e-3  # losses of two float32 engines, relative


def available(engines: list[str], peers: Path) -> tuple[list[str], dict[str, str]]:
    """The engines that can run, and why the others cannot."""
    check = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n) is None])"
    left_out: dict[str, str] = {}
    for name in engines:
        engine = ENGINES[name]
        python = str(peers if engine.peer else sys.executable)
        try:
            done = subprocess.run([python, "-c", check, *engine.needs], capture_output=True, text=True, check=False)
        except OSError:
            left_out[name] = "its interpreter does not run"
            continue
        if missing := done.stdout.split():
            left_out[name] = f"{', '.join(missing)} not installed (pip install 'pellucid[bench]')"
        elif done.returncode:
            left_out[name] = "its interpreter does not run"
    return [name for name in engines if name not in left_out], left_out


def checked(work: str, workers: list[turns.Worker]) -> None:
    """All train the same number of parameters; PyTorch's float32 engines and lanes have the same losses."""
    parameters = {worker.engine: worker.ready["parameters"] for worker in workers}
    if len(set(parameters.values())) > 1:
        raise RuntimeError(f"the networks called {work} are not the same: {parameters} parameters")
    if WORKLOADS[work].dropout:
        return
    same = [w for w in workers if ENGINES[w.engine].module == "torch_engines" and ENGINES[w.engine].kind != "bf16"]
    for worker in same[1:]:
        for own, other in zip(worker.ready["losses"], same[0].ready["losses"], strict=True):
            if abs(own - other) > CLOSE * abs(other):
                raise RuntimeError(f"{work}: the losses are {same[0].engine} {other}, {worker.engine} {own}")


def measured(work: str, engines: list[str], asked: argparse.Namespace) -> Record:
    """One workload."""
    failed: dict[str, str] = {}
    found: Record = {"batch": WORKLOADS[work].batch, "failed": failed, "load_before": facts.load()}
    kinds = ["train"] * (not asked.no_training) + ["evaluate"] * asked.evaluation
    with turns.all_alive(engines, work, failed, threads=asked.threads, peers=asked.python_peers) as workers:
        if not workers:
            return found
        checked(work, workers)
        found["parameters"] = workers[0].ready["parameters"]
        found["seconds_to_first_step"] = {w.engine: round(w.ready["seconds_to_first_step"], 2) for w in workers}
        for kind in kinds:
            spent = turns.in_turns(workers, kind, asked.rounds, asked.seconds)
            found[kind] = {engine: turns.spread(values) for engine, values in spent.items()}
            if asked.busy:
                with turns.busy():
                    spent = turns.in_turns(workers, kind, asked.rounds, asked.seconds)
                found[f"{kind}_busy"] = {engine: turns.spread(values) for engine, values in spent.items()}
        found["memory_bytes"] = {worker.engine: worker.ask("memory")["bytes"] for worker in workers}
    for kind in kinds:
        for engine, values in sorted(found[kind].items(), key=lambda item: float(item[1]["median_ms"])):
            ends = f"({values['lowest_ms']:.2f} to {values['highest_ms']:.2f})"
            print(f"{work:<18} {kind:<8} {engine:<32} {values['median_ms']:10.2f} ms  {ends}", file=sys.stderr)
    return found


def recorded(asked: argparse.Namespace) -> Record:
    """Everything that was asked for, written as it is found."""
    record: Record = {
        "what": "milliseconds per training step, engines in turns",
        "machine": facts.machine(asked.threads),
        "versions": facts.versions(sys.executable),
    }

    def keep() -> None:
        if asked.json:
            asked.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")

    if asked.roofline:
        record["roofline"] = roofline(asked.threads, seconds=asked.seconds)
        keep()
    if asked.scaling:
        record["scaling"] = {}
        for work in (name for name in asked.workload if WORKLOADS[name].size <= 32):
            how = (asked.python_peers, asked.rounds, asked.seconds, asked.threads)
            record["scaling"][work] = extras.scaling(work, "lanes", *how)
            keep()
    if asked.tuning:
        record["tuning"] = {work: extras.tuning(work, asked.python_peers, asked.threads) for work in asked.workload}
        keep()
    if asked.roofline or asked.scaling or asked.tuning:
        return record
    engines, record["left_out"] = available(asked.engines, asked.python_peers)
    for engine, why in record["left_out"].items():
        print(f"{engine} is left out: {why}", file=sys.stderr)
    record["versions_of_peers"] = facts.versions(asked.python_peers)
    record["workloads"] = {}
    for work in asked.workload:
        record["workloads"][work] = measured(work, engines, asked)
        keep()
    return record


def joined(files: list[Path]) -> Record:
    """Records of several runs as one; of two with the same part the later file's counts."""
    record: Record = {}
    for file in files:
        read = json.loads(file.read_text("utf-8"))
        works = {**record.get("workloads", {}), **read.get("workloads", {})}
        record = {**record, **read, **({"workloads": works} if works else {})}
    return record


def filled(page: str, record: Record) -> str:
    """A page with the tables between its two marks; at its end where it has none yet."""
    own = (
        f"{BEGIN}\n\n![How many times the best float32 peer's speed lanes has]({PICTURE})\n\n{markdown(record)}\n{END}"
    )
    if BEGIN not in page or END not in page:
        return f"{page.rstrip()}\n\n## What was measured\n\n{own}\n"
    return page[: page.index(BEGIN)] + own + page[page.index(END) + len(END) :]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", nargs="+", choices=tuple(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--engines", nargs="+", choices=tuple(ENGINES), default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one turn of one engine")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--evaluation", action="store_true", help="forward passes as well")
    parser.add_argument("--no-training", action="store_true", help="no training steps")
    parser.add_argument("--busy", action="store_true", help="once more, with one other busy process on the machine")
    parser.add_argument("--roofline", action="store_true", help="each kernel beside the processor's peak, nothing else")
    parser.add_argument("--scaling", action="store_true", help="batch 64 to 2,048, on all threads and one")
    parser.add_argument("--tuning", action="store_true", help="seconds of lower() with measuring, and from the cache")
    parser.add_argument("--python-peers", type=Path, default=Path(sys.executable), help="interpreter that has Keras")
    parser.add_argument("--json", type=Path, help="write the record to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--docs", type=Path, help="write the tables into this page, and the figure beside it")
    parser.add_argument("--from", dest="records", nargs="+", type=Path, help="measure nothing: tables of these records")
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "WORKLOAD"), help=argparse.SUPPRESS)
    return parser


def main() -> int:
    asked = arguments().parse_args()
    if asked.worker:
        serve(*asked.worker, asked.batch)
        return 0
    record = joined(asked.records) if asked.records else recorded(asked)
    text = markdown(record)
    print(text)
    if asked.markdown:
        asked.markdown.write_text(text, "utf-8")
    if asked.docs:
        asked.docs.write_text(filled(asked.docs.read_text("utf-8"), record), "utf-8")
        (asked.docs.parent / PICTURE).write_text(figure.ratios(record), "utf-8")
    missed = []
    for work, found in record.get("workloads", {}).items():
        for kind in TITLES:
            reached = ratio(found[kind]) if kind in found else None
            if reached is not None and reached < WORKLOADS[work].goal:
                missed.append(work)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
