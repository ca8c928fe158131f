"""Encoded bytes to pixels, within a budget; what cannot be decoded is refused with its reason.

The rules, for every format alike:

- The picture is upright: the EXIF orientation is applied.
- Of an animated file the first frame is taken.
- Transparent pixels are laid over white. Palettes are looked up; CMYK and the like are converted by Pillow.
- 16-bit grey is scaled to 8 bits by its high byte. 32-bit whole numbers up to 255 stay, up to 65535 give their high
  byte; floats of 0..1 are times 255, up to 255 they stay; any other range is stretched over 0..255.
- A picture of more than ``max_pixels`` is refused from its header, before anything is decoded; so is a JPEG of more
  than ``MOST_SCANS`` scans, each of which costs as much time as the whole picture.
- A truncated file is refused; nothing is ever filled in.
- JPEG pixels are the same with simplejpeg and without: both are libjpeg-turbo, asked for the same arithmetic.
- The format is known by its first bytes, whatever the name says, and must be one of ``FORMATS``.
"""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DecodeError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PIXELS = 50_000_000
MOST_SCANS = 500  # of a progressive JPEG; libjpeg-turbo's own tools stop there
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "QOI", "AVIF")
_UPRIGHT = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
            7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip


def decode(
    encoded: bytes,
    *,
    name: str = "",
    max_pixels: int = MAX_PIXELS,
    channels: int | None = 3,
    fit: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """The pixels of one encoded picture, uint8 (H, W, C).

    Args:
        encoded: the bytes of the file.
        name: for the message of an error.
        max_pixels: a picture with more is refused from its header.
        channels: 3 for colour, 1 for grey, None for grey where the file is grey and colour elsewhere.
        fit: (height, width) that the picture will be shrunk to; a JPEG may then be decoded at a half, a quarter or an
            eighth of its size, never smaller than this.

    Raises:
        DecodeError: with the reason, for whatever is no picture, is damaged, or is beyond the budget.
    """
    picture = _open(encoded, name, max_pixels)
    if picture.format in ("JPEG", "MPO"):
        by = _shrunk(picture, fit)
        pixels = _decode_jpeg(encoded, picture, channels, by)
        if pixels is not None:
            return pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if picture.format in ("JPEG", "MPO"):
                picture.draft(None, (picture.width // by, picture.height // by))
            picture.load()
            upright = _upright(picture)
            mode = _mode(picture, channels)
            return np.ascontiguousarray(_convert(upright, mode))
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        raise _refused(name, encoded, error) from None


def as_stored(encoded: bytes, *, name: str = "", max_pixels: int = MAX_PIXELS) -> Picture:
    """The whole picture upright, in the mode of its file: for masks, whose numbers are labels and no colours.

    Raises:
        DecodeError: as ``decode`` does.
    """
    picture = _open(encoded, name, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
            return _upright(picture)
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        raise _refused(name, encoded, error) from None


def _open(encoded: bytes, name: str, max_pixels: int) -> Picture:
    from PIL import Image

    if not encoded:
        raise DecodeError(f"{name or 'the picture'} is empty")
    _refuse_size(name, _early_size(encoded), max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes below our own limit, and of odd metadata
            picture = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except Exception as error:
        raise _refused(name, encoded, error) from None
    _refuse_size(name, picture.size, max_pixels)
    # In a JPEG's data a byte FF is followed by 00, so FF DA is the head of a scan (or stands in a thumbnail).
    if picture.format in ("JPEG", "MPO") and (scans := encoded.count(b"\xff\xda")) > MOST_SCANS:
        raise DecodeError(f"{name or 'the picture'} has {scans} scans, more than the limit of {MOST_SCANS}")
    return picture


def _refuse_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DecodeError(
            f"{name or 'the picture'} has {width} x {height} pixels, more than the limit of {max_pixels}",
            fits="a smaller picture, or a higher limit",
        )


def _early_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) from the headers of the formats that Pillow spends memory on while it opens them, else (0, 0).

    Extended WebP (RFC 9649, section 2.7): libwebp takes memory for the canvas. Icons: the first picture is decoded,
    which may be a PNG of any size.
    """
    if encoded[:4] == b"RIFF" and encoded[8:16] == b"WEBPVP8X" and len(encoded) >= 30:
        return 1 + int.from_bytes(encoded[24:27], "little"), 1 + int.from_bytes(encoded[27:30], "little")
    largest = (0, 0)
    if encoded[:4] == b"\0\0\1\0":
        for entry in range(6, min(6 + 16 * int.from_bytes(encoded[4:6], "little"), len(encoded) - 15), 16):
            at = int.from_bytes(encoded[entry + 12 : entry + 16], "little")
            if encoded[at : at + 4] == b"\x89PNG" and len(encoded) >= at + 24:
                largest = max(largest, struct.unpack_from(">II", encoded, at + 16), key=math.prod)
            elif len(encoded) >= at + 12:
                width, height = struct.unpack_from("<ii", encoded, at + 4)
                largest = max(largest, (abs(width), abs(height) // 2), key=math.prod)  # the mask is below the picture
    return largest


def _refused(name: str, encoded: bytes, error: Exception) -> DecodeError:
    reason = str(error) or type(error).__name__
    if "cannot identify" in reason:
        known = _format(encoded)
        reason = f"it is a {known}, a format that is not read" if known else "it is no picture of a known format"
    if type(error).__name__ == "DecompressionBombError":  # Pillow's own limit, far above ours
        reason = f"its header announces {next(iter(re.findall('[0-9]+', reason)), 'too many')} pixels"
    if isinstance(error, MemoryError):
        reason = "there is not enough memory"
    return DecodeError(f"{name or 'the picture'} cannot be decoded: {reason}")


def _format(encoded: bytes) -> str:
    """The format outside ``FORMATS`` that the first bytes announce, or nothing. No decoder is started."""
    from PIL import Image

    Image.init()
    for name, (_, accepts) in Image.OPEN.items():
        try:
            if name not in FORMATS and accepts is not None and accepts(encoded[:16]) is True:
                return name
        except Exception:  # too few bytes to tell
            continue
    return ""


def _shrunk(picture: Picture, fit: tuple[int, int] | None) -> int:
    """By what to divide a JPEG's sides while decoding: 8, 4 or 2 where that still covers ``fit``, else 1."""
    if fit is None:
        return 1
    width, height = picture.size
    least_w, least_h = fit if _orientation(picture) >= 5 else fit[::-1]
    return next((by for by in (8, 4, 2) if width >= by * least_w and height >= by * least_h), 1)


def _decode_jpeg(encoded: bytes, picture: Picture, channels: int | None, by: int) -> NDArray[np.uint8] | None:
    """By simplejpeg where it is installed and the file is plain; None sends the file to Pillow."""
    if picture.mode not in ("L", "RGB") or picture.info.get("progressive") or len(encoded) < 4:
        return None
    try:
        import simplejpeg
    except ImportError:
        return None
    wanted = "L" if (channels or len(picture.getbands())) == 1 else "RGB"
    if wanted == "L" and picture.mode == "RGB":
        return None  # luma by Pillow's rounding, so that pixels do not depend on what is installed
    orientation = _orientation(picture)
    width, height = (-(-side // by) for side in picture.size)
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded, "GRAY" if wanted == "L" else "RGB", min_height=height, min_width=width, min_factor=1
        )
    except (ValueError, RuntimeError):
        return None  # Pillow says what is wrong, in its words
    if pixels.shape[:2] != (height, width):
        return None
    return np.ascontiguousarray(turn(pixels, orientation))


def _orientation(picture: Picture) -> int:
    try:
        value = picture.getexif().get(0x0112, 1)
        return int(value) if int(value) in range(1, 9) else 1
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, EOFError, struct.error, OverflowError):
        return 1  # damaged metadata do not make pixels unreadable


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The upright picture for an EXIF orientation of 1 to 8 (H, W, C)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _upright(picture: Picture) -> Picture:
    from PIL import Image

    orientation = _orientation(picture)
    return picture.transpose(Image.Transpose[_UPRIGHT[orientation]]) if orientation in _UPRIGHT else picture


def _mode(picture: Picture, channels: int | None) -> str:
    if channels == 3:
        return "RGB"
    grey = picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")
    return "L" if channels == 1 or grey else "RGB"


def _convert(picture: Picture, mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    if picture.mode == "I" or picture.mode == "F" or picture.mode.startswith("I;16"):
        picture = Image.fromarray(_eight_bits(np.asarray(picture), picture.mode))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, over).convert("RGB")
    if picture.mode != mode:
        picture = picture.convert(mode)
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _eight_bits(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    if mode.startswith("I;16"):
        return (values.astype(np.uint16) >> 8).astype(np.uint8)
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    if mode == "F" and low >= 0 and 0 < high <= 1:
        return np.rint(finite * 255.0).astype(np.uint8)
    if low >= 0 and high <= 255:
        return finite.astype(np.uint8)
    if low >= 0 and high <= 65535:
        return (finite.astype(np.int64) >> 8).astype(np.uint8)
    return ((finite - low) / max(high - low, np.finfo(np.float64).tiny) * 255.0).astype(np.uint8)
