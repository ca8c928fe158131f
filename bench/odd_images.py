"""Decode odd and broken picture files, each in a process of its own, and count what comes of it.

    python bench/odd_images.py odd_images.zip --flips 100 --json odd_images.json

Claim: every file of the corpus is decoded or refused with a reason, none crashes, hangs or takes memory beyond its
pixels; where Pillow decodes to grey or colour, the pixels are Pillow's, bit for bit. The corpus is a zip of files and
a ``manifest.json`` that tells for each what Pillow makes of it (format, mode, size, SHA-256 of the first frame's RGB
bytes, upright). With ``--flips N`` each file is also damaged N times (bits flipped, cut short, parts repeated or
blanked) and decoded twice, with simplejpeg and without it: both must refuse, or give the same pixels.

A child is forked for each file, with a limit of time and of memory, so a crash in native code is seen and not shared.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import random
import resource
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from pellucid.data.decode import decode
from pellucid.errors import DecodeError

SECONDS = 20.0  # for one file
MEMORY_BYTES = 2 << 30  # of one child's addresses
FORMAT_NOT_READ = "a format that is not read"
_FORK = multiprocessing.get_context("fork")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="the zip with manifest.json")
    parser.add_argument("--flips", type=int, default=0, help="damaged copies of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args()
    corpus = list(read_corpus(asked.corpus))
    files = [in_child(look, encoded, entry) for entry, encoded in corpus]
    result = {
        "what": "odd and broken picture files: decoded, refused with a reason, or worse",
        "versions": {name: _version(name) for name in ("Pillow", "simplejpeg", "numpy")},
        "limits": {"seconds": SECONDS, "memory_bytes": MEMORY_BYTES},
        "corpus": summary(corpus, files),
    }
    if asked.flips:
        damaged = [in_child(look_at_damaged, encoded, entry, asked.flips, asked.seed) for entry, encoded in corpus]
        result["damaged"] = summary_of_damaged(corpus, damaged, asked)
    text = json.dumps(result, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")
    parts: list[Any] = [result["corpus"], result.get("damaged", {})]
    return 1 if any(part[bad] for part in parts for bad in BAD & set(part)) else 0


BAD = {"crashes", "mismatches", "refused_though_pillow_decodes", "decoded_though_pillow_refuses", "differ"}


def read_corpus(file: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """(what the manifest says, the file), for each file of the corpus."""
    with zipfile.ZipFile(file) as packed:
        root = next(name for name in packed.namelist() if name.endswith("manifest.json")).removesuffix("manifest.json")
        for entry in json.loads(packed.read(f"{root}manifest.json"))["files"]:
            encoded = packed.read(root + entry["name"])
            if hashlib.sha256(encoded).hexdigest() != entry["sha256"]:
                raise ValueError(f"{entry['name']} is not the file of the manifest")
            yield entry, encoded


def in_child(task: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What the task returns in a forked process, with the most memory that it took; {"crash": why} where it died."""
    receive, send = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_child, args=(send, task, arguments))
    child.start()
    send.close()
    try:
        if not receive.poll(SECONDS * (arguments[2] if len(arguments) > 2 else 1)):
            child.kill()
            return {"crash": f"not done after {SECONDS:g} s"}
        return receive.recv()  # type: ignore[no-any-return]
    except EOFError:
        child.join()
        return {"crash": f"the process died of {-(child.exitcode or 0)} (a signal) or left with {child.exitcode}"}
    finally:
        child.join()
        receive.close()


