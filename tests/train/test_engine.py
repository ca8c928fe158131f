"""The engine lanes under ``fit``, ``evaluate`` and ``predict``: learning as with PyTorch, the same bits again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.reliability import kill
from torch import nn

from pellucid import lanes
from pellucid.data import Data
from pellucid.errors import UsageError
from pellucid.train import Model, Quiet, Settings, Step, execution, fitting, start
from pellucid.train.engine import Engine
from tests.data.made_masks import write as write_masks
from tests.data.made_sounds import write_sounds
from tests.train.conftest import CLASSES, PLAIN, pictures, tiny
from tests.train.test_forecasting import waves
from tests.train.test_forecasting import write as write_series
from tests.train.test_resume import EVERYTHING, Stop, StopAt, assert_same

pytestmark = pytest.mark.skipif(bool(lanes.why_not()), reason=f"lanes cannot run: {lanes.why_not()}")

CPU = torch.device("cpu")
LANES: dict[str, Any] = {**PLAIN, "engine": "lanes"}


class Losses(Quiet):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step(self, step: Step) -> None:
        self.losses.append(step.loss)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pellucid"


def losses_of(engine: str, data: Data, settings: dict[str, Any], net: nn.Module) -> list[float]:
    heard = Losses()
    model = Model(net).compile(**{**settings, "engine": engine})
    model.fit(data, listeners=[heard], progress=False)
    assert model.settings.engine == engine
    return heard.losses


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "momentum"},
        {"accumulate": 2, "clip_norm": 0.5, "ema": 0.8, "label_smoothing": 0.1, "class_weight": "balanced"},
        {"optimizer": "adamw", "weight_decay": 0.05, "crop": 1, "flip": True, "mixup": 0.4, "schedule": "one_cycle"},
    ],
    ids=["plain", "accumulated", "augmented"],
)
def test_losses_follow_those_of_pytorch(settings: dict[str, Any], data: Data) -> None:
    asked = {**PLAIN, "epochs": 3, **settings}
    ours, theirs = (losses_of(engine, data, asked, tiny()) for engine in ("lanes", "torch"))
    assert len(ours) == len(theirs) > 8
    assert ours != theirs, "to the last bit the same: lanes cannot have run"
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert ours[-1] < 0.9 * ours[0], "nothing was learned: the losses say nothing"


def test_a_frozen_body_stays_and_its_head_learns_as_with_pytorch(data: Data) -> None:
    found = []
    for engine in ("lanes", "torch"):
        net = tiny()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        found.append(losses_of(engine, data, {**PLAIN, "freeze": True, "epochs": 2}, net))
        for name, value in net.state_dict().items():
            assert torch.equal(value, before[name]) == (not name.startswith("6.")), name
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_evaluation_and_prediction_agree_with_pytorch(data: Data) -> None:
    outputs = []
    for engine in ("lanes", "torch"):
        model = Model(tiny(), classes=CLASSES).compile(**{**PLAIN, "engine": "torch"})
        model.fit(data, epochs=1, progress=False)
        model.settings = model.settings.with_values(engine=engine)
        assert model.evaluate(data).accuracy > 0.4
        outputs.append(model.predict(pictures(40, 7)[0]).probabilities)
        assert (model.engine or Engine("")).name == engine
    np.testing.assert_allclose(*outputs, atol=1e-5)
    assert np.ptp(outputs[0], axis=0).min() > 0.01, "every picture gets the same: the test says nothing"


def test_a_loaded_model_measures_once_it_has_a_batch_that_is_worth_it(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(tiny(), classes=CLASSES).compile(**PLAIN)
    model.fit(data, epochs=1, progress=False)
    model.save(tmp_path / "saved")
    kept = Model.load(tmp_path / "saved", net=tiny())
    assert str(kept.engine) == "engine torch: the run began with it"
    loaded = Model(kept.net, classes=CLASSES, preprocess=kept.preprocess)  # of which nobody knows how it was trained
    assert loaded.settings.engine == "auto"
    races: list[bool] = []
    monkeypatch.setattr(execution, "_times_as_fast", lambda *given, training=True: races.append(training) or 3.0)
    few, many = pictures(10, 5)[0], pictures(70, 6)[0]
    loaded.predict(few)
    assert (loaded.engine, races) == (None, [])
    found = loaded.predict(many).probabilities
    assert str(loaded.engine).endswith("lanes was measured 3 times as fast as PyTorch")
    assert races == [False]
    np.testing.assert_allclose(found, model.predict(many).probabilities, atol=1e-5)
    again = Model(kept.net, classes=CLASSES, preprocess=kept.preprocess)
    again.predict(many)
    assert ((again.engine or Engine("")).name, races) == ("lanes", [False])


def run(folder: Path, data: Data, settings: dict[str, Any], *, stop: int | None = None) -> Model:
    """A run with dropout, from its beginning or on from where it stands; ``stop``: it fails there."""
    model = Model(tiny(dropout=0.3)).compile(**settings)
    listeners = [StopAt(stop)] if stop is not None else []
    model.fit(data, folder=folder, resume=(folder / "config.yaml").exists(), listeners=listeners, progress=False)
    return model


@pytest.mark.parametrize("stops", [(3, 7), (1,)], ids=["after a checkpoint", "before the first"])
def test_a_run_that_failed_goes_on_to_the_same_bits(stops: tuple[int, ...], data: Data, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "engine": "lanes", "checkpoint_steps": 2}
    run(tmp_path / "alone", data, settings)
    for stop in stops:
        with pytest.raises(Stop):
            run(tmp_path / "failed", data, settings, stop=stop)
    model = run(tmp_path / "failed", data, {**settings, "engine": "auto"})  # it goes on with the engine that it has
    assert model.settings.engine == "lanes"
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_the_run_folder_says_which_engine_and_why(data: Data, tmp_path: Path) -> None:
    model = run(tmp_path / "run", data, {**LANES, "epochs": 1})
    kept = json.loads((tmp_path / "run" / "environment.json").read_text())["engine"]
    best = next(target.name for target in lanes.targets() if target.usable)
    assert (kept["name"], kept["instructions"], kept["why"]) == ("lanes", best, "it was asked for")
    checkpoint = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert json.loads((checkpoint / "state.json").read_text())["engine"]["name"] == "lanes"
    said = [sentence for sentence in model.history.messages if sentence.startswith("engine ")] if model.history else []
    assert said == [f"engine lanes ({best}): it was asked for"]


def test_a_run_goes_on_where_its_instructions_are_not_there_and_says_so(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**LANES, "epochs": 2, "checkpoint_steps": 2}
    with pytest.raises(Stop):
        run(tmp_path / "run", data, settings, stop=5)
    best, *others = [target for target in lanes.targets() if target.usable]
    if not others:
        pytest.skip(f"this processor has {best.name} alone")
    monkeypatch.setattr("pellucid.lanes.targets", lambda: tuple(others), raising=False)
    model = run(tmp_path / "run", data, settings)
    assert model.history is not None
    assert model.history.reason == "finished"
    wanted = f"the run began with {best.name}, which this processor lacks: the last bits may differ"
    assert f"engine lanes ({others[0].name}): {wanted}" in model.history.messages


def test_what_lanes_cannot_run_is_said(data: Data) -> None:
    sample = (torch.randn(4, 1, 8, 8),)
    for settings, reason in (
        ({"precision": "bf16"}, "lanes computes in float32, and bf16 was asked for"),
        ({"channels_last": True}, "channels_last"),
    ):
        with pytest.raises(UsageError, match=reason):
            execution.decide(Settings.parse({**settings, "engine": "lanes"}), tiny(), CPU, sample)
        chosen = execution.decide(Settings.parse(settings), tiny(), CPU, sample).engine
        assert chosen.name == "torch"
        assert reason in chosen.why
    with pytest.raises(UsageError, match=r"weights in torch\.float64"):
        execution.decide(Settings.parse({"engine": "lanes"}), tiny().double(), CPU, sample)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    assert execution.decide(Settings(), plain, CPU, sample).engine.why == "the network has no convolutions"


def test_hooks_are_refused_before_a_run_begins_or_left_to_pytorch(data: Data) -> None:
    net = tiny()
    net[0].register_forward_hook(lambda *given: None)
    with pytest.raises(UsageError, match="there is a hook on 0"):
        Model(net).compile(**LANES).fit(data, epochs=1, progress=False)
    model = Model(net).compile(**{**PLAIN, "engine": "auto"})
    history = model.fit(data, epochs=1, progress=False)
    assert any("engine torch: lanes cannot run it: there is a hook on 0" in said for said in history.messages)


class Counts(nn.Module):
    """Its code counts its own calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls = tiny(), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.net(images) * (1.0 + 0.1 * self.calls)


