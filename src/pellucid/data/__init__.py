"""Images in, batches out.

`load` reads a data set (a folder per class, CSV, IDX, CIFAR, NumPy, an archive of these, or a known name) into `Data`:
classes and up to three splits of uint8 pictures. `check` says what is wrong with one, `fetch` downloads a known one.
`Preprocess` turns pictures into a network's input, `Batches` deals them out, shuffled and changed by `Augment`, as a
function of (seed, epoch, step) alone. Nothing here knows networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid._lazy import attach
from pellucid.cache import cache_folder
from pellucid.data.check import Checked, check
from pellucid.data.dataset import Data, Split
from pellucid.data.fetch import fetch
from pellucid.data.load import load
from pellucid.data.source import find_pictures, open_source

if TYPE_CHECKING:
    from pellucid.data.augment import Augment
    from pellucid.data.batches import Batch, Batches
    from pellucid.data.preprocess import Preprocess

_load, __dir__ = attach(
    __name__,
    {
        "Augment": ".augment",
        "Batch": ".batches",
        "Batches": ".batches",
        "Preprocess": ".preprocess",
    },
)
__all__ = [
    "Augment",
    "Batch",
    "Batches",
    "Checked",
    "Data",
    "Preprocess",
    "Split",
    "cache_folder",
    "check",
    "fetch",
    "find_pictures",
    "load",
    "open_source",
]
__getattr__ = _load
