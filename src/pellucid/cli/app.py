"""The command ``pellucid`` and its subcommands, in the order in which a person needs them."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid import __version__
from pellucid.cli import (
    atlas,
    check,
    compare,
    doctor,
    evaluate,
    fetch,
    look,
    plan,
    predict,
    probe,
    runs,
    summary,
    train,
)

app = typer.Typer(
    name="pellucid",
    help="Convolutional networks that you can see through, and train fast on the computer you have.",
    epilog="Begin with: [bold]pellucid train fashion-mnist --net lenet[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"pellucid {__version__}")
        raise typer.Exit


@app.callback()
def pellucid(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Convolutional networks that you can see through, and train fast on the computer you have."""


for command in (
    train.train,
    compare.compare,
    evaluate.evaluate,
    probe.probe,
    predict.predict,
    look.look,
    atlas.atlas,
    summary.summary,
    plan.plan,
    check.check,
    fetch.fetch,
    runs.runs,
    doctor.doctor,
):
    app.command(epilog=command.__globals__.get("EXAMPLES"))(command)
