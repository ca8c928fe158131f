"""Dates and numbers made by rule: right by other people's parsers, and never in two splits."""

from __future__ import annotations

import datetime
import re

import pytest
from dateutil import parser
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data.dates import FIRST, LAST, dates, ordinal, ordinal_digits, spellings, year_in_words
from pellucid.data.number_words import chinese, english, numbers

ANY_DATE = st.dates(FIRST, LAST)
CHINESE = dict(zip("〇零一二三四五六七八九", (0, *range(10)), strict=True))


def chinese_number(text: str) -> int:
    """By its units, from left to right: an oracle that shares nothing with the writer."""
    total, section, digit = 0, 0, 0
    for sign in text:
        if sign == "万":
            total, section, digit = (section + digit) * 10_000, 0, 0
        elif sign in "十百千":
            section += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[sign]
            digit = 0
        else:
            digit = CHINESE[sign]
    return total + section + digit


def english_number(text: str) -> int:
    known = {word: i for i, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )}  # fmt: skip
    known |= {word: 10 * i for i, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2
    )}  # fmt: skip
    total = part = 0
    for word in text.replace("-", " ").split():
        if word == "thousand":
            total, part = total + part * 1000, 0
        elif word == "hundred":
            part *= 100
        elif word != "and":
            part += known[word]
    return total + part


@given(st.integers(0, 999_999))
def test_numbers_in_words_are_read_back(number: int) -> None:
    assert english_number(english(number)) == number
    assert english_number(english(number, joined=False)) == number
    assert chinese_number(chinese(number)) == number


@pytest.mark.parametrize(
    ("number", "words", "sign"),
    [
        (0, "zero", "零"),
        (10, "ten", "十"),
        (40, "forty", "四十"),
        (110, "one hundred and ten", "一百一十"),
        (1_005, "one thousand and five", "一千零五"),
        (10_010, "ten thousand and ten", "一万零一十"),
        (100_000, "one hundred thousand", "十万"),
        (120_300, "one hundred and twenty thousand three hundred", "十二万零三百"),
        (999_999, "nine hundred and ninety-nine thousand nine hundred and ninety-nine", "九十九万九千九百九十九"),
    ],
)
def test_numbers_as_people_write_them(number: int, words: str, sign: str) -> None:
    assert english(number) == words
    assert chinese(number) == sign


@given(ANY_DATE)
def test_dates_of_digits_and_months_are_read_back_by_dateutil(date: datetime.date) -> None:
    read = 0
    for text in spellings(date):
        plain = re.sub(r"[年月]", "-", text.replace("the ", "").replace("of ", "").replace("'", "")).rstrip("日号")
        if not plain.isascii() or ordinal(date.day) in text or re.match(r"\d\d年", text):
            continue
        found = parser.parse(plain)
        assert (found.month, found.day, found.year % 100) == (date.month, date.day, date.year % 100), text
        read += 1
    assert read >= 15


@given(ANY_DATE)
def test_a_day_of_the_week_is_the_right_one(date: datetime.date) -> None:
    english = [text for text in spellings(date) if re.search("day,|^(Mon|Tue|Wed|Thu|Fri|Sat|Sun),", text)]
    assert len(english) == 3
    assert all(text.startswith(f"{date:%a}") for text in english)
    assert sum(text.endswith("星期" + "一二三四五六日"[int(f"{date:%u}") - 1]) for text in spellings(date)) == 2


@given(ANY_DATE)
def test_dates_in_words_say_day_and_year(date: datetime.date) -> None:
    spelled = [text for text in spellings(date) if ordinal(date.day) in text]
    assert len(spelled) >= 5
    assert all(str(date.year) in text or year_in_words(date.year) in text for text in spelled)
    assert all(date.strftime("%B") in text for text in spelled)


@given(ANY_DATE)
def test_dates_in_chinese_are_read_back(date: datetime.date) -> None:
    found = [re.match(r"(.+)年(.+)月(.+?)[日号]", text) for text in spellings(date)]
    groups = [match.groups() for match in found if match]
    assert len(groups) == 8
    for year, month, day in groups:
        said = year if year.isdigit() else "".join(str(CHINESE[sign]) for sign in year)
        assert int(said) % 100 == date.year % 100
        assert (int(month) if month.isdigit() else chinese_number(month)) == date.month
        assert (int(day) if day.isdigit() else chinese_number(day)) == date.day


