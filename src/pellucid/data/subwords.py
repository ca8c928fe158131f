"""Text as numbers, by characters or by subwords, and back without loss: byte-pair encoding.

Sennrich, Haddow & Birch, "Neural machine translation of rare words with subword units", ACL 2016, algorithm 1: begin
with characters; again and again join the pair of neighbours that is most frequent, inside words. Frequent words become
one symbol, rare ones a few. A character that training hardly saw is written as its UTF-8 bytes: no text is lost.
Learned from the texts that are handed in, which are those of the training part alone.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from pellucid.errors import UsageError

PADDING, UNKNOWN, START, END = range(4)
SPECIAL = ("<padding>", "<unknown>", "<start>", "<end>")
_BYTES = 256
# A word with the space before it, one digit likewise, other signs, the rest: joins happen inside of such a piece.
# Digits stay apart, so that a number which training never saw is read like those that it saw.
_PIECES = re.compile(r" ?[^\W\d_]+| ?\d| ?[^\s\w]+|\s+|_+")

Pair = tuple[str, str]


def normalised(text: str) -> str:
    """One form for what looks the same (Unicode's NFC), one space for any white space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def pieces(text: str) -> list[str]:
    """The parts of a text that joins stay inside; put together they are the text."""
    return _PIECES.findall(text)


@dataclass(frozen=True)
class Subwords:
    """A vocabulary: padding, unknown, start and end; 256 bytes where ``with_bytes``; characters; joined pairs.

    Without pairs and bytes it is a vocabulary of characters, and a character that is not in it is ``unknown``.
    """

    characters: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    with_bytes: bool = False

    def __len__(self) -> int:
        return self._first_character + len(self.characters) + len(self.pairs)

    @property
    def _first_character(self) -> int:
        return len(SPECIAL) + (_BYTES if self.with_bytes else 0)

    @cached_property
    def _symbols(self) -> tuple[str, ...]:
        return (*self.characters, *(first + second for first, second in self.pairs))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for number, symbol in enumerate(self._symbols, start=self._first_character):
            numbers.setdefault(symbol, number)  # two pairs may spell the same
        return numbers

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: rank for rank, pair in enumerate(self.pairs)}

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        """Pieces that were encoded before: texts repeat their words."""
        return {}

    def encode(self, text: str) -> list[int]:
        """The numbers of a text, without start and end."""
        numbers: list[int] = []
        for piece in pieces(text):
            if piece not in self._known:
                self._known[piece] = tuple(self._encoded(piece))
            numbers += self._known[piece]
        return numbers

    def _encoded(self, piece: str) -> Iterable[int]:
        for symbol in joined(list(piece), self._ranks):
            number = self._numbers.get(symbol)
            if number is not None:
                yield number
            elif self.with_bytes:
                yield from (len(SPECIAL) + byte for byte in symbol.encode("utf-8", "surrogatepass"))
            else:
                yield UNKNOWN

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers up to the first ``end``; bytes that are no UTF-8 become a replacement character."""
        out = bytearray()
        for number in numbers:
            if number == END:
                break
            if number >= self._first_character:
                out += self._symbols[number - self._first_character].encode("utf-8", "surrogatepass")
            elif number >= len(SPECIAL):
                out.append(number - len(SPECIAL))
            elif number == UNKNOWN:
                out += "\ufffd".encode()
        return out.decode("utf-8", "replace")

    def symbol(self, number: int) -> str:
        """What to show for a number: its text with spaces made visible, a byte as <0xE4>."""
        if number < len(SPECIAL):
            return SPECIAL[number]
        if number < self._first_character:
            return f"<0x{number - len(SPECIAL):02X}>"
        return self._symbols[number - self._first_character].replace(" ", "␣")

    def unseen(self, text: str) -> list[str]:
        """The characters of a text that are not in the vocabulary, each once, in their order."""
        return [character for character in dict.fromkeys(text) if character not in self._numbers]

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``from_json`` reads back."""
        return {
            "characters": "".join(self.characters),
            "pairs": [list(pair) for pair in self.pairs],
            "with_bytes": self.with_bytes,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Subwords:
        """What ``to_json`` gave."""
        pairs = tuple((str(first), str(second)) for first, second in values["pairs"])
        return cls(tuple(values["characters"]), pairs, bool(values["with_bytes"]))


def joined(symbols: Sequence[str], ranks: Mapping[Pair, int]) -> list[str]:
    """Join neighbours as they were joined in learning: the pair that was learned first, wherever it stands; again."""
    parts = list(symbols)
    while len(parts) > 1:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        parts = _with_joined(parts, best)
    return parts


def _with_joined(parts: Sequence[str], pair: Pair) -> list[str]:
    """``parts`` with each place where ``pair`` stands made one, from left to right."""
    result: list[str] = []
    i = 0
    while i < len(parts):
        if i + 1 < len(parts) and (parts[i], parts[i + 1]) == pair:
            result.append(parts[i] + parts[i + 1])
            i += 2
        else:
            result.append(parts[i])
            i += 1
    return result


def learn_characters(texts: Iterable[str]) -> Subwords:
    """A vocabulary of every character that occurs, in Unicode's order."""
    return Subwords(tuple(sorted(set().union(*texts))))


def learn_subwords(texts: Iterable[str], size: int) -> Subwords:
    """A vocabulary of at most ``size`` symbols: bytes, characters, and as many joined pairs as there is room for.

    Characters that occur once are left to their bytes, and so are the rarest where characters would take more than
    half of the room. Of equally frequent pairs the first in Unicode's order is joined, so that the same texts give the
    same vocabulary.

    Raises:
        UsageError: where ``size`` has no room beside the bytes.
    """
    room = size - len(SPECIAL) - _BYTES
    if room < 2:
        raise UsageError(
            f"a vocabulary of {size} subwords has no room", fits=f"{len(SPECIAL) + _BYTES + 2} or more; better 1000"
        )
    counts = Counter(piece for text in texts for piece in pieces(text))
    characters: Counter[str] = Counter()
    for piece, count in counts.items():
        for character in piece:
            characters[character] += count
    frequent = [character for character, count in characters.items() if count > 1]
    chosen = sorted(sorted(frequent, key=lambda c: (-characters[c], c))[: room // 2])
    pairs = _learn_pairs(counts, set(chosen), room - len(chosen))
    return Subwords(tuple(chosen), tuple(pairs), with_bytes=True)


def _learn_pairs(counts: Mapping[str, int], alphabet: set[str], most: int) -> list[Pair]:
    """Up to ``most`` pairs in the order in which they are joined; a pair that stands once is not worth a symbol.

    Only the words that hold a pair are looked at when it is joined; the heap keeps old counts too and passes them over.
    """
    words = [list(piece) for piece in counts]
    weights = list(counts.values())
    frequency: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)

    def add(word: int, sign: int) -> set[Pair]:
        found = [pair for pair in pairwise(words[word]) if alphabet.issuperset("".join(pair))]
        for pair in found:
            frequency[pair] += sign * weights[word]
            holders[pair].add(word)
        return set(found)

    for word in range(len(words)):
        add(word, 1)
    heap = [(-count, pair) for pair, count in frequency.items()]
    heapq.heapify(heap)
    learned: list[Pair] = []
    while heap and len(learned) < most:
        count, pair = heapq.heappop(heap)
        if -count != frequency[pair]:
            continue
        if -count < 2:
            break
        learned.append(pair)
        changed: set[Pair] = set()
        for word in holders.pop(pair):
            changed |= add(word, -1)
            words[word] = _with_joined(words[word], pair)
            changed |= add(word, 1)
        for other in changed:
            if frequency[other] > 0:
                heapq.heappush(heap, (-frequency[other], other))
    return learned
