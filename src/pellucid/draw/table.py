"""The table of a network as text, in a terminal, and as HTML."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TextIO

from pellucid.draw.page import STYLE, cards, table, text

if TYPE_CHECKING:
    from pellucid.graph.account import Account, Row

HEADS = ("layer", "operation", "output", "parameters", "MACs", "MACs/par.", "memory", "field", "step")
_LEFT = 2  # columns that are aligned to the left
_DROPPED = ("MACs/par.", "step", "memory", "field")  # in this order, where there is no room for all
_SHORTEST = 16  # a name or an operation is not cut shorter than this
_GAP = "  "


def table_text(name: str, account: Account, width: int | None = None) -> str:
    """Plain text, within ``width`` columns: names are cut, then columns left out, the ratios first."""
    room = width or shutil.get_terminal_size((120, 24)).columns
    rows = [_cells(row) for row in account.rows]
    widths = _widths(rows, room)
    keep = list(widths)
    spare = room - sum(widths.values()) - len(_GAP) * (len(keep) - 1)
    for i in (1, 0):
        cut = min(max(0, -spare), max(0, widths[i] - _SHORTEST))
        widths[i], spare = widths[i] - cut, spare + cut
    lines = [name, _line(HEADS, widths), "-" * (sum(widths.values()) + len(_GAP) * (len(keep) - 1))]
    lines += [_line(row, widths) for row in rows]
    lines.append(lines[2])
    return "\n".join(lines + totals(account))


def _widths(rows: list[tuple[str, ...]], room: int) -> dict[int, int]:
    """The columns that fit side by side, by their full width."""
    widths = {i: max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(HEADS)}
    for head in _DROPPED:
        least = sum(min(w, _SHORTEST) if i < _LEFT else w for i, w in widths.items()) + len(_GAP) * (len(widths) - 1)
        if least <= room:
            break
        del widths[HEADS.index(head)]
    return widths


def totals(account: Account) -> list[str]:
    """What stands under the table."""
    frozen = account.parameters - account.trainable_parameters
    memory = f"{bytes_of(account.activation_bytes)} of activations, {bytes_of(account.parameter_bytes)} of weights"
    lines = [
        f"parameters   {account.parameters:,}" + (f" ({frozen:,} of them frozen)" if frozen else ""),
        f"MACs         {account.macs:,}" + (f" for {account.batch} pictures" if account.batch > 1 else ""),
        f"memory       {memory}",
    ]
    if account.specialized:
        lines.append("the road through this network depends on values: this is the one that the example took")
    if account.missing:
        lines.append(f"not counted  {'; '.join(account.missing)}")
    return lines


def table_rich(name: str, account: Account, out: TextIO) -> None:
    """In a terminal, with colour."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out)
    keep = list(_widths([_cells(row) for row in account.rows], console.width))
    drawn = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for i in keep:
        side = "left" if i < _LEFT else "right"
        drawn.add_column(HEADS[i], justify=side, no_wrap=i >= _LEFT, overflow="ellipsis")  # type: ignore[arg-type]
    for row in account.rows:
        cells = _cells(row)
        style = _STYLES.get(row.kind, "")
        drawn.add_row(*(Text(cells[i], style=style if i < _LEFT else "") for i in keep))
    console.print(drawn)
    for line in totals(account):
        console.print(line, markup=False, highlight=False)


_STYLES = {
    "convolution": "cyan",
    "linear": "green",
    "attention": "magenta",
    "pooling": "yellow",
    "join": "red",
    "opaque": "bold red",
}


def table_html(name: str, account: Account) -> str:
    """HTML for a notebook or a page; it brings its own style, within itself."""
    rows = [list(_cells(row)) for row in account.rows]
    scope = (
        ".pellucid{" + STYLE.replace("body{", "&{").replace(":root{", "&{") + "}"
    )  # nothing else of a notebook changes
    heads = cards(
        [
            ("parameters", f"{account.parameters:,}"),
            ("multiply-accumulates", f"{account.macs:,}"),
            ("of activations", bytes_of(account.activation_bytes)),
        ]
    )
    notes = "".join(f"<p class='soft'>{text(line)}</p>" for line in totals(account)[3:])
    body = f"<h1>{text(name)}</h1>{heads}{table(list(HEADS), rows)}{notes}"
    return f'<style>{scope}</style><div class="pellucid">{body}</div>'


def bytes_of(size: float) -> str:
    """``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return ""


def _cells(row: Row) -> tuple[str, ...]:
    field = row.field
    steps = "" if field is None or field.unbounded else "x".join(f"{step:g}" for step in dict.fromkeys(field.step))
    return (
        row.name,
        row.operation,
        "x".join(map(str, row.shape)),
        f"{row.parameters:,}" if row.parameters else "",
        "?" if row.macs is None else f"{row.macs:,}" if row.macs else "",
        f"{row.macs_per_parameter:,.0f}" if row.macs_per_parameter else "",
        bytes_of(row.activation_bytes) if row.activation_bytes else "",
        "" if field is None else "all" if field.unbounded else str(field),
        steps,
    )


def _line(cells: tuple[str, ...], widths: dict[int, int]) -> str:
    shown = [_cut(cells[i], w).ljust(w) if i < _LEFT else cells[i].rjust(w) for i, w in widths.items()]
    return _GAP.join(shown).rstrip()


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: max(1, width - 1)] + "…"
