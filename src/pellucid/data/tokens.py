"""A text as a list of tokens: words, or characters. No word list is needed, for no language.

A word is a run of letters, digits and the marks that belong to them, with apostrophes and hyphens inside (``don't``);
every other sign that is no space is a token of its own, and so is every character of a script that sets no spaces
between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from statistics import median_low

from pellucid.errors import UsageError

KINDS = ("words", "characters")

# Scripts without spaces between words, by their blocks in Unicode.
_UNSPACED = (
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"  # Chinese, Japanese
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
)


def tokens_of(text: str, kind: str = "words", *, lower: bool = True) -> list[str]:
    """The tokens of a text, in its order.

    >>> tokens_of("It isn't well-made: 7/10. 很好看")
    ['it', "isn't", 'well-made', ':', '7', '/', '10', '.', '很', '好', '看']
    >>> tokens_of("Ada  B", "characters")
    ['a', 'd', 'a', ' ', 'b']

    Args:
        text: of any length; brought to one form first (Unicode's NFC).
        kind: ``words``, or ``characters``: each with its marks, and one space for any white space.
        lower: whether capitals become small letters.

    Raises:
        UsageError: for another kind.
    """
    if kind not in KINDS:
        raise UsageError(f"tokens cannot be '{kind}'", fits=" or ".join(KINDS))
    plain = unicodedata.normalize("NFC", text)
    if lower:
        plain = unicodedata.normalize("NFC", plain.lower())  # İ becomes two characters
    if kind == "words":
        return _words().findall(plain)
    return _characters().findall(" ".join(plain.split()))


def kind_for(texts: Sequence[str]) -> str:
    """What the tokens of these texts should be: characters where most are a single word (names), else words."""
    lengths = [len(tokens_of(text)) for text in texts]
    return "characters" if lengths and median_low(lengths) <= 1 else "words"


def joined(tokens: Sequence[str]) -> str:
    """Tokens as a person reads them: with a space between, but for two of a script without spaces.

    >>> joined(["很", "好", "!"]), joined(["not", "bad"])
    ('很好!', 'not bad')
    """
    out = ""
    for token in tokens:
        close = out and (_is_unspaced(out[-1]) and (_is_unspaced(token) or not token[:1].isalnum()))
        out += token if not out or close else f" {token}"
    return out


def _is_unspaced(text: str) -> bool:
    return re.match(f"[{_UNSPACED}]", text) is not None


@cache
def _marks() -> str:
    """The marks that stand over, under and beside letters, as ranges inside of a class: the module ``re`` counts them
    as no part of a word, which would cut Hindi and Arabic words to pieces."""
    ranges: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@cache
def _words() -> re.Pattern[str]:
    marks = _marks()
    letter = f"(?![{_UNSPACED}])[^\\W_]"
    run = f"(?:{letter})(?:{letter}|[{marks}\u200c\u200d])*"
    return re.compile(f"{run}(?:['\u2019-]{run})*|\\S[{marks}\u200d\ufe0f]*")


@cache
def _characters() -> re.Pattern[str]:
    return re.compile(f".[{_marks()}\u200c\u200d]*", re.DOTALL)
