"""The optimizer of a model or a run: the update that is opened is the step that resuming then takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pellucid.data import Data
from pellucid.errors import CheckpointError, UsageError
from pellucid.look.update import open_update
from pellucid.look.update_source import RunState, optimizer_of, state_of_run
from pellucid.train import Model, Quiet, Step, read_log
from pellucid.train.loop import load_all_tensors
from tests.train.conftest import CLASSES, PLAIN, pictures, tiny

SETTINGS: dict[str, Any] = {
    **PLAIN,
    "epochs": 3,
    "accumulate": 2,
    "ema": 0.8,
    "clip_norm": 0.5,
    "weight_decay": 0.03,
    "schedule": "cosine",
    "warmup": 0.2,
    "log_steps": 1,
    "checkpoint_steps": 1,
}  # three steps an epoch, nine in all


class Stop(Exception):
    """Ends a run as a crash would."""


class StopAfter(Quiet):
    """Fails once the checkpoint of a step is written."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_checkpoint(self, folder: Path) -> None:
        if int(folder.name) == self.step:
            raise Stop


class Rates(Quiet):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step(self, step: Step) -> None:
        self.seen.append(step.learning_rate)


def data() -> Data:
    return Data.from_arrays(*pictures(60, 1), CLASSES, validation=pictures(30, 2))


def stopped(folder: Path, step: int, net: nn.Module | None = None, **settings: Any) -> Path:
    """A run that failed after a step."""
    model = Model(net if net is not None else tiny(dropout=0.3)).compile(**{**SETTINGS, **settings})
    with pytest.raises(Stop):
        model.fit(data(), folder=folder, listeners=[StopAfter(step)], progress=False)
    return folder


@contextmanager
def gradients_of_the_next_step() -> Iterator[list[torch.Tensor]]:
    """Gradients of all parameters, clipped, as the first step in the context gets them; in the optimizer's order."""
    seen: list[torch.Tensor] = []

    def keep(optimizer: Optimizer, args: object, more: object) -> None:
        if not seen:
            seen.extend(p.grad.clone() for group in optimizer.param_groups for p in group["params"])

    handle = register_optimizer_step_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def resumed_one_step(folder: Path, step: int, **settings: Any) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """The gradients of the step after ``step``, and the weights after it: a copy of the run goes on."""
    copied = folder.with_name("resumed")
    shutil.copytree(folder, copied)
    model = Model(tiny(dropout=0.3)).compile(**{**SETTINGS, **settings})
    with gradients_of_the_next_step() as seen, pytest.raises(Stop):
        model.fit(data(), folder=copied, resume=True, listeners=[StopAfter(step + 1)], progress=False)
    return seen, load_file(copied / "checkpoints" / f"{step + 1:06d}" / "model.safetensors")


