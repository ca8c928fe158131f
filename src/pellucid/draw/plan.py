"""A network's plan on the engine lanes: a table for a terminal, and bars of time."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TextIO

from pellucid.draw.page import text
from pellucid.draw.table import bytes_of

if TYPE_CHECKING:
    from pellucid.lanes.report import Cost, PlanReport, PlanStep

__all__ = ["plan_rich", "plan_svg", "plan_text"]

_HEADS = ("step", "algorithm", "output", "GFLOP", "bytes", "forward", "backward", "GFLOP/s", "of peak")
_LEFT = 2  # columns that are aligned to the left
_DROPPED = ("bytes", "output", "GFLOP", "GFLOP/s")  # in this order, where there is no room for all
_SHORTEST = 12  # a name or an algorithm is not cut shorter than this
_GAP = "  "
_COLORS = {
    "convolution": ("#1f6feb", "#6cb0ff"),
    "linear": ("#1a7f4b", "#56d08c"),
    "attention": ("#8250df", "#b794f6"),
    "pooling": ("#b26a00", "#f0b252"),
    "normalisation": ("#5f6b7a", "#a9b4c2"),
    "activation": ("#a0764a", "#d8b088"),
    "dropout": ("#8a8f3c", "#c9cf7a"),
    "join": ("#c4432b", "#ff8f7a"),
    "border": ("#0d8390", "#5fd0da"),
    "PyTorch": ("#bf1d6d", "#ff7ab8"),
    "other": ("#7d7d7d", "#b5b5b5"),
}
_STYLES = {"convolution": "cyan", "linear": "green", "pooling": "yellow", "join": "red", "PyTorch": "bold red"}


def plan_text(plan: PlanReport, width: int | None = None) -> str:
    """Plain text within ``width`` columns: names are cut, then columns left out."""
    room = width or shutil.get_terminal_size((120, 24)).columns
    rows = [_cells(plan, step) for step in plan.steps]
    widths = _widths(rows, room)
    rule = "-" * (sum(widths.values()) + len(_GAP) * (len(widths) - 1))
    lines = [_title(plan), _line(_HEADS, widths), rule, *(_line(row, widths) for row in rows), rule]
    return "\n".join([*lines, *_totals(plan)])


def plan_rich(plan: PlanReport, out: TextIO) -> None:
    """In a terminal, with colour."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out)
    rows = [_cells(plan, step) for step in plan.steps]
    keep = list(_widths(rows, console.width))
    drawn = Table(title=_title(plan), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i in keep:
        side = "left" if i < _LEFT else "right"
        drawn.add_column(_HEADS[i], justify=side, no_wrap=i >= _LEFT, overflow="ellipsis")  # type: ignore[arg-type]
    for step, cells in zip(plan.steps, rows, strict=True):
        style = _STYLES.get(step.kind, "")
        drawn.add_row(*(Text(cells[i], style=style if i < _LEFT else "") for i in keep))
    console.print(drawn)
    for line in _totals(plan):
        console.print(line, markup=False, highlight=False)


def _title(plan: PlanReport) -> str:
    sizes = " and ".join("x".join(map(str, shape)) for shape in plan.shapes)
    what = "training" if plan.training else "evaluation"
    threads = f"{plan.threads} thread{'s' if plan.threads != 1 else ''}"
    return f"{plan.network}, {what}, batch {plan.batch} of {sizes}, {plan.instructions} on {threads}"


def _cells(plan: PlanReport, step: PlanStep) -> tuple[str, ...]:
    flops, seconds = step.forward.flops + step.backward.flops, step.seconds
    speed = flops / seconds / 1e9 if seconds else 0.0
    return (
        _name(step),
        step.algorithm or step.kind,
        "x".join(map(str, step.output)),
        f"{flops / 1e9:.3g}" if flops else "",
        bytes_of(step.forward.bytes + step.backward.bytes),
        _time(step.forward),
        _time(step.backward) if plan.training else "",
        f"{speed:.0f}" if flops else "",
        f"{speed / plan.peak:.0%}" if flops and plan.peak else "",
    )


def _name(step: PlanStep) -> str:
    return ", ".join(step.nodes) if step.nodes else f"{step.algorithm}: {step.name}"


def _time(cost: Cost) -> str:
    return f"{1e3 * cost.seconds:.3g} ms" if cost.seconds else ""


def _totals(plan: PlanReport) -> list[str]:
    """What stands under the table."""
    lines = [f"whole step   {1e3 * plan.seconds:.3g} ms, {plan.batch / plan.seconds:,.0f} pictures a second"]
    lines[0] += f"; forward {_work(plan, plan.forward)}"
    if plan.training:
        lines.append(f"{'':<13}backward {_work(plan, plan.backward)}")
    lines.append(f"peak         {plan.peak:.0f} GFLOP/s of multiply-adds, measured in the same run")
    beside = f"; PyTorch keeps {bytes_of(plan.torch_memory)}, by forecast" if plan.torch_memory else ""
    lines.append(f"memory       {bytes_of(plan.memory)} of feature maps{beside}")
    if plan.outside:
        lines.append(f"PyTorch runs {len(plan.outside)} node{'s' if len(plan.outside) != 1 else ''}:")
        lines += [f"  {node.node} ({node.operation}): {node.reason}" for node in plan.outside]
    return lines


def _work(plan: PlanReport, cost: Cost) -> str:
    share = f", {plan.share(cost):.0%} of the peak" if cost.flops else ""
    return f"{1e3 * cost.seconds:.3g} ms, {cost.flops / 1e9:.3g} GFLOP, {cost.gflops:.0f} GFLOP/s{share}"


def _widths(rows: list[tuple[str, ...]], room: int) -> dict[int, int]:
    """The columns that fit side by side, by their width."""
    widths = {i: max(len(head), *(len(row[i]) for row in rows), 0) for i, head in enumerate(_HEADS)}
    for head in _DROPPED:
        least = sum(min(w, _SHORTEST) if i < _LEFT else w for i, w in widths.items()) + len(_GAP) * (len(widths) - 1)
        if least <= room:
            break
        del widths[_HEADS.index(head)]
    spare = room - sum(widths.values()) - len(_GAP) * (len(widths) - 1)
    for i in (0, 1):
        cut = min(max(0, -spare), max(0, widths[i] - _SHORTEST))
        widths[i], spare = widths[i] - cut, spare + cut
    return widths


def _line(cells: tuple[str, ...], widths: dict[int, int]) -> str:
    name = cells[0] if len(cells[0]) <= widths[0] else "…" + cells[0][1 - widths[0] :]  # paths differ at their ends
    cells = (name, *cells[1:])
    shown = [_cut(cells[i], w).ljust(w) if i < _LEFT else cells[i].rjust(w) for i, w in widths.items()]
    return _GAP.join(shown).rstrip()


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: max(1, width - 1)] + "…"


