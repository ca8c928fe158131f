"""WAV files: bytes to a wave of float32, one channel; another rate, another length.

Read here rather than by scipy.io.wavfile because a broken file must be told apart from a good one: that reads a
truncated file as a shorter one, and says nothing.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError

Wave = NDArray[np.float32]
FULL_SCALE = 32767  # of int16, in which waves are kept

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "Microsoft ADPCM", 6: "A-law", 7: "µ-law", 17: "IMA ADPCM", 49: "GSM 6.10", 80: "MPEG", 85: "MP3"}
_UNKNOWN_LENGTH = 0xFFFFFFFF  # of a file that was written to a pipe: until its end
_RATES = range(100, 1_000_001)
_FITS = "a WAV file of PCM (8, 16, 24 or 32 bit) or float (32 or 64 bit)"


@dataclass(frozen=True)
class Header:
    """What a WAV file says of itself. width: bytes a sample. first, size: where its samples lie, in bytes."""

    rate: int
    channels: int
    width: int
    is_float: bool
    first: int
    size: int

    @property
    def frames(self) -> int:
        """Samples of each channel."""
        return self.size // (self.width * self.channels)

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def read_header(content: bytes, name: str = "the recording") -> Header:
    """What a WAV file says of itself, checked against what is there.

    Raises:
        DataError: for what is no WAV, is compressed, truncated or empty.
    """
    if not content:
        raise DataError(f"{name} is empty", fits=_FITS)
    if content[:4] in (b"RIFX", b"RF64") or content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise DataError(f"{name} is no WAV file", begins_with=str(content[:12]), fits=_FITS)
    form: tuple[int, int, int, int] | None = None
    place = 12
    while place + 8 <= len(content):
        kind, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8
        if kind == b"fmt ":
            form = _form(content[place : place + size], name)
        elif kind == b"data":
            if form is None:
                raise DataError(f"{name} holds samples before it says of what form they are", fits=_FITS)
            return _header(form, place, len(content) - place if size == _UNKNOWN_LENGTH else size, content, name)
        place += size + size % 2  # chunks begin at even bytes
    raise DataError(f"{name} is truncated: it ends before its samples", fits="the whole file")


def _form(chunk: bytes, name: str) -> tuple[int, int, int, int]:
    """(format, channels, rate, bytes of all channels' samples) of a chunk ``fmt ``."""
    if len(chunk) < 16:
        raise DataError(f"{name} is truncated: it ends in its header", fits="the whole file")
    code, channels, rate, _, block, _ = struct.unpack("<HHIIHH", chunk[:16])
    if code == _EXTENSIBLE and len(chunk) >= 26:
        code = int.from_bytes(chunk[24:26], "little")  # the format is the first part of a GUID
    if code not in (_PCM, _FLOAT):
        how = _COMPRESSED.get(code, f"format {code}")
        raise DataError(f"{name} is compressed ({how})", fits=f"{_FITS}: ffmpeg -i IN -c:a pcm_s16le OUT.wav")
    width = block // channels if channels else 0
    allowed = (4, 8) if code == _FLOAT else (1, 2, 3, 4)
    if not channels or block != width * channels or width not in allowed:
        raise DataError(f"{name} has {8 * width}-bit samples and {channels} channels", fits=_FITS)
    if rate not in _RATES:
        raise DataError(f"{name} says that it has {rate:,} samples a second", fits=_FITS)
    return code, channels, rate, block


def _header(form: tuple[int, int, int, int], first: int, size: int, content: bytes, name: str) -> Header:
    code, channels, rate, block = form
    if size > len(content) - first:
        raise DataError(
            f"{name} is truncated: {len(content) - first:,} of {size:,} bytes of samples are there",
            fits="the whole file: copy it again",
        )
    found = Header(rate, channels, block // channels, code == _FLOAT, first, size)
    if not found.frames:
        raise DataError(f"{name} holds no samples", fits="a recording of some length")
    return found


def read_wave(content: bytes | str | Path, name: str = "the recording") -> tuple[Wave, int]:
    """A WAV file, its bytes or its path, as float32 (T,) in -1..1 with the mean of its channels, and its rate.

    Raises:
        DataError: for what is no WAV, is compressed, truncated or empty, or holds NaN.
    """
    if not isinstance(content, bytes):
        try:
            content = Path(content).expanduser().read_bytes()
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error.strerror or error}") from None
    header = read_header(content, name)
    count = header.frames * header.channels
    samples = _samples(content, header, count).reshape(header.frames, header.channels)
    wave = samples[:, 0] if header.channels == 1 else samples.mean(1, dtype=np.float64)
    if header.is_float and not np.isfinite(wave).all():
        raise DataError(f"{name} holds samples that are no numbers (NaN or infinite)", fits=_FITS)
    return wave.astype(np.float32), header.rate


def _samples(content: bytes, header: Header, count: int) -> NDArray[np.floating]:
    """All samples as they follow one another, whole numbers divided by their largest."""
    if header.is_float:
        return np.frombuffer(content, f"<f{header.width}", count, header.first)
    if header.width == 1:  # the only ones without a sign
        return (np.frombuffer(content, np.uint8, count, header.first).astype(np.float32) - 128) / 128
    if header.width == 3:
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8, 3 * count, header.first).reshape(count, 3)
        return wide.view("<i4").reshape(-1) / 2.0**31
    whole = np.frombuffer(content, f"<i{header.width}", count, header.first)
    return whole / 2.0 ** (8 * header.width - 1)


def resampled(wave: Wave, rate: int, wanted: int) -> Wave:
    """A wave at another rate, by a polyphase filter that takes away what the new rate cannot hold."""
    if rate == wanted or not len(wave):
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    result: Wave = resample_poly(wave, wanted // common, rate // common).astype(np.float32)
    return result


def full_scale(wave: Wave, length: int) -> NDArray[np.int16]:
    """A wave as int16 (length,): its loudest sample becomes full scale; what is too long loses as much at the front as
    at the end, what is too short gets silence on both sides."""
    loudest = float(np.abs(wave).max(initial=0.0))
    levels = wave * (FULL_SCALE / loudest) if loudest > 0 else wave
    whole = np.rint(levels).astype(np.int16)
    if len(whole) >= length:
        first = (len(whole) - length) // 2
        return whole[first : first + length]
    before = (length - len(whole)) // 2
    return np.pad(whole, (before, length - len(whole) - before))


def encoded(wave: NDArray[np.int16], rate: int) -> bytes:
    """int16 (T,) as a WAV file."""
    samples = np.ascontiguousarray(wave, "<i2").tobytes()
    form = struct.pack("<HHIIHH", _PCM, 1, rate, 2 * rate, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
