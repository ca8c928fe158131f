"""Folders of pictures and their masks: which belong together, in which split, and what the labels are called."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from pellucid.data.archive import is_archive, unpacked
from pellucid.data.source import PICTURE_SUFFIXES, SPLIT_NAMES
from pellucid.errors import DataError

_PICTURES, _MASKS = ("images", "image", "imgs"), ("masks", "mask", "labels", "annotations")
_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
_COLOR = re.compile(r"^(.+?)[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})$")
_PEEKED = 5000  # names of a tar that are looked at
_FITS = "images/a.jpg with masks/a.png, at the top or below train, val and test"


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and its mask; ``name`` is the picture's below the data set, for the user."""

    name: str
    picture: Path
    mask: Path
    split: str | None


@dataclass(frozen=True)
class Listing:
    """What is in a data set of masks. names: of the labels 0, 1, ... by classes.txt; None where there is none. colors:
    of each, where classes.txt says them."""

    origin: str
    root: Path
    pairs: Sequence[Pair]
    names: tuple[str, ...] | None = None
    colors: tuple[tuple[int, int, int], ...] | None = None
    notes: list[str] = field(default_factory=list)

    def called(self, file: Path) -> str:
        """A file by its name below the data set."""
        return file.relative_to(self.root).as_posix()


def recognised(where: str | Path) -> bool:
    """Whether a folder or archive has pictures beside masks; a cheap look that raises nothing."""
    path = Path(where).expanduser()
    try:
        if path.is_dir():
            return _top(path) is not None
        return path.is_file() and is_archive(path) and _both(_names(path))
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError, EOFError):
        return False


def find_pairs(where: str | Path) -> Listing:
    """The pictures and masks of a folder, or of a zip or tar of one.

    Raises:
        DataError: where there is nothing, a picture has no mask or a mask no picture, or masks are JPEG files.
    """
    given = Path(where).expanduser()
    if not given.exists():
        raise DataError(f"there is no file or folder {given}", fits=_FITS)
    path = unpacked(given) if given.is_file() and is_archive(given) else given
    root = _top(path) if path.is_dir() else None
    if root is None:
        raise DataError(f"there are no pictures with masks in {given}", fits=_FITS)
    pairs = list(_pairs(root))
    if not pairs:
        raise DataError(f"there is no picture in {given}", fits=_FITS)
    if any(pair.split for pair in pairs) and not any(pair.split == "train" for pair in pairs):
        raise DataError(f"{given} has no training pictures", fits="a folder train")
    names, colors = _classes(root / "classes.txt")
    return Listing(str(given), root, pairs, names, colors)


def _top(folder: Path) -> Path | None:
    """The folder that has pictures beside masks, or splits that do: this one, or the only one in it."""
    if _sides(folder) or any(_sides(split) for split, _ in _splits(folder)):
        return folder
    inner = [item for item in folder.iterdir() if item.is_dir() and not item.name.startswith((".", "__"))]
    return _top(inner[0]) if len(inner) == 1 else None


def _sides(folder: Path) -> tuple[Path, Path] | None:
    """The folders of pictures and of masks."""
    there = {item.name.lower(): item for item in folder.iterdir() if item.is_dir()}
    pictures = next((there[name] for name in _PICTURES if name in there), None)
    masks = next((there[name] for name in _MASKS if name in there), None)
    return (pictures, masks) if pictures and masks else None


def _splits(folder: Path) -> list[tuple[Path, str]]:
    found = [item for item in sorted(folder.iterdir()) if item.is_dir() and item.name.lower() in SPLIT_NAMES]
    return [(item, SPLIT_NAMES[item.name.lower()]) for item in found]


