"""Masks: one label for each pixel. From the bytes of a file to labels, and from labels to classes and void.

A mask is a picture whose numbers are labels: grey or palette (the index counts, whatever colour it has), black and
white, or colours that classes.txt names. It is opened by the rules of ``decode``: upright, within the budget, whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.data.decode import MAX_PIXELS, as_stored
from pellucid.data.resize import Fit
from pellucid.errors import DataError, UsageError

VOID = 255  # in the masks of a data set: no class, and nothing is learned or measured there
VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
_MOST_LABELS = 64  # in one mask without a list of classes; a photo has more
Mask = NDArray[np.uint8]
Colors = Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class Labels:
    """What the labels of the files mean: ``classes``, and for each label 0 to 255 its class, or VOID."""

    classes: tuple[str, ...]
    lookup: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def read_mask(encoded: bytes, name: str, *, colors: Colors | None = None, max_pixels: int = MAX_PIXELS) -> Mask:
    """The labels of a file as they stand there, uint8 (H, W).

    Raises:
        DecodeError: for what is damaged or beyond the budget.
        DataError: for what is a picture and no mask.
    """
    picture = as_stored(encoded, name=name, max_pixels=max_pixels)
    if picture.mode in ("1", "L", "P"):
        return np.asarray(picture).astype(np.uint8)
    if picture.mode in ("LA", "La", "PA"):
        return np.asarray(picture)[..., 0]
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 255:
            raise DataError(f"the mask {name} has the label {values.max():,}", fits="labels of 0 to 255")
        return values.astype(np.uint8)
    if picture.mode in ("RGB", "RGBA"):
        return _of_colors(np.asarray(picture)[..., :3], name, colors)
    raise DataError(f"the mask {name} is a picture of mode {picture.mode}, no labels", fits="a grey or palette PNG")


def _of_colors(pixels: Mask, name: str, colors: Colors | None) -> Mask:
    """Labels by the list of colours; grey that was stored as colour is labels too."""
    if colors is None:
        if (pixels == pixels[..., :1]).all():
            return np.ascontiguousarray(pixels[..., 0])
        found = len(np.unique(pixels.reshape(-1, 3), axis=0))
        if found > _MOST_LABELS:
            raise DataError(f"the mask {name} looks like a photo: it has {found:,} colours", fits="a label a pixel")
        raise DataError(
            f"the mask {name} is in colours ({found}), and what they mean is not known",
            fits="classes.txt with a line for each class: name red green blue",
        )
    codes = pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    labels = np.full(codes.shape, -1, np.int64)
    for label, (red, green, blue) in enumerate(colors):
        labels[codes == red * 65536 + green * 256 + blue] = label
    if labels.min() < 0:
        row, column = np.argwhere(labels < 0)[0].tolist()
        color = " ".join(map(str, pixels[row, column].tolist()))
        raise DataError(
            f"the mask {name} has a colour that is not in classes.txt: {color} at row {row}, column {column}",
            fits="the colours of classes.txt alone, or a line for this one",
        )
    return labels.astype(np.uint8)


def resize_mask(labels: Mask, fit: Fit) -> Mask:
    """(h, w) as (H, W), as its picture is brought there; each pixel has the label nearest to its middle."""
    from PIL import Image

    height, width = labels.shape
    if (height, width) == fit.size and fit.shorter is None:
        return labels
    scaled = Image.fromarray(labels).resize(fit.size[::-1], Image.Resampling.NEAREST, box=fit.box(height, width))
    return np.asarray(scaled)


def meaning(
    names: tuple[str, ...] | None, counts: NDArray[np.int64], files: Sequence[str], void: int | None = None
) -> Labels:
    """What labels mean.

    With a list of names, label k is the k-th of them; void is the label that the user says, or one that is called void
    or ignore, and always 255; the label next to the last name is void as well, if there is one. Masks of 0 and 255
    alone are two classes. Without a list, the classes are the numbers from 0 to the highest label.

    Args:
        names: by classes.txt, or None.
        counts: pixels of each label in each mask, (N, 256).
        files: what to call the masks.
        void: a label that is no class.

    Raises:
        DataError: for labels that are in no list, and masks that are photos.
        UsageError: for a void that is a number out of 0 to 255.
    """
    if void is not None and not 0 <= void <= 255:
        raise UsageError(f"void is {void}", fits="a label of 0 to 255")
    present = np.flatnonzero(counts.sum(0)).tolist()
    _refuse_photos(names, counts, files)
    empty = void if void is not None else _void_of(names)
    binary = set(present) <= {0, 255} and 255 in present and void is None
    if binary and (names is None or len(names) == 2):
        lookup = np.full(256, VOID, np.uint8)
        lookup[[0, 255]] = 0, 1
        return Labels(names or ("background", "foreground"), lookup)
    if names is None:
        highest = max((label for label in present if label not in (empty, 255)), default=0)
        names = tuple(map(str, range(highest + 1)))
    notes = []
    if empty is None and len(names) in present and len(names) < 255:
        empty = len(names)
        notes.append(f"the label {empty} is one beyond the {empty} classes: it is taken for void")
    allowed = {*range(len(names)), 255, *([empty] if empty is not None else [])}
    wrong = [label for label in present if label not in allowed]
    if wrong:
        first = int(np.flatnonzero(counts[:, wrong[0]])[0])
        raise DataError(
            f"the mask {files[first]} has a label that is not in the list: {wrong[0]}",
            found=f"{int(counts[first, wrong[0]]):,} pixels of it; {int((counts[:, wrong] > 0).any(1).sum()):,} masks "
            "have such labels",
            fits=f"0 to {len(names) - 1} by classes.txt, 255 for void; void={wrong[0]} (--set) if it is void",
        )
    kept = [label for label in range(len(names)) if label != empty]
    if len(kept) < 2:
        raise DataError("there are fewer than two classes in the masks: there is nothing to tell apart")
    lookup = np.full(256, VOID, np.uint8)
    lookup[kept] = np.arange(len(kept))
    return Labels(tuple(names[label] for label in kept), lookup, tuple(notes))


def _void_of(names: tuple[str, ...] | None) -> int | None:
    return next((i for i, name in enumerate(names or ()) if name.lower() in VOID_NAMES), None)


def _refuse_photos(names: tuple[str, ...] | None, counts: NDArray[np.int64], files: Sequence[str]) -> None:
    most = max(_MOST_LABELS, len(names or ()) + 1)
    kinds = (counts > 0).sum(1)
    if (kinds > most).any():
        first = int(np.flatnonzero(kinds > most)[0])
        raise DataError(
            f"the mask {files[first]} looks like a photo: it has {int(kinds[first])} shades of grey",
            fits="a label a pixel: grey or palette PNG with 0, 1, 2, ...",
        )
