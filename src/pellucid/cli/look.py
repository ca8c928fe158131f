"""``pellucid look``: a network and a picture in which every number opens."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.look.answers import Answers

EXAMPLES = "Example: pellucid look runs/2026-11-24-1015-lenet cat.jpg"


def look(
    run: Annotated[Path, typer.Argument(help="A run folder, its best/ folder, or a saved model.")],
    picture: Annotated[Path | None, typer.Argument(help="A picture; others are dropped on the page.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The right class, by name or number; else the predicted one.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to serve at; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    training: Annotated[bool, typer.Option("--training", help="Look at the network as it is in training.")] = False,
    weights: Annotated[
        str, typer.Option(help="Of a run: best, or last, which its training would go on with.")
    ] = "best",
    html: Annotated[
        Path | None, typer.Option(help="Write one offline page for the picture, and serve nothing.")
    ] = None,
    attention: Annotated[
        Path | None, typer.Option(help="Write one page of where each head of each attention looks in the picture.")
    ] = None,
) -> None:
    """Open a page in which a network's every number can be stepped into, down to the pixels."""
    if attention is not None:
        if picture is None:
            raise UsageError("where a network looks is shown in a picture", fits=f"pellucid look {run} PICTURE ...")
        from pellucid.look.attention_page import write_attention

        print(write_attention(attention, run, picture, weights=weights))
        return
    if html is not None and picture is None:
        raise UsageError("an offline page is that of a picture", fits=f"pellucid look {run} PICTURE --html {html}")
    from pellucid.look import Lens
    from pellucid.look.answers import Answers

    answers = Answers(Lens(run, training=training, weights=weights), None if label is None else _class(label))
    name = answers.add(picture, keep=True) if picture is not None else ""
    if html is not None:
        from pellucid.look.offline import write_page

        print(write_page(html, answers, name, shlex.join(["pellucid", "look", str(run), str(picture)])).text())
    else:
        _serve(answers, name, port, browser)


def _class(label: str) -> str | int:
    return int(label) if label.isascii() and label.isdigit() else label


def _serve(answers: Answers, picture: str, port: int, browser: bool) -> None:
    from pellucid.look.server import serve

    def ready(address: str) -> None:
        print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(answers, picture, port=port, ready=ready)
