"""Which recordings there are on disk, what each is, and what else its name says: who spoke, which take it is."""

from __future__ import annotations

import csv
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pellucid.data.archive import is_archive, unpacked
from pellucid.data.source import SPLIT_NAMES, Skipped, natural_order
from pellucid.errors import DataError, UsageError, unknown

SUFFIXES = (".wav", ".wave")
LABEL = "label"
_FILE_NAMES = ("path", "file", "filename", "file_name", "wav", "audio", "recording", "name")
_LABEL_NAMES = ("label", "class", "target", "category", "class_name", "y")
_SPLIT_NAMES = ("split", "set", "subset", "partition", "fold")
_USUAL = {2: "label_take", 3: "label_speaker_take"}  # what the parts of names are, where nobody says it
_GLANCE = 200  # names that are looked at to recognise a path
_FITS = "a folder per class with WAV files, files named LABEL_SPEAKER_TAKE.wav, or a CSV file of file,label"


@dataclass(frozen=True)
class Recording:
    """One file: its name for the user, its label, its split where the source says it, and the named parts of its name
    (or the other columns of its row)."""

    file: Path
    name: str
    label: str
    split: str | None = None
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listing:
    """The recordings of a path, and what was passed over."""

    origin: str
    recordings: tuple[Recording, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return natural_order({item.label for item in self.recordings})

    def known_parts(self) -> tuple[str, ...]:
        """The names of the parts that every recording has."""
        first = self.recordings[0].parts if self.recordings else {}
        return tuple(name for name in first if all(name in item.parts for item in self.recordings))

    def groups(self, part: str) -> list[str]:
        """What each recording has in this part of its name, such as its speaker.

        Raises:
            UsageError: where they do not all have it.
        """
        if part not in self.known_parts():
            if not self.known_parts():
                raise UsageError(
                    f"the names of the recordings in {self.origin} have no part called '{part}'",
                    fits="names=label_speaker_take (what stands between the underscores), or a CSV file with a column "
                    f"{part}",
                )
            raise unknown("part of the names of recordings", part, self.known_parts())
        return [item.parts[part] for item in self.recordings]


def holds_recordings(where: str | Path) -> bool:
    """Whether a path looks like recordings; raises nothing."""
    path = Path(where).expanduser()
    try:
        names = list(islice(_names(path), _GLANCE))
    except (OSError, tarfile.TarError, zipfile.BadZipFile, ValueError, EOFError):
        return False
    return any(name.lower().endswith(SUFFIXES) for name in names)


def _names(path: Path) -> Iterator[str]:
    """Names of files below a folder, in an archive, or on the lines of a table."""
    if path.is_dir():
        for _, folders, files in os.walk(path):
            folders.sort()
            yield from files
    elif path.is_file() and is_archive(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                yield from packed.namelist()
        else:
            with tarfile.open(path) as tarred:
                yield from (member.name for member in tarred)
    elif path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for line in lines:
                yield from (cell.strip(' "\r\n') for cell in line.replace("\t", ",").replace(";", ",").split(","))


def list_recordings(where: str | Path, names: str | None = None) -> Listing:
    """The recordings of a folder per class (with or without train, validation and test above), of a flat folder whose
    names say the label, of a CSV file, or of a zip or tar of these.

    Args:
        where: the path.
        names: what the parts of the names are, joined by underscores as they are: ``label_speaker_take``. In folders
            of classes the label is the folder's name. Left out, flat names of two parts are label_take, of three
            label_speaker_take.

    Raises:
        DataError: where nothing is there, or nothing that is recordings.
        UsageError: for a pattern that does not fit the names.
    """
    path = Path(where).expanduser()
    if not path.exists():
        raise DataError(f"there is no file or folder {path}", fits=_FITS)
    try:
        root = unpacked(path) if path.is_file() and is_archive(path) else path
        found = _of_table(root, path) if root.is_file() else _of_folder(root, path, names)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None
    if not found.recordings:
        raise DataError(f"there is no WAV file in {path}", fits=_FITS)
    if len(found.classes) < 2:
        raise DataError(
            f"{path} has one class, '{found.classes[0]}': there is nothing to tell apart", fits="at least two classes"
        )
    return found


def _of_folder(root: Path, origin: Path, names: str | None) -> Listing:
    tables = [file for file in root.iterdir() if file.suffix.lower() in (".csv", ".tsv") and file.name[0] != "."]
    folders = _folders(root)
    if len(tables) == 1 and len(folders) < 2:
        return _of_table(tables[0], origin)
    flat = [file for file in sorted(root.iterdir()) if _is_recording(file)]
    if flat:
        return _flat(flat, origin, names)
    if len(folders) == 1 and not any(_is_recording(file) for file in folders[0].iterdir()):
        return _of_folder(folders[0], origin, names)
    if len(folders) == 1:
        return _flat([file for file in sorted(folders[0].iterdir()) if _is_recording(file)], origin, names)
    splits = {folder: SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_NAMES}
    pattern = _pattern(names, needs_label=False) if names else ()
    recordings: list[Recording] = []
    skipped: list[Skipped] = []
    has_splits = "train" in splits.values()
    for split, holder in [(split, folder) for folder, split in splits.items()] if has_splits else [(None, root)]:
        for folder in _folders(holder):
            _of_class(folder, root, split, pattern, recordings, skipped)
    return Listing(str(origin), tuple(recordings), tuple(skipped))


def _of_class(
    folder: Path,
    root: Path,
    split: str | None,
    pattern: Sequence[str],
    recordings: list[Recording],
    skipped: list[Skipped],
) -> None:
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        name = file.relative_to(root).as_posix()
        if not _is_recording(file):
            skipped.append(Skipped(name, "no WAV file"))
            continue
        parts = {LABEL: folder.name, **(_parts(file, pattern) if pattern else {})}
        recordings.append(Recording(file, name, folder.name, split, {**parts, LABEL: folder.name}))


def _folders(root: Path) -> list[Path]:
    return sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith((".", "__")))


def _is_recording(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _flat(files: Sequence[Path], origin: Path, names: str | None) -> Listing:
    """Recordings whose names say their labels."""
    if names is None:
        counts = {len(file.stem.split("_")) for file in files}
        names = _USUAL.get(counts.pop()) if len(counts) == 1 else None
        if names is None:
            raise DataError(
                f"what the names of the recordings in {origin} say is unknown",
                found=", ".join(file.name for file in files[:3]),
                fits="names=label_speaker_take (what stands between the underscores), or a folder per class",
            )
    pattern = _pattern(names, needs_label=True)
    parts = [_parts(file, pattern) for file in files]
    return Listing(
        str(origin),
        tuple(Recording(file, file.name, found[LABEL], None, found) for file, found in zip(files, parts, strict=True)),
    )


def _pattern(names: str, *, needs_label: bool) -> tuple[str, ...]:
    pattern = tuple(names.split("_"))
    if not all(part.isidentifier() for part in pattern) or len(set(pattern)) < len(pattern):
        raise UsageError(f"names is '{names}'", fits="words joined by underscores, each once: label_speaker_take")
    if needs_label and LABEL not in pattern:
        raise UsageError(f"names is '{names}', in which no part is the label", fits="names=label_speaker_take")
    return pattern


def _parts(file: Path, pattern: Sequence[str]) -> dict[str, str]:
    found = file.stem.split("_")
    if len(found) != len(pattern) or not all(found):
        raise DataError(
            f"the name {file.name} has {len(found)} parts, and names={'_'.join(pattern)} has {len(pattern)}",
            fits="names of one form, or a CSV file of file,label",
        )
    return dict(zip(pattern, found, strict=True))


def _of_table(file: Path, origin: Path) -> Listing:
    """A CSV file with a header: the file, its label, optionally its split, and any other columns as parts."""
    if file.suffix.lower() not in (".csv", ".tsv"):
        raise DataError(f"{file} is no set of recordings", fits=_FITS)
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is no UTF-8 text (byte {error.start})", fits="save it as CSV UTF-8") from None
    delimiter = "\t" if file.suffix.lower() == ".tsv" else max(",;\t", key=text.partition("\n")[0].count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []

    def find(known: Sequence[str]) -> int | None:
        return next((heads.index(name) for name in known if name in heads), None)

    file_at, label_at, split_at = find(_FILE_NAMES), find(_LABEL_NAMES), find(_SPLIT_NAMES)
    if file_at is None or label_at is None:
        raise DataError(
            f"{file} has no header file,label", found=",".join(heads), fits="file,label or file,label,split"
        )
    others = {i: head for i, head in enumerate(heads) if head and i not in (file_at, label_at, split_at)}
    recordings = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"line {number} of {file}"
        if len(row) < len(heads):
            raise DataError(f"{where} has {len(row)} columns, the header {len(heads)}", fits="as many on every line")
        name, label = row[file_at].strip(), row[label_at].strip()
        split = row[split_at].strip().lower() if split_at is not None else ""
        if not label:
            raise DataError(f"{where} has no label for {name}")
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{where}: there is no split '{split}'", fits="train, validation or test")
        if not (file.parent / name).is_file():
            raise DataError(f"{where}: there is no recording {file.parent / name}", fits="paths relative to the table")
        parts = {head: row[i].strip() for i, head in others.items()}
        given = SPLIT_NAMES[split] if split else None
        recordings.append(Recording(file.parent / name, name, label, given, {LABEL: label, **parts}))
    without = [item.name for item in recordings if item.split is None]
    if without and len(without) < len(recordings):
        raise DataError(
            f"{len(without)} of {len(recordings)} lines of {file} have no split, such as that of {without[0]}",
            fits="a split on every line, or on none",
        )
    return Listing(str(origin), tuple(recordings))
