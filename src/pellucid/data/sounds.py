"""Recordings as data: of one rate and length, as spectrograms (pictures) or as waves.

``load_sounds`` lists them (``sounds_files``), splits them (``sounds_split``), reads each once (``waves``,
``spectrogram``) and keeps what came out (``sounds_store``).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pellucid.cache import cache_folder
from pellucid.data.dataset import Data, Labels, Split
from pellucid.data.sounds_files import Listing, Recording, list_recordings
from pellucid.data.sounds_split import limited, splits_of
from pellucid.data.sounds_store import Kept, Part, kept
from pellucid.data.source import BROKEN_SHARE, Skipped
from pellucid.data.spectrogram import Levels, LogMel
from pellucid.data.waves import full_scale, read_header, read_wave, resampled
from pellucid.errors import DataError, ShapeError, UsageError

FORMS = ("spectrogram", "wave")
Samples = NDArray[np.int16]
_HIGHEST_RATE = 16_000  # that is chosen by itself: what is above 8 kHz says little of words
_COVERED = 0.95  # share of the training recordings that fit whole into the length that is chosen
_LONGEST = 30.0  # seconds
_BANDS = (64, 48, 40, 32, 24, 16, 8)  # the first of which every band holds a frequency is chosen
_VERSION = 1  # of the arithmetic between a file and what is kept of it


@dataclass(frozen=True)
class Hearing:
    """How a recording becomes a network's input: at what rate, of what length in samples, and its spectrogram."""

    form: str
    length: int
    mel: LogMel

    @property
    def rate(self) -> int:
        return self.mel.rate

    @property
    def image_size(self) -> tuple[int, int]:
        """(mels, frames)"""
        return self.mel.mels, self.mel.frames(self.length)

    def wave(self, recording: Any, name: str = "the recording") -> Samples:
        """A WAV file (its bytes or path), or samples (T,) at this rate, or a pair (samples, rate): int16 (length,).

        Raises:
            DataError: for what cannot be read.
            ShapeError: for samples of another shape than (T,).
        """
        samples, rate = (recording, self.rate) if not isinstance(recording, tuple) else recording
        if isinstance(samples, bytes | str | Path):
            samples, rate = read_wave(samples, name)
        return full_scale(resampled(as_wave(samples, name), int(rate), self.rate), self.length)

    def picture(self, recording: Any, name: str = "the recording") -> Levels:
        """The same as a spectrogram: uint8 (mels, frames, 1)."""
        return self.mel.picture(self.wave(recording, name))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Hearing:
        return cls(str(values["form"]), int(values["length"]), LogMel(**values["mel"]))


def as_wave(samples: Any, name: str = "the recording") -> NDArray[np.float32]:
    """Samples (T,), floats or whole numbers, as float32; whole numbers become shares of the largest of their type.

    Raises:
        ShapeError: for another shape.
        DataError: for none, or such as are no numbers.
    """
    array = np.asarray(samples)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ShapeError(f"{name} is {array.dtype} of shape {array.shape}", fits="samples of shape (T,)")
    if not len(array):
        raise DataError(f"{name} holds no samples", fits="a recording of some length")
    if array.dtype.kind == "u":
        array = array.astype(np.float64) - 2.0 ** (8 * array.dtype.itemsize - 1)
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds samples that are no numbers (NaN or infinite)")
    return array.astype(np.float32)


@dataclass(frozen=True, eq=False)
class SpectrogramSplit(Split):
    """Spectrograms as pictures, uint8 (N, mels, frames, 1), and the waves behind them, int16 (N, T), to be heard."""

    waves: Samples | None = None

    def take(self, indices: NDArray[np.int64]) -> SpectrogramSplit:
        chosen = super().take(indices)
        waves = None if self.waves is None else np.asarray(self.waves[indices])
        return SpectrogramSplit(chosen.images, chosen.labels, chosen.names, waves)


