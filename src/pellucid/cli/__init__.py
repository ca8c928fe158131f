"""The commands: one file a command, each parses, calls a room and prints.

Nothing here imports torch before a command needs it: ``pellucid --help`` answers at once.
"""

from __future__ import annotations

import sys

from pellucid.errors import PellucidError

__all__ = ["main"]


def main() -> None:
    """What ``pellucid`` runs. A user's mistake ends in one clear message and exit code 2, never in a traceback."""
    from pellucid.cli.app import app

    try:
        app()
    except PellucidError as error:
        _stop(f"pellucid: {error}")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _stop(f"pellucid: the system refused{where}: {error.strerror or error}")


def _stop(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)