# -- the drawing

_ROW, _TOP, _LABEL, _BAR, _SAID, _EDGE = 26, 96, 300, 520, 190, 20


def plan_svg(plan: PlanReport) -> str:
    """Bars of time as SVG, light and dark: a row for each step, the way forward full, the way back paler."""
    longest = max((step.seconds for step in plan.steps), default=0.0) or 1.0
    width = _EDGE + _LABEL + _BAR + _SAID
    height = _TOP + _ROW * len(plan.steps) + 40
    rows = "".join(_row(plan, i, step, longest) for i, step in enumerate(plan.steps))
    said = "; ".join(f"{_name(step)} {1e3 * step.seconds:.3g} ms" for step in plan.steps)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title said"><title id="title">{text(_title(plan))}</title>'
        f'<desc id="said">{text(said)}</desc><style>{_style()}</style>'
        f'<rect class="paper" width="100%" height="100%"/>'
        f'<text class="head" x="{_EDGE}" y="30">{text(_title(plan))}</text>'
        f'<text class="small" x="{_EDGE}" y="50">{text(_below(plan))}</text>'
        f"{_legend(plan)}{_axis(longest, height)}{rows}</svg>\n"
    )


def _below(plan: PlanReport) -> str:
    beside = f" (PyTorch {bytes_of(plan.torch_memory)})" if plan.torch_memory else ""
    memory = f"feature maps {bytes_of(plan.memory)}{beside}"
    return f"{1e3 * plan.seconds:.3g} ms a step · peak {plan.peak:.0f} GFLOP/s · {memory}"