@dataclass(frozen=True, eq=False)
class Spectrograms(Data):
    """A data set of spectrograms: pictures in everything, and how recordings become such."""

    task: ClassVar[str] = "sound"
    hearing: Hearing | None = None


@dataclass(frozen=True, eq=False)
class WaveSplit:
    """waves: int16 (N, T). labels: int64 (N,). names: what to call each."""

    waves: Samples
    labels: Labels
    names: Sequence[str]

    def __post_init__(self) -> None:
        if self.waves.ndim != 2 or self.waves.dtype != np.int16:
            raise ShapeError(f"waves are {self.waves.dtype} of shape {self.waves.shape}", fits="int16 of shape (N, T)")
        if self.labels.shape != (len(self.waves),) or len(self.names) != len(self.waves):
            raise ShapeError(f"{len(self.waves)} waves, {self.labels.shape} labels and {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> WaveSplit:
        """The recordings at these indices, in this order."""
        names = [self.names[i] for i in indices.tolist()]
        return WaveSplit(np.asarray(self.waves[indices]), self.labels[indices], names)


@dataclass(frozen=True, eq=False)
class Waves:
    """A data set of waves of one rate and length."""

    task: ClassVar[str] = "sound"
    classes: tuple[str, ...]
    train: WaveSplit
    hearing: Hearing
    validation: WaveSplit | None = None
    test: WaveSplit | None = None
    origin: str = "arrays"
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, WaveSplit]:
        """The splits that there are, by name."""
        three = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in three.items() if split is not None}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over samples, rate, labels, classes and splits."""
        digest = hashlib.sha256(f"pellucid waves 1 {self.hearing.rate}\n".encode())
        digest.update("\0".join(self.classes).encode() + b"\n")
        for name, split in self.splits.items():
            digest.update(f"{name} {split.waves.shape}\n".encode())
            digest.update(np.ascontiguousarray(split.waves, "<i2").data)
            digest.update(np.ascontiguousarray(split.labels, "<i8").data)
        return digest.hexdigest()


def load_sounds(
    where: str | Path,
    *,
    form: str = "spectrogram",
    rate: int | None = None,
    seconds: float | None = None,
    names: str | None = None,
    split_by: str | None = None,
    held_out: Sequence[str] = (),
    validation: float | None = None,
    limit: int | None = None,
    seed: int = 0,
    hearing: Hearing | None = None,
    cache: Path | None = None,
    **mel: Any,
) -> Spectrograms | Waves:
    """Read recordings: a folder per class, names that say the label, a CSV file, or an archive (``sounds_files``).

    form: "spectrogram" or "wave". rate: samples a second; left out, the most frequent one, at most 16,000. seconds: the
    length that all are brought to; left out, so long that 95% of the training recordings fit whole. names: what the
    parts of file names are. split_by: the part of which none may stand on two sides. held_out: of these, those of the
    test split. validation: its share. limit: at most so many of each split. hearing: rate, length and spectrogram at
    once, as a trained network has them. cache: the folder to keep decoded recordings in. mel: settings of ``LogMel``.

    Raises DataError for what is missing or damaged, or where more than a tenth of the files cannot be read, and
    UsageError for settings that do not fit.
    """
    if form not in FORMS:
        raise UsageError(f"form is {form!r}", fits="spectrogram or wave")
    listing = list_recordings(where, names)
    surveyed, skipped = _survey(listing)
    items = [item for item, _ in surveyed]
    classes = listing.classes
    labels = np.array([classes.index(item.label) for item in items], np.int64)
    groups = Listing(listing.origin, tuple(items)).groups(split_by) if split_by else None
    digests = [found.digest for _, found in surveyed]
    split, notes = splits_of(
        [item.split for item in items],
        labels,
        digests,
        groups,
        split_by or "",
        validation=validation,
        held_out=held_out,
        seed=seed,
    )
    notes += _twice(split, digests)
    members: dict[str, NDArray[np.int64]] = {
        name: limited(np.flatnonzero(np.array(split) == name), labels, limit, seed)
        for name in ("train", "validation", "test")
        if name in split
    }
    _check_training(classes, labels, members, where)
    lengths = [(surveyed[i][1].rate, surveyed[i][1].seconds) for i in members["train"].tolist()]
    chosen = hearing or choose(form, rate, seconds, lengths, mel)
    order = np.concatenate(list(members.values())).tolist()
    found = _decoded([surveyed[i] for i in order], chosen, cache or cache_folder())
    _refuse_if_too_many_broken(listing.origin, [*skipped, *found.skipped], len(listing.recordings))
    notes += _lengths(chosen, [surveyed[i][1].seconds for i in order]) + _broken([*skipped, *found.skipped])
    every = (*listing.skipped, *skipped, *found.skipped)
    return _made(chosen, classes, members, labels, items, found, str(where), every, (*notes, *found.notes))


@dataclass(frozen=True)
class _Surveyed:
    digest: bytes
    rate: int
    seconds: float


def _survey(listing: Listing) -> tuple[list[tuple[Recording, _Surveyed]], list[Skipped]]:
    """What the header of each file says, and a digest of its content; those whose header is broken apart."""

    def one(item: Recording) -> _Surveyed | Skipped:
        try:
            content = item.file.read_bytes()
            header = read_header(content, item.name)
        except OSError as error:
            return Skipped(item.name, f"cannot be read: {error.strerror or error}")
        except DataError as error:
            return Skipped(item.name, error.message.removeprefix(f"{item.name} "))
        return _Surveyed(hashlib.blake2b(content, digest_size=16).digest(), header.rate, header.seconds)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, listing.recordings))
    skipped = [result for result in results if isinstance(result, Skipped)]
    _refuse_if_too_many_broken(listing.origin, skipped, len(results))
    good = [
        (item, result)
        for item, result in zip(listing.recordings, results, strict=True)
        if not isinstance(result, Skipped)
    ]
    return good, skipped


def _twice(split: Sequence[str], digests: Sequence[bytes]) -> list[str]:
    """A sentence where equal files stand in different splits, which only a split that was given or a group can do."""
    of: dict[bytes, set[str]] = {}
    for name, digest in zip(split, digests, strict=True):
        of.setdefault(digest, set()).add(name)
    count = sum(len(names) > 1 for names in of.values())
    return (
        [f"{count:,} recordings stand in several splits as equal files: what is measured is too good"] if count else []
    )


def _check_training(classes: Sequence[str], labels: Labels, members: dict[str, NDArray[np.int64]], where: Any) -> None:
    if not len(members.get("train", ())):
        raise DataError(f"{where} has no training recordings", fits="a folder or split called train")
    for i, name in enumerate(classes):
        if not (labels[members["train"]] == i).any():
            raise DataError(
                f"no training recording in {where} is of the class '{name}'",
                fits="more recordings of it, another split_by or seed, or a larger limit",
            )


def choose(
    form: str, rate: int | None, seconds: float | None, training: Sequence[tuple[int, float]], mel: dict[str, Any]
) -> Hearing:
    """Rate, length and spectrogram; what is not asked for comes from the training recordings (rate, seconds)."""
    if rate is None:
        rate = min(_HIGHEST_RATE, Counter(own for own, _ in training).most_common(1)[0][0])
    if seconds is None:
        longest = float(np.quantile([own for _, own in training], _COVERED, method="higher"))
        seconds = min(_LONGEST, math.ceil(longest * 10 - 1e-9) / 10)
    if not 100 <= rate <= 400_000:
        raise UsageError(f"rate is {rate}", fits="samples a second, such as 8000 or 16000")
    if not 0.01 <= seconds <= 3600:
        raise UsageError(f"seconds is {seconds:g}", fits="the length of a recording, such as 1.0")
    given = {name: value for name, value in mel.items() if value is not None}
    if "mels" in given:
        return Hearing(form, max(1, round(rate * seconds)), LogMel(rate, **given))
    for mels in _BANDS:
        try:
            return Hearing(form, max(1, round(rate * seconds)), LogMel(rate, mels=mels, **given))
        except UsageError:
            if mels == _BANDS[-1]:
                raise
    raise UsageError("no number of mel bands fits", fits="mels=8")


def _decoded(items: Sequence[tuple[Recording, _Surveyed]], hearing: Hearing, cache: Path) -> Kept:
    """Waves, and spectrograms where they are wanted, of these recordings in this order, kept in the cache."""
    parts = [Part("waves", "<i2", (hearing.length,))]
    if hearing.form == "spectrogram":
        parts.append(Part("levels", "|u1", (*hearing.image_size, 1)))
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([_VERSION, hearing.to_json()], sort_keys=True).encode())
    for _, found in items:
        digest.update(found.digest)

    def one(i: int) -> dict[str, NDArray[Any]] | Skipped:
        item = items[i][0]
        try:
            wave = hearing.wave(item.file, item.name)
        except DataError as error:
            return Skipped(item.name, error.message.removeprefix(f"{item.name} "))
        return {"waves": wave, **({"levels": hearing.mel.picture(wave)} if len(parts) > 1 else {})}

    return kept(digest.hexdigest(), parts, len(items), one, cache / "sounds")


def _made(
    hearing: Hearing,
    classes: tuple[str, ...],
    members: dict[str, NDArray[np.int64]],
    labels: Labels,
    items: Sequence[Recording],
    found: Kept,
    origin: str,
    skipped: tuple[Skipped, ...],
    notes: tuple[str, ...],
) -> Spectrograms | Waves:
    order = np.concatenate(list(members.values()))
    waves, levels = found.arrays["waves"], found.arrays.get("levels")
    three: dict[str, Any] = {}
    first, behind = 0, 0
    for name, own in members.items():
        behind += len(own)
        count = int((found.kept < behind).sum()) - first
        part, mine = slice(first, first + count), order[found.kept[first : first + count]]
        called = [items[i].name for i in mine.tolist()]
        if levels is None:
            three[name] = WaveSplit(waves[part], labels[mine], called)
        else:
            three[name] = SpectrogramSplit(levels[part], labels[mine], called, waves[part])
        first += count
    rest: dict[str, Any] = {"origin": origin, "skipped": skipped, "notes": notes}
    if levels is None:
        return Waves(classes, three.pop("train"), hearing, **three, **rest)
    return Spectrograms(classes, **three, **rest, hearing=hearing)


def _lengths(hearing: Hearing, seconds: Sequence[float]) -> list[str]:
    whole = hearing.length / hearing.rate
    longer = sum(one > whole + 1 / hearing.rate for one in seconds)
    cut = f"; {longer:,} longer ones lost both ends" if longer else ""
    return [f"recordings of {min(seconds):.2g} to {max(seconds):.2g} s were brought to {whole:g} s{cut}"]


def _broken(skipped: Sequence[Skipped]) -> list[str]:
    if not skipped:
        return []
    named = "; ".join(f"{item.name} ({item.reason})" for item in skipped[:5])
    more = f"; and {len(skipped) - 5:,} more" if len(skipped) > 5 else ""
    return [f"{len(skipped):,} broken {'file was' if len(skipped) == 1 else 'files were'} skipped: {named}{more}"]


def _refuse_if_too_many_broken(origin: str, broken: Sequence[Skipped], tried: int) -> None:
    if len(broken) > BROKEN_SHARE * tried:
        listed = "; ".join(f"{item.name} ({item.reason})" for item in broken[:10])
        more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise DataError(
            f"{len(broken)} of {tried} recordings in {origin} cannot be read",
            broken=listed + more,
            fits="mend or remove them; up to a tenth would be skipped",
        )