def test_a_network_that_keeps_state_of_its_own_is_left_to_pytorch(data: Data) -> None:
    with pytest.raises(UsageError, match="its code keeps calls from pass to pass"):
        Model(Counts()).compile(**LANES).fit(data, epochs=1, progress=False)
    counts = Counts()
    Model(counts).compile(**{**PLAIN, "engine": "auto"}).fit(data, epochs=1, progress=False)
    assert counts.calls > 6


def test_auto_measures_once_on_a_machine(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    sample, times, races = (torch.randn(4, 1, 8, 8),), [2.0, 0.5], []
    monkeypatch.setattr(execution, "_times_as_fast", lambda *given, **more: races.append(1) or times[0])
    settings = Settings.parse({"channels_last": False})
    for _ in range(2):
        chosen = execution.decide(settings, tiny(), CPU, sample)
        assert str(chosen.engine).endswith(": lanes was measured 2 times as fast as PyTorch")
        assert (chosen.engine.name, chosen.channels_last) == ("lanes", False)
    assert len(races) == 1
    (own_cache / "engines.json").unlink()
    del times[0]
    chosen = execution.decide(settings, tiny(), CPU, sample)
    assert str(chosen.engine) == "engine torch: lanes was measured no faster (0.5 times) than PyTorch"
    assert len(races) == 2


def test_a_trial_of_lanes_leaves_the_network_and_the_random_state_alone() -> None:
    net = tiny(dropout=0.5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(8)
    wanted = torch.rand(2)
    sample = torch.randn(4, 1, 8, 8)
    torch.manual_seed(8)
    ours, theirs = (execution.Execution(CPU, False, False, Engine(name)) for name in ("lanes", "torch"))
    assert execution._times_as_fast(net, ours, theirs, sample) > 0
    assert torch.equal(torch.rand(2), wanted)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_layer_that_is_replaced_is_seen() -> None:
    net, images = tiny().eval(), torch.randn(3, 1, 8, 8)
    engine = Engine("lanes")
    with torch.no_grad():
        first = engine.runner(net)(images)
        assert engine.runner(net) is engine.runner(net)
        net[6] = nn.Linear(64, 5)
        torch.testing.assert_close(engine.runner(net)(images), net(images), rtol=1e-4, atol=1e-5)
    assert first.shape == (3, 3)


def test_the_memory_of_a_run_is_given_back(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(tiny()).compile(**LANES)
    loops = []
    whole = fitting.build
    monkeypatch.setattr(fitting, "build", lambda *given: loops.append(whole(*given)) or loops[-1])
    model.fit(data, epochs=1, progress=False)
    assert loops[0].execution.engine._lowered is None


TASKS: dict[str, dict[str, Any]] = {
    "segmentation": {"net_settings": {"channels": 4, "depth": 1}, "batch_size": 4},
    "sound": {
        "net": "m5",
        "net_settings": {"channels": 3},
        "batch_size": 8,
        "task_settings": {"split_by": "take", "seconds": 0.3},
    },
    "forecasting": {"net": "gru", "net_settings": {"hidden": 6}, "task_settings": {"window": 14, "horizon": 3}},
}


def place_of(task: str, folder: Path) -> Path:
    if task == "segmentation":
        return write_masks(folder / "boxes", [("train", 12), ("val", 4), ("test", 4)])
    if task == "sound":
        return write_sounds(folder / "pitches", takes=5, seconds=0.3)
    return write_series(folder / "series.csv", waves())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_learns_as_with_pytorch(task: str, tmp_path: Path) -> None:
    """Signals and pictures on lanes; what has recurrent layers partly on PyTorch, within the lowered network."""
    place, found = place_of(task, tmp_path), []
    for engine in ("lanes", "torch"):
        heard = Losses()
        asked = {**TASKS[task], "task": task, "epochs": 1, "threads": 1, "channels_last": False, "engine": engine}
        start(place, Settings.parse(asked), folder=tmp_path / engine, listeners=[heard])
        found.append(heard.losses)
    assert len(found[0]) >= 3
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3)


def test_a_loaded_run_is_measured_with_the_engine_that_it_had(data: Data, tmp_path: Path) -> None:
    model = run(tmp_path / "run", data, {**LANES, "epochs": 1})
    loaded = Model.load(tmp_path / "run", net=tiny(dropout=0.3))
    assert loaded.engine is not None
    assert loaded.engine.name == "lanes"
    many = pictures(70, 6)[0]
    assert np.array_equal(loaded.predict(many).probabilities, model.predict(many).probabilities)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_killed_at_random_moments_it_is_the_same_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({**kill.EVERYTHING, "engine": "lanes"}), "utf-8")
    script = [sys.executable, Path(kill.__file__), "--kills", "8", "--seed", "3"]
    done = subprocess.run(
        [*script, "--settings", tmp_path / "settings.json", "--json", tmp_path / "result.json"],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert (result["kills"], result["runs_that_differ"]) == (8, {})
