"""How near each kernel of a convolution comes to the processor's peak of multiply-adds, measured in the same run.

The shapes are those of the table in the design; batch 128. GFLOP/s count what direct convolution needs as the textbook
has it, with the products by padding, which the direct kernels never do: "done" is the share of them that exist.
Winograd needs fewer products, so that its share may exceed 100%. A pass is its kernel with the packing of its weights
and the last sums, as a training step runs it; the shortest of several runs, the peak's measurement between them.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
PASSES = ("forward", "input gradient", "weight gradient")
GOALS = {"direct": 0.85, "winograd": 2.20}


@dataclass(frozen=True)
class Shape:
    """A square convolution with stride 1: channels before and after, kernel, side, padding. first: no dL/dx."""

    before: int
    after: int
    kernel: int
    side: int
    pad: int
    first: bool = False

    @property
    def out(self) -> int:
        return self.side + 2 * self.pad - self.kernel + 1

    @property
    def name(self) -> str:
        return f"{self.before}→{self.after} {self.kernel}×{self.kernel} @{self.side}"

    @property
    def done(self) -> float:
        """Which share of the textbook's products are not by padding."""
        taps = sum(0 <= place + tap - self.pad < self.side for place in range(self.out) for tap in range(self.kernel))
        return (taps / (self.out * self.kernel)) ** 2

    @property
    def winograd_goal(self) -> bool:
        """From 64 channels up at 8x8 and larger."""
        return self.kernel == 3 and min(self.before, self.after) >= 64 and self.side >= 8


SHAPES = (
    Shape(1, 6, 5, 28, 2, first=True),
    Shape(6, 16, 5, 14, 0),
    Shape(3, 32, 3, 32, 1, first=True),
    Shape(32, 64, 3, 16, 1),
    Shape(64, 128, 3, 8, 1),
    Shape(64, 64, 3, 32, 1),
    Shape(128, 128, 3, 16, 1),
    Shape(256, 256, 3, 8, 1),
    Shape(512, 512, 3, 4, 1),
)


def roofline(threads: int, batch: int = 128, seconds: float = 0.5) -> Record:
    """Every shape, pass and algorithm."""
    import torch

    from pellucid.lanes.library import library
    from pellucid.lanes.report import peak

    torch.set_num_threads(threads)
    lib = library()
    peaks = [peak(lib, threads)]
    rows = []
    for shape in SHAPES:
        for direction in PASSES:
            if direction == "input gradient" and shape.first:
                continue
            rows += _pass(shape, direction, threads, batch, seconds)
            peaks.append(peak(lib, threads))
    # A busy neighbour only ever lowers a peak: the highest is the processor's
    found = {"gflops_of_peak": max(peaks), "peak_median": statistics.median(peaks), "peak_lowest": min(peaks)}
    for row in rows:
        row["share"] = row["gflops"] / found["gflops_of_peak"]
    return {"batch": batch, "instructions": lib.target.name, **found, "rows": rows}


def _pass(shape: Shape, direction: Any, threads: int, batch: int, seconds: float) -> list[Record]:
    from pellucid.lanes.blocks.convolution import Geometry, candidates
    from pellucid.lanes.build import Build
    from pellucid.lanes.library import library
    from pellucid.lanes.trial import Trial

    lib = library()
    side, out, kernel = shape.side, shape.out, shape.kernel
    geometry = Geometry(shape.before, side, side, shape.after, out, out, kernel, kernel, pad=(shape.pad, shape.pad))
    build = Build(batch, lib.lanes, threads, frozenset(), gradients=True)
    rows = []
    for algorithm in candidates(geometry, direction):
        trial = Trial(lib, geometry, direction, algorithm, build)
        best, ends = trial.seconds(), time.perf_counter() + seconds
        while time.perf_counter() < ends:
            best = min(best, trial.seconds())
        gflops = 2 * geometry.macs * batch / best / 1e9
        said = {"shape": shape.name, "pass": direction, "algorithm": algorithm, "milliseconds": 1000 * best}
        goal = shape.winograd_goal if "winograd" in algorithm else direction != "input gradient"
        rows.append({**said, "gflops": gflops, "done": shape.done, "has_goal": goal})
        print(f"{shape.name:<18} {direction:<16} {algorithm:<18} {gflops:8.1f} GFLOP/s", file=sys.stderr)
    return rows


def best_rows(rows: list[Record]) -> list[Record]:
    """Of each shape and pass the fastest direct form and the fastest of Winograd's."""
    best: dict[tuple[str, str, str], Record] = {}
    for row in rows:
        key = (row["shape"], row["pass"], family(row))
        if key not in best or row["gflops"] > best[key]["gflops"]:
            best[key] = row
    return list(best.values())


def family(row: Record) -> str:
    return "winograd" if "winograd" in row["algorithm"] else "direct"


def markdown(found: Record) -> list[str]:
    """A table, the fastest of each family; the share in bold where a goal is met, with the goal where it is not."""
    peak = (
        f"Peak of multiply-adds in the same run: {found['gflops_of_peak']:.0f} GFLOP/s (median of its measurements "
        f"{found['peak_median']:.0f}, lowest {found['peak_lowest']:.0f}); {found['instructions']}, batch "
        f"{found['batch']}."
    )
    lines = [
        peak,
        "",
        "| shape | pass | direct, GFLOP/s | of the peak | products done | Winograd, GFLOP/s | of the peak |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    rows = {(row["shape"], row["pass"], family(row)): row for row in best_rows(found["rows"])}
    for shape, direction in dict.fromkeys((row["shape"], row["pass"]) for row in found["rows"]):
        cells = [shape, direction]
        for kind in GOALS:
            row = rows.get((shape, direction, kind))
            cells += ["", ""] if row is None else [f"{row['gflops']:.0f}", _share(row, GOALS[kind])]
            if kind == "direct":
                cells.append("" if row is None else f"{row['done']:.0%}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _share(row: Record, goal: float) -> str:
    share = f"{math.floor(100 * row['share'])}%"  # not rounded up to a goal
    if not row["has_goal"]:
        return share
    return f"**{share}**" if row["share"] >= goal else f"{share} (asked: {goal:.0%})"