def _kind(step: PlanStep) -> str:
    return step.kind if step.kind in _COLORS else "other"


def _row(plan: PlanReport, i: int, step: PlanStep, longest: float) -> str:
    top, left = _TOP + i * _ROW, _EDGE + _LABEL
    there, back = (_BAR * cost.seconds / longest for cost in (step.forward, step.backward))
    flops = step.forward.flops + step.backward.flops
    share = f" · {flops / step.seconds / 1e9 / plan.peak:.0%} of peak" if flops and step.seconds and plan.peak else ""
    facts = [_name(step), f"{step.algorithm or step.kind}, output {'x'.join(map(str, step.output))}"]
    for name, cost in (("forward", step.forward), ("backward", step.backward)):
        if cost.seconds:
            speed = f", {cost.gflops:.0f} GFLOP/s, {plan.share(cost):.0%} of the peak" if cost.flops else ""
            facts.append(f"{name} {1e3 * cost.seconds:.3g} ms, {bytes_of(cost.bytes)}{speed}")
    return (
        f'<g class="{_kind(step)}"><title>{text(chr(10).join(facts))}</title>'
        f'<text class="name" x="{left - 10}" y="{top + 17}">{text(_cut(_name(step), 42))}</text>'
        f'<rect x="{left}" y="{top + 4}" width="{max(there, 0.5):.1f}" height="{_ROW - 8}"/>'
        f'<rect class="back" x="{left + there:.1f}" y="{top + 4}" width="{back:.1f}" height="{_ROW - 8}"/>'
        f'<text class="small" x="{left + there + back + 8:.1f}" y="{top + 17}">'
        f"{1e3 * step.seconds:.3g} ms{share}</text></g>"
    )


def _legend(plan: PlanReport) -> str:
    x, drawn = float(_EDGE), []
    for kind in dict.fromkeys(map(_kind, plan.steps)):
        drawn.append(
            f'<g class="{kind}"><rect x="{x:.0f}" y="64" width="12" height="12" rx="2"/>'
            f'<text class="small" x="{x + 17:.0f}" y="74">{text(kind)}</text></g>'
        )
        x += 36 + 7 * len(kind)
    if plan.training:
        drawn.append(f'<text class="small" x="{x:.0f}" y="74">full: forward, pale: backward</text>')
    return "".join(drawn)


def _axis(longest: float, height: int) -> str:
    """Upright lines at round times."""
    step = _round_step(1e3 * longest / 4)
    lines, at = [], 0.0
    while at <= 1e3 * longest * 1.0001:
        x = _EDGE + _LABEL + _BAR * at / (1e3 * longest)
        lines.append(
            f'<path class="grid" d="M{x:.1f} {_TOP}V{height - 34}"/>'
            f'<text class="tick" x="{x:.1f}" y="{height - 18}">{at:.3g}{" ms" if at == 0 else ""}</text>'
        )
        at += step
    return "".join(lines)


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, ... (times a power of ten).

    >>> _round_step(0.3), _round_step(13)
    (0.5, 20.0)
    """
    power = 1e-9
    while power * 10 <= least:
        power *= 10
    return next(round(power * n, 12) for n in (1, 2, 5, 10) if power * n >= least * 0.999999)


def _style() -> str:
    light = "".join(f".{kind} rect{{fill:{color}}}" for kind, (color, _) in _COLORS.items())
    dark = "".join(f".{kind} rect{{fill:{color}}}" for kind, (_, color) in _COLORS.items())
    return (
        "text{font:13px system-ui,'DejaVu Sans','Noto Sans','Noto Sans CJK SC',sans-serif;fill:#1c2430}"
        ".head{font-size:15px;font-weight:600}.name{text-anchor:end}.small{font-size:11px;fill:#5c6a7c}"
        ".tick{font-size:11px;fill:#5c6a7c;text-anchor:middle}.grid{stroke:#d9dfe7;fill:none}.paper{fill:#fff}"
        f".back{{opacity:.55}}{light}@media(prefers-color-scheme:dark){{text{{fill:#e6ebf2}}"
        f".small,.tick{{fill:#9aa7b8}}.grid{{stroke:#313b49}}.paper{{fill:#12171f}}{dark}}}"
    )
