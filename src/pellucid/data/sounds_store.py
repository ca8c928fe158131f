"""Recordings as they are learned from, kept: waves of one rate and length, and their spectrograms.

An entry of the cache is a folder named after a hash of everything that its numbers depend on: the content of the files,
in their order, and all settings. It holds the arrays as plain numbers, one file each, and ``index.json`` with their
forms, a BLAKE2 digest of each and of itself, and what was skipped and why. It is written beside its place, synced, and
renamed, so it is there whole or not at all; of two processes that write the same entry, the second finds the first's.
Each opening verifies every digest; what is damaged is made again. Where the cache cannot be written, memory serves and
the user is told.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.source import Skipped

_FORMAT = 1
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Part:
    """One array of an entry: its name, its type of numbers, and its shape without the first axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Kept:
    """arrays: by name, the same things along the first axis. kept: which of the things asked for they are. skipped: the
    others, with reasons. notes: sentences for the user."""

    arrays: dict[str, NDArray[Any]]
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


One = Callable[[int], "dict[str, NDArray[Any]] | Skipped"]
"""What a thing is: an array for each part, or why it is passed over."""


def kept(key: str, parts: Sequence[Part], count: int, one: One, root: Path) -> Kept:
    """The entry of a key, made of ``one(0)``, ``one(1)``, ... where it is not there yet."""
    folder = root / key
    if (found := opened(folder, parts)) is not None:
        return found
    made: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=root))
        _write(made, parts, count, one)
        _put(made, folder, parts)
        if (found := opened(folder, parts)) is not None:
            return found
        reason = "what was written cannot be read again"
    except OSError as error:
        reason = error.strerror or str(error)
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    note = f"recordings could not be kept in {root} ({reason}), so the next run decodes them again"
    return _in_memory(parts, count, one, note)


def _in_memory(parts: Sequence[Part], count: int, one: One, note: str) -> Kept:
    arrays = {part.name: np.empty((count, *part.shape), part.dtype) for part in parts}
    good: list[int] = []
    skipped: list[Skipped] = []
    for i in range(count):
        made = one(i)
        if isinstance(made, Skipped):
            skipped.append(made)
            continue
        for part in parts:
            arrays[part.name][len(good)] = made[part.name]
        good.append(i)
    cut = {name: array[: len(good)] for name, array in arrays.items()}
    return Kept(cut, np.array(good, np.int64), tuple(skipped), (note,))


def _write(folder: Path, parts: Sequence[Part], count: int, one: One) -> None:
    """Written, not mapped: on a full disk a mapping dies of SIGBUS."""
    good: list[int] = []
    skipped: list[Skipped] = []
    digests = {part.name: hashlib.blake2b(digest_size=16) for part in parts}
    files = {part.name: (folder / part.name).open("wb") for part in parts}
    try:
        for i in range(count):
            made = one(i)
            if isinstance(made, Skipped):
                skipped.append(made)
                continue
            good.append(i)
            for part in parts:
                content = np.ascontiguousarray(made[part.name], part.dtype).tobytes()
                files[part.name].write(content)
                digests[part.name].update(content)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files.values():
            file.close()
    index = {
        "format": _FORMAT,
        "kept": good,
        "skipped": [[item.name, item.reason] for item in skipped],
        "parts": [[part.name, part.dtype, list(part.shape), digests[part.name].hexdigest()] for part in parts],
    }
    text = json.dumps(index)
    with (folder / "index.json").open("w", encoding="utf-8") as out:
        json.dump({"digest": _digest(text), "index": text}, out)
        out.flush()
        os.fsync(out.fileno())


def _put(made: Path, folder: Path, parts: Sequence[Part]) -> None:
    """Rename the finished entry into place; a good one that another process put there meanwhile stays."""
    try:
        made.rename(folder)
    except OSError:
        if opened(folder, parts) is not None:
            return
        damaged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-damaged-", dir=folder.parent))
        try:
            folder.rename(damaged / "entry")
            made.rename(folder)
        finally:
            shutil.rmtree(damaged, ignore_errors=True)


def opened(folder: Path, parts: Sequence[Part]) -> Kept | None:
    """An entry, verified; None where it is missing or damaged."""
    try:
        outer = json.loads((folder / "index.json").read_text("utf-8"))
        if outer["digest"] != _digest(outer["index"]):
            return None
        index = json.loads(outer["index"])
        found = [(name, dtype, tuple(shape)) for name, dtype, shape, _ in index["parts"]]
        if index["format"] != _FORMAT or found != [(part.name, part.dtype, part.shape) for part in parts]:
            return None
        good = np.array(index["kept"], np.int64)
        arrays: dict[str, NDArray[Any]] = {}
        for name, dtype, shape, digest in index["parts"]:
            file, whole = folder / name, (len(good), *shape)
            if file.stat().st_size != int(np.prod(whole)) * np.dtype(dtype).itemsize:
                return None
            if len(good):
                arrays[name] = np.memmap(file, dtype, "r", shape=whole)
            else:
                arrays[name] = np.empty(whole, dtype)
            if _digest_of_file(file) != digest:
                return None
        skipped = tuple(Skipped(name, reason) for name, reason in index["skipped"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Kept(arrays, good, skipped)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of_file(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as content:
        while block := content.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()
