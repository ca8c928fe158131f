"""``check``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.decode import FORMATS, decode
from pellucid.data.duplicates import digest, groups, look, near_pairs
from pellucid.data.named import find
from pellucid.data.source import Skipped, Source, open_source
from pellucid.errors import DataError

_THUMBNAIL = 96
_LISTED = 20
_SHOWN = 60  # groups of copies with thumbnails, of each kind
_SHOWN_OF_GROUP = 6
_IMBALANCE = 5.0  # the largest class over the smallest, from which it is said


@dataclass(frozen=True)
class Group:
    """Pictures that are the same, or nearly: their names, splits, classes and indices."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    indices: tuple[int, ...]

    @property
    def crosses_splits(self) -> bool:
        """Whether what is learned from is also measured on."""
        return len(set(self.splits)) > 1

    @property
    def crosses_classes(self) -> bool:
        """Whether one picture has two labels."""
        return len(set(self.classes)) > 1


@dataclass(frozen=True)
class Checked:
    """What was found. ``thumbnails``: uint8 (H, W, C) of some pictures, by index."""

    origin: str
    kind: str
    counts: dict[str, dict[str, int]]  # split -> class -> pictures
    sizes: tuple[tuple[str, int], ...]  # "width x height" and how many, the most frequent first
    broken: tuple[Skipped, ...]
    odd: tuple[Skipped, ...]
    passed_over: tuple[Skipped, ...]
    exact: tuple[Group, ...]
    near: tuple[Group, ...]
    notes: tuple[str, ...]
    imbalance: float | None  # the largest class over the smallest; None where a class is empty
    samples: dict[str, tuple[int, ...]] = field(default_factory=dict)
    thumbnails: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    @property
    def total(self) -> int:
        """Pictures that can be read."""
        return sum(sum(of_class.values()) for of_class in self.counts.values())

    @property
    def across(self) -> tuple[Group, ...]:
        """Exact duplicates that stand in more than one split."""
        return tuple(group for group in self.exact if group.crosses_splits)

    @property
    def near_across(self) -> tuple[Group, ...]:
        """Near copies that stand in more than one split."""
        return tuple(group for group in self.near if group.crosses_splits)

    def to_json(self) -> str:
        """Everything but the thumbnails."""
        plain: dict[str, Any] = asdict(self)
        del plain["thumbnails"], plain["samples"]
        plain["total"] = self.total
        plain["across_splits"] = [asdict(group) for group in self.across]
        plain["near_across_splits"] = [asdict(group) for group in self.near_across]
        return json.dumps(plain, ensure_ascii=False, indent=2)

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.origin} ({self.kind}): {self.total:,} pictures", ""]
        lines += _table(self.counts)
        sizes = ", ".join(f"{size} ({count:,})" for size, count in self.sizes[:5])
        more = f", and {len(self.sizes) - 5} more" if len(self.sizes) > 5 else ""
        lines += ["", f"sizes         {sizes}{more}"]
        if self.imbalance is None:
            lines.append("imbalance     a class has no picture that can be read")
        elif self.imbalance >= _IMBALANCE:
            lines.append(f"imbalance     the largest class has {self.imbalance:.1f} times the pictures of the smallest")
        lines += _listed("broken", [f"{item.name}: {item.reason}" for item in self.broken])
        lines += _listed("odd", [f"{item.name}: {item.reason}" for item in self.odd])
        lines += _listed("passed over", [f"{item.name}: {item.reason}" for item in self.passed_over])
        lines += _listed("exact copies", [_group(group) for group in self.exact])
        lines += _listed("across splits", [_group(group) for group in self.across])
        lines += _listed("near copies", [_group(group) for group in self.near])
        lines += _listed("near copies across splits", [_group(group) for group in self.near_across])
        notes = [note for note in self.notes if not note.startswith("passed over")]  # which are listed above
        lines += ["", *notes] if notes else []
        if not (self.broken or self.odd or self.exact or self.near):
            lines.append("nothing is broken, odd or double")
        return "\n".join(lines)


@dataclass
class _Seen:
    """What one picture tells."""

    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    hash: int = 0
    small: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(256, np.uint8))
    broken: str = ""
    odd: tuple[str, ...] = ()
    grey: bool = False


