"""``pellucid.summary``: the table of a network. It joins the graph's account with the drawing of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from torch import Tensor, nn

from pellucid.draw import table_html, table_rich, table_text
from pellucid.draw.page import page
from pellucid.errors import CaptureError, ShapeError
from pellucid.graph import Account, capture, example_inputs, misfit
from pellucid.graph.capture import EXAMPLE_BATCH, Sizes


@dataclass(frozen=True)
class Summary:
    """A network's table: ``str()`` is plain text, a notebook shows HTML, ``account`` holds the numbers."""

    name: str
    account: Account

    def __str__(self) -> str:
        return table_text(self.name, self.account)

    def __repr__(self) -> str:
        return f"Summary({self.name}, {self.account.parameters:,} parameters)"

    def _repr_html_(self) -> str:
        return table_html(self.name, self.account)

    def page(self) -> str:
        """The table as a page of its own."""
        return page(self.name, table_html(self.name, self.account))

    def print(self, file: TextIO | None = None) -> None:
        """In colour in a terminal, plain elsewhere."""
        out = file or sys.stdout
        if out.isatty():
            table_rich(self.name, self.account, out)
        else:
            print(self, file=out)


def summary(
    module: nn.Module,
    input_size: Sizes | None = None,
    *,
    inputs: Sequence[Tensor] | None = None,
    batch: int = 1,
    training: bool = False,
    show: bool = True,
) -> Summary:
    """Print and return the table of a network: shapes, parameters, multiply-accumulates, memory, receptive fields.

    Args:
        module: any ``nn.Module``; it is left as it was.
        input_size: of one picture, (C, H, W); a list of sizes for several inputs. Left out, it is what the network
            itself gives by ``example_inputs(batch)`` (those that read words or series do), else (3, 224, 224).
        inputs: example tensors instead, for inputs that are no float32.
        batch: pictures at a time, for shapes, multiply-accumulates and memory.
        training: the mode to count; evaluation by default.
        show: whether to print; a notebook shows the returned object itself.

    Raises:
        ShapeError: where layers do not fit together, after the rows up to there have been printed: which layer, both
            shapes, the arithmetic, and what would fit.
        CaptureError: where the module cannot be captured.
    """
    name = type(module).__name__
    own: Any = getattr(module, "example_inputs", None)
    if input_size is None and inputs is None and own is not None:
        inputs = own(EXAMPLE_BATCH)
    input_size = input_size or (3, 224, 224)
    try:
        made = Summary(name, capture(module, input_size, inputs=inputs, training=training).account(batch))
    except (ShapeError, CaptureError) as error:
        examples = tuple(inputs) if inputs is not None else example_inputs(module, input_size)
        if isinstance(error, CaptureError) and not isinstance(error.__cause__, RuntimeError | ValueError | TypeError):
            raise
        rows, explained = misfit(module, examples, training)
        if show:
            Summary(name, rows).print()
        raise explained from error
    if show and not _in_notebook():
        made.print()
    return made


def _in_notebook() -> bool:
    kernel = sys.modules.get("ipykernel")
    return kernel is not None
