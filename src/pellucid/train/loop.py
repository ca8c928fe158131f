"""The training loop: batch, forward, loss, backward, step. Everything else is a listener or happens between steps.

What the loop computes is a function of the settings, the data and the step: batches are keyed by (seed, epoch, step),
the network's own randomness (dropout) is seeded at each step from (seed, step), the learning rate is a function of the
step. So the state to save is small: weights, optimizer, the running average, and the sums of ``Position``.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid.errors import DivergedError
from pellucid.train import checkpoint, optimizers, schedules
from pellucid.train.ema import Average
from pellucid.train.execution import Execution
from pellucid.train.inputs import mixed_seed
from pellucid.train.listeners import Epoch, Listener, Start, Step
from pellucid.train.settings import Settings
from pellucid.train.task import Batches


@dataclass
class Position:
    """Where a run stands: what is saved beside the weights. Python's floats survive JSON to the bit."""

    step: int = 0  # steps of the optimizer that are done
    epoch: int = 0  # epochs that are done
    batch: int = 0  # batches of the current epoch that are done
    loss_sum: float = 0.0
    right: float = 0.0  # the sum of the training score
    seen: int = 0  # pictures
    counted: int = 0  # what the two sums are over: pictures, or pixels, or tokens
    best: list[float] | None = None  # validation score (minus it, where less is better), and minus the loss
    best_epoch: int = 0
    best_step: int = 0
    ended: str = ""


@dataclass(frozen=True)
class Pending:
    """What a batch left on the device and nobody has read yet: reading it at once would make an accelerator wait."""

    step: int  # from 1
    loss: Tensor
    right: Tensor
    count: int
    seen: int
    indices: Any


_READ_EVERY = 20  # batches, at most, between looks at the loss on an accelerator
Measure = Callable[[], dict[str, float]]  # loss and score of the split that is measured after each epoch


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """How many are right: the sum of a classifier's score over a batch."""
    return (outputs.argmax(1) == labels).sum()


def learn(net: nn.Module, freeze: bool) -> None:
    """Training mode; but layers that are frozen whole keep their running statistics as well."""
    net.train()
    if freeze:
        for layer in net.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                layer.train(False)


