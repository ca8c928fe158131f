"""The loop against a plain one written out, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pellucid.data import Batches, Data, Preprocess
from pellucid.errors import DivergedError, ShapeError, UsageError
from pellucid.train import Epoch, Model, Quiet, Step, read_log
from pellucid.train.loop import Pending, numbers
from tests.train.conftest import CLASSES, PLAIN, pictures, tiny


def fitted(data: Any, net: nn.Module, epochs: int = 2, listeners: tuple[Quiet, ...] = (), **settings: Any) -> Model:
    model = Model(net).compile(**{**PLAIN, **settings})
    model.fit(data, epochs=epochs, listeners=listeners, progress=False)
    return model


def test_two_epochs_are_those_of_a_plain_loop(without_validation: Data) -> None:
    data, net = without_validation, tiny(norm=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    batches = Batches(data.train, Preprocess.of(data), batch_size=10, seed=0, shuffle=True)
    losses = []
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            loss = functional.cross_entropy(net(batch.images), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    model = fitted(data, tiny(norm=False), optimizer="adam")
    for mine, plain in zip(model.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-6)
    assert model.history is not None
    assert model.history.epochs[1]["train_loss"] == pytest.approx(np.mean(losses[6:]), rel=1e-4)


def test_accumulated_parts_equal_a_larger_batch(without_validation: Data) -> None:
    nets = [
        fitted(without_validation, tiny(norm=False), optimizer="sgd", batch_size=size, accumulate=parts,
               class_weight="balanced").net
        for size, parts in ((30, 1), (10, 3), (6, 5))
    ]  # fmt: skip
    for other in nets[1:]:
        for mine, large in zip(other.parameters(), nets[0].parameters(), strict=True):
            torch.testing.assert_close(mine, large, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_to_their_common_norm(without_validation: Data) -> None:
    net = tiny()
    before = torch.cat([parameter.detach().clone().flatten() for parameter in net.parameters()])
    model = fitted(without_validation, net, epochs=1, optimizer="sgd", batch_size=60, learning_rate=1.0, clip_norm=0.01)
    after = torch.cat([parameter.detach().flatten() for parameter in model.net.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_the_learning_rate_follows_its_schedule(without_validation: Data) -> None:
    class Rates(Quiet):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_step(self, step: Step) -> None:
            self.seen.append(step.learning_rate)

    rates = Rates()
    fitted(without_validation, tiny(), listeners=(rates,), schedule="step", warmup=0.0, learning_rate=0.08)
    assert rates.seen == pytest.approx([0.08] * 6 + [0.008] * 3 + [0.0008] * 3)


class Breaks(nn.Module):
    """Its weights are well until a step, then its loss is NaN."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.net, self.at, self.calls = tiny(), at, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        return self.net(images) * (float("nan") if self.training and self.calls == self.at else 1.0)


def test_a_loss_that_is_no_number_stops_with_its_pictures(without_validation: Data, tmp_path: Path) -> None:
    model = Model(Breaks(at=9)).compile(**PLAIN)
    with pytest.raises(DivergedError, match=r"the loss became nan in step 9 \(epoch 2\)") as caught:
        model.fit(without_validation, epochs=3, folder=tmp_path / "run", progress=False)
    named = caught.value.facts["pictures"].split(", ")
    batches = Batches(without_validation.train, Preprocess.of(without_validation), batch_size=10, shuffle=True)
    wanted = list(batches.epoch(1))[2].indices
    assert named == [without_validation.train.names[i] for i in wanted]
    assert "checkpoints/000006" in str(caught.value)
    assert [item.name for item in (tmp_path / "run" / "checkpoints").iterdir()] == ["000006"]
    assert read_log(tmp_path / "run")[-1] == {"kind": "end", "step": 8, "reason": "failed: DivergedError"}


def test_weights_that_are_no_numbers_are_never_saved(without_validation: Data, tmp_path: Path) -> None:
    class Spoils(Quiet):
        def on_step(self, step: Step) -> None:
            if step.step == 6:
                with torch.no_grad():
                    model.net[0].weight[0] = float("inf")

    model = Model(tiny()).compile(**PLAIN)
    with pytest.raises(DivergedError, match="a weight became NaN or infinite by step 6"):
        model.fit(without_validation, epochs=2, folder=tmp_path / "run", listeners=[Spoils()], progress=False)
    assert not list((tmp_path / "run").rglob("model.safetensors"))


class Worsens(Quiet):
    """After an epoch the network is made useless, so that the epochs before were better."""

    def __init__(self, after: int) -> None:
        self.after, self.model, self.good = after, None, {}

    def on_epoch(self, epoch: Epoch) -> None:
        if epoch.epoch == self.after:
            self.good = {name: value.clone() for name, value in self.model.net.state_dict().items()}
        if epoch.epoch >= self.after:
            with torch.no_grad():
                self.model.net[-1].weight.zero_()
                self.model.net[-1].bias.copy_(torch.tensor([100.0, 0.0, 0.0]))


