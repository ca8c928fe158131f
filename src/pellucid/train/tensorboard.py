"""TensorBoard events beside our own log, for those who ask (``--tensorboard``, extra ``pellucid[tensorboard]``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import UsageError
from pellucid.train.listeners import Epoch, Quiet, Start, Step
from pellucid.train.task import Measured


def require() -> None:
    """Check before anything is made.

    Raises:
        UsageError: where tensorboard is not installed.
    """
    try:
        there = importlib.util.find_spec("tensorboard") is not None
    except ValueError:  # a module without a specification
        there = False
    if not there:
        raise UsageError("tensorboard is not installed", fits="pip install 'pellucid[tensorboard]'")


class TensorBoardListener(Quiet):
    """Writes scalars of steps and epochs into ``FOLDER/tensorboard``.

    Raises:
        UsageError: where tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        require()
        self._folder = folder
        self._writer: Any = None

    def on_start(self, start: Start) -> None:
        # what a killed process wrote of steps that are now taken again is not shown
        self._writer = _writer(self._folder, purge_step=start.step + 1 if start.resumed else None)

    def on_step(self, step: Step) -> None:
        self._write("step/loss", step.loss, step.step)
        self._write("step/learning_rate", step.learning_rate, step.step)

    def on_epoch(self, epoch: Epoch) -> None:
        for name, value in epoch.measures.items():
            self._write(f"epoch/{name}", value, epoch.step)
        self._write("epoch/samples_per_second", epoch.samples_per_second, epoch.step)
        self._writer.flush()

    def on_end(self, reason: str) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write(self, name: str, value: float, at: int) -> None:
        self._writer.add_scalar(name, value, at)


def add_measured(folder: Path, split: str, measured: Measured, step: int) -> None:
    """Add what was measured at the end, and ``confusion.png`` where the report drew it, to a run's events."""
    with _writer(folder) as writer:
        for name, value in measured.to_json().items():
            if isinstance(value, int | float) and name != "n":
                writer.add_scalar(f"{split}/{name}", value, step)
        if (folder / "confusion.png").is_file():
            from PIL import Image

            with Image.open(folder / "confusion.png") as picture:
                writer.add_image("confusion", np.asarray(picture.convert("RGB")), step, dataformats="HWC")


def _writer(folder: Path, **options: Any) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), **options)
