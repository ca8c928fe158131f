"""Data sets that are known by name, and where they are looked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pellucid.cache import cache_folder
from pellucid.errors import DataError, unknown

SMALL = "fashion-mnist-small"
EMBEDDED = Path(__file__).parent / "embedded" / SMALL
_DEBIAN = Path("/usr/share/datasets")
_MARKS = {  # a file that tells whether a set is in a folder, whole or not
    "fashion-mnist": ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
    "mnist": ("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
    "cifar10": ("cifar-10-batches-bin/data_batch_1.bin", "data_batch_1.bin"),
}
NAMES = (*_MARKS, SMALL)


@dataclass(frozen=True)
class Place:
    """Where a data set was found, and what the user should know about it."""

    path: Path
    notes: tuple[str, ...] = ()


def places(name: str) -> tuple[Path, ...]:
    """The folders where a known set is looked for, in this order: the user's cache, Debian's packages."""
    return cache_folder() / name, _DEBIAN / name


def find(where: str | Path) -> Place:
    """The folder or file that `where` means: a path if there is one, else a known name.

    Raises:
        DataError: for a known set that is not on this machine (fashion-mnist has an embedded stand-in, and a note).
        UsageError: for what is neither a path nor a known name.
    """
    path = Path(where).expanduser()
    name = str(where)
    if path.exists():
        shadow = f"'{name}' is the folder {path.resolve()}, not the known data set of that name"
        return Place(path, (shadow,) if name in NAMES else ())
    if name == SMALL:
        return Place(EMBEDDED)
    if name not in _MARKS:
        if path.name == name and not path.suffix:
            raise unknown("data set or folder", name, NAMES)
        return Place(path)  # open_source says what is missing, and what is near
    for folder in places(name):
        if any((folder / mark).is_file() for mark in _MARKS[name]):
            return Place(folder)
    if name == "fashion-mnist":
        note = (
            "the full Fashion-MNIST is not on this machine, so this is the embedded part of it: 5,000 of 60,000 "
            "training and 1,000 of 10,000 test pictures ('pellucid fetch fashion-mnist' gets all)"
        )
        return Place(EMBEDDED, (note,))
    looked = ", ".join(map(str, places(name)))
    raise DataError(f"the data set {name} is not on this machine", looked_in=looked, try_=f"pellucid fetch {name}")
