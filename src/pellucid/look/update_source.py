"""The optimizer whose step is opened: that of a ``Model``, or that of a run as its last good checkpoint left it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid import nets
from pellucid.errors import CheckpointError, UsageError
from pellucid.train import Model, Settings, optimizers, read_log, schedules
from pellucid.train import checkpoint as checkpoints
from pellucid.train.loop import all_tensors
from pellucid.train.runfolder import read_config

_RATE = 0.01  # of a network that has no settings of its own: what ``fit`` takes where no recipe chose one


@dataclass(frozen=True)
class RunState:
    """Where a run stands: everything that resuming would begin with.

    ``weights`` are the parameters and buffers after ``step`` steps. They are those of the last step, not those of the
    best epoch and not the running average, which ``best/`` holds: an update is that of resuming where the network has
    these weights (``pellucid.train.loop.load_all_tensors`` puts them in). ``optimizer_tensors`` and
    ``optimizer_plain`` are what ``optimizers.restore`` takes. ``learning_rates`` are those of the next step, one a
    parameter group. ``total_steps`` is None where the length of an epoch is not known yet. ``ended`` says how a run
    ended that has no next step: its rate is then that of its last.
    """

    weights: dict[str, Tensor]
    optimizer_tensors: dict[str, Tensor]
    optimizer_plain: dict[str, Any]
    step: int
    epoch: int
    learning_rates: tuple[float, ...]
    settings: Settings
    total_steps: int | None
    ended: str

    @property
    def learning_rate_now(self) -> float:
        """The learning rate of the next step, of the first parameter group."""
        return self.learning_rates[0]


def optimizer_of(source: Model | str | Path | RunState, net: nn.Module) -> Optimizer | None:
    """The optimizer that would take the next step of ``net``, ready for ``open_update``.

    Of a ``Model``: the optimizer that ``compile`` was given; else one made from its settings, as ``fit`` would begin
    with, at the learning rate of the first step where that is known without the data, and the highest of the schedule
    where it is not. Of a run (its folder, or what ``state_of_run`` read): the one that resuming would go on with, with
    its state and the learning rate of the next step. The net's weights stay as they are, and nothing is written.

    Returns:
        None for a folder from which no run can go on: one that ``Model.save`` wrote, or without checkpoints.

    Raises:
        UsageError: where the model's own optimizer is for another network.
        CheckpointError: where no checkpoint is good, or it is that of another network or another optimizer.
    """
    if isinstance(source, Model):
        return _of_model(source, net)
    if isinstance(source, RunState):
        return _of_run(source, net)
    folder = Path(source)
    if not (folder / "config.yaml").is_file() or not checkpoints.folders(folder / "checkpoints"):
        return None
    return _of_run(state_of_run(folder), net)


def state_of_run(folder: str | Path, *, steps_per_epoch: int | None = None) -> RunState:
    """What the last good checkpoint of a run holds; nothing in the folder is changed.

    Args:
        folder: the run folder.
        steps_per_epoch: where it is known. Else it is read off the epochs that are done; before the first is done, the
            next step's rate is taken to be that of the last, unless the schedule is constant.

    Raises:
        CheckpointError: where the folder is no run, or has no good checkpoint.
    """
    path = Path(folder)
    settings = Settings.parse(read_config(path)["settings"])
    saved, damaged = checkpoints.latest_good(path / "checkpoints")
    if saved is None:
        reasons = {"damaged": "; ".join(error.message for error in damaged)} if damaged else {}
        raise CheckpointError(f"no checkpoint in {path} is good" if damaged else f"{path} has no checkpoint", **reasons)
    position = saved.state["position"]
    epoch_steps = steps_per_epoch or _steps_per_epoch(path, position, settings)
    total = epoch_steps * settings.epochs if epoch_steps is not None else None
    before = [float(group["lr"]) for group in saved.state["optimizer"]["groups"]]
    share = _share(settings, saved.step, total)
    base = saved.state["base_rates"]
    prefix = "optimizer."
    return RunState(
        weights=saved.model,
        optimizer_tensors={n.removeprefix(prefix): t for n, t in saved.optimizer.items() if n.startswith(prefix)},
        optimizer_plain=saved.state["optimizer"],
        step=saved.step,
        epoch=position["epoch"],
        learning_rates=tuple(before if share is None else (rate * share for rate in base)),
        settings=settings,
        total_steps=total,
        ended=position["ended"],
    )


def _of_model(model: Model, net: nn.Module) -> Optimizer:
    settings, own = model.settings, model.optimizer
    if own is not None:
        held = {id(parameter) for group in own.param_groups for parameter in group["params"]}
        if not any(id(parameter) in held for parameter in net.parameters()):
            raise UsageError(
                f"the {type(own).__name__} that the model was compiled with holds no parameter of this network",
                fits="an optimizer made for the network's parameters",
            )
        return own
    rate = settings.learning_rate or _RATE
    share = _share(settings, 0, _total_of_history(model))
    return _made(settings, _learning(settings, net), rate if share is None else rate * share)


def _of_run(run: RunState, net: nn.Module) -> Optimizer:
    _check_net(run, net)
    optimizer = _made(run.settings, _learning(run.settings, net), run.settings.learning_rate or _RATE)
    _check_groups(optimizer, run)
    own = {name: value.clone() for name, value in run.optimizer_tensors.items()}  # the record stays what it is
    optimizers.restore(optimizer, own, run.optimizer_plain)
    for group, rate in zip(optimizer.param_groups, run.learning_rates, strict=True):
        group["lr"] = rate
    return optimizer


def _made(settings: Settings, net: nn.Module, rate: float) -> Optimizer:
    """As ``fit`` makes it."""
    return optimizers.make(
        settings.optimizer,
        net,
        learning_rate=rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay or 0.0,
    )


def _learning(settings: Settings, net: nn.Module) -> nn.Module:
    """The parameters that the run trains, in the order of its optimizer: the network's, or those of the head alone."""
    if not settings.freeze:
        return net
    names = nets.freeze_all_but_head(copy.deepcopy(net))  # freezing changes a network: a copy of it
    own = dict(net.named_parameters())
    return nn.ParameterList([own[name] for name in names])