def check(where: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Checked:
    """Look at every picture of a data set.

    Args:
        where: a path or a known name, as for ``load``.
        progress: told (done, total).

    Raises:
        DataError: where there is no data set.
    """
    place = find(where)
    source = open_source(place.path)
    source = replace(source, notes=(*place.notes, *source.notes))
    seen = _arrays(source) if source.pixels is not None else _files(source, progress)
    return _judge(source, seen)


def _arrays(source: Source) -> list[_Seen]:
    pixels = source.pixels if source.pixels is not None else np.zeros((0, 1, 1, 1), np.uint8)
    size = (pixels.shape[2], pixels.shape[1])
    return [_Seen(size, digest(picture), *look(picture)) for picture in pixels]


def _files(source: Source, progress: Callable[[int, int], None] | None) -> list[_Seen]:
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        result = []
        for i, one in enumerate(pool.map(lambda i: _look(source, i), range(len(source.entries)))):
            result.append(one)
            if progress is not None:
                progress(i + 1, len(source.entries))
    return result


def _look(source: Source, i: int) -> _Seen:
    if source.read is None:
        raise TypeError("a source has either read or pixels")
    name = source.entries[i].name
    try:
        encoded = source.read(i)
        pixels = decode(encoded, name=name)
    except DataError as error:
        return _Seen(broken=error.message.removeprefix(f"{name} ").removeprefix("cannot be decoded: "))
    except OSError as error:
        return _Seen(broken=f"it cannot be read: {error.strerror}")
    height, width = pixels.shape[:2]
    odd, grey = _oddities(encoded, name)
    return _Seen((width, height), digest(pixels), *look(pixels), "", odd, grey)


def _oddities(encoded: bytes, name: str) -> tuple[tuple[str, ...], bool]:
    """What is unusual about a file, and whether it is grey."""
    from PIL import Image

    odd = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata: the pixels have been decoded
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            suffix, is_a = Path(name).suffix.lower(), _family(picture.format)
            if _family(Image.registered_extensions().get(suffix, is_a)) != is_a:
                odd.append(f"it is named {suffix} and is a {is_a}")
            if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                odd.append(f"its colours are {picture.mode}")
            if picture.mode.startswith("I") or picture.mode == "F" or (is_a == "PNG" and encoded[24] == 16):
                odd.append("it has more than 8 bits a channel")
            if (frames := _frames(picture)) > 1:
                odd.append(f"it has {frames} frames; the first is used")
            if _orientation(picture) not in (0, 1):
                odd.append("its EXIF says that it must be turned; it is")
            if "A" in picture.getbands() or "transparency" in picture.info:
                odd.append("it has transparency; it is laid over white")
            grey = picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I")
    return tuple(odd), grey


def _family(name: str | None) -> str:
    """One name for what is one format to a user: a camera's MPO is a JPEG with a preview behind it."""
    return {"MPO": "JPEG", "DIB": "BMP"}.get(name or "", name or "")


def _frames(picture: Any) -> int:
    try:
        return int(picture.n_frames) if picture.format != "MPO" else 1
    except Exception:  # a format without frames, or a damaged one behind the first
        return 1


def _orientation(picture: Any) -> int:
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata, of which the pixels know nothing
        return 1


def _judge(source: Source, seen: list[_Seen]) -> Checked:
    good = [i for i, one in enumerate(seen) if not one.broken]
    counts: dict[str, dict[str, int]] = {}
    named = {source.entries[i].split or "all" for i in good}
    for name in ("train", "validation", "test", "all"):
        if name in named:
            counts[name] = dict.fromkeys(source.classes, 0)
    for i in good:
        entry = source.entries[i]
        counts[entry.split or "all"][source.classes[entry.label]] += 1
    of_class = Counter(source.classes[source.entries[i].label] for i in good)
    smallest = min(of_class.get(name, 0) for name in source.classes)
    exact = [[good[i] for i in members] for members in groups([seen[i].digest for i in good])]
    near, ended = _near(seen, good, exact)
    notes = [*source.notes, *([f"there are more near copies: the search ended at {len(near):,}"] if ended else [])]
    samples = _samples(source, good)
    shown = {i for row in samples.values() for i in row}
    for kind in (exact, near):
        for across in (True, False):
            groups_of_kind = [m for m in kind if (len({source.entries[i].split for i in m}) > 1) is across]
            shown.update(i for members in groups_of_kind[:_SHOWN] for i in members[:_SHOWN_OF_GROUP])
    sizes = Counter(f"{seen[i].size[0]} x {seen[i].size[1]}" for i in good)
    names = [entry.name for entry in source.entries]
    strange = _among_others(seen, good)
    return Checked(
        origin=source.origin,
        kind=source.kind,
        counts=counts,
        sizes=tuple(sizes.most_common()),
        broken=tuple(Skipped(names[i], one.broken) for i, one in enumerate(seen) if one.broken),
        odd=tuple(Skipped(names[i], reason) for i in good for reason in (*seen[i].odd, *strange[i])),
        passed_over=tuple(source.skipped),
        exact=tuple(_as_group(source, members) for members in exact),
        near=tuple(_as_group(source, pair) for pair in near),
        notes=tuple(notes),
        imbalance=max(of_class.values(), default=0) / smallest if smallest else None,
        samples=samples,
        thumbnails={i: _thumbnail(source, i) for i in sorted(shown)},
    )


def _near(seen: list[_Seen], good: list[int], exact: list[list[int]]) -> tuple[list[list[int]], bool]:
    """Pairs of near copies; of exact copies the first alone takes part."""
    repeated = {i for members in exact for i in members[1:]}
    once = [i for i in good if i not in repeated]
    hashes = np.array([seen[i].hash for i in once], np.uint64)
    thumbnails = np.array([seen[i].small for i in once], np.uint8).reshape(len(once), _Seen().small.size)
    pairs, ended = near_pairs(hashes, thumbnails)
    return [[once[i], once[j]] for i, j in pairs.tolist()], ended


def _among_others(seen: list[_Seen], good: list[int]) -> dict[int, tuple[str, ...]]:
    """The grey pictures among colour ones, or the other way round: those of which there are fewer."""
    grey = sum(seen[i].grey for i in good)
    strange: dict[int, tuple[str, ...]] = dict.fromkeys(good, ())
    if 0 < grey < len(good):
        fewer = 2 * grey <= len(good)
        said = "it is grey, most others are in colour" if fewer else "it is in colour, most others are grey"
        strange |= {i: (said,) for i in good if seen[i].grey is fewer}
    return strange


def _samples(source: Source, good: list[int]) -> dict[str, tuple[int, ...]]:
    """The first eight pictures of each class."""
    rows: dict[str, list[int]] = {name: [] for name in source.classes}
    for i in good:
        row = rows[source.classes[source.entries[i].label]]
        if len(row) < 8:
            row.append(i)
    return {name: tuple(row) for name, row in rows.items()}


def _thumbnail(source: Source, i: int) -> NDArray[np.uint8]:
    from PIL import Image

    if source.read is None:
        return source.pixels[i] if source.pixels is not None else np.zeros((1, 1, 1), np.uint8)
    pixels = decode(source.read(i), name=source.entries[i].name, fit=(_THUMBNAIL, _THUMBNAIL))
    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(picture)


def _as_group(source: Source, members: list[int]) -> Group:
    entries = [source.entries[i] for i in members]
    return Group(
        tuple(entry.name for entry in entries),
        tuple(entry.split or "all" for entry in entries),
        tuple(source.classes[entry.label] for entry in entries),
        tuple(members),
    )


def _group(group: Group) -> str:
    names = " = ".join(group.names[:4]) + (f" and {len(group.names) - 4} more" if len(group.names) > 4 else "")
    said = " (in different classes: " + ", ".join(sorted(set(group.classes))) + ")" if group.crosses_classes else ""
    return names + said


def _listed(title: str, items: list[str]) -> list[str]:
    if not items:
        return []
    lines = ["", f"{title}: {len(items):,}", *(f"  {item}" for item in items[:_LISTED])]
    return [*lines, f"  and {len(items) - _LISTED:,} more (--json lists all)"] if len(items) > _LISTED else lines


def _table(counts: dict[str, dict[str, int]]) -> list[str]:
    splits = list(counts)
    classes = list(next(iter(counts.values()), {}))
    width = max([5, *(len(name) for name in classes)])
    lines = [f"{'class':<{width}}  " + "  ".join(f"{split:>10}" for split in splits)]
    for name in classes[:100]:
        lines.append(f"{name:<{width}}  " + "  ".join(f"{counts[split][name]:>10,}" for split in splits))
    if len(classes) > 100:
        lines.append(f"and {len(classes) - 100} more classes")
    totals = "  ".join(f"{sum(counts[split].values()):>10,}" for split in splits)
    return [*lines, f"{'':<{width}}  {totals}"]
