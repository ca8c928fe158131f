"""Recordings that are arrays in Python, as data."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.sounds import FORMS, Hearing, Spectrograms, SpectrogramSplit, Waves, WaveSplit, as_wave, choose
from pellucid.data.sounds_split import splits_of
from pellucid.data.source import natural_order
from pellucid.errors import ShapeError, UsageError


def sounds_of(
    waves: Sequence[Any] | NDArray[Any],
    labels: Sequence[Any] | NDArray[Any],
    *,
    rate: int,
    form: str = "spectrogram",
    seconds: float | None = None,
    groups: Sequence[Any] | None = None,
    held_out: Sequence[str] = (),
    validation: float | None = None,
    seed: int = 0,
    hearing: Hearing | None = None,
    **mel: Any,
) -> Spectrograms | Waves:
    """A data set of arrays, split as files are.

    waves: N arrays (T,), of lengths of their own, or one (N, T); floats or whole numbers. labels: N names or numbers.
    rate: samples a second. groups: of each, such as its speaker: none stands on two sides. The rest as for
    ``load_sounds``.

    Raises:
        ShapeError: where labels or groups are not as many.
        UsageError, DataError: for settings or samples that do not fit.
    """
    if form not in FORMS:
        raise UsageError(f"form is {form!r}", fits="spectrogram or wave")
    if len(labels) != len(waves) or (groups is not None and len(groups) != len(waves)):
        given = f" and {len(groups)} groups" if groups is not None else ""
        raise ShapeError(f"there are {len(waves)} recordings, {len(labels)} labels{given}", fits="as many of each")
    listed = [as_wave(wave, f"recording {i}") for i, wave in enumerate(waves)]
    called = [str(label) for label in labels]
    classes = natural_order(set(called))
    if len(classes) < 2:
        raise UsageError(f"the labels are {', '.join(classes) or 'none'}", fits="at least two classes")
    numbers = np.array([classes.index(label) for label in called], np.int64)
    split, notes = splits_of(
        [None] * len(listed),
        numbers,
        [blake2b(wave.tobytes(), digest_size=16).digest() for wave in listed],
        None if groups is None else [str(group) for group in groups],
        "group",
        validation=validation,
        held_out=held_out,
        seed=seed,
    )
    members = {
        name: np.flatnonzero(np.array(split) == name) for name in ("train", "validation", "test") if name in split
    }
    lengths = [(rate, len(listed[i]) / rate) for i in members["train"].tolist()]
    chosen = hearing or choose(form, rate, seconds, lengths, mel)
    three: dict[str, Any] = {}
    for name, own in members.items():
        same = np.stack([chosen.wave((listed[i], rate)) for i in own.tolist()])
        names = [f"recording {i}" for i in own.tolist()]
        if chosen.form == "wave":
            three[name] = WaveSplit(same, numbers[own], names)
        else:
            pictures = np.stack([chosen.mel.picture(wave) for wave in same])
            three[name] = SpectrogramSplit(pictures, numbers[own], names, same)
    if chosen.form == "wave":
        return Waves(classes, three.pop("train"), chosen, **three, notes=tuple(notes))
    return Spectrograms(classes, **three, notes=tuple(notes), hearing=chosen)
