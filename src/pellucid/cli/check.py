"""``pellucid check``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: pellucid check photos --html photos.html"


def check(
    where: Annotated[str, typer.Argument(help="A folder, CSV, IDX, CIFAR or NumPy file, archive, or known name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with thumbnails to this file.")] = None,
) -> None:
    """Count classes and sizes; find broken and odd files, duplicates, duplicates across splits, imbalance."""
    from pellucid import data

    found = data.check(where)
    print(found.to_json() if as_json else found.text())
    if html is not None:
        from pellucid.draw import check_page

        html.write_text(check_page(found), "utf-8")
        if not as_json:
            print(f"the page is in {html}")
