"""The commands: one file a command, each parses, calls a room and prints.

Nothing here imports torch before a command needs it: ``pellucid --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from pellucid.errors import PellucidError

__all__ = ["main"]


def main() -> None:
    """What ``pellucid`` runs. A user's mistake ends in one clear message and exit code 2, never in a traceback."""
    from pellucid.cli.app import app

    try:
        _run(app)
    except PellucidError as error:
        _stop(f"pellucid: {error}")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _stop(f"pellucid: the system refused{where}: {error.strerror or error}")


def _run(app: Callable[[], Any]) -> None:
    """Run, and hand over all that was printed. Who reads it may stop when it has enough (``| head``): that is nobody's
    mistake, and ends with code 0."""
    try:
        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(0)
        try:
            sys.stdout.flush()
        except OSError as refused:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it leaves
            if isinstance(refused, BrokenPipeError):
                sys.exit(0)
            raise
        raise


def _stop(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)
