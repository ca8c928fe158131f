"""One picture in a network as one file that needs no server: which maps and numbers it holds, within a size.

Not every number fits: ResNet-18 has eight million for one picture. The file holds maps of every layer in 8 bits, of the
strongest channels where all are too many, and the numbers that a reader meets first: what each thumbnail opens, and the
walk from the most probable class along the largest terms down to the pixels, the nearest first. It says what it left
out.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.draw.look_page import GENERATOR, as_json, look_page
from pellucid.errors import PellucidError, UsageError
from pellucid.look.answers import (
    METHODS,
    Answer,
    Answers,
    number_answer,
    projection_answer,
    update_answer,
    values_of,
)
from pellucid.look.scene import Scene
from pellucid.look.tiles import Tiles, packed, sheet, strongest_channels

# Together less than 10 MB: a cell takes a byte at most, and four letters of base64 hold three bytes.
MAP_CELLS, GRADIENT_CELLS, WEIGHT_CELLS = 3_000_000, 500_000, 400_000
NUMBER_BYTES, PROJECTION_BYTES = 2_600_000, 800_000
MOST_NUMBERS = 2_400
MOST_UPDATES = 40
TERMS, DRAWN, LARGEST_PATCH = 40, 108, 1_200  # of one number
FOLLOWED = 5  # terms of a number, on the walk
TOGETHER = 48  # numbers that are packed into one part


@dataclass(frozen=True)
class Page:
    """A page that was written: where, how large, and how many numbers of how many it holds."""

    file: Path
    size: int
    numbers: int
    all: int

    def text(self) -> str:
        """In a sentence."""
        megabytes = self.size / 1e6
        return (
            f"{self.file} holds {self.numbers:,} of {self.all:,} numbers in {megabytes:.1f} MB; the live page opens all"
        )


@dataclass
class Held:
    """What a page holds: numbers, by the part in which they are packed, and other answers by what they are asked as."""

    numbers: dict[str, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, asked: str, answer: Answer) -> int:
        """Hold an answer; how many bytes it takes."""
        if asked in self.others:
            return 0
        self.others[asked] = len(self.others)
        said = as_json(answer)
        self.texts[f"other-{self.others[asked]}"] = said
        return len(said)

    def add_numbers(self, records: dict[str, Answer]) -> int:
        """Hold records, packed together; how many bytes they take."""
        part = len(set(self.numbers.values()))
        self.numbers |= dict.fromkeys(records, part)
        said = json.dumps(records, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        self.texts[f"numbers-{part}"] = packed(np.frombuffer(said, np.uint8))
        return len(self.texts[f"numbers-{part}"])


def write_page(file: Path, answers: Answers, picture: str, command: str) -> Page:
    """Write the page of a picture that was added to ``answers``.

    Args:
        command: that opens the live page, to be named where a number is left out.

    Raises:
        UsageError: where the file is something else than a page of this kind: it is not overwritten.
    """
    _check_free(file)
    html, held, total = offline_page(answers, picture, command)
    made = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        made.write_text(html, "utf-8")
        made.replace(file)
    finally:
        made.unlink(missing_ok=True)
    return Page(file, len(html.encode()), len(held.numbers), total)


def offline_page(answers: Answers, picture: str, command: str) -> tuple[str, Held, int]:
    """The page, what it holds, and how many numbers there are."""
    scene = answers.scene(picture)
    network, account, prediction = answers.network(), answers.account(), answers.prediction(picture)
    nodes = [node["name"] for node in network["nodes"]]
    weights = [own["name"] for node in network["nodes"] for own in node["parameters"]]
    has_loss = prediction["label"] is not None
    held = Held()
    _hold_maps(held, scene, nodes, MAP_CELLS)
    _hold_maps(held, scene, weights, WEIGHT_CELLS)
    if has_loss:
        _hold_maps(held, scene, [f"d {name}" for name in _with_gradient(scene, [*nodes, *weights])], GRADIENT_CELLS)
    first = [found["address"] for found in prediction["top"]] + ([prediction["loss"]] if has_loss else [])
    _hold_numbers(held, scene, first, _strongest(scene, nodes))
    _hold_projections(held, scene, [*first[:1], *(next(_strongest(scene, [name]), "") for name in nodes)], prediction)
    total = sum(_size(scene, name) for name in dict.fromkeys([*nodes, *weights]))
    counts = {"numbers": f"{len(held.numbers):,}", "all": f"{total:,}", "maps": f"{len(nodes):,}"}
    start = {
        "live": False,
        "network": network,
        "scene": prediction,
        "command": command,
        "held": {"numbers": held.numbers, "others": held.others, "counts": counts},
    }
    return look_page(start, account, "pellucid", held.texts), held, total


def _check_free(file: Path) -> None:
    if file.is_dir():
        raise UsageError(f"{file} is a folder", fits="the name of a file, such as look.html")
    if file.exists():
        with file.open("rb") as opened:
            begins = opened.read(2048)
        if f'name="generator" content="{GENERATOR}"'.encode() not in begins:
            raise UsageError(f"{file} exists and is no page of pellucid look", fits="another name")


def _with_gradient(scene: Scene, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if scene.recording.tensor(scene.tied(path)).requires_grad]


def _size(scene: Scene, path: str) -> int:
    return int(scene.values(path).size)


def _hold_maps(held: Held, scene: Scene, paths: Sequence[str], budget: int) -> None:
    """Maps of all paths; where they are more cells than the budget, large ones give up their weakest channels."""
    sizes = {path: _size(scene, path.removeprefix("d ")) for path in paths}
    share = _share(list(sizes.values()), budget)
    for path in sizes:
        values, has_batch = values_of(scene, path)
        tiles = Tiles.of(values.shape, has_batch=has_batch)
        count = max(1, share // max(1, tiles.cells))
        if tiles.cells > max(share, budget // 20):
            continue  # one channel alone is too much
        channels = None if count >= tiles.channels else strongest_channels(values, count, has_batch=has_batch)
        held.add(f"maps {path}", {"path": path, **sheet(values, has_batch=has_batch, channels=channels)})


def _share(sizes: Sequence[int], budget: int) -> int:
    """The most that each may have, so that all together keep to the budget: small ones leave what they do not need."""
    left, rest = budget, sorted(sizes)
    while rest:
        share = left // len(rest)
        if rest[0] > share:
            return share
        left -= rest.pop(0)
    return max(sizes, default=0)


def _strongest(scene: Scene, nodes: Sequence[str]) -> Iterator[str]:
    """The addresses of the strongest number of each layer's strongest channel, then of each one's second ..."""
    ordered: dict[str, list[str]] = {}
    for node in nodes:
        values, has_batch = values_of(scene, node)
        tiles = Tiles.of(values.shape, has_batch=has_batch)
        flat = np.nan_to_num(values.reshape(-1, tiles.cells).astype(np.float32))
        best = flat.argmax(1)
        order = np.argsort(-flat.max(1, initial=-np.inf), kind="stable")
        places = [np.unravel_index(int(row) * tiles.cells + int(best[row]), values.shape) for row in order]
        ordered[node] = [f"{node}[{','.join(str(int(i)) for i in place)}]" for place in places]
    for rank in range(max(map(len, ordered.values()), default=0)):
        yield from (found[rank] for found in ordered.values() if rank < len(found))


def _hold_numbers(held: Held, scene: Scene, first: Sequence[str], strongest: Iterator[str]) -> None:
    """Numbers in the order in which a reader meets them, until the page is full: of each three one is a step of the
    walk, and two are what the thumbnails open."""
    waiting, walked = deque(first), set[str]()
    leads: dict[str, tuple[str, list[str]]] = {}
    records: dict[str, Answer] = {}
    taken = updates = 0
    while taken < NUMBER_BYTES and len(leads) < MOST_NUMBERS:
        step = waiting.popleft() if waiting else ""
        found = [address for address in (step, next(strongest, ""), next(strongest, "")) if address]
        if not found:
            break
        for address in found:
            if address not in leads:
                record = records[address] = _small(number_answer(scene.open(address), TERMS, DRAWN))
                leads[address] = _leads(record, scene)
                if record["has_update"] and updates < MOST_UPDATES:
                    updates += _hold_update(held, scene, address)
        if step and step not in walked:  # the largest term comes next, so that the walk goes down to the pixels
            walked.add(step)
            down, others = leads[step]
            waiting.extend(others)
            waiting.extendleft([down] if down else [])
        if len(records) >= TOGETHER:
            taken += held.add_numbers(records)
            records = {}
    if records:
        held.add_numbers(records)


def _leads(record: Answer, scene: Scene) -> tuple[str, list[str]]:
    """Where a walk goes on from a number: what its largest term comes from, weights aside; and the others of the
    largest, the weight of the largest, and the gradient."""
    terms = sorted(record["terms"], key=lambda term: -abs(float(term["product"])))
    sources = [term["source"] for term in terms if term["source"]]
    down = [source for source in sources if source.rpartition("[")[0] not in scene.graph.tensors]
    others = [*sources[:FOLLOWED], *(term["weight"] for term in terms[:1] if term["weight"])]
    if record["has_gradient"] and record["kind"] != "gradient":
        others.append(f"d {record['address']}")
    return (down[0] if down else ""), others


def _small(record: Answer) -> Answer:
    """The record in seven figures, without patches that are too large for a page."""
    drawn = [patch for patch in record["patches"] if prod(patch["shape"]) <= LARGEST_PATCH]
    left_out = len(drawn) < len(record["patches"])
    small: Answer = _rounded({**record, "patches": drawn, "undrawn": left_out})
    return small


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _hold_update(held: Held, scene: Scene, address: str) -> int:
    """The update of a weight, where its optimizer is known; how many were held."""
    try:
        held.add(f"update {address}", update_answer(scene, scene.open(address)))
    except PellucidError:
        return 0
    return 1


def _hold_projections(held: Held, scene: Scene, addresses: Sequence[str], prediction: Answer) -> None:
    """Projections of the most probable class, then of each layer's strongest number, the last layers first."""
    taken = 0
    for address in [*addresses[:1], *reversed(addresses[1:])]:
        if taken > PROJECTION_BYTES or not address:
            return
        if address not in held.numbers:
            continue
        for method in METHODS:
            try:
                answer = projection_answer(scene, scene.open(address), method, prediction["label"])
            except PellucidError:
                continue
            taken += held.add(f"{method} {address}", answer)
