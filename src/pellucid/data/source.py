"""What is on disk: a list of entries with labels, and a way to get the encoded file or the pixels of each.

``open_source`` recognises a folder per class, a CSV file, IDX and CIFAR binary files, NumPy arrays, and a zip or tar of
any of them. Nothing is decoded here, and nothing of the user's is ever written.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp")
    + (".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".ico", ".avif")
)
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_FITS = "a folder per class, a CSV file, IDX or CIFAR files, .npz, or a zip or tar of these"
BROKEN_SHARE = 0.10  # more than this share of broken files stops: something else is wrong


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled picture: its name for the user, the index of its class, and its split where the source says it."""

    name: str
    label: int
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was passed over, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A data set on disk.

    Exactly one of ``read`` and ``pixels`` is there: ``read(i)`` gives the encoded file of entry i, ``pixels`` is the
    whole data set as uint8 (N, H, W, C) in the order of the entries.
    """

    origin: str
    kind: str
    classes: tuple[str, ...]
    entries: Sequence[Entry]
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()
    read: Callable[[int], bytes] | None = None
    pixels: NDArray[np.uint8] | None = None

    def labels(self) -> NDArray[np.int64]:
        """The class of each entry, (N,)."""
        return np.fromiter((entry.label for entry in self.entries), np.int64, len(self.entries))


@dataclass
class Listing:
    """Entries being collected from files; becomes a Source whose ``read`` opens them."""

    origin: Path
    kind: str
    files: list[Path] = field(default_factory=list)
    names: list[tuple[str, str, str | None]] = field(default_factory=list)  # name, class, split
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, file: Path, name: str, label: str, split: str | None) -> None:
        self.files.append(file)
        self.names.append((name, label, split))

    def source(self) -> Source:
        classes = natural_order({label for _, label, _ in self.names})
        if not self.names:
            raise DataError(
                f"there is no picture in {self.origin}", fits="a folder per class with pictures (JPEG, PNG, ...) in it"
            )
        if len(classes) < 2:
            raise DataError(
                f"{self.origin} has one class, '{classes[0]}': there is nothing to tell apart",
                fits="one folder for each of at least two classes",
            )
        index = {name: i for i, name in enumerate(classes)}
        entries = tuple(Entry(name, index[label], split) for name, label, split in self.names)
        files = self.files
        return Source(
            str(self.origin),
            self.kind,
            classes,
            entries,
            tuple(self.skipped),
            tuple(self.notes),
            read=lambda i: files[i].read_bytes(),
        )


def natural_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted, numbers by their value: 2 before 10.

    >>> natural_order({"10", "2", "1"})
    ('1', '2', '10')
    """
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name)) if numbers else sorted(names))


def open_source(where: str | Path) -> Source:
    """Recognise and list the data set at a path.

    Raises:
        DataError: where nothing is there, or nothing that is a data set, or it is damaged.
    """
    path = Path(where).expanduser()
    try:
        return _open(path)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> Source:
    from pellucid.data import archive, arrays, cifar, folder, idx, table

    if not path.exists():
        raise DataError(f"there is no file or folder {path}{_nearest(path)}")
    if path.is_dir():
        for opener in (idx.open_idx, cifar.open_cifar, arrays.open_arrays, table.open_table_of, folder.open_folder):
            if source := opener(path):
                return source
        files = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
        if files:
            listed = ", ".join(files[:5]) + (", ..." if len(files) > 5 else "")
            raise DataError(f"there is no data set in {path}", found=listed, fits=_FITS)
        raise DataError(f"{path} is empty", fits="a folder per class with pictures in it")
    if archive.is_archive(path):
        return archive.open_archive(path)
    name = path.name.lower()
    if name.endswith((".csv", ".tsv")):
        return table.open_table(path)
    if name.endswith((".npz", ".npy")):
        return arrays.open_file(path)
    if name.endswith((".gz", "ubyte", ".bin")):
        raise DataError(f"{path} is one file of several", fits=f"give the folder: {path.parent}")
    raise DataError(
        f"{path} is no data set",
        found=f"a file that ends in '{path.suffix}'",
        fits=_FITS,
    )


def find_pictures(where: str | Path) -> list[Path]:
    """The pictures at a path: the file itself, or all below a folder, in order.

    Raises:
        DataError: where there is no such path.
    """
    path = Path(where).expanduser()
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())
    if not path.exists():
        raise DataError(f"there is no file or folder {path}{_nearest(path)}")
    return [path]


def refuse_if_too_many_broken(origin: str, broken: Sequence[Skipped], tried: int) -> None:
    """Stop where more than a tenth of the files could not be decoded.

    Raises:
        DataError: with the list.
    """
    if len(broken) > BROKEN_SHARE * tried:
        listed = "; ".join(f"{item.name} ({item.reason})" for item in broken[:10])
        more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise DataError(
            f"{len(broken)} of {tried} pictures in {origin} cannot be decoded",
            broken=listed + more,
            fits=f"mend or remove them ('pellucid check {origin}' lists all); up to a tenth would be skipped",
        )


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return ""
    near = difflib.get_close_matches(path.name, [item.name for item in folder.iterdir()], n=1)
    return f"; did you mean {folder / near[0]}?" if near else ""
