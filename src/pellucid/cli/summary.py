"""``pellucid summary``: the table of a network, its drawing, and whether its training fits in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.errors import UsageError

USUAL = "3x224x224"
EXAMPLES = "Example: pellucid summary resnet50 --input 3x224x224 --svg net.svg"


def summary(
    net: Annotated[str, typer.Argument(help="A network by name, or package.module:factory for your own.")],
    size: Annotated[
        str | None,
        typer.Option("--input", help="Channels x height x width of one picture; else 3x224x224, or its own."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time, for the memory of activations.")] = 1,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of the network: name=value.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write a drawing of the whole network to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the table as a page to this file.")] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Forecast the memory that training takes at this batch.")] = False,
    optimizer: Annotated[str, typer.Option(help="For --fit: the optimizer whose state is counted.")] = "adamw",
    precision: Annotated[str, typer.Option(help="For --fit: float32 or bf16.")] = "float32",
) -> None:
    """Print the layers of a network: shapes, parameters, multiply-accumulates, memory, receptive fields."""
    from pellucid.cli.options import parse_settings, parse_size

    module = make(net, parse_size(size or USUAL), parse_settings(settings or []))
    own = size is None and hasattr(module, "example_inputs")
    from pellucid import summary as summarize

    shape = parse_size(size or USUAL)
    table = summarize(module, None if own else shape, batch=batch)
    if svg is not None:
        from pellucid.draw import network_svg

        svg.write_text(network_svg(table.account), "utf-8")
        print(f"the drawing is in {svg}")
    if html is not None:
        html.write_text(table.page(), "utf-8")
        print(f"the page is in {html}")
    if fit and own:
        raise UsageError(f"--fit is for networks that read pictures, and {net} reads something else")
    if fit:
        from pellucid.graph import forecast

        print(forecast(module, shape, batch=batch, optimizer=optimizer, precision=precision))


def make(net: str, shape: tuple[int, ...], settings: dict[str, Any]) -> Any:
    """The network of a name, for pictures of a size, where it asks for these."""
    from pellucid import nets

    known = nets.signature(net)
    if len(shape) == 3:
        guesses = {"in_channels": shape[0], "image_size": shape[1:] if shape[1] != shape[2] else shape[1]}
        settings = {**{name: value for name, value in guesses.items() if name in known}, **settings}
    return nets.make(net, **settings)
