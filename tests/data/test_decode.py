"""Bytes to pixels: each rule against Pillow or NumPy, the limits, and damage of every kind."""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pellucid.data.decode import FORMATS, MOST_SCANS, decode, turn
from pellucid.errors import DecodeError
from tests.data.pictures import a_picture, encoded

COLOUR = a_picture(1, 20, 30)
GREY = a_picture(2, 20, 30, channels=1)


@pytest.fixture(params=["simplejpeg", "Pillow alone"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to decode a JPEG."""
    if request.param == "Pillow alone":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    else:
        pytest.importorskip("simplejpeg")
    return str(request.param)


def by_pillow(content: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(ImageOps.exif_transpose(picture).convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "TGA", "PCX", "QOI"])
def test_lossless_formats(form: str) -> None:
    np.testing.assert_array_equal(decode(encoded(COLOUR, form)), COLOUR)


@pytest.mark.parametrize("form", ["WEBP", "JPEG2000"])
def test_lossless_by_request(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(COLOUR, form, **options)), COLOUR)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_other_formats_are_pillows_pixels(form: str) -> None:
    content = encoded(COLOUR, form)
    found = decode(content)
    np.testing.assert_array_equal(found, by_pillow(content))
    assert np.abs(found.astype(int) - COLOUR).mean() < 12  # and it is the picture, not only some picture


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 30}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"keep_rgb": True}],
    ids=str,
)
@pytest.mark.parametrize("size", [(20, 30), (17, 33), (1, 1), (8, 200)])
def test_jpeg_with_and_without_simplejpeg(decoder: str, options: dict[str, Any], size: tuple[int, int]) -> None:
    content = encoded(a_picture(3, *size), "JPEG", **options)
    np.testing.assert_array_equal(decode(content), by_pillow(content))
    np.testing.assert_array_equal(decode(content, channels=1), by_pillow(content, "L"))


def test_grey_jpeg(decoder: str) -> None:
    content = encoded(GREY, "JPEG")
    np.testing.assert_array_equal(decode(content, channels=None), by_pillow(content, "L"))
    np.testing.assert_array_equal(decode(content), by_pillow(content, "RGB"))


def test_channels() -> None:
    colour, grey = encoded(COLOUR), encoded(GREY)
    luma = (COLOUR @ np.array([0.299, 0.587, 0.114]))[..., None]  # ITU-R BT.601
    assert np.abs(decode(colour, channels=1) - luma).max() <= 1
    np.testing.assert_array_equal(decode(colour, channels=None), COLOUR)
    np.testing.assert_array_equal(decode(grey, channels=None), GREY)
    np.testing.assert_array_equal(decode(grey, channels=1), GREY)
    np.testing.assert_array_equal(decode(grey), np.repeat(GREY, 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_upright(decoder: str, form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(COLOUR, form, exif=exif)
    np.testing.assert_array_equal(decode(content), by_pillow(content))
    assert decode(content).shape == ((20, 30, 3) if orientation < 5 else (30, 20, 3))


def test_turning_by_hand() -> None:
    """EXIF 2.3, table of orientations: where the 0th row and the 0th column of the file are to be shown."""
    pixels = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)[..., None]
    shown = {1: [[1, 2], [3, 4], [5, 6]], 2: [[2, 1], [4, 3], [6, 5]], 3: [[6, 5], [4, 3], [2, 1]],
             4: [[5, 6], [3, 4], [1, 2]], 5: [[1, 3, 5], [2, 4, 6]], 6: [[5, 3, 1], [6, 4, 2]],
             7: [[6, 4, 2], [5, 3, 1]], 8: [[2, 4, 6], [1, 3, 5]]}  # fmt: skip
    for orientation, expected in shown.items():
        np.testing.assert_array_equal(turn(pixels, orientation)[..., 0], expected, err_msg=str(orientation))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    content = encoded(COLOUR, "PNG", exif=exif)
    np.testing.assert_array_equal(decode(content), COLOUR)


def test_transparency_is_laid_over_white() -> None:
    alpha = np.linspace(0, 255, COLOUR.shape[0] * COLOUR.shape[1]).reshape(*COLOUR.shape[:2], 1).round()
    content = encoded(np.concatenate([COLOUR, alpha.astype(np.uint8)], axis=2))
    expected = COLOUR * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(decode(content) - expected).max() <= 1


def test_grey_with_transparency() -> None:
    alpha = np.where(np.arange(30) < 10, 0, 255).astype(np.uint8)[None, :].repeat(20, 0)
    picture = Image.merge("LA", [Image.fromarray(GREY[:, :, 0]), Image.fromarray(alpha)])
    out = io.BytesIO()
    picture.save(out, "PNG")
    found = decode(out.getvalue(), channels=None)
    assert found.shape == (20, 30, 1)
    assert (found[:, :10] == 255).all()
    np.testing.assert_array_equal(found[:, 10:], GREY[:, 10:])


def test_palettes_with_a_transparent_colour() -> None:
    picture = Image.new("P", (4, 2))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2, 0, 1, 2, 0, 1])
    out = io.BytesIO()
    picture.save(out, "PNG", transparency=1)
    red, white, blue = [255, 0, 0], [255, 255, 255], [0, 0, 255]
    np.testing.assert_array_equal(decode(out.getvalue()), [[red, white, blue, red], [white, blue, red, white]])


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.fromarray(np.full((6, 5, 3), value, np.uint8)) for value in (10, 200, 90)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        out = io.BytesIO()
        options = {"lossless": True} if form == "WEBP" else {}
        frames[0].save(out, form, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(out.getvalue()), np.full((6, 5, 3), 10), err_msg=form)


def test_cmyk() -> None:
    ink = np.zeros((4, 4, 4), np.uint8)
    ink[..., 0] = 255  # all cyan
    out = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(out, "TIFF")
    np.testing.assert_array_equal(decode(out.getvalue()), np.broadcast_to([0, 255, 255], (4, 4, 3)))


def saved(values: NDArray[Any], form: str = "TIFF") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_give_their_high_byte(form: str) -> None:
    values = np.arange(0, 65536, 255, dtype=np.uint16)[:256].reshape(16, 16)
    found = decode(saved(values, form), channels=None)
    np.testing.assert_array_equal(found[..., 0], values // 256)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 17.0, 255.0]], np.float32), [0, 17, 255]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 256, 65535]], np.int32), [0, 1, 255]),
        (np.array([[-100, 0, 100]], np.int32), [0, 127, 255]),
        (np.array([[-1.0, 0.0, 1.0]], np.float32), [0, 127, 255]),
        (np.array([[np.nan, np.inf, 200.0]], np.float32), [0, 0, 200]),
        (np.full((1, 3), 1e6, np.float32), [0, 0, 0]),
        (np.full((1, 3), 0, np.float32), [0, 0, 0]),
    ],
)
def test_32_bits_by_their_range(values: NDArray[Any], expected: list[int]) -> None:
    np.testing.assert_array_equal(decode(saved(values), channels=1)[0, :, 0], expected)


@pytest.mark.parametrize("by", [1, 2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_shrunk_while_it_is_decoded(decoder: str, by: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(a_picture(4, 161, 243), "JPEG", exif=exif, quality=95)
    height, width = (161, 243) if orientation == 1 else (243, 161)
    found = decode(content, fit=(height // by, width // by))
    assert found.shape == (-(-height // by), -(-width // by), 3)
    stored = found if orientation == 1 else np.rot90(found)  # 6 asks for a quarter turn to the right: this undoes it
    with Image.open(io.BytesIO(content)) as picture:
        whole = np.asarray(picture.convert("RGB"))[: 161 // by * by, : 243 // by * by].astype(float)
    means = whole.reshape(161 // by, by, 243 // by, by, 3).mean((1, 3))
    assert np.abs(stored[: 161 // by, : 243 // by] - means).mean() < 3


def test_it_is_never_shrunk_below_what_is_asked(decoder: str) -> None:
    content = encoded(a_picture(4, 160, 240), "JPEG")
    assert decode(content, fit=(81, 60)).shape == (160, 240, 3)
    assert decode(content, fit=(80, 60)).shape == (80, 120, 3)
    assert decode(content, fit=(20, 121)).shape == (160, 240, 3)
    assert decode(content, fit=(999, 999)).shape == (160, 240, 3)
    assert decode(content, fit=(1, 1)).shape == (20, 30, 3)


def test_shrunk_pixels_do_not_depend_on_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    content = encoded(a_picture(4, 161, 243), "JPEG")
    fits = [(n, m) for n in (10, 21, 40, 61, 80, 100, 160) for m in (15, 31, 60, 91, 121, 243)]
    fast = [decode(content, fit=fit) for fit in fits]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    for fit, pixels in zip(fits, fast, strict=True):
        np.testing.assert_array_equal(decode(content, fit=fit), pixels, err_msg=str(fit))


# Limits: all from headers, before anything is decoded.


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + head + struct.pack(">I", 1000) + b"IDAT"


def webp_header(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("header", [png_header, webp_header])
def test_too_many_pixels(header: Any) -> None:
    with pytest.raises(DecodeError, match=r"huge has 10000 x 9000 pixels, more than the limit of 50000000\n  fits"):
        decode(header(10000, 9000) + bytes(100), name="huge")


def test_more_pixels_than_pillow_opens() -> None:
    with pytest.raises(DecodeError, match="huge cannot be decoded: its header announces 2500000000 pixels"):
        decode(png_header(50000, 50000) + bytes(100), name="huge")


def test_the_limit_itself_is_allowed() -> None:
    assert decode(encoded(COLOUR), max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(DecodeError, match="has 30 x 20 pixels, more than the limit of 599"):
        decode(encoded(COLOUR), max_pixels=599)


def icon(inside: bytes) -> bytes:
    """An icon that says 16 x 16, with this in it."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22) + inside


def test_an_icon_with_more_in_it_than_its_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decode(icon(encoded(a_picture(1, 100, 100)))).shape == (100, 100, 3)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened before its size was known"))
    with pytest.raises(DecodeError, match="has 100 x 100 pixels, more than the limit of 5000"):
        decode(icon(encoded(a_picture(1, 100, 100))), max_pixels=5000)
    with pytest.raises(DecodeError, match="has 100 x 100 pixels, more than the limit of 5000"):
        decode(icon(struct.pack("<Iii", 40, 100, 200) + bytes(100)), max_pixels=5000)
    with pytest.raises(DecodeError, match="has 9000 x 9000 pixels"):
        decode(webp_header(9000, 9000))


def test_a_jpeg_of_very_many_scans(decoder: str) -> None:
    content = encoded(COLOUR, "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    assert decode(content[:-2] + scan * 10 + content[-2:]).shape == (20, 30, 3)
    with pytest.raises(DecodeError, match=f"has 1.... scans, more than the limit of {MOST_SCANS}"):
        decode(content[:-2] + scan * 10_000 + content[-2:])


# What is refused.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "^a.png is empty$"),
        (b"hello", "^a.png cannot be decoded: it is no picture of a known format$"),
        (b"\0" * 1000, "^a.png cannot be decoded: it is no picture of a known format$"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + bytes(200),
         "^a.png cannot be decoded: it is a EPS, a format that is not read$"),
        (b"8BPS\0\1" + bytes(100), "^a.png cannot be decoded: it is a PSD, a format that is not read$"),
        (encoded(COLOUR)[:200], "^a.png cannot be decoded: "),
        (encoded(COLOUR, "JPEG")[:-30], "^a.png cannot be decoded: .*truncated"),
        (encoded(COLOUR, "BMP")[:-40], "^a.png cannot be decoded: .*truncated"),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(decoder: str, content: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(content, name="a.png")


def test_formats_with_programs_in_them_are_not_read() -> None:
    assert not {"EPS", "PDF", "WMF", "FPX", "MIC", "PSD"} & set(FORMATS)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> bytes:
    return (shared_data / "pictures" / "chelsea.jpg").read_bytes()


def test_a_real_photo(decoder: str, real: bytes) -> None:
    np.testing.assert_array_equal(decode(real), by_pillow(real))


def outcome(content: bytes) -> NDArray[np.uint8] | str:
    try:
        return decode(content, max_pixels=1_000_000)
    except DecodeError as error:
        return str(error)


@pytest.mark.parametrize(
    "content",
    [encoded(COLOUR, form) for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "ICO", "JPEG2000", "AVIF")]
    + [encoded(COLOUR, "JPEG", progressive=True), encoded(COLOUR, "TIFF", compression="tiff_lzw")],
    ids=["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "ICO", "JPEG2000", "AVIF", "progressive", "LZW"],
)
def test_any_damage_is_a_decode_error_or_pixels(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits flipped, ends cut, parts blanked: DecodeError or pixels, the same with simplejpeg and without."""
    chance = random.Random(len(content))
    bad = []
    for _ in range(100):
        one = bytearray(content)
        for _ in range(chance.choice([1, 3, 20])):
            one[chance.randrange(min(len(one), chance.choice([100, 10**9])))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            del one[chance.randrange(len(one)) :]
        bad.append(bytes(one))
    first = [outcome(one) for one in bad]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    for one, seen in zip(bad, first, strict=True):
        np.testing.assert_array_equal(outcome(one), seen)
    assert any(isinstance(one, str) for one in first)


STARTS = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P6 ",
    b"qoif",
    b"\0\0\1\0",
)


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from((*STARTS, b"RIFF\x40\0\0\0WEBPVP8 ")), rest=st.binary(max_size=200))
def test_any_bytes_are_a_decode_error_or_pixels(start: bytes, rest: bytes) -> None:
    seen = outcome(start + rest)
    assert isinstance(seen, str) or (seen.dtype == np.uint8 and seen.ndim == 3)