@dataclass
class Loop:
    """One run of training."""

    net: nn.Module
    batches: Batches
    optimizer: Optimizer
    loss: nn.Module
    settings: Settings
    execution: Execution
    average: Average | None = None
    right: Callable[[Tensor, Tensor], Tensor] = accuracy  # (outputs, labels) -> the sum of the training score
    train_score: str = "accuracy"  # its name
    score: str = "accuracy"  # the name of the score that chooses the best epoch
    lower_is_better: bool = False
    measure: Measure | None = None
    chooses: bool = False  # whether the measured split may choose the best epoch (validation may, test may not)
    listeners: Sequence[Listener] = ()
    checkpoints: Path | None = None
    keep_best: Callable[[], None] | None = None
    name_batch: Callable[[Any], list[str]] | None = None  # indices of a batch -> names of its pictures
    stop: Callable[[], str] = lambda: ""  # why to stop after this step, if at all
    resumed: bool = False
    best: dict[str, Tensor] = field(default_factory=dict)  # the best weights, where there is no folder to keep them

    def __post_init__(self) -> None:
        self.position = Position()
        self._base = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._saved_at, self._saving_takes = time.monotonic(), 0.0
        self._last_good: Path | None = None
        self._pending: deque[Pending] = deque()
        self._last_loss = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return math.ceil(len(self.batches) / self.settings.accumulate)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.settings.epochs

    def run(self) -> str:
        """Train to the end; returns how it ended: ``finished``, ``stopped early``, or what ``stop`` gave."""
        position = self.position
        if position.ended:  # a finished run that is resumed: nothing is left to do
            self._tell("on_end", position.ended)
            return position.ended
        start = Start(position.step, position.epoch, self.settings.epochs, self.steps_per_epoch, self.resumed)
        self._tell("on_start", start)
        try:
            reason = self._epochs()
        except BaseException as error:
            with contextlib.suppress(OSError):  # where the disk is full, the log cannot be written either
                self._tell("on_end", f"failed: {type(error).__name__}")
            raise
        self._tell("on_end", reason)
        return reason

    def _epochs(self) -> str:
        """All epochs that are left, and the last checkpoint; or a reason to end before."""
        position = self.position
        while not position.ended and position.epoch < self.settings.epochs:
            interrupted = self._epoch()
            if interrupted:
                return interrupted
        position.ended = position.ended or "finished"
        self.save()
        return position.ended

    def _epoch(self) -> str:
        """One epoch, or what is left of it; a reason where ``stop`` ends the run in its midst."""
        position, began, first = self.position, time.perf_counter(), self.position.seen
        learn(self.net, self.settings.freeze)
        batches = self.batches.epoch(position.epoch, position.batch)
        while group := list(islice(batches, self.settings.accumulate)):
            self._step(group)
            reason = self.stop()
            if reason or (self._is_due() and position.batch < len(self.batches)):
                self.save()
            if reason:
                return reason
        self._read_losses()
        seconds = time.perf_counter() - began
        self._end_of_epoch(seconds, position.seen - first)
        return ""

    def _step(self, group: list[Any]) -> None:
        """Forward, loss, backward for each batch of the group; then one step."""
        position, settings = self.position, self.settings
        share = schedules.factor(settings.schedule, position.step, self.total_steps, settings.warmup)
        for params, base in zip(self.optimizer.param_groups, self._base, strict=True):
            params["lr"] = base * share
        self.execution.seed(mixed_seed(settings.seed, position.step))
        count = sum(batch.count for batch in group)
        for batch in group:
            targets = batch.targets.to(self.execution.device)
            with self.execution.precision():
                outputs = self.execution.run(self.net, batch)
                loss = self.loss(outputs, targets)
            right = self.right(outputs.detach(), batch.labels.to(self.execution.device))
            indices = getattr(batch, "indices", None)
            self._pending.append(Pending(position.step + 1, loss.detach(), right, batch.count, len(batch), indices))
            if self.execution.device.type == "cpu":
                self._read_losses()
            (loss if len(group) == 1 else loss * (batch.count / count)).backward()
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(position.step)
        position.step += 1
        position.batch += len(group)
        if position.step % settings.log_steps == 0 or len(self._pending) >= _READ_EVERY:
            self._read_losses()
        self._tell("on_step", Step(position.step, position.epoch, self._last_loss, self._base[0] * share))

    def _read_losses(self) -> None:
        """Add up what the last batches left, in their order, and refuse a loss that is no number."""
        if not self._pending:
            return
        batches = list(self._pending)
        self._pending.clear()
        for batch, loss, right in zip(batches, *numbers(batches), strict=True):
            if not math.isfinite(loss):
                raise self._diverged(batch, loss)
            self.position.loss_sum += loss * batch.count
            self.position.right += right
            self.position.counted += batch.count
            self.position.seen += batch.seen
            self._last_loss = loss

    def _diverged(self, batch: Pending, loss: float) -> DivergedError:
        names = self.name_batch(batch.indices) if self.name_batch is not None and batch.indices is not None else []
        facts = {"pictures": ", ".join(names)} if names else {}
        return DivergedError(
            f"the loss became {loss} in step {batch.step} (epoch {self.position.epoch + 1})",
            **facts,
            last_good=self._last_good or "no checkpoint yet",
            fits="a lower learning rate (--set learning_rate=...), or clip_norm=1",
        )

    def _end_of_epoch(self, seconds: float, seen: int) -> None:
        position = self.position
        counted = max(1, position.counted)
        measures = {"train_loss": position.loss_sum / counted, f"train_{self.train_score}": position.right / counted}
        if self.measure is not None:
            if self.average is None:
                measures |= self.measure()
            else:
                with self.average.applied():
                    measures |= self.measure()
        position.epoch += 1
        position.batch = position.seen = position.counted = 0
        position.loss_sum = position.right = 0.0
        better = self._is_better(measures)
        rate = float(self.optimizer.param_groups[0]["lr"])
        record = Epoch(position.epoch, position.step, rate, seconds, seen / max(seconds, 1e-9), measures, better)
        self._tell("on_epoch", record)
        patience = self.settings.early_stop
        if patience is not None and self.chooses and position.epoch - position.best_epoch >= patience:
            position.ended = "stopped early"
        if position.epoch < self.settings.epochs and not position.ended:
            self.save()

    def _is_better(self, measures: dict[str, float]) -> bool:
        """Whether these are the weights to keep: the best on validation, or simply the last where there is none."""
        value = None
        if self.chooses:
            score = measures[f"validation_{self.score}"]
            value = [-score if self.lower_is_better else score, -measures["validation_loss"]]
        best = self.position.best
        if value is not None and best is not None and not value > best:
            return False
        self.position.best = value
        self.position.best_epoch, self.position.best_step = self.position.epoch, self.position.step
        if self.keep_best is not None:
            self._refuse_nonfinite()
            if self.average is None:
                self.keep_best()
            else:
                with self.average.applied():
                    self.keep_best()
        return value is not None

    def _is_due(self) -> bool:
        every = self.settings.checkpoint_steps
        if every is not None and self.position.step % every == 0:
            return True
        # Saving a large network takes long: no more than a twentieth of the time goes into it.
        return time.monotonic() - self._saved_at >= max(self.settings.checkpoint_seconds, 20 * self._saving_takes)

    def save(self) -> None:
        """Write a checkpoint, where there is a folder for them."""
        self._read_losses()
        if self.checkpoints is None:
            return
        began = time.monotonic()
        self._refuse_nonfinite()
        tensors, numbers = optimizers.state_of(self.optimizer)
        kept = {f"optimizer.{name}": value for name, value in tensors.items()}
        if self.average is not None:
            kept |= {f"average.{name}": value for name, value in self.average.tensors.items()}
        state = {
            "position": asdict(self.position),
            "optimizer": numbers,
            "base_rates": self._base,
            "channels_last": self.execution.channels_last,
            "engine": self.execution.engine.state(),
        }
        step, keep = self.position.step, {self.position.best_step}
        self._last_good = checkpoint.write(self.checkpoints, step, all_tensors(self.net), kept, state, keep)
        self._saved_at = time.monotonic()
        self._saving_takes = self._saved_at - began
        self._tell("on_checkpoint", self._last_good)

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to a checkpoint."""
        load_all_tensors(self.net, saved.model)
        parts: dict[str, dict[str, Tensor]] = {"optimizer": {}, "average": {}}
        for name, value in saved.optimizer.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        optimizers.restore(self.optimizer, parts["optimizer"], saved.state["optimizer"])
        if self.average is not None:
            self.average.load(parts["average"])
        self.resumed = True
        position = saved.state["position"]
        self.position = Position(**{"counted": position["seen"], **position})  # older ones counted pictures alone
        self._base = list(saved.state["base_rates"])
        if self.checkpoints is not None:
            self._last_good = checkpoint.path_of(self.checkpoints, saved.step)

    def _refuse_nonfinite(self) -> None:
        if not checkpoint.all_finite(all_tensors(self.net)):
            raise DivergedError(
                f"a weight became NaN or infinite by step {self.position.step}; such weights are never saved",
                last_good=self._last_good or "no checkpoint yet",
                fits="a lower learning rate (--set learning_rate=...), or clip_norm=1",
            )

    def _tell(self, event: str, about: Any) -> None:
        for listener in self.listeners:
            getattr(listener, event)(about)


def numbers(batches: Sequence[Pending]) -> tuple[list[float], list[float]]:
    """Their losses and scores; those of several batches come from the device together."""
    if len(batches) == 1:
        return [batches[0].loss.item()], [batches[0].right.item()]
    read = torch.stack([torch.stack((batch.loss.double(), batch.right.double())) for batch in batches], dim=1)
    losses, rights = read.tolist()
    return losses, rights


def all_tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those buffers too that ``state_dict`` leaves out."""
    return {**dict(net.named_buffers()), **dict(net.named_parameters()), **net.state_dict()}


@torch.no_grad()
def load_all_tensors(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy saved tensors into the network, in place."""
    for name, value in all_tensors(net).items():
        value.copy_(tensors[name])
