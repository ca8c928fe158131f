"""TensorBoard events beside our own log, for those who ask (``--tensorboard``, extra ``pellucid[tensorboard]``)."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import UsageError
from pellucid.train.listeners import Epoch, Quiet, Step


class TensorBoardListener(Quiet):
    """Writes scalars of steps and epochs into ``FOLDER/tensorboard``.

    Raises:
        UsageError: where tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError("tensorboard is not installed", fits="pip install 'pellucid[tensorboard]'") from None
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def on_step(self, step: Step) -> None:
        self._write("step/loss", step.loss, step.step)
        self._write("step/learning_rate", step.learning_rate, step.step)

    def on_epoch(self, epoch: Epoch) -> None:
        for name, value in epoch.measures.items():
            self._write(f"epoch/{name}", value, epoch.epoch)

    def on_end(self, reason: str) -> None:
        self._writer.close()

    def _write(self, name: str, value: float, at: int) -> None:
        self._writer.add_scalar(name, value, at)
