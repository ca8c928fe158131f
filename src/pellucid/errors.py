"""Every error that Pellucid raises for a user.

PellucidError                what was found, where, and what to do; the command line exits with code 2
├── ShapeError               sizes that do not fit together (also a ValueError)
├── UsageError               a name, option or setting that does not exist or contradicts another (also a ValueError)
├── CaptureError             a module that cannot be captured as a graph
├── DataError                a data set that cannot be read as asked
│   └── DecodeError          one picture that cannot be decoded
├── CheckpointError          a checkpoint or weights file that is damaged or belongs to another network
├── TrainingError            training that cannot go on
│   └── DivergedError        the loss became NaN or infinite
└── FetchError               a download that failed

Anything else that escapes is a bug of ours. ``assert`` is for those alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PellucidError(Exception):
    """One clear sentence, then facts by name, one a line.

    >>> print(PellucidError("the padded axis is too short", axis="width of stem.conv", fits="padding=5"))
    the padded axis is too short
      axis  width of stem.conv
      fits  padding=5
    """

    def __init__(self, message: str, **facts: object) -> None:
        self.message = message
        self.facts = {name: str(fact) for name, fact in facts.items()}
        super().__init__(message)

    def __str__(self) -> str:
        width = max((len(name) for name in self.facts), default=0)
        lines = [f"  {name.replace('_', ' '):<{width}}  {fact}" for name, fact in self.facts.items()]
        return "\n".join([self.message, *lines])


class ShapeError(PellucidError, ValueError):
    """Sizes that do not fit together."""


class UsageError(PellucidError, ValueError):
    """A name, option or setting that does not exist or contradicts another."""


class CaptureError(PellucidError):
    """A module that cannot be captured as a graph."""


class DataError(PellucidError):
    """A data set that cannot be read as asked."""


class DecodeError(DataError):
    """One picture that cannot be decoded."""


class CheckpointError(PellucidError):
    """A checkpoint or weights file that is damaged or belongs to another network."""


class TrainingError(PellucidError):
    """Training that cannot go on."""


class DivergedError(TrainingError):
    """The loss became NaN or infinite."""


class FetchError(PellucidError):
    """A download that failed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a list: says the nearest one and all that there are.

    >>> print(unknown("network", "lenett", ["mlp", "lenet"]))
    there is no network named 'lenett'; did you mean 'lenet'?
      known  lenet, mlp
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    guess = f"; did you mean '{near[0]}'?" if near else ""
    return UsageError(f"there is no {kind} named '{name}'{guess}", known=", ".join(names))
