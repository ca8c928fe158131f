"""Bytes of a text file to text: UTF-8 first, and nothing guessed that could be wrong without a word."""

from __future__ import annotations

import codecs

from pellucid.errors import DataError, UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LATIN_SHARE = 0.15  # of bytes beyond ASCII: European text has fewer, text of other scripts has most
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1a\x1b"))


def decode_text(encoded: bytes, name: str, encoding: str | None = None) -> tuple[str, str]:
    """The text of a file, and the encoding that it was read by.

    Without a wish: by its byte order mark, else as UTF-8. What is not UTF-8 is Windows-1252 (which holds Latin-1) where
    at most 15% of its bytes are beyond ASCII; else nobody can say which of the many encodings it is, and it is refused.

    Args:
        encoded: the whole file.
        name: of the file, for what is said of it.
        encoding: one that Python knows, such as ``gb18030``.

    Raises:
        DataError: for what is no text, or not in this encoding; with the byte where it ends.
        UsageError: for an encoding that there is not.
    """
    if encoding is not None:
        return _as(encoded, name, _known(encoding), encoding), encoding
    marked = marked_encoding(encoded)
    if marked is not None:
        return _as(encoded, name, marked, marked.removesuffix("-sig").upper()), marked.removesuffix("-sig")
    control = next((i for i, byte in enumerate(encoded) if byte in _CONTROLS), None)
    if control is not None:
        raise DataError(
            f"{name} is no text: byte {control:,} is the control character 0x{encoded[control]:02X}",
            fits="text files in UTF-8",
        )
    try:
        return encoded.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        beyond = sum(byte >= 0x80 for byte in encoded)
        if beyond <= _LATIN_SHARE * len(encoded):
            try:
                return encoded.decode("cp1252"), "cp1252"
            except UnicodeDecodeError:
                pass
        raise DataError(
            f"{name} is no UTF-8 text (byte {error.start:,})",
            fits="save it as UTF-8, or say what it is: --set encoding=gb18030 (Chinese), shift_jis, cp1251 ...",
        ) from None


def marked_encoding(encoded: bytes) -> str | None:
    """The encoding that a byte order mark at the beginning says; None where there is none."""
    return next((encoding for mark, encoding in _MARKS if encoded.startswith(mark)), None)


def _as(encoded: bytes, name: str, encoding: str, called: str) -> str:
    try:
        text = encoded.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no {called} text (byte {error.start:,}: {error.reason})") from None
    zero = text.find("\0")
    if zero >= 0:
        raise DataError(f"{name} is no text: character {zero:,} is 0", fits="text files")
    return text.removeprefix("\ufeff")


def _known(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
    except LookupError:
        raise UsageError(f"there is no encoding '{encoding}'", fits="utf-8, latin-1, gb18030, shift_jis ...") from None
    if not getattr(info, "_is_text_encoding", True):  # base64 and the like turn bytes into bytes
        raise UsageError(f"'{encoding}' is no encoding of text", fits="utf-8, latin-1, gb18030, shift_jis ...")
    return info.name
