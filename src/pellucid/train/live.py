"""``report.html`` kept up to date while a run goes on, so that a killed or failed run leaves one too."""

from __future__ import annotations

import time
from pathlib import Path

from pellucid.draw.report import write_page
from pellucid.train.listeners import Epoch, Quiet
from pellucid.train.record import read_run

_SHARE = 0.01  # of the time of training, at most, goes into the page


class LiveReport(Quiet):
    """Writes the page after epochs; attach it after the log, from which the page is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._not_before = 0.0

    def on_epoch(self, epoch: Epoch) -> None:
        began = time.monotonic()
        if began >= self._not_before:
            self._write()
            ended = time.monotonic()
            self._not_before = ended + (ended - began) / _SHARE

    def on_end(self, reason: str) -> None:
        self._write()

    def _write(self) -> None:
        try:
            write_page(self._folder, read_run(self._folder), None)
        except OSError:
            return  # a page that cannot be written (a full disk) is no reason to end a run; checkpoints speak up
