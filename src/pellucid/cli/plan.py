"""``pellucid plan``: what the engine lanes does with a network, step by step, measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pellucid.errors import UsageError

EXAMPLES = "Example: pellucid plan resnet18 --input 3x32x32 --batch 128 --svg plan.svg"


def plan(
    net: Annotated[str, typer.Argument(help="A network by name, or package.module:factory for your own.")],
    size: Annotated[
        str | None,
        typer.Option("--input", help="Channels x height x width of one picture; else 3x224x224, or its own."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 128,
    evaluation: Annotated[bool, typer.Option("--evaluation", help="Forward alone, in evaluation mode.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of PyTorch; else all cores.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of the network: name=value.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write bars of time, a row for each step, to this file.")] = None,
) -> None:
    """Run a network on the engine lanes: how each fused step is done, its work, time and share of the peak."""
    from pellucid.cli.options import parse_settings, parse_size
    from pellucid.cli.summary import USUAL, make

    shape = parse_size(size or USUAL)
    module = make(net, shape, parse_settings(settings or []))
    if svg is not None and not svg.parent.is_dir():
        raise UsageError(f"there is no folder {svg.parent} for the drawing")
    from pellucid.lanes import planned

    own = size is None and hasattr(module, "example_inputs")
    found = planned(module, None if own else shape, batch=batch, training=not evaluation, threads=threads)
    from pellucid.draw import plan_rich, plan_svg, plan_text

    if svg is not None:
        svg.write_text(plan_svg(found), "utf-8")
        print(f"the drawing is in {svg}", file=sys.stderr)
    if as_json:
        print(found.to_json())
    elif sys.stdout.isatty():
        plan_rich(found, sys.stdout)
    else:
        print(plan_text(found))
