"""Numbers in words, English and Chinese, and a data set of them: digits to words and words to digits.

The task ``numbers`` has an exact answer: a text of digits becomes English words (British: with "and"), words of either
language become digits. All pairs are a function of the constants here; every number stands in one split alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pellucid.data.pairs import Pairs, PairSplit
from pellucid.data.random import Purpose, words

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = ("", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split())
CHINESE_DIGITS = "零一二三四五六七八九"
MOST = 999_999
NAME = "numbers"
_TRAIN, _VALIDATION, _TEST = 16_000, 500, 1_000  # numbers, each in two pairs
_ALWAYS_SEEN = 100  # the numbers below are what all others are made of: they stand in training
_KEY = 1776  # of every random number here: the data set is one


def english(number: int, *, joined: bool = True) -> str:
    """0 to 999,999 in English words: 1,042 is "one thousand and forty-two", without ``joined`` the "and" is left out.

    >>> english(310_207)
    'three hundred and ten thousand two hundred and seven'
    """
    if number < 1000:
        return _below_thousand(number, joined)
    thousands, rest = divmod(number, 1000)
    start = f"{_below_thousand(thousands, joined)} thousand"
    if not rest:
        return start
    link = " and " if joined and rest < 100 else " "
    return f"{start}{link}{_below_thousand(rest, joined)}"


def _below_thousand(number: int, joined: bool) -> str:
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return below_hundred(rest)
    start = f"{UNITS[hundreds]} hundred"
    link = " and " if joined else " "
    return f"{start}{link}{below_hundred(rest)}" if rest else start


def below_hundred(number: int) -> str:
    """0 to 99 in words, tens and units with a hyphen.

    >>> below_hundred(42)
    'forty-two'
    """
    if number < 20:
        return UNITS[number]
    tens, units = divmod(number, 10)
    return f"{TENS[tens]}-{UNITS[units]}" if units else TENS[tens]


def chinese(number: int) -> str:
    """0 to 999,999 in Chinese numerals, as they are spoken.

    >>> chinese(310_207), chinese(12), chinese(1_005)
    ('三十一万零二百零七', '十二', '一千零五')
    """
    if not number:
        return CHINESE_DIGITS[0]
    high, low = divmod(number, 10_000)
    text = ""
    if high:
        text = f"{_four_digits(high)}万"
        if low and low < 1000:
            text += CHINESE_DIGITS[0]
    if low:
        text += _four_digits(low)
    return text.removeprefix("一") if text.startswith("一十") else text


def _four_digits(number: int) -> str:
    """1 to 9,999: each digit with its unit, one zero for any gap between digits."""
    text, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += (CHINESE_DIGITS[0] if gap else "") + CHINESE_DIGITS[digit] + name
            gap = False
        elif text:
            gap = True
    return text


def numbers() -> Pairs:
    """The data set ``numbers``: 16,000 numbers to learn from, 500 to choose by, 1,000 to test, each in two pairs:
    digits to words, and words (of one of three kinds) to digits."""
    known = np.arange(_ALWAYS_SEEN)
    others = _drawn(_TRAIN - len(known) + _VALIDATION + _TEST)
    test, validation, train = np.split(others, [_TEST, _TEST + _VALIDATION])
    parts = {"train": np.concatenate([known, train]), "validation": validation, "test": test}
    return Pairs(
        {name: _pairs(name, part) for name, part in parts.items()},
        origin=NAME,
        notes=(
            "a data set made by rule: a number that is in one split is in no other, neither as digits nor as words",
            f"the numbers below {_ALWAYS_SEEN}, of which all others are made, are in training",
        ),
    )


def _drawn(count: int) -> NDArray[np.int64]:
    """Different numbers from 100 on in random order, of all lengths: the logarithm is even."""
    draws = words(_KEY, 0, Purpose.SPELLING, 3 * count)[:, 0].astype(np.float64) * 2.0**-32
    low, high = np.log(_ALWAYS_SEEN), np.log(MOST + 1)
    found = np.floor(np.exp(low + draws * (high - low))).astype(np.int64)
    _, first = np.unique(found, return_index=True)
    chosen: NDArray[np.int64] = found[np.sort(first)][:count]
    return chosen


def _pairs(split: str, found: NDArray[np.int64]) -> PairSplit:
    pairs = []
    draws = words(_KEY, 1, Purpose.SPELLING, MOST + 1)[found, 0] % 3
    for number, kind in zip(found.tolist(), draws.tolist(), strict=True):
        spelled = chinese(number) if kind == 2 else english(number, joined=kind == 0)
        pairs += [(str(number), english(number)), (spelled, str(number))]
    return PairSplit.made(split, pairs)