def _pairs(root: Path) -> Iterator[Pair]:
    """In the order of splits and names."""
    sides = _sides(root)
    if sides is None:
        for folder, split in _splits(root):
            inside = _sides(folder)
            if inside is None:
                raise DataError(f"{folder.relative_to(root.parent)} has no folders of images and masks", fits=_FITS)
            yield from _matched(root, *inside, split)
        return
    below = [{split: folder for folder, split in _splits(side)} for side in sides]
    if not below[0]:
        yield from _matched(root, *sides, None)
    for split in dict.fromkeys([*below[0], *below[1]]) if below[0] else ():
        if split not in below[0] or split not in below[1]:
            side = sides[0] if split in below[0] else sides[1]
            raise DataError(f"{side.name} has a folder for {split} and the other side has none", fits=_FITS)
        yield from _matched(root, below[0][split], below[1][split], split)


def _matched(root: Path, pictures: Path, masks: Path, split: str | None) -> Iterator[Pair]:
    """Pictures and masks of the same name but for its ending.

    Raises:
        DataError: where one is without the other.
    """
    found, labels = (_by_stem(root, folder) for folder in (pictures, masks))
    alone = sorted(set(found) - set(labels))
    if alone:
        more = f"; and {len(alone) - 1:,} more have none" if len(alone) > 1 else ""
        wanted = (masks / alone[0]).relative_to(root).as_posix()
        raise DataError(
            f"the image {found[alone[0]].relative_to(root).as_posix()} has no mask{more}",
            fits=f"{wanted}.png, or no such image",
        )
    alone = sorted(set(labels) - set(found))
    if alone:
        more = f"; and {len(alone) - 1:,} more have none" if len(alone) > 1 else ""
        raise DataError(
            f"the mask {labels[alone[0]].relative_to(root).as_posix()} has no image{more}",
            fits=f"an image {(pictures / alone[0]).relative_to(root).as_posix()} of any format, or no such mask",
        )
    for stem in sorted(found):
        if labels[stem].suffix.lower() in _LOSSY:
            raise DataError(
                f"the mask {labels[stem].relative_to(root).as_posix()} is a JPEG, which changes labels where they meet",
                fits="PNG",
            )
        yield Pair(found[stem].relative_to(root).as_posix(), found[stem], labels[stem], split)


def _by_stem(root: Path, folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if file.suffix.lower() not in PICTURE_SUFFIXES or not file.is_file() or any(p[0] == "." for p in inside.parts):
            continue
        stem = inside.with_suffix("").as_posix()
        if stem in found:
            first, second = (item.relative_to(root).as_posix() for item in (found[stem], file))
            raise DataError(f"{first} and {second} have the same name", fits="one picture of each name")
        found[stem] = file
    return found


def _classes(file: Path) -> tuple[tuple[str, ...] | None, tuple[tuple[int, int, int], ...] | None]:
    """Names by classes.txt, a line for each label from 0 on; and colours, where every line ends in three numbers."""
    if not file.is_file():
        return None, None
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError("classes.txt is no UTF-8 text", fits="a name in each line") from None
    matches = [_COLOR.match(line) for line in lines]
    names = tuple(match[1] if match else line for match, line in zip(matches, lines, strict=True))
    colors = tuple((int(match[2]), int(match[3]), int(match[4])) for match in matches if match)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"classes.txt names '{twice}' twice", fits="a name of its own in each line")
    if not 1 <= len(names) <= 255:
        raise DataError(f"classes.txt has {len(names)} names", fits="a name in each line, at most 255")
    if any(max(color) > 255 for color in colors):
        raise DataError("classes.txt has a colour with a number above 255", fits="name r g b, each of 0 to 255")
    return names, colors if len(colors) == len(names) else None


def _names(file: Path) -> Iterable[str]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            return packed.namelist()
    with tarfile.open(file) as tarred:
        return [member.name for member in islice(tarred, _PEEKED)]


def _both(names: Iterable[str]) -> bool:
    folders = {part.lower() for name in names for part in PurePosixPath(name).parts[:-1]}
    return bool(folders & set(_PICTURES)) and bool(folders & set(_MASKS))