def _share(settings: Settings, step: int, total: int | None) -> float | None:
    """The schedule's factor for the step after ``step`` steps; None where it depends on a length that is not known.

    After the last step there is no next: the factor stays that of the last.
    """
    if total is not None:
        return schedules.factor(settings.schedule, min(step, total - 1), total, settings.warmup)
    if settings.schedule == "constant" and not settings.warmup:
        return 1.0
    if settings.schedule == "one_cycle" and step == 0 and settings.warmup:
        many = math.ceil(100 / settings.warmup)  # one cycle begins at the same share, however long
        return schedules.factor(settings.schedule, 0, many, settings.warmup)
    return None


def _steps_per_epoch(folder: Path, position: Mapping[str, Any], settings: Settings) -> int | None:
    """Steps of the optimizer in an epoch, from the epochs that are done."""
    if position["epoch"]:
        under_way = math.ceil(position["batch"] / settings.accumulate)
        return int(position["step"] - under_way) // int(position["epoch"])
    for record in read_log(folder):  # a newer checkpoint that is damaged, or a crash before it, leaves later epochs
        if record.get("kind") == "epoch":
            return int(record["step"]) // int(record["epoch"])
    return None


def _total_of_history(model: Model) -> int | None:
    """The steps of another fit like the last."""
    done = model.history.epochs if model.history is not None else []
    return int(done[-1]["step"]) // int(done[-1]["epoch"]) * model.settings.epochs if done else None


def _check_net(run: RunState, net: nn.Module) -> None:
    here = all_tensors(net)
    for name in sorted(set(here) | set(run.weights)):
        mine, theirs = here.get(name), run.weights.get(name)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            found = "missing" if theirs is None else tuple(theirs.shape)
            wanted = "missing" if mine is None else tuple(mine.shape)
            raise CheckpointError(
                f"the run trained another network: {name} is {found} in its checkpoint and {wanted} in the network"
            )


def _check_groups(optimizer: Optimizer, run: RunState) -> None:
    """Raises CheckpointError where the state is that of another optimizer: one that was given as an object."""
    mine, theirs = optimizers.state_of(optimizer)[1]["groups"], run.optimizer_plain["groups"]
    alike = [(set(group), len(group["params"]), group.get("decoupled_weight_decay")) for group in mine] == [
        (set(group), len(group["params"]), group.get("decoupled_weight_decay")) for group in theirs
    ]
    if not alike:
        raise CheckpointError(
            f"the run's checkpoint holds the state of another optimizer than {run.settings.optimizer} of its settings,"
            " or of other parameters",
            fits="open_update(optimizer, ...) with the optimizer that the run was given, its state put back",
        )
