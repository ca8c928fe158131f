"""A zip or tar of any data set: unpacked once into the user's cache, within limits, and opened there."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

from pellucid.cache import cache_folder
from pellucid.data.source import Source, open_source
from pellucid.errors import DataError

MOST_BYTES = 64 * 2**30  # of all files together
MOST_FILES = 5_000_000
MOST_RATIO = 200  # of unpacked to packed bytes, beyond the first 100 MiB
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error) + (
    EOFError, OSError, RuntimeError, NotImplementedError, ValueError)  # fmt: skip


def is_archive(file: Path) -> bool:
    """Whether a file's name is that of a zip or tar."""
    return file.name.lower().endswith(_SUFFIXES)


def open_archive(file: Path) -> Source:
    """The data set inside an archive.

    Links, device files and names that lead out of the archive are refused; so is what unpacks to too much.

    Raises:
        DataError: where the archive is damaged or refused, or holds no data set.
    """
    folder = unpacked(file)
    try:
        source = open_source(folder)
    except DataError as error:
        message = error.message.replace(str(folder), str(file))
        raise DataError(message, **{k: v.replace(str(folder), str(file)) for k, v in error.facts.items()}) from None
    return replace(source, origin=str(file))


def unpacked(file: Path) -> Path:
    """The folder in the user's cache that holds what is in an archive, unpacked there the first time.

    Raises:
        DataError: where the archive is damaged or refused.
    """
    state = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:24]
    folder = cache_folder() / "unpacked" / key
    if not folder.is_dir():
        _unpack_into(folder, file)
    return folder


def _unpack_into(folder: Path, file: Path) -> None:
    """Make the folder, whole or not at all, of what is in the archive."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _unpack(file, made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process unpacked the same archive first
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{file} cannot be unpacked into {folder.parent}: {error.strerror or error}") from None


def _unpack(file: Path, to: Path) -> None:
    packed = file.stat().st_size
    allowed = min(MOST_BYTES, 100 * 2**20 + MOST_RATIO * packed)
    try:
        for count, (name, stream) in enumerate(_members(file)):
            if count >= MOST_FILES:
                raise DataError(f"{file} holds more than {MOST_FILES:,} files", fits="unpack it")
            target = to / _inside(file, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                while block := stream.read(2**20):
                    allowed -= len(block)
                    if allowed < 0:
                        raise DataError(f"{file} unpacks to more than {MOST_RATIO} times its size", fits="unpack it")
                    out.write(block)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{file} cannot be unpacked: {error}", fits="pack it again, without a password") from None


def _members(file: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            for info in packed.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise DataError(f"{file} holds a link: {info.filename}", fits="an archive of plain files")
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(file) as tarred:
        for member in tarred:
            if member.isdir():
                continue
            stream_or_none = tarred.extractfile(member) if member.isfile() else None
            if stream_or_none is None:
                raise DataError(f"{file} holds a link or device: {member.name}", fits="an archive of plain files")
            yield member.name, stream_or_none


def _inside(file: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise DataError(f"{file} holds a name that leads out of it: {name}", fits="an archive of plain files")
    return path
