"""Pellucid: a convolutional network you can see through, and train fast on the computer you have.

Rooms: ``ops`` (what each operation is), ``graph`` (a network, captured once), ``nets`` (the classic networks),
``data`` (images in, batches out), ``lanes`` (the engine for CPUs), ``train`` (the loop, checkpoints, reports),
``look`` (opened numbers, the atlas), ``draw`` (pictures from records), ``cli`` (the commands). Nothing here imports
torch until a name that needs it is used.
"""

from __future__ import annotations

from pellucid._lazy import attach
from pellucid.errors import PellucidError

__version__ = "0.1.0"

_homes = {
    "Graph": ".graph",
    "Model": ".train",
    "capture": ".graph",
    "data": ".data",
    "draw": ".draw",
    "graph": ".graph",
    "lanes": ".lanes",
    "look": ".look",
    "lower": ".lanes",
    "nets": ".nets",
    "ops": ".ops",
    "summary": ".summarize",
    "train": ".train",
}
__getattr__, __dir__ = attach(__name__, _homes)
__all__ = [
    "Graph",
    "Model",
    "PellucidError",
    "capture",
    "data",
    "draw",
    "graph",
    "lanes",
    "look",
    "lower",
    "nets",
    "ops",
    "summary",
    "train",
]
