"""What ``pellucid predict`` is asked to translate, and how it answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pellucid.data.pairs_preprocess import PairPreprocess
from pellucid.data.subwords import normalised
from pellucid.errors import DataError, PellucidError
from pellucid.train.decoding import Decoded
from pellucid.train.task import Answer, Asked


def texts_of(asked: Asked, broken: list[PellucidError]) -> Iterator[tuple[str, str]]:
    """What is to be translated: (what to call it, the text)."""
    for thing in asked.things:
        path = Path(thing)
        try:
            is_file = thing != "-" and path.is_file()
        except (OSError, ValueError):  # a long text is no name of a file
            is_file = False
        if thing != "-" and not is_file:
            yield f"'{thing}'" if thing else "", normalised(thing)
            continue
        name = "standard input" if thing == "-" else thing
        try:
            content = asked.standard_input() if thing == "-" else path.read_bytes()
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            broken.append(DataError(f"{name} is no UTF-8 text (byte {error.start})", fits="a text in each line"))
            continue
        except OSError as error:
            broken.append(DataError(f"{name} cannot be read: {error.strerror}"))
            continue
        if not any(line.strip() for line in lines):
            broken.append(DataError(f"there is no text in {name}", fits="a text in each line"))
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{name}:{number}", normalised(line)


def answer_of(source: str, found: Sequence[Decoded], preparation: PairPreprocess) -> Answer:
    """The best text, and a word about characters that training never saw."""
    texts = [(preparation.target.decode(item.tokens), item) for item in found]
    unseen = preparation.source.unseen(source)
    notes = [f"never seen in training: {' '.join(unseen)}"] if unseen else []
    notes += ["cut: it did not end"] if texts[0][1].cut else []
    return Answer(
        source,
        texts[0][0] + (f"   ({'; '.join(notes)})" if notes else ""),
        tuple(
            {"source": source, "rank": rank, "text": text, "probability": f"{item.probability:.6f}"}
            for rank, (text, item) in enumerate(texts, start=1)
        ),
        {
            "source": source,
            "texts": [{"text": text, "probability": item.probability, "cut": item.cut} for text, item in texts],
            "unseen": unseen,
        },
    )