def assert_updates_are(
    optimizer: Optimizer, net: nn.Module, grads: list[torch.Tensor], after: dict[str, torch.Tensor]
) -> None:
    """Every number of every parameter, opened, against the weights of the run that went on."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, grad in zip(held, grads, strict=True):
        name = names[id(parameter)]
        for place in {tuple(int(i) for i in torch.tensor(parameter.shape) - 1), (0,) * parameter.ndim}:
            update = open_update(optimizer, parameter, place, grad[place].item(), name=name)
            allowed = 1e-6 * sum(abs(term.product) for term in update.terms())
            assert abs(update.after - after[name][place].item()) <= allowed, str(update)


def at_the_checkpoint(run: RunState) -> nn.Module:
    net = tiny(dropout=0.3)
    load_all_tensors(net, run.weights)
    return net


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw"])
def test_the_update_is_the_step_that_resuming_takes(name: str, tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 5, optimizer=name)
    run = state_of_run(folder)
    net = at_the_checkpoint(run)
    optimizer = optimizer_of(folder, net)
    grads, after = resumed_one_step(folder, 5, optimizer=name)
    assert_updates_are(optimizer, net, grads, after)
    assert (run.step, run.epoch, run.total_steps, run.ended) == (5, 1, 9, "")


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
@pytest.mark.parametrize("step", [3, 5, 8], ids=["end of an epoch", "within one", "before the last"])
def test_the_rate_is_that_of_the_next_step(schedule: str, step: int, tmp_path: Path) -> None:
    settings = {"optimizer": "sgd", "schedule": schedule, "clip_norm": None}
    folder = stopped(tmp_path / "run", step, **settings)
    run = state_of_run(folder)
    rates = Rates()
    Model(tiny(dropout=0.3)).compile(**{**SETTINGS, **settings}).fit(
        data(), folder=folder, resume=True, listeners=[rates], progress=False
    )
    assert run.learning_rate_now == rates.seen[0]
    assert run.learning_rates == (rates.seen[0],) * 2


def test_within_the_first_epoch_the_rate_needs_its_length(tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 2, optimizer="adamw", schedule="one_cycle", warmup=0.5)
    unknown, known = state_of_run(folder), state_of_run(folder, steps_per_epoch=3)
    last = [record["learning_rate"] for record in read_log(folder) if record["kind"] == "step"][-1]
    assert (unknown.total_steps, unknown.learning_rate_now) == (None, last)
    net = at_the_checkpoint(known)
    grads, after = resumed_one_step(folder, 2, schedule="one_cycle", warmup=0.5)
    assert known.learning_rate_now != last
    assert_updates_are(optimizer_of(known, net), net, grads, after)


def test_within_the_first_epoch_a_constant_rate_is_known(tmp_path: Path) -> None:
    run = state_of_run(stopped(tmp_path / "run", 2, schedule="constant", warmup=0.0))
    assert run.learning_rate_now == SETTINGS["learning_rate"]


def test_a_newer_checkpoint_that_is_damaged_is_passed_over(tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 3)
    (folder / "checkpoints" / "000003" / "model.safetensors").write_bytes(b"")
    run = state_of_run(folder)
    assert (run.step, run.epoch) == (2, 0)
    assert run.total_steps == 9  # the log knows how long the first epoch was


def test_a_finished_run_keeps_the_rate_of_its_last_step(tmp_path: Path) -> None:
    rates = Rates()
    model = Model(tiny()).compile(**{**SETTINGS, "schedule": "one_cycle"})
    model.fit(data(), folder=tmp_path / "run", listeners=[rates], progress=False)
    run = state_of_run(tmp_path / "run")
    assert (run.step, run.ended, run.learning_rate_now) == (9, "finished", rates.seen[-1])
    best = load_file(tmp_path / "run" / "best" / "model.safetensors")
    assert not torch.equal(run.weights["0.weight"], best["0.weight"])  # best/ holds the running average
    net = at_the_checkpoint(run)
    update = open_update(optimizer_of(run, net), net[0].weight, (0, 0, 1, 1), 0.25)
    assert update.settings["step"] == 10


def test_a_run_that_trains_the_head_alone(tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 5, freeze=True, optimizer="momentum")
    run = state_of_run(folder)
    net = at_the_checkpoint(run)
    optimizer = optimizer_of(run, net)
    grads, after = resumed_one_step(folder, 5, freeze=True, optimizer="momentum")
    assert len(grads) == 2
    assert_updates_are(optimizer, net, grads, after)
    assert all(parameter.requires_grad for parameter in net.parameters())
    with pytest.raises(UsageError, match="the optimizer does not hold 0.weight"):
        open_update(optimizer, net[0].weight, (0, 0, 0, 0), 0.1, name="0.weight")


def test_muon_opens_what_it_steps_by_adamw(tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 5, optimizer="muon")
    net = at_the_checkpoint(state_of_run(folder))
    optimizer = optimizer_of(folder, net)
    grads, after = resumed_one_step(folder, 5, optimizer="muon")
    with pytest.raises(UsageError, match="Muon has no step for one weight"):
        open_update(optimizer, net[0].weight, (0, 0, 0, 0), 0.1)
    del optimizer.param_groups[0]
    assert_updates_are(optimizer, net, grads[1:], after)


def test_nothing_in_the_run_or_the_record_changes(tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 5)
    broken = folder / "checkpoints" / "000006"
    shutil.copytree(folder / "checkpoints" / "000005", broken)
    (broken / "model.safetensors").write_bytes(b"cut off")

    def everything() -> dict[Path, tuple[int, bytes]]:
        return {
            item: (item.stat().st_mtime_ns, item.read_bytes() if item.is_file() else b"") for item in folder.rglob("*")
        }

    before = everything()
    run = state_of_run(folder)
    kept = {name: tensor.clone() for name, tensor in run.optimizer_tensors.items()}
    net = tiny()
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = optimizer_of(run, net)
    torch.testing.assert_close(net.state_dict(), weights, rtol=0, atol=0)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.testing.assert_close(run.optimizer_tensors, kept, rtol=0, atol=0)
    assert everything() == before


def test_folders_from_which_no_run_goes_on(tmp_path: Path) -> None:
    net = tiny()
    assert optimizer_of(tmp_path, net) is None
    folder = stopped(tmp_path / "run", 4)
    for item in (folder / "checkpoints").iterdir():
        (item / "state.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="no checkpoint in .* is good"):
        optimizer_of(folder, net)
    shutil.rmtree(folder / "checkpoints")
    assert optimizer_of(folder, net) is None
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        state_of_run(folder)
    with pytest.raises(CheckpointError, match="there is no run folder"):
        state_of_run(tmp_path / "nowhere")


def test_another_network_or_optimizer_than_the_run_had(tmp_path: Path) -> None:
    folder = stopped(tmp_path / "run", 4)
    with pytest.raises(CheckpointError, match=r"another network: 1.bias is \(4,\) in its checkpoint and missing"):
        optimizer_of(folder, tiny(norm=False))
    net = tiny(dropout=0.3)
    model = Model(net).compile(torch.optim.RAdam(net.parameters()), **SETTINGS)
    with pytest.raises(Stop):
        model.fit(data(), folder=tmp_path / "given", listeners=[StopAfter(4)], progress=False)
    with pytest.raises(CheckpointError, match="the state of another optimizer than adamw of its settings"):
        optimizer_of(tmp_path / "given", tiny())


def test_the_optimizer_that_a_model_was_compiled_with() -> None:
    net = tiny()
    given = torch.optim.SGD(net.parameters(), lr=0.3)
    model = Model(net).compile(given)
    assert optimizer_of(model, net) is given
    with pytest.raises(UsageError, match="the SGD that the model was compiled with holds no parameter of this network"):
        optimizer_of(model, tiny())


def test_the_optimizer_that_fit_would_begin_with() -> None:
    net = tiny(dropout=0.3)
    settings = {**SETTINGS, "schedule": "one_cycle", "ema": 0.0}
    model = Model(net).compile(**settings)
    optimizer = optimizer_of(model, net)
    start = {name: tensor.clone() for name, tensor in net.named_parameters()}
    rates, first = Rates(), {}

    class Keep(Quiet):
        def on_step(self, step: Step) -> None:
            if step.step == 1:
                first.update({name: tensor.detach().clone() for name, tensor in net.named_parameters()})

    with gradients_of_the_next_step() as grads:
        model.fit(data(), listeners=[Keep(), rates], progress=False)
    load_all_tensors(net, {**dict(net.named_buffers()), **start, **{"1.num_batches_tracked": torch.tensor(0)}})
    assert optimizer.param_groups[0]["lr"] == rates.seen[0]
    assert_updates_are(optimizer, net, grads, first)


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_after_a_fit_the_length_of_the_next_is_known(schedule: str) -> None:
    net, rates = tiny(), Rates()
    model = Model(net).compile(**{**SETTINGS, "schedule": schedule})
    assert optimizer_of(model, net).param_groups[0]["lr"] == SETTINGS["learning_rate"]  # its warm-up is not known yet
    model.fit(data(), listeners=[rates], progress=False)
    assert rates.seen[0] < SETTINGS["learning_rate"]
    assert optimizer_of(model, net).param_groups[0]["lr"] == rates.seen[0]


def test_a_model_that_trains_its_head_alone() -> None:
    net = tiny()
    optimizer = optimizer_of(Model(net).compile(freeze=True), net)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert held == [id(net[-1].weight), id(net[-1].bias)]
    assert all(parameter.requires_grad for parameter in net.parameters())
