"""``pellucid doctor``: what this machine has, what is missing, and what that costs."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = "Example: pellucid doctor"


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is installed, what is missing, and what that costs."""
    from pellucid.doctor import diagnose

    diagnosis = diagnose()
    print(diagnosis.to_json() if as_json else diagnosis.text())
