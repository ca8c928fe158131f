"""``log.jsonl``: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


def append(folder: Path, record: dict[str, Any]) -> None:
    """Add a line; it is handed to the system at once, so that a killed process loses none."""
    file = folder / "log.jsonl"
    plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
    line = json.dumps(plain, allow_nan=False) + "\n"
    with file.open("ab+") as out:
        if out.tell() and _last_byte(file) != b"\n":
            out.write(b"\n")  # a line that a crash cut short must not swallow this one
        out.write(line.encode())


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of a run as if it had never stopped.

    A ``{"kind": "resume", "step": S}`` line takes back what was written of later steps, and the end of a run that goes
    on; a ``start`` line takes back everything. A line that a crash cut short is passed over.
    """
    try:
        lines = (folder / "log.jsonl").read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict):
            continue
        if record.get("kind") == "start":
            records = []
        if record.get("kind") == "resume":
            records = [r for r in records if r.get("step", 0) <= record["step"] and r.get("kind") != "end"]
        records.append(record)
    return records


def _last_byte(file: Path) -> bytes:
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1)
