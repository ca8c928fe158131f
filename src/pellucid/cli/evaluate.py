"""``pellucid evaluate``: measure a trained network on data."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: pellucid evaluate runs/2026-11-24-1015-lenet fashion-mnist"


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, its best/ folder, or a saved model.")],
    where: Annotated[str, typer.Argument(help="A folder of pictures, a file of them, or a known name.")],
    split: Annotated[str, typer.Option(help="test, validation, train, or all.")] = "test",
    engine: Annotated[str | None, typer.Option(help="auto, lanes or torch; else that of its training.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measures as JSON.")] = False,
) -> None:
    """Measure a trained network: accuracy, loss, precision and recall of each class, calibration."""
    from pellucid.train import Model

    model = Model.load(run)
    if engine is not None:
        model.settings = model.settings.with_values(engine=engine)
        model.forget_engine()
    measured = model.evaluate(where, split=split)
    if model.engine is not None:
        print(model.engine, file=sys.stderr)
    print(json.dumps(measured.to_json(), ensure_ascii=False, indent=2) if as_json else measured.text())
