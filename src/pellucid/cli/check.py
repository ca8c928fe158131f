"""``pellucid check``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.errors import UsageError

EXAMPLES = "Example: pellucid check photos --html photos.html"


def check(
    where: Annotated[str, typer.Argument(help="A folder, CSV, IDX, CIFAR or NumPy file, archive, or known name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with thumbnails to this file.")] = None,
) -> None:
    """Count classes and sizes; find broken and odd files, duplicates, duplicates across splits, imbalance.

    Data of another task than classification are read as training would read them, and counted.
    """
    from pellucid import data
    from pellucid.train import tasks

    task = tasks.recognised(where)
    if task.name != "classification":
        if html is not None:
            raise UsageError(f"a page of thumbnails is for pictures with one label each; {where} holds {task.things}")
        record = _counted(task, where)
        print(json.dumps(record, ensure_ascii=False, indent=1) if as_json else _text(record))
        return
    found = data.check(where)
    print(found.to_json() if as_json else found.text())
    if html is not None:
        from pellucid.draw import check_page

        html.write_text(check_page(found), "utf-8")
        if not as_json:
            print(f"the page is in {html}")


def _counted(task: Any, where: str) -> dict[str, Any]:
    from pellucid.train import Settings

    loaded = task.load(where, Settings())
    return {
        "data": where,
        "task": task.name,
        "things": task.things,
        "splits": {name: len(split) for name, split in loaded.splits.items()},
        "classes": list(loaded.classes),
        "notes": list(loaded.notes),
    }


def _text(record: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in record["splits"].items())
    classes = [f"classes: {', '.join(record['classes'])}"] if record["classes"] else []
    head = f"{record['data']}: data for {record['task']}, {record['things']}: {counts}"
    return "\n".join([head, *classes, *record["notes"]])
