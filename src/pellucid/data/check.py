"""``check``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.decode import decode
from pellucid.data.duplicates import difference_hash, difference_hashes, digest, groups, near_pairs
from pellucid.data.named import find
from pellucid.data.source import Skipped, Source, open_source
from pellucid.errors import DecodeError

_THUMBNAIL = 96
_LISTED = 20
_IMBALANCE = 5.0  # the largest class over the smallest, from which it is said


@dataclass(frozen=True)
class Group:
    """Pictures that are the same, or nearly: their names, splits and classes, and one of them as a thumbnail."""

    names: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    index: int

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
    imbalance: float
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

    def to_json(self) -> str:
        """Everything but the thumbnails."""
        plain: dict[str, Any] = asdict(self)
        del plain["thumbnails"], plain["samples"]
        plain["total"] = self.total
        plain["across_splits"] = [asdict(group) for group in self.across]
        return json.dumps(plain, ensure_ascii=False, indent=2)

    def text(self) -> str:
        """For a terminal."""
        lines = [f"{self.origin} ({self.kind}): {self.total:,} pictures", ""]
        lines += _table(self.counts)
        sizes = ", ".join(f"{size} ({count:,})" for size, count in self.sizes[:5])
        more = f", and {len(self.sizes) - 5} more" if len(self.sizes) > 5 else ""
        lines += ["", f"sizes         {sizes}{more}"]
        if self.imbalance >= _IMBALANCE:
            lines.append(f"imbalance     the largest class has {self.imbalance:.1f} times the pictures of the smallest")
        lines += _listed("broken", [f"{item.name}: {item.reason}" for item in self.broken])
        lines += _listed("odd", [f"{item.name}: {item.reason}" for item in self.odd])
        lines += _listed("passed over", [f"{item.name}: {item.reason}" for item in self.passed_over])
        lines += _listed("exact copies", [_group(group) for group in self.exact])
        lines += _listed("across splits", [_group(group) for group in self.across])
        lines += _listed("near copies", [_group(group) for group in self.near])
        if not (self.broken or self.odd or self.exact or self.near):
            lines.append("nothing is broken, odd or double")
        return "\n".join(lines)


@dataclass
class _Seen:
    """What one picture tells."""

    size: tuple[int, int] = (0, 0)
    digest: bytes = b""
    hash: int = 0
    broken: str = ""
    odd: tuple[str, ...] = ()
    thumbnail: NDArray[np.uint8] | None = None


def check(where: str | Path, *, progress: Callable[[int, int], None] | None = None) -> Checked:
    """Look at every picture of a data set.

    Args:
        where: a path or a known name, as for ``load``.
        progress: told (done, total).

    Raises:
        DataError: where there is no data set.
    """
    source = open_source(find(where).path)
    seen = _arrays(source) if source.pixels is not None else _files(source, progress)
    return _judge(source, seen)


def _arrays(source: Source) -> list[_Seen]:
    pixels = source.pixels if source.pixels is not None else np.zeros((0, 1, 1, 1), np.uint8)
    hashes = difference_hashes(pixels)
    size = (pixels.shape[2], pixels.shape[1])
    return [_Seen(size, digest(picture), int(value)) for picture, value in zip(pixels, hashes, strict=True)]


def _files(source: Source, progress: Callable[[int, int], None] | None) -> list[_Seen]:
    with ThreadPoolExecutor() as pool:
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
    except DecodeError as error:
        return _Seen(broken=error.message.removeprefix(f"{name} ").removeprefix("cannot be decoded: "))
    except OSError as error:
        return _Seen(broken=f"it cannot be read: {error.strerror}")
    height, width = pixels.shape[:2]
    return _Seen((width, height), digest(pixels), difference_hash(pixels), "", _oddities(encoded, name), _small(pixels))


def _oddities(encoded: bytes, name: str) -> tuple[str, ...]:
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as picture:
        odd = []
        suffix = Path(name).suffix.lower()
        known = Image.registered_extensions()
        if picture.format and known.get(suffix, picture.format) != picture.format:
            odd.append(f"it is named {suffix} and is a {picture.format}")
        if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
            odd.append(f"its colours are {picture.mode}")
        if picture.mode.startswith("I") or picture.mode == "F":
            odd.append("it has more than 8 bits a channel")
        if getattr(picture, "n_frames", 1) > 1:
            odd.append(f"it has {picture.n_frames} frames; the first is used")  # type: ignore[attr-defined]
        if _orientation(picture) not in (0, 1):
            odd.append("its EXIF says that it must be turned; it is")
        if "A" in picture.getbands() or "transparency" in picture.info:
            odd.append("it has transparency; it is laid over white")
    return tuple(odd)


def _orientation(picture: Any) -> int:
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata, of which the pixels know nothing
        return 1


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return np.asarray(picture)


def _judge(source: Source, seen: list[_Seen]) -> Checked:
    good = [i for i, one in enumerate(seen) if not one.broken]
    counts: dict[str, dict[str, int]] = {}
    for i in good:
        entry = source.entries[i]
        split = counts.setdefault(entry.split or "all", dict.fromkeys(source.classes, 0))
        split[source.classes[entry.label]] += 1
    of_class = Counter(source.classes[source.entries[i].label] for i in good)
    smallest = min(of_class.get(name, 0) for name in source.classes)
    exact = [[good[i] for i in members] for members in groups([seen[i].digest for i in good])]
    same = {frozenset(pair) for members in exact for pair in _pairs(members)}
    hashes = np.array([seen[i].hash for i in good], np.uint64)
    near = [(good[i], good[j]) for i, j in near_pairs(hashes)]
    near = [pair for pair in near if frozenset(pair) not in same]
    samples = _samples(source, good)
    shown = {i for row in samples.values() for i in row} | {m[0] for m in exact[:60]} | {a for a, _ in near[:60]}
    sizes = Counter(f"{seen[i].size[0]} x {seen[i].size[1]}" for i in good)
    names = [entry.name for entry in source.entries]
    return Checked(
        origin=source.origin,
        kind=source.kind,
        counts=counts,
        sizes=tuple(sizes.most_common()),
        broken=tuple(Skipped(names[i], one.broken) for i, one in enumerate(seen) if one.broken),
        odd=tuple(Skipped(names[i], reason) for i in good for reason in seen[i].odd),
        passed_over=tuple(source.skipped),
        exact=tuple(_as_group(source, members) for members in exact),
        near=tuple(_as_group(source, list(pair)) for pair in near),
        notes=tuple(source.notes),
        imbalance=max(of_class.values(), default=0) / smallest if smallest else float("inf"),
        samples=samples,
        thumbnails={i: _thumbnail(source, seen, i) for i in sorted(shown)},
    )


def _pairs(members: list[int]) -> list[tuple[int, int]]:
    return [(a, b) for i, a in enumerate(members[:50]) for b in members[i + 1 : 50]]


def _samples(source: Source, good: list[int]) -> dict[str, tuple[int, ...]]:
    """The first eight pictures of each class."""
    rows: dict[str, list[int]] = {name: [] for name in source.classes}
    for i in good:
        row = rows[source.classes[source.entries[i].label]]
        if len(row) < 8:
            row.append(i)
    return {name: tuple(row) for name, row in rows.items()}


def _thumbnail(source: Source, seen: list[_Seen], i: int) -> NDArray[np.uint8]:
    kept = seen[i].thumbnail
    if kept is not None:
        return kept
    return source.pixels[i] if source.pixels is not None else np.zeros((1, 1, 1), np.uint8)


def _as_group(source: Source, members: list[int]) -> Group:
    entries = [source.entries[i] for i in members]
    return Group(
        tuple(entry.name for entry in entries),
        tuple(entry.split or "all" for entry in entries),
        tuple(source.classes[entry.label] for entry in entries),
        members[0],
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
