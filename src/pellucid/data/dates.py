"""Dates in words and their ISO form: a task with an exact answer, made by rule.

A source is one of the many ways to write a date, English or Chinese; its target is ``YYYY-MM-DD`` (ISO 8601). Years run
from 1950 to 2049, so that two digits name one year. What could be read in two ways is never made: 3/4/98 is no source.
All pairs are a function of the constants here; every date stands in one split alone, in whatever spelling.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from pellucid.data.number_words import CHINESE_DIGITS, UNITS, below_hundred, chinese
from pellucid.data.pairs import Pairs, PairSplit
from pellucid.data.random import Purpose, permutation, words

Date = datetime.date
FIRST, LAST = Date(1950, 1, 1), Date(2049, 12, 31)
NAME = "dates"
_TRAIN, _VALIDATION, _TEST = 32_000, 500, 2_000
_KEY = 1582  # of every random number here: the data set is one

MONTHS = ("January February March April May June July August September October November December").split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_IRREGULAR["twelve"] = "twelfth"


def ordinal(day: int) -> str:
    """1 to 99: first, second, ..., thirty-first."""
    start, hyphen, last = below_hundred(day).rpartition("-")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return f"{start}{hyphen}{last}"


def ordinal_digits(day: int) -> str:
    """1st, 2nd, 3rd, 4th, ..., 11th, ..., 31st."""
    if day // 10 == 1:
        return f"{day}th"
    return f"{day}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th') }"


def year_in_words(year: int) -> str:
    """1998: nineteen ninety-eight; 2005: two thousand and five; 2015: twenty fifteen; 1950 to 2099."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        return f"two thousand and {UNITS[rest]}" if rest else "two thousand"
    return f"{below_hundred(century)} {below_hundred(rest)}" if rest else f"{below_hundred(century)} hundred"


def _short(month: str) -> str:
    return month[:3]


def _chinese_year(date: Date) -> str:
    """一九九八, and 二〇〇五 with the round zero of dates."""
    return "".join("〇" if digit == "0" else CHINESE_DIGITS[int(digit)] for digit in str(date.year))


def _chinese_date(date: Date) -> str:
    return f"{_chinese_year(date)}年{chinese(date.month)}月{chinese(date.day)}"


def _weekday(date: Date) -> str:
    """星期一 to 星期日"""
    return "星期" + "一二三四五六日"[date.weekday()]


# Each way of writing a date, given the date and the name of its month.
_ALWAYS: tuple[Callable[[Date, str], str], ...] = (
    lambda d, m: f"the {ordinal(d.day)} of {m} {d.year}",
    lambda d, m: f"{ordinal(d.day)} of {m}, {d.year}",
    lambda d, m: f"the {ordinal(d.day)} of {m} {year_in_words(d.year)}",
    lambda d, m: f"{m} the {ordinal(d.day)}, {year_in_words(d.year)}",
    lambda d, m: f"{m} {ordinal(d.day)}, {d.year}",
    lambda d, m: f"{m} {d.day}, {d.year}",
    lambda d, m: f"{_short(m)} {d.day}, {d.year}",
    lambda d, m: f"{_short(m)}. {d.day}, {d.year}",
    lambda d, m: f"{d.day} {m} {d.year}",
    lambda d, m: f"{d.day} {_short(m)} {d.year}",
    lambda d, m: f"{d.day}-{_short(m)}-{d.year % 100:02}",
    lambda d, m: f"{m} {ordinal_digits(d.day)}, {d.year}",
    lambda d, m: f"the {ordinal_digits(d.day)} of {m} {d.year}",
    lambda d, m: f"{ordinal_digits(d.day)} {_short(m)} '{d.year % 100:02}",
    lambda d, m: f"{DAYS[d.weekday()]}, {d.day} {m} {d.year}",
    lambda d, m: f"{DAYS[d.weekday()][:3]}, {_short(m)} {d.day}, {d.year}",
    lambda d, m: f"{DAYS[d.weekday()]}, the {ordinal(d.day)} of {m} {d.year}",
    lambda d, m: f"{d.year}/{d.month}/{d.day}",
    lambda d, m: f"{d.year}.{d.month:02}.{d.day:02}",
    lambda d, m: f"{d.year}{d.month:02}{d.day:02}",
    lambda d, m: f"{_chinese_date(d)}日",
    lambda d, m: f"{_chinese_date(d)}号",
    lambda d, m: f"{_chinese_date(d)}日，{_weekday(d)}",
    lambda d, m: f"{_chinese_date(d)}日".replace("〇", "零"),
    lambda d, m: f"{d.year}年{d.month}月{d.day}日",
    lambda d, m: f"{d.year}年{d.month:02}月{d.day:02}日",
    lambda d, m: f"{d.year}年{d.month}月{d.day}日{_weekday(d)}",
    lambda d, m: f"{d.year % 100:02}年{d.month}月{d.day}号",
)  # fmt: skip
# These serve only dates that they say clearly.
_WHERE_CLEAR: tuple[Callable[[Date, str], str], ...] = (
    lambda d, m: f"{d.day}/{d.month}/{d.year}",
    lambda d, m: f"{d.month}/{d.day}/{d.year}",
    lambda d, m: f"{d.month}/{d.day}/{d.year % 100:02}",
)


def _ways(date: Date) -> tuple[Callable[[Date, str], str], ...]:
    """Day and month cannot be mistaken for one another where the day is above 12, or they are the same."""
    return (*_ALWAYS, *_WHERE_CLEAR) if date.day > 12 or date.day == date.month else _ALWAYS


def spellings(date: Date) -> list[str]:
    """Every way of writing a date that is made here.

    >>> spellings(Date(1998, 3, 3))[0], spellings(Date(1998, 3, 3))[-1]
    ('the third of March 1998', '3/3/98')
    """
    return [spell(date, MONTHS[date.month - 1]) for spell in _ways(date)]


def dates() -> Pairs:
    """The data set ``dates``: 32,000 dates to learn from, 500 to choose by, 2,000 to test, in one spelling each."""
    count = (LAST - FIRST).days + 1
    order = permutation(_KEY, 0, count)
    chance = words(_KEY, 0, Purpose.SPELLING, count)
    splits, first = {}, 0
    for name, size in (("test", _TEST), ("validation", _VALIDATION), ("train", _TRAIN)):
        days = order[first : first + size].tolist()
        first += size
        pairs = [_pair(FIRST + datetime.timedelta(days=day), chance[day].tolist()) for day in days]
        splits[name] = PairSplit.made(name, pairs)
    return Pairs(
        {name: splits[name] for name in ("train", "validation", "test")},
        origin=NAME,
        notes=("a data set made by rule: a date that is in one split is in no other, in whatever spelling",),
    )


def _pair(date: Date, chance: list[int]) -> tuple[str, str]:
    ways = _ways(date)
    text = ways[chance[0] % len(ways)](date, MONTHS[date.month - 1])
    kind = chance[1] % 8  # people write months in small letters, and sometimes shout
    text = text.lower() if kind in (0, 1) else text.upper() if kind == 2 else text
    return text, date.isoformat()
