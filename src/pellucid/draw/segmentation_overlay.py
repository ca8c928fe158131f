"""Masks as pictures: a colour for each class, laid over the picture or by itself."""

from __future__ import annotations

import colorsys
import io

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
VOID = 255
_FIRST = (
    (110, 170, 235), (205, 75, 70), (245, 200, 80), (125, 95, 150), (240, 145, 190), (95, 160, 85), (80, 200, 190),
    (165, 115, 75), (65, 85, 190), (250, 130, 50), (40, 110, 110), (170, 210, 90),
)  # fmt: skip
_OVER = 0.6  # of the colour, in an overlay


def colors(classes: int) -> Pixels:
    """A colour for each class, (K, 3): twelve that are easily told apart, then hues by the golden angle."""
    more = [colorsys.hsv_to_rgb(0.618034 * i % 1, 0.55 + 0.3 * (i % 2), 0.9 - 0.25 * (i % 3)) for i in range(classes)]
    rest = [tuple(round(255 * part) for part in color) for color in more[len(_FIRST) :]]
    return np.array([*_FIRST, *rest][:classes], np.uint8)


def flat(mask: Pixels, classes: int) -> Pixels:
    """A mask (H, W) in the colours of its classes, uint8 (H, W, 3); void is black."""
    lookup = np.zeros((256, 3), np.uint8)
    lookup[:classes] = colors(classes)
    return lookup[mask]


def overlay(picture: Pixels, mask: Pixels, classes: int) -> Pixels:
    """A picture (H, W, C) under the colours of a mask (H, W), uint8 (H, W, 3); as it is where the mask is void."""
    base = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    mixed = base * (1 - _OVER) + flat(mask, classes) * _OVER
    return np.where((mask == VOID)[..., None], base, np.rint(mixed)).astype(np.uint8)


def encoded_picture(picture: Pixels, form: str = "PNG") -> bytes:
    """uint8 (H, W, C) as a file."""
    from PIL import Image

    out = io.BytesIO()
    options = {"quality": 85} if form == "JPEG" else {}
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(out, form, **options)
    return out.getvalue()


def encoded_mask(mask: Pixels, classes: int) -> bytes:
    """A mask (H, W) as a palette PNG: the index of each pixel is its class, the palette only shows it."""
    from PIL import Image

    palette = np.zeros((256, 3), np.uint8)
    palette[:classes] = colors(classes)
    shown = Image.frombytes("P", (mask.shape[1], mask.shape[0]), np.ascontiguousarray(mask).tobytes())
    shown.putpalette(palette.reshape(-1).tolist())
    out = io.BytesIO()
    shown.save(out, "PNG")
    return out.getvalue()