def _child(send: Any, task: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes of every fault that it finds
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    started = time.perf_counter()
    try:
        result = task(*arguments)
    except BaseException as error:  # whatever is no DecodeError is a fault of the decoder
        result = {"crash": repr(error)}
    result["seconds"] = round(time.perf_counter() - started, 4)
    result["memory_bytes"] = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    send.send(result)
    send.close()


def look(encoded: bytes, entry: dict[str, Any]) -> dict[str, Any]:
    """Decode one file and hold it against the manifest."""
    try:
        pixels = decode(encoded, name=entry["name"])
    except DecodeError as error:
        return {"refused": str(error)}
    said = entry["pillow"]
    result: dict[str, Any] = {"shape": pixels.shape}
    if said["decodes"] and tuple(said["size_upright"]) != (pixels.shape[1], pixels.shape[0]):
        result["mismatch"] = f"{pixels.shape[1]} x {pixels.shape[0]} in place of {said['size_upright']}"
    if "rgb_sha256" in said:
        result["compared"] = True
        if hashlib.sha256(pixels.tobytes()).hexdigest() != said["rgb_sha256"]:
            result["mismatch"] = "other pixels than Pillow's"
    return result


def look_at_damaged(encoded: bytes, entry: dict[str, Any], count: int, seed: int) -> dict[str, Any]:
    """Decode damaged copies, with simplejpeg and without."""
    chance = random.Random(f"{seed} {entry['name']}")
    found: Counter[str] = Counter()
    differ = []
    for number in range(count):
        bad = damage(encoded, chance)
        fast = _outcome(bad)
        with mock.patch.dict(sys.modules, {"simplejpeg": None}):
            plain = _outcome(bad)
        found["decoded" if isinstance(fast, np.ndarray) else "refused"] += 1
        if not np.array_equal(fast, plain):
            differ.append(f"{entry['name']}, copy {number}")
    return {**found, "differ": differ}


def _outcome(encoded: bytes) -> NDArray[np.uint8] | str:
    try:
        return decode(encoded, max_pixels=4_000_000)
    except DecodeError as error:
        return str(error)


def damage(encoded: bytes, chance: random.Random) -> bytes:
    """One kind of damage: a few bits flipped (early ones more often), cut short, a part blanked or repeated."""
    bad = bytearray(encoded)
    size = max(1, len(bad))
    kind = chance.choice(("bits", "bits", "head", "cut", "blank", "repeat"))
    if not bad:
        return encoded
    if kind in ("bits", "head"):
        for _ in range(chance.choice((1, 1, 2, 8))):
            bad[chance.randrange(min(size, 200) if kind == "head" else size)] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del bad[chance.randrange(size) :]
    else:
        first = chance.randrange(size)
        last = min(size, first + chance.choice((1, 4, 64, 1024)))
        bad[first:last] = bytes(last - first) if kind == "blank" else bad[first:last] * 2
    return bytes(bad)


def summary(corpus: list[tuple[dict[str, Any], bytes]], files: list[dict[str, Any]]) -> dict[str, Any]:
    names = [entry["name"] for entry, _ in corpus]
    says = [bool(entry["pillow"]["decodes"]) for entry, _ in corpus]
    together = list(zip(names, says, files, strict=True))
    most_s = max(together, key=lambda row: row[2].get("seconds", 0.0))
    most_b = max(together, key=lambda row: row[2].get("memory_bytes", 0))
    return {
        "files": len(files),
        "decoded": sum("shape" in one for one in files),
        "refused": sum("refused" in one for one in files),
        "pixels_compared": sum("compared" in one for one in files),
        "mismatches": [f"{name}: {one['mismatch']}" for name, _, one in together if "mismatch" in one],
        "formats_not_read": [name for name, _, one in together if FORMAT_NOT_READ in one.get("refused", "")],
        "refused_though_pillow_decodes": [
            f"{name}: {one['refused']}"
            for name, yes, one in together
            if yes and "refused" in one and FORMAT_NOT_READ not in one["refused"]
        ],
        "decoded_though_pillow_refuses": [name for name, yes, one in together if not yes and "shape" in one],
        "crashes": [f"{name}: {one['crash']}" for name, _, one in together if "crash" in one],
        "longest_s": [most_s[2].get("seconds"), most_s[0]],
        "most_memory_bytes": [most_b[2].get("memory_bytes"), most_b[0]],
    }


def summary_of_damaged(
    corpus: list[tuple[dict[str, Any], bytes]], damaged: list[dict[str, Any]], asked: argparse.Namespace
) -> dict[str, Any]:
    names = [entry["name"] for entry, _ in corpus]
    return {
        "files": asked.flips * len(corpus),
        "seed": asked.seed,
        "decoded": sum(one.get("decoded", 0) for one in damaged),
        "refused": sum(one.get("refused", 0) for one in damaged),
        "differ": [name for one in damaged for name in one.get("differ", [])],
        "crashes": [f"{name}: {one['crash']}" for name, one in zip(names, damaged, strict=True) if "crash" in one],
        "most_memory_bytes": max(one.get("memory_bytes", 0) for one in damaged),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
