"""A folder per class, with or without train, validation and test above them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pellucid.data.source import PICTURE_SUFFIXES, SPLIT_NAMES, Listing, Skipped, Source
from pellucid.errors import DataError


def open_folder(root: Path) -> Source | None:
    """The pictures below ``root``, classes by the names of its folders; None where the folder is empty.

    Names that begin with a dot are passed over, and so are files that are no pictures; the listing says so. Classes are
    matched by name across splits.
    """
    folders = _folders(root)
    if not folders:
        pictures = [file for file in root.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
        if pictures:
            raise DataError(
                f"{root} holds {len(pictures)} pictures and no folders: their classes are unknown",
                fits="move them into one folder per class, or give a CSV file of path,label",
            )
        return None
    named = {folder: SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_NAMES}
    splits = {folder: split for folder, split in named.items() if _folders(folder)}
    if "train" not in splits.values() and len(folders) == 1 and not _holds_pictures(folders[0]):
        from pellucid.data.source import open_source

        return open_source(folders[0])
    listing = Listing(root, "folder")
    if splits and len(splits) == len(folders) > 1 and "train" not in splits.values():
        there = ", ".join(folder.name for folder in folders)
        raise DataError(f"{root} has no training pictures: its folders are {there}", fits="a folder train beside them")
    if "train" in splits.values():
        for folder in folders:
            if folder in splits:
                _classes(folder, splits[folder], listing)
            elif folder in named:
                listing.skipped.append(Skipped(folder.name, "a split without folders of classes: it has no labels"))
            else:
                listing.skipped.append(Skipped(folder.name, "a folder beside the splits"))
        _say_unmatched(listing)
    else:
        _classes(root, None, listing)
    _say_skipped(root, listing)
    return listing.source()


def _folders(root: Path) -> list[Path]:
    return sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def _holds_pictures(folder: Path) -> bool:
    return any(item.suffix.lower() in PICTURE_SUFFIXES for item in folder.iterdir())


def _classes(root: Path, split: str | None, listing: Listing) -> None:
    for item in sorted(root.iterdir()):
        name = item.relative_to(listing.origin).as_posix()
        if item.name.startswith((".", "__")):
            listing.skipped.append(Skipped(name, "its name begins with a dot or two underscores"))
        elif item.is_dir():
            _pictures(item, item.name, split, listing)
        else:
            listing.skipped.append(Skipped(name, "a file beside the folders of the classes"))


def _pictures(folder: Path, label: str, split: str | None, listing: Listing) -> None:
    found = False
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(listing.origin).as_posix()
        if any(part.startswith((".", "__")) for part in file.relative_to(folder).parts):
            if file.is_file():
                listing.skipped.append(Skipped(name, "its name begins with a dot or two underscores"))
        elif file.is_dir():
            continue
        elif not file.is_file():
            listing.skipped.append(Skipped(name, "a link to nothing, or no plain file"))
        elif file.suffix.lower() in PICTURE_SUFFIXES:
            listing.add(file, name, label, split)
            found = True
        else:
            kind = f"a file that ends in '{file.suffix}'" if file.suffix else "a file without an ending"
            listing.skipped.append(Skipped(name, f"{kind} is no picture"))
    if not found:
        listing.skipped.append(Skipped(folder.relative_to(listing.origin).as_posix(), "a folder without pictures"))


def _say_unmatched(listing: Listing) -> None:
    of_split: dict[str, set[str]] = {}
    for _, label, split in listing.names:
        of_split.setdefault(split or "", set()).add(label)
    train = of_split.get("train", set())
    for split, classes in of_split.items():
        if extra := classes - train:
            raise DataError(
                f"the {split} split has a class that the training split has not: '{sorted(extra)[0]}'",
                train=", ".join(sorted(train)),
                fits="the same folder names in every split",
            )
        if missing := train - classes:
            listing.notes.append(f"the {split} split has no pictures of {', '.join(sorted(missing))}")


def _say_skipped(root: Path, listing: Listing) -> None:
    reasons = Counter(item.reason for item in listing.skipped)
    for reason, count in reasons.items():
        listing.notes.append(f"passed over {count} in {root.name}: {reason}")