@pytest.mark.parametrize("in_folder", [True, False])
def test_early_stopping_gives_the_best_weights_back(in_folder: bool, data: Data, tmp_path: Path) -> None:
    listener = Worsens(after=3)
    model = listener.model = Model(tiny()).compile(**PLAIN, early_stop=2)
    folder = tmp_path / "run" if in_folder else None
    history = model.fit(data, epochs=20, folder=folder, listeners=[listener], progress=False)
    assert history.reason == "stopped early"
    best = max(record["validation_accuracy"] for record in history.epochs)
    assert len(history.epochs) <= 6
    pictures_of, labels = data.validation.images, data.validation.labels
    assert model.evaluate(pictures_of, labels).accuracy == pytest.approx(best)
    if in_folder:
        chosen = max(history.epochs, key=lambda record: (record["validation_accuracy"], -record["validation_loss"]))
        kept = {int(item.name) for item in (tmp_path / "run" / "checkpoints").iterdir()}
        assert kept == {chosen["step"], history.epochs[-2]["step"], history.epochs[-1]["step"]}
        assert Model.load(tmp_path / "run", net=tiny()).evaluate(pictures_of, labels).accuracy == pytest.approx(best)


def test_early_stopping_needs_something_to_choose_by(without_validation: Data) -> None:
    with pytest.raises(UsageError, match="early stopping chooses by a validation split, and there is none"):
        fitted(without_validation, tiny(), early_stop=2)


def test_the_average_is_what_is_measured_and_kept(without_validation: Data) -> None:
    class Weights(Quiet):
        def __init__(self) -> None:
            self.seen: list[torch.Tensor] = []

        def on_step(self, step: Step) -> None:
            self.seen.append(model.net[-1].weight.detach().double().clone())

    listener, net = Weights(), tiny()
    wanted = net[-1].weight.detach().double().clone()
    model = Model(net).compile(**PLAIN, ema=0.7)
    model.fit(without_validation, epochs=2, listeners=[listener], progress=False)
    for step, weight in enumerate(listener.seen):
        decay = min(0.7, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * weight
    torch.testing.assert_close(model.net[-1].weight.detach().double(), wanted, rtol=1e-5, atol=1e-6)


def test_frozen_layers_keep_their_statistics_too(without_validation: Data) -> None:
    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = fitted(without_validation, net, freeze=True)
    changed = {name for name, value in model.net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"6.weight", "6.bias"}


def test_the_program_around_is_left_as_it_was(without_validation: Data) -> None:
    net = tiny(dropout=0.5)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    fitted(without_validation, net)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_a_network_with_other_outputs_is_refused(without_validation: Data, tmp_path: Path) -> None:
    wrong = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(ShapeError, match=r"for 2 pictures of 3 classes the network gives \(2, 5\)"):
        Model(wrong).compile(**PLAIN).fit(without_validation, folder=tmp_path / "run", progress=False)
    small = nn.Sequential(nn.Flatten(), nn.Linear(49, 3))
    with pytest.raises(ShapeError, match="the network refuses pictures of 1 x 8 x 8"):
        fitted(without_validation, small)


def test_seeds_decide_and_nothing_else_does(without_validation: Data) -> None:
    def weights(seed: int) -> torch.Tensor:
        model = fitted(without_validation, tiny(dropout=0.5), seed=seed, crop=1)
        return model.net[-1].weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_it_learns(data: Data) -> None:
    model = Model("basic_cnn", channels=(8, 16)).compile(threads=1, channels_last=False)
    model.fit(data, epochs=8, progress=False)
    assert model.evaluate(*pictures(90, 8)).accuracy > 0.9
    assert model.classes == CLASSES


def test_checkpoints_come_by_time_but_cost_no_more_than_a_twentieth(
    without_validation: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.train import checkpoint, loop

    clock, saved = [0.0], []
    write = checkpoint.write

    def slow(root: Path, step: int, *more: Any) -> Path:
        clock[0] += 1.0
        saved.append(step)
        return write(root, step, *more)

    class Ticks(Quiet):
        def on_step(self, step: Step) -> None:
            clock[0] += 4.0

    monkeypatch.setattr(checkpoint, "write", slow)
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    model = Model(tiny()).compile(**{**PLAIN, "batch_size": 3}, checkpoint_seconds=12)
    model.fit(without_validation, epochs=1, folder=tmp_path / "run", listeners=[Ticks()], progress=False)
    assert saved == [3, 8, 13, 18, 20]  # after 12 s, then every 20 times the second that a checkpoint takes


@pytest.mark.parametrize("count", [1, 3])
def test_what_batches_left_is_read_in_their_order(count: int) -> None:
    losses, rights = [0.1, 2.5, -1e-3][:count], [7, 0, 16_777_217][:count]  # the last is no float32
    pending = [
        Pending(i, torch.tensor(loss), torch.tensor(right), 128, 128, None)
        for i, (loss, right) in enumerate(zip(losses, rights, strict=True))
    ]
    found = numbers(pending)
    assert found[0] == [float(np.float32(loss)) for loss in losses]
    assert found[1] == rights
