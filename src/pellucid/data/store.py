"""Decoded pictures, kept: in memory when they are few, else in a file of the user's cache that is mapped into memory.

A cache entry is a folder named after a hash of everything that its pixels depend on: the files (name, size and time of
change, or their content), and how they were decoded. It holds ``pixels``, the pictures as uint8 (N, C, H, W) and
nothing else, and ``index.json``, with the picture's places in the source, what was skipped and why, and a BLAKE2 digest
of each block of pixels and of itself. It is written beside its place and renamed, so it is there whole or not at all;
of two processes that write the same entry, the second finds the first's. Each opening verifies every digest; what is
damaged is made again. Nothing is ever written into the folder of the data.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.cache import cache_folder
from pellucid.data.archive import is_archive
from pellucid.data.dataset import Pixels
from pellucid.data.decode import MAX_PIXELS
from pellucid.data.resize import Fit, read_picture
from pellucid.data.source import Skipped, Source, refuse_if_too_many_broken
from pellucid.errors import DataError

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""

IN_MEMORY_BYTES = 256 << 20  # decoded pictures of no more than this are simply decoded again in the next run
_FORMAT = 1
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Decoding:
    """How files become pixels."""

    fit: Fit
    channels: int
    max_pixels: int = MAX_PIXELS

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.channels, *self.fit.size


@dataclass(frozen=True)
class Decoded:
    """images: uint8 (N, H, W, C), a view of planes (N, C, H, W). kept: the entry of the source behind each. skipped:
    the others, with reasons. notes: sentences for the user."""

    images: Pixels
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()


def decoded(
    source: Source, order: Sequence[int], how: Decoding, *, cache: Path | None = None, progress: Progress | None = None
) -> Decoded:
    """The pictures of these entries of a source of files, in this order.

    With a `cache` folder they are kept there; without, only what exceeds `IN_MEMORY_BYTES` is, in the user's cache.
    Raises DataError where more than a tenth of the files cannot be decoded.
    """
    size = len(order) * int(np.prod(how.shape))
    if cache is None and size <= IN_MEMORY_BYTES:
        return _in_memory(source, order, how, progress)
    root = (cache or cache_folder()) / "decoded"
    folder = root / _key(source, order, how)
    if (found := _open(folder, how)) is not None:
        return found
    try:
        root.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=root))
        try:
            _write(made, source, order, how, progress)
            _put(made, folder, how)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        return _without_file(error, root, size, lambda: _in_memory(source, order, how, progress))
    found = _open(folder, how)
    if found is None:
        raise DataError(
            f"the decoded pictures in {folder} were damaged while they were written",
            try_="cache=FOLDER on another disk",
        )
    return found


def _in_memory(source: Source, order: Sequence[int], how: Decoding, progress: Progress | None) -> Decoded:
    skipped: list[Skipped] = []
    planes = np.empty((len(order), *how.shape), np.uint8)
    kept: list[int] = []
    for entries, block in _decode(source, order, how, skipped, progress):
        planes[len(kept) : len(kept) + len(block)] = block
        kept += entries
    refuse_if_too_many_broken(source.origin, skipped, len(order))
    return Decoded(planes[: len(kept)].transpose(0, 2, 3, 1), np.array(kept, np.int64), tuple(skipped))


def _decode(
    source: Source, order: Sequence[int], how: Decoding, skipped: list[Skipped], progress: Progress | None
) -> Iterator[tuple[list[int], Pixels]]:
    """Blocks of pictures (k, C, H, W) with their entries; what cannot be read or decoded goes to `skipped`."""
    step = _pictures_a_block(how)
    with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)) as pool:
        for first in range(0, len(order), step):
            entries = list(order[first : first + step])
            block = np.empty((len(entries), *how.shape), np.uint8)
            kept: list[int] = []
            results = pool.map(lambda i: _one(source, i, how), entries)
            for done, (entry, result) in enumerate(zip(entries, results, strict=True), first + 1):
                if isinstance(result, Skipped):
                    skipped.append(result)
                else:
                    block[len(kept)] = result.transpose(2, 0, 1)
                    kept.append(entry)
                if progress:
                    progress(done, len(order))
            yield kept, block[: len(kept)]


def _one(source: Source, entry: int, how: Decoding) -> Pixels | Skipped:
    name = source.entries[entry].name
    if source.read is None:
        raise DataError(f"{source.origin} is no source of files")
    try:
        return read_picture(source.read(entry), how.fit, how.channels, name=name, max_pixels=how.max_pixels)
    except DataError as error:
        return Skipped(name, error.message.removeprefix(f"{name} "))
    except OSError as error:
        return Skipped(name, f"cannot be read: {error.strerror or error}")


def _pictures_a_block(how: Decoding) -> int:
    return max(1, _BLOCK_BYTES // int(np.prod(how.shape)))


def _write(folder: Path, source: Source, order: Sequence[int], how: Decoding, progress: Progress | None) -> None:
    """The two files of a cache entry. Written, not mapped: on a full disk a mapping dies of SIGBUS."""
    skipped: list[Skipped] = []
    kept: list[int] = []
    blocks: list[tuple[int, str]] = []
    with (folder / "pixels").open("wb") as out:
        for entries, block in _decode(source, order, how, skipped, progress):
            out.write(block.data)
            kept += entries
            blocks.append((len(block), _digest(block.data)))
        out.flush()
        os.fsync(out.fileno())
    refuse_if_too_many_broken(source.origin, skipped, len(order))
    index = {
        "format": _FORMAT,
        "shape": how.shape,
        "blocks": blocks,
        "kept": kept,
        "skipped": [[item.name, item.reason] for item in skipped],
    }
    text = json.dumps(index)
    with (folder / "index.json").open("w", encoding="utf-8") as out:
        json.dump({"digest": _digest(text.encode()), "index": text}, out)
        out.flush()
        os.fsync(out.fileno())


def _put(made: Path, folder: Path, how: Decoding) -> None:
    """Rename the finished entry into place; a good one that another process put there meanwhile stays."""
    try:
        made.rename(folder)
    except OSError:
        if _open(folder, how) is not None:
            return
        damaged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-damaged-", dir=folder.parent))
        try:
            folder.rename(damaged / "entry")
            made.rename(folder)
        finally:
            shutil.rmtree(damaged, ignore_errors=True)


def _open(folder: Path, how: Decoding) -> Decoded | None:
    """A cache entry, verified; None where it is missing or damaged."""
    try:
        outer = json.loads((folder / "index.json").read_text("utf-8"))
        if outer["digest"] != _digest(outer["index"].encode()):
            return None
        index = json.loads(outer["index"])
        count = len(index["kept"])
        if index["format"] != _FORMAT or tuple(index["shape"]) != how.shape:
            return None
        if (folder / "pixels").stat().st_size != count * int(np.prod(how.shape)):
            return None
        planes = np.memmap(folder / "pixels", np.uint8, "r", shape=(count, *how.shape))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not _is_whole(planes, index["blocks"]):
        return None
    skipped = tuple(Skipped(name, reason) for name, reason in index["skipped"])
    return Decoded(planes.transpose(0, 2, 3, 1), np.array(index["kept"], np.int64), skipped)


def _is_whole(planes: Pixels, blocks: Sequence[tuple[int, str]]) -> bool:
    starts = np.concatenate([[0], np.cumsum([count for count, _ in blocks])]).astype(int)
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: _digest(planes[starts[i] : starts[i + 1]].data), range(len(blocks)))
        return int(starts[-1]) == len(planes) and all(a == b for a, (_, b) in zip(found, blocks, strict=True))


def _digest(content: Any) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _key(source: Source, order: Sequence[int], how: Decoding) -> str:
    """What the pixels depend on, hashed."""
    import PIL

    try:
        import simplejpeg

        jpeg = str(getattr(simplejpeg, "__version__", "unknown"))
    except ImportError:
        jpeg = ""
    digest = hashlib.blake2b(digest_size=16)
    settings = {"format": _FORMAT, "how": asdict(how), "pillow": PIL.__version__, "simplejpeg": jpeg}
    digest.update(json.dumps([settings, source.kind, source.origin]).encode())
    for entry, stamp in zip(order, _stamps(source, order), strict=True):
        digest.update(f"\n{source.entries[entry].name}\0{stamp}".encode())
    return digest.hexdigest()


def _stamps(source: Source, order: Sequence[int]) -> Iterator[str]:
    """For each file what changes when it does: its size and time, its archive's, or else a digest of its content."""
    origin = Path(source.origin)
    if origin.is_file() and is_archive(origin):
        return iter([_stamp(origin)] * len(order))
    base = origin if origin.is_dir() else origin.parent
    try:
        return iter([_stamp(base / source.entries[i].name) for i in order])
    except OSError:
        if source.read is None:
            raise DataError(f"{source.origin} is no source of files") from None
        return map(_digest, map(source.read, order))


def _stamp(file: Path) -> str:
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _without_file(error: OSError, root: Path, size: int, in_memory: Callable[[], Decoded]) -> Decoded:
    """The cache cannot be written: memory serves where there is enough, and the user is told."""
    why = "there is no space left" if error.errno == errno.ENOSPC else (error.strerror or str(error))
    if size > _memory_bytes() // 2:
        raise DataError(
            f"{size / 2**30:.1f} GiB of decoded pictures cannot be kept in {root}: {why}",
            fits="cache=FOLDER on a disk with room, or a smaller image_size",
        ) from None
    found = in_memory()
    note = f"decoded pictures could not be kept in {root} ({why}), so the next run decodes them again"
    return Decoded(found.images, found.kept, found.skipped, (note,))


def _memory_bytes() -> int:
    """The machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30  # a machine that does not say
