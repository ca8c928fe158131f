"""One picture brought to the size that a network wants, the same way when it is trained and when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.dataset import Pixels
from pellucid.data.decode import MAX_PIXELS, decode
from pellucid.errors import DataError, ShapeError, UsageError

WAYS = ("crop", "squash")


@dataclass(frozen=True)
class Fit:
    """How a picture of any size becomes (H, W).

    "crop" (the default) keeps the aspect: the picture is scaled until it just fills (H, W) and the middle is cut out.
    Nothing is distorted, and it is what published ImageNet weights were trained with; what sticks out on the longer
    side is lost. "squash" keeps everything and changes the aspect: for pictures whose margins matter. Both scale with
    Pillow's bilinear filter, which averages over the area when it shrinks.

    shorter: for "crop", scale the shorter side to this many pixels instead, so that the middle is a smaller part.
    """

    way: str = "crop"
    size: tuple[int, int] = (224, 224)
    shorter: int | None = None

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise UsageError(f"there is no way to fit a picture named '{self.way}'", known=", ".join(WAYS))
        if min(self.size) < 1:
            raise UsageError(f"the image size is {self.size[0]} x {self.size[1]}", fits="at least 1 x 1")
        if self.shorter is not None and (self.way != "crop" or self.shorter < max(self.size)):
            raise UsageError(
                f"the shorter side is scaled to {self.shorter}, and {self.size[0]} x {self.size[1]} is cut out of it",
                fits=f'fit="crop" and a shorter side of at least {max(self.size)}',
            )

    @property
    def least(self) -> tuple[int, int]:
        """(H, W) that the decoder must deliver at least, so that nothing is enlarged again."""
        return self.size if self.shorter is None else (self.shorter, self.shorter)

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """What part of an (height, width) picture is kept: left, top, right, bottom, in its pixels."""
        if self.way == "squash":
            return 0.0, 0.0, float(width), float(height)
        if self.shorter is None:
            scale = max(self.size[0] / height, self.size[1] / width)
        else:
            scale = self.shorter / min(height, width)
        kept_h, kept_w = min(self.size[0] / scale, height), min(self.size[1] / scale, width)
        left, top = (width - kept_w) / 2, (height - kept_h) / 2
        return left, top, left + kept_w, top + kept_h


def resize(pixels: Pixels, fit: Fit) -> Pixels:
    """uint8 (h, w, C), C of 1 or 3, as uint8 (H, W, C)."""
    from PIL import Image

    height, width, channels = pixels.shape
    if (height, width) == fit.size and fit.shorter is None:
        return pixels
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if channels == 1 else pixels))
    scaled = picture.resize(fit.size[::-1], Image.Resampling.BILINEAR, box=fit.box(height, width))
    return np.asarray(scaled).reshape(*fit.size, channels)


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Grey as colour, or colour as grey (ITU-R BT.601 luma, by Pillow)."""
    if pixels.shape[2] == channels:
        return pixels
    if pixels.shape[2] == 1:
        return np.repeat(pixels, channels, axis=2)
    if pixels.shape[2] == 3 and channels == 1:
        from PIL import Image

        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]
    raise ShapeError(f"a picture has {pixels.shape[2]} channels", fits=f"{channels}")


def read_picture(picture: Any, fit: Fit, channels: int, *, name: str = "", max_pixels: int = MAX_PIXELS) -> Pixels:
    """Encoded bytes, a path, a PIL image, or an array (H, W) or (H, W, C), as uint8 (H, W, C) of the size of `fit`.

    Raises DecodeError for what cannot be decoded, DataError for a path that cannot be read.
    """
    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        try:
            picture, name = path.read_bytes(), name or str(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if isinstance(picture, bytes | bytearray | memoryview):
        few = channels if channels in (1, 3) else None
        pixels = decode(bytes(picture), name=name, max_pixels=max_pixels, channels=few, fit=fit.least)
    else:
        pixels = _from_object(picture, channels)
    return resize(with_channels(pixels, channels), fit)


def _from_object(picture: Any, channels: int) -> Pixels:
    """A PIL image or an array as uint8 (H, W, C)."""
    if hasattr(picture, "getexif"):
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(picture)
        array = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    else:
        array = np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ShapeError(f"a picture has shape {array.shape}", fits="(H, W) or (H, W, C)")
    if array.dtype == np.uint8:
        return array
    from pellucid.data.from_arrays import to_uint8

    return to_uint8(array, [])
