"""Progress for a person: a bar in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, TextIO

from pellucid.train.listeners import Epoch, Quiet, Start, Step

_REFRESH_SECONDS = 0.1


class Progress(Quiet):
    """Shows the run on ``file`` (standard error by default, so that results can be piped)."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._bar: Any = None
        self._task: Any = None
        self._start = Start(0, 0, 0, 0)
        self._shown = 0.0

    def on_start(self, start: Start) -> None:
        self._start = start
        if start.resumed:
            self.on_message(f"going on after step {start.step}, in epoch {start.epoch + 1} of {start.epochs}")
        if self._file.isatty():
            self._begin_bar()

    def on_step(self, step: Step) -> None:
        now = time.monotonic()
        if self._bar is None or now - self._shown < _REFRESH_SECONDS:
            return
        self._shown = now
        per_epoch = max(1, self._start.steps_per_epoch)
        text = f"epoch {step.epoch + 1}/{self._start.epochs}  loss {step.loss:.3f}"
        self._bar.update(self._task, completed=step.step - step.epoch * per_epoch, description=text)

    def on_epoch(self, epoch: Epoch) -> None:
        self._say(describe(epoch, self._start.epochs))

    def on_message(self, sentence: str) -> None:
        self._say(sentence)

    def on_end(self, reason: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=Console(file=self._file), transient=True)
        self._task = self._bar.add_task("", total=self._start.steps_per_epoch)
        self._bar.start()

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more: the run goes on, and its log has it all
            print(line, file=self._file, flush=True)


def describe(epoch: Epoch, epochs: int) -> str:
    """One line: ``epoch 3/10  train loss 0.512 accuracy 0.8100 | test loss 0.470 accuracy 0.8300 | 9.1 s, ...``."""
    parts = []
    for split in ("train", "validation", "test"):
        own = {name.removeprefix(f"{split}_"): v for name, v in epoch.measures.items() if name.startswith(f"{split}_")}
        if own:
            figures = (f"{name.replace('_', ' ')} {v:.{3 if name == 'loss' else 4}f}" for name, v in own.items())
            parts.append(f"{split} {' '.join(figures)}")
    star = "  *" if epoch.best else ""
    speed = f"{epoch.seconds:.1f} s, {epoch.samples_per_second:,.0f} samples/s"
    return f"epoch {epoch.epoch}/{epochs}  {' | '.join([*parts, speed])}{star}"