@given(ANY_DATE)
def test_no_date_can_be_read_in_two_ways(date: datetime.date) -> None:
    slashed = [text for text in spellings(date) if re.match(r"\d\d?/\d", text)]
    assert bool(slashed) == (date.day > 12 or date.day == date.month)


def test_no_spelling_is_that_of_two_dates() -> None:
    seen: dict[str, datetime.date] = {}
    for days in range(0, (LAST - FIRST).days, 7):
        date = FIRST + datetime.timedelta(days=days)
        for text in spellings(date):
            assert seen.setdefault(text, date) == date


@pytest.mark.parametrize(
    ("day", "words", "digits"),
    [(1, "first", "1st"), (2, "second", "2nd"), (3, "third", "3rd"), (4, "fourth", "4th"), (5, "fifth", "5th"),
     (8, "eighth", "8th"), (9, "ninth", "9th"), (11, "eleventh", "11th"), (12, "twelfth", "12th"),
     (13, "thirteenth", "13th"), (20, "twentieth", "20th"), (21, "twenty-first", "21st"), (30, "thirtieth", "30th")],
)  # fmt: skip
def test_ordinals(day: int, words: str, digits: str) -> None:
    assert ordinal(day) == words
    assert ordinal_digits(day) == digits


@pytest.mark.parametrize(
    ("year", "words"),
    [(1950, "nineteen fifty"), (1998, "nineteen ninety-eight"), (2000, "two thousand"),
     (2005, "two thousand and five"), (2010, "twenty ten"), (2049, "twenty forty-nine")],
)  # fmt: skip
def test_years(year: int, words: str) -> None:
    assert year_in_words(year) == words


def test_a_held_out_date_is_never_in_training_in_whatever_spelling() -> None:
    made = dates()
    sizes = {name: len(split) for name, split in made.splits.items()}
    assert sizes == {"train": 32_000, "validation": 500, "test": 2_000}
    targets = {name: set(split.targets) for name, split in made.splits.items()}
    assert not targets["train"] & targets["test"]
    assert not targets["train"] & targets["validation"]
    assert not targets["validation"] & targets["test"]
    in_training = set(made.train.sources)
    for target in sorted(targets["test"])[:300]:
        ways = spellings(datetime.date.fromisoformat(target))
        assert not in_training & {form for way in ways for form in (way, way.lower(), way.upper())}


def test_each_source_is_a_spelling_of_its_target() -> None:
    split = dates().splits["test"]
    for source, target in zip(split.sources, split.targets, strict=True):
        ways = spellings(datetime.date.fromisoformat(target))
        assert source.lower() in {way.lower() for way in ways}


def test_a_held_out_number_is_never_in_training_in_whatever_form() -> None:
    made = numbers()
    values = {
        name: {
            int(text) for pair in zip(split.sources, split.targets, strict=True) for text in pair if text.isdecimal()
        }
        for name, split in made.splits.items()
    }
    assert {name: len(found) for name, found in values.items()} == {"train": 16_000, "validation": 500, "test": 1_000}
    assert not values["train"] & values["test"]
    assert not values["train"] & values["validation"]
    assert not values["validation"] & values["test"]
    assert set(range(100)) <= values["train"]


def test_each_number_is_said_right() -> None:
    split = numbers().splits["test"]
    for source, target in zip(split.sources, split.targets, strict=True):
        if source.isdecimal():
            assert english_number(target) == int(source)
        else:
            read = english_number if source.isascii() else chinese_number
            assert read(source) == int(target)


@pytest.mark.parametrize("make", [dates, numbers])
def test_a_set_made_by_rule_is_one_set(make: object) -> None:
    assert make().fingerprint == make().fingerprint


@pytest.mark.parametrize(("make", "fingerprint"), [(dates, "da9eece7225a442b"), (numbers, "b5ef1115a93e733a")])
def test_a_set_made_by_rule_is_the_same_everywhere(make: object, fingerprint: str) -> None:
    """What was recorded of it stays true only as long as this does."""
    assert make().fingerprint[:16] == fingerprint
