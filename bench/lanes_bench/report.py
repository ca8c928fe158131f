"""The tables, made from the record: no number in them is typed."""

from __future__ import annotations

from typing import Any

from lanes_bench import roofline
from lanes_bench.engine import ENGINES
from lanes_bench.workloads import WORKLOADS

Record = dict[str, Any]
TITLES = {"train": "Training step", "evaluate": "Forward only (evaluation)"}
MIB = 2**20


def best(engines: Record, kind: str) -> str | None:
    """The fastest engine of a kind."""
    own = [name for name in engines if ENGINES[name].kind == kind]
    return min(own, key=lambda name: float(engines[name]["median_ms"]), default=None)


def ratio(engines: Record, kind: str = "float32") -> float | None:
    """How many times the speed of the best peer of a kind lanes has."""
    peer = best(engines, kind)
    if peer is None or "lanes" not in engines:
        return None
    return float(engines[peer]["median_ms"]) / float(engines["lanes"]["median_ms"])


def markdown(record: Record) -> str:
    """All tables of a record."""
    lines = [_machine(record), ""]
    works = record.get("workloads", {})
    for kind, title in TITLES.items():
        measured = {name: found for name, found in works.items() if found.get(kind)}
        if measured:
            lines += [f"### {title}", "", *_ratios(measured, kind), "", *_times(measured, kind), ""]
        if kind == "train" and any(found.get("memory_bytes") for found in works.values()):
            lines += ["### Peak memory of a training step", "", *_memory(works), ""]
    for kind, title in TITLES.items():
        busy = {name: found for name, found in works.items() if found.get(f"{kind}_busy")}
        if busy:
            lines += [f"### {title} beside one busy process", "", *_busy(busy, kind), ""]
    if "roofline" in record:
        lines += ["### Kernels beside the processor's peak", "", *roofline.markdown(record["roofline"]), ""]
    if "scaling" in record:
        lines += ["### Cost by batch size", "", *_scaling(record["scaling"]), ""]
    if "tuning" in record:
        lines += ["### Lowering and measuring", "", *_tuning(record["tuning"]), ""]
    for name, why in record.get("left_out", {}).items():
        lines.append(f"- `{name}` was left out: {why}.")
    for work, found in works.items():
        lines += [f"- `{name}` failed on `{work}`: {why}." for name, why in found.get("failed", {}).items()]
    return "\n".join(lines).rstrip() + "\n"


def _machine(record: Record) -> str:
    own, versions = record["machine"], {**record.get("versions_of_peers", {}), **record["versions"]}
    said = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"{own['processor']}, {own['cores']} cores, {own['threads']} threads, {own['system']}, {own['date']}; {said}."
    )


def _ratios(works: Record, kind: str) -> list[str]:
    lines = [
        "| workload | batch | lanes, ms | best float32 peer, ms | which | times | asked | stretch | bf16, ms | times |",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for name, found in works.items():
        engines, work = found[kind], WORKLOADS[name]
        peer, half = best(engines, "float32"), best(engines, "bf16")
        cells = [f"`{name}`", str(found["batch"])]
        cells += [_median(engines, "lanes"), _median(engines, peer), f"`{peer}`" if peer else ""]
        cells += [_times_as(ratio(engines)), f"{work.goal:g}×", f"{work.stretch:g}×"]
        cells += [_median(engines, half), _times_as(ratio(engines, "bf16"))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _times(works: Record, kind: str) -> list[str]:
    """Every engine: the median of its rounds, lowest and highest in brackets."""
    engines = list(dict.fromkeys(engine for found in works.values() for engine in found[kind]))
    engines.sort(key=list(ENGINES).index)
    lines = ["| ms a step | " + " | ".join(f"`{name}`" for name in works) + " |", "|---|" + "--:|" * len(works)]
    for engine in engines:
        cells = []
        for found in works.values():
            own = found[kind].get(engine)
            cells.append("" if own is None else _between(own))
        lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    return lines


def _memory(works: Record) -> list[str]:
    lines = ["| workload | lanes, MiB | PyTorch's default, MiB | share | PyTorch's least, MiB | share |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for name, found in works.items():
        sizes = {engine: size for engine, size in found["memory_bytes"].items() if size}
        plain = {engine: size for engine, size in sizes.items() if engine.startswith("torch")}
        least = min(plain.values(), default=None)
        cells = [f"`{name}`", _mib(sizes.get("lanes"))]
        for size in (sizes.get("torch"), least):
            share = f"{sizes['lanes'] / size:.2f}" if size and "lanes" in sizes else ""
            cells += [_mib(size), share]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _busy(works: Record, kind: str) -> list[str]:
    lines = ["| workload | engine | quiet, ms | busy, ms | speed that is left |", "|---|---|--:|--:|--:|"]
    for name, found in works.items():
        for engine, busy in found[f"{kind}_busy"].items():
            quiet = found[kind][engine]
            left = quiet["median_ms"] / busy["median_ms"]
            lines.append(f"| `{name}` | {engine} | {_between(quiet)} | {_between(busy)} | {left:.0%} |")
    return lines


def _scaling(found: Record) -> list[str]:
    lines = []
    for work, own in found.items():
        by_batch = own["microseconds_a_picture"]
        batches = list(next(iter(by_batch.values())))
        lines += [f"`{work}`, microseconds a picture:", "", "| batch | " + " | ".join(batches) + " |"]
        lines.append("|---|" + "--:|" * len(batches))
        for threads, values in by_batch.items():
            lines.append(f"| {threads} threads | " + " | ".join(f"{values[batch]:.2f}" for batch in batches) + " |")
        speedup = own["threads"]
        lines += [
            "| one thread's time over all threads' | " + " | ".join(f"{speedup[b]:.2f}" for b in batches) + " |",
            "",
        ]
        row = own["microseconds_a_picture_by_pictures"]
        lines += ["By pictures in a row: " + ", ".join(f"{int(n):,}: {us:.2f}" for n, us in row.items()) + ".", ""]
    return lines


def _tuning(found: Record) -> list[str]:
    """A later step's time is taken off: capture, planning and measuring are left."""
    lines = ["| network | the first time, s | from the cache, s | a step, s |", "|---|--:|--:|--:|"]
    for work, own in found.items():
        first, cached = (own[f"{when}_seconds"] - own["step_seconds"] for when in ("first", "cached"))
        lines.append(f"| `{work}` | {first:.2f} | {cached:.2f} | {own['step_seconds']:.3f} |")
    return lines


def _median(engines: Record, name: str | None) -> str:
    return "" if name is None or name not in engines else _digits(engines[name]["median_ms"])


def _digits(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def _between(own: Record) -> str:
    low, high = _digits(own["lowest_ms"]), _digits(own["highest_ms"])
    return f"{_digits(own['median_ms'])} ({low}–{high})"


def _times_as(number: float | None) -> str:
    return "" if number is None else f"**{number:.2f}×**"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / MIB:,.0f}"
