"""`load`: from a path or a name to `Data`."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Data, Pixels, Split
from pellucid.data.named import find
from pellucid.data.resize import Fit, resize, with_channels
from pellucid.data.source import Skipped, Source, open_source
from pellucid.data.split import SHARES, assign
from pellucid.data.store import Decoding, Progress, decoded
from pellucid.errors import DataError, UsageError

_NAMED = 5  # broken files in the note of a data set
_SAMPLE = 400  # headers that are read to choose a size
_OWN_SIZE_LIMIT = 256  # pictures that are all of one size keep it up to this many pixels a side
_SMALLEST, _LARGEST, _MULTIPLE = 32, 224, 32
_ORIENTATION, _SIDEWAYS = 0x0112, 5

Members = dict[str, NDArray[np.int64]]
"""The entries of each split."""


def load(
    where: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    fit: str = "crop",
    seed: int = 0,
    validation: float | None = None,
    limit: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Data:
    """Read a data set: a path (see `pellucid.data.source`), or one of the names fashion-mnist, mnist, cifar10 and
    fashion-mnist-small.

    image_size: (H, W), or one number for both. Left out, arrays keep their size; files that all have one size of at
    most 256 x 256 keep it; other files become squares of the median shorter side, rounded down to a multiple of 32
    between 32 and 224.
    channels: 1 or 3; left out, 1 if all pictures are grey. fit: how sizes are changed, see `resize.Fit`.
    validation: the share of pictures to choose by. Left out, it is 0.1 (and 0.1 for the test) where the source has no
    splits of its own; a source with a training and a test part trains on all of the first.
    limit: about so many training pictures (and no more of any other split), for a quick trial.
    cache: where to keep decoded pictures; see `pellucid.data.store`. progress: called with (done, total).
    seed: decides the splits and what `limit` takes, and nothing else.

    Raises DataError for what is missing or damaged, or where more than a tenth of the files cannot be decoded, and
    UsageError for settings that do not fit.
    """
    place = find(where)
    source = open_source(place.path)
    if channels not in (None, 1, 3):
        raise UsageError(f"channels is {channels}", fits="1 (grey) or 3 (colour)")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}", fits="1 or more pictures")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    notes = [*place.notes, *source.notes]
    if source.pixels is not None:
        data = _of_arrays(source, source.pixels, size, channels, fit, validation, limit, seed, notes)
    else:
        data = _of_files(source, size, channels, fit, validation, limit, seed, cache, progress, notes)
    return replace(data, origin=str(where), facts={"fit": fit})


def _of_arrays(
    source: Source,
    pixels: Pixels,
    size: tuple[int, int] | None,
    channels: int | None,
    fit: str,
    validation: float | None,
    limit: int | None,
    seed: int,
    notes: list[str],
) -> Data:
    everyone = _limited(source, limit, seed)

    def digests() -> list[bytes]:
        return [blake2b(pixels[i].tobytes(), digest_size=16).digest() for i in everyone.tolist()]

    members = _splits(source, everyone, validation, seed, digests, notes)
    wanted = Fit(fit, size or (pixels.shape[1], pixels.shape[2]))
    few = channels or pixels.shape[3]
    splits = {}
    for name, indices in members.items():
        chosen = _rows(pixels, indices)
        if (wanted.size, few) != ((pixels.shape[1], pixels.shape[2]), pixels.shape[3]):
            chosen = np.stack([resize(with_channels(picture, few), wanted) for picture in chosen])
        splits[name] = _split(source, chosen, indices)
    return _data(source, splits, notes, ())


def _of_files(
    source: Source,
    size: tuple[int, int] | None,
    channels: int | None,
    fit: str,
    validation: float | None,
    limit: int | None,
    seed: int,
    cache: Path | None,
    progress: Progress | None,
    notes: list[str],
) -> Data:
    everyone = _limited(source, limit, seed)
    members = _splits(source, everyone, validation, seed, lambda: _digests(source, everyone), notes)
    if size is None or channels is None:
        found_size, found_channels = _choose(source, everyone)
        size, channels = size or found_size, channels or found_channels
    order = np.concatenate(list(members.values()))
    result = decoded(source, order.tolist(), Decoding(Fit(fit, size), channels), cache=cache, progress=progress)
    splits, first = {}, 0
    for name, indices in members.items():
        kept = int(np.isin(indices, result.kept).sum())
        part = slice(first, first + kept)
        splits[name] = _split(source, result.images[part], result.kept[part])
        first += kept
    return _data(source, splits, [*notes, *_broken(result.skipped), *result.notes], result.skipped)


def _broken(skipped: Sequence[Skipped]) -> list[str]:
    """A sentence for the user that names the files which could not be decoded, the first few with their reasons."""
    if not skipped:
        return []
    named = "; ".join(f"{item.name} ({item.reason})" for item in skipped[:_NAMED])
    more = f"; and {len(skipped) - _NAMED:,} more, which 'pellucid check' names" if len(skipped) > _NAMED else ""
    return [f"{len(skipped):,} broken {'file was' if len(skipped) == 1 else 'files were'} skipped: {named}{more}"]


def _data(source: Source, splits: dict[str, Split], notes: Sequence[str], skipped: Sequence[object]) -> Data:
    return Data(
        source.classes,
        splits["train"],
        splits.get("validation"),
        splits.get("test"),
        skipped=(*source.skipped, *skipped),  # type: ignore[arg-type]
        notes=tuple(notes),
    )


def _split(source: Source, images: Pixels, indices: NDArray[np.int64]) -> Split:
    entries = [source.entries[i] for i in indices.tolist()]
    labels = np.fromiter((entry.label for entry in entries), np.int64, len(entries))
    return Split(images, labels, [entry.name for entry in entries])


def _rows(pixels: Pixels, indices: NDArray[np.int64]) -> Pixels:
    """pixels[indices], without a copy where they follow one another."""
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return pixels[indices[0] : indices[0] + len(indices)]
    return pixels[indices]


def _has_splits(source: Source) -> bool:
    """Whether the source says more than "all of it is for training"."""
    return bool({entry.split for entry in source.entries} - {None, "train"})


def _limited(source: Source, limit: int | None, seed: int) -> NDArray[np.int64]:
    """The entries to use: all, or about `limit` of each split with the classes in their proportions."""
    everyone = np.arange(len(source.entries))
    if limit is None:
        return everyone
    given = np.array([entry.split or "train" for entry in source.entries])
    labels = source.labels()
    most = limit if _has_splits(source) else math.ceil(limit / SHARES["train"])
    chosen = []
    generator = np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, 0], np.uint64)))
    for name in dict.fromkeys(given.tolist()):
        members = everyone[given == name]
        place = np.empty(len(members))  # of each within its class, 0 to 1: the first of every class come first
        for label in np.unique(labels[members]):
            own = np.flatnonzero(labels[members] == label)
            place[own] = (generator.permutation(len(own)) + 0.5) / len(own)
        chosen.append(members[np.argsort(place, kind="stable")[:most]])
    return np.sort(np.concatenate(chosen))


def _splits(
    source: Source,
    everyone: NDArray[np.int64],
    validation: float | None,
    seed: int,
    digests: Callable[[], list[bytes]],
    notes: list[str],
) -> Members:
    """Which entries are for what; `digests` tells equal pictures among `everyone`."""
    if validation is not None and not 0 <= validation < 1:
        raise UsageError(f"validation is {validation:g}", fits="a share from 0 to less than 1")
    labels = source.labels()[everyone]
    given = np.array([source.entries[i].split or "train" for i in everyone.tolist()])
    if not _has_splits(source):
        held = SHARES["validation"] if validation is None else validation
        shares = {"train": 1 - held - SHARES["test"], "validation": held, "test": SHARES["test"]}
        if shares["train"] <= 0:
            raise UsageError(f"validation is {held:g}, and the test takes {SHARES['test']:g}", fits="less than 0.9")
        given = np.array(assign(labels, digests(), seed=seed, shares=shares))
        parts = ", ".join(f"{(given == name).sum():,} for {name}" for name in shares)
        notes.append(f"the source has no splits, so it was split at random: {parts}")
    elif validation and (given == "validation").any():
        notes.append(f"the source has a validation split of its own, so validation={validation:g} was not used")
    elif validation:
        inside = np.flatnonzero(given == "train")
        everyones = digests()
        shares = {"train": 1 - validation, "validation": validation}
        given = given.astype("U10")  # room for "validation"
        given[inside] = assign(labels[inside], [everyones[i] for i in inside.tolist()], seed=seed, shares=shares)
    if not (given == "train").any():
        raise DataError(f"{source.origin} has no training pictures", fits="a folder or split called train")
    return {
        name: everyone[given == name]
        for name in ("train", "validation", "test")
        if name == "train" or (given == name).any()
    }


def _digests(source: Source, everyone: NDArray[np.int64]) -> list[bytes]:
    """A digest of each file; a file that cannot be read is unlike any other."""

    def digest(entry: int) -> bytes:
        try:
            return blake2b(source.read(entry) if source.read else b"", digest_size=16).digest()
        except OSError:
            return f"unreadable {entry}".encode()

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(digest, everyone.tolist()))


def _choose(source: Source, everyone: NDArray[np.int64]) -> tuple[tuple[int, int], int]:
    """Size and channels for files that come without a wish, from the headers of some hundred, evenly spaced."""
    sample = everyone[np.unique(np.linspace(0, len(everyone) - 1, min(_SAMPLE, len(everyone))).astype(int))]
    with ThreadPoolExecutor(4) as pool:
        found = [header for header in pool.map(lambda i: _header(source, i), sample.tolist()) if header]
    if not found:
        return (_LARGEST, _LARGEST), 3
    sizes = [size for size, _ in found]
    channels = 1 if all(grey for _, grey in found) else 3
    if len(set(sizes)) == 1 and max(sizes[0]) <= _OWN_SIZE_LIMIT:
        return sizes[0], channels
    side = int(np.median([min(size) for size in sizes])) // _MULTIPLE * _MULTIPLE
    side = min(max(side, _SMALLEST), _LARGEST)
    return (side, side), channels


def _header(source: Source, entry: int) -> tuple[tuple[int, int], bool] | None:
    """((H, W) upright, whether grey) of a file; None where it is no picture."""
    from PIL import Image

    from pellucid.data.decode import FORMATS

    try:
        with Image.open(io.BytesIO(source.read(entry) if source.read else b""), formats=FORMATS) as picture:
            width, height = picture.size
            sideways = int(picture.getexif().get(_ORIENTATION, 1)) >= _SIDEWAYS
            grey = picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;16")
    except Exception:  # whatever is wrong with it, decoding will say
        return None
    return ((width, height) if sideways else (height, width)), grey
