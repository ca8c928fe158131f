"""``fit``: from settings, data and a network to a loop that runs, and a run folder where one is asked for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid import nets
from pellucid.errors import CheckpointError, ShapeError, UsageError
from pellucid.train import checkpoint, losses, optimizers, runfolder, weights
from pellucid.train.ema import Average
from pellucid.train.engine import Engine
from pellucid.train.execution import Execution, decide, left_as_found, prepare
from pellucid.train.inputs import Prepared, origin_of
from pellucid.train.listeners import History, Listener, Logger
from pellucid.train.live import LiveReport
from pellucid.train.log import read_log
from pellucid.train.loop import Loop, learn
from pellucid.train.progress import Progress
from pellucid.train.settings import Settings
from pellucid.train.task import Batches, DataLike, Task

if TYPE_CHECKING:
    from pellucid.train.model import Model


def fit(
    model: Model,
    prepared: Prepared,
    folder: Path | None,
    *,
    resume: bool,
    listeners: Sequence[Listener],
    progress: bool,
) -> History:
    """Train ``model``; see ``Model.fit``."""
    history = History()
    told: list[Listener] = [history, *listeners, *([Progress()] if progress else [])]
    if folder is not None and not resume:
        folder = runfolder.create(folder, model.settings.net)
    with runfolder.locked(folder) if folder is not None else nullcontext(), left_as_found():
        saved = _found(folder, told) if folder is not None and resume else None
        loop = build(model, prepared, told, folder, saved)
        if saved is not None and folder is not None:
            _go_on(loop, saved, folder, history)
        try:
            with stopping_by_signal(loop) if folder is not None else nullcontext():
                loop.run()
        finally:
            loop.execution.engine.let_go()
        _give_back(model, loop, folder)
    model.history = history
    return history


def _go_on(loop: Loop, saved: checkpoint.Checkpoint, folder: Path, history: History) -> None:
    """Put the loop where the checkpoint left it; the history begins with the epochs that are done."""
    loop.restore(saved)
    done = [record for record in read_log(folder) if record.get("kind") == "epoch" and record["step"] <= saved.step]
    history.epochs = [{name: value for name, value in record.items() if name != "kind"} for record in done]
    if loop.position.ended:
        _say(loop.listeners, f"the run in {folder} has ended ({loop.position.ended}): nothing is left to train")


def build(
    model: Model, prepared: Prepared, told: list[Listener], folder: Path | None, saved: checkpoint.Checkpoint | None
) -> Loop:
    """The loop of a run, ready to start or to be restored; writes the run folder's configuration."""
    settings = model.settings
    device = prepare(settings)
    task, data = model.task, prepared.data
    if data is not None:
        net = model.build(data)
        if settings.weights is not None and saved is None:
            for sentence in nets.load_weights(net, settings.weights):
                _say(told, sentence)
        settings = task.resolve(settings, data, net)
        for sentence in data.notes if saved is None else ():
            _say(told, sentence)
    else:
        net = model.net
        settings = _without_recipe(settings)
    if settings.freeze:
        learning = nets.freeze_all_but_head(net)
        _say(told, f"only the head learns: {', '.join(learning)}")
    model.settings = settings
    batches, loss = _batches(model, prepared, settings, device)
    sample: tuple[Tensor, ...] = next(iter(batches.epoch(0))).inputs
    outputs = _try(net, tuple(tensor[:2].to("cpu") for tensor in sample), task)
    task.check_outputs(outputs, min(2, len(sample[0])), data, model.classes)
    if data is None:
        model.name_classes(tuple(map(str, range(outputs.shape[1]))))
    execution = _execution(settings, net, device, sample, folder, saved)
    execution.place(net)
    learn(net, settings.freeze)
    aside = execution.engine.plan(net, tuple(map(execution.images, sample)))
    for sentence in (str(execution.engine), aside):
        if sentence:
            _say(told, sentence)
    settings = model.settings = settings.with_values(
        device=str(device),
        threads=torch.get_num_threads(),
        channels_last=execution.channels_last,
        engine=execution.engine.name,
    )
    model.take_engine(execution.engine)
    optimizer = model.optimizer or optimizers.make(
        settings.optimizer,
        net,
        learning_rate=settings.learning_rate or 0.01,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay or 0.0,
    )
    loop = Loop(net, batches, optimizer, loss.to(device), settings, execution, listeners=told)
    loop.right, loop.train_score = task.right, task.train_score
    loop.score, loop.lower_is_better = task.score, task.lower_is_better
    if settings.ema:
        loop.average = Average(net, settings.ema)
    if data is not None:
        _measure(loop, model, data)
    if folder is not None:
        _attach_folder(loop, model, prepared, folder, told, first=saved is None)
    return loop


def _execution(
    settings: Settings,
    net: nn.Module,
    device: torch.device,
    sample: tuple[Tensor, ...],
    folder: Path | None,
    saved: checkpoint.Checkpoint | None,
) -> Execution:
    """How the run began, where it is resumed; else decided now. One that was killed before its first checkpoint has its
    engine in environment.json."""
    bf16 = settings.precision == "bf16"
    if saved is not None:
        return Execution(device, bool(saved.state["channels_last"]), bf16, Engine.kept(saved.state.get("engine", {})))
    began = runfolder.read_environment(folder).get("engine") if folder is not None else None
    if not isinstance(began, dict):
        return decide(settings, net, device, sample)
    engine = Engine.kept(began)
    if engine.name == "lanes":
        return Execution(device, False, bf16, engine)
    return replace(decide(settings.with_values(engine="torch"), net, device, sample), engine=engine)


def _try(net: nn.Module, inputs: tuple[Tensor, ...], task: Task) -> Any:
    """The outputs for two things, before anything is written: what does not fit is said in words.

    Raises:
        UsageError: where the network reads something else.
        ShapeError: where it refuses them.
    """
    reads = getattr(net, "reads", None)
    if isinstance(reads, str) and reads not in task.reads:
        raise UsageError(
            f"the network reads {reads}, and the data are {task.things}: {' or '.join(task.reads)}",
            fits=f"--net {task.net}, or data for this network",
        )
    training, place = net.training, next((parameter.device for parameter in net.parameters()), inputs[0].device)
    size = " and ".join(" x ".join(map(str, tensor.shape[1:])) for tensor in inputs)
    layout = " (channels x height x width)" if inputs[0].ndim == 4 else ""
    net.eval()
    try:
        with torch.no_grad():
            return net(*(tensor.to(place) for tensor in inputs))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ShapeError(f"the network refuses {task.things} of {size}{layout}", reason=reason) from error
    finally:
        net.train(training)


def _found(folder: Path, told: list[Listener]) -> checkpoint.Checkpoint | None:
    """The newest good checkpoint; None where the run was killed before its first, and begins again, losing nothing."""
    checkpoint.clean(folder / "checkpoints")
    saved, damaged = checkpoint.latest_good(folder / "checkpoints", set_aside=True)
    for error in damaged:
        _say(told, f"passed over a damaged checkpoint (kept as *.damaged): {error.message}")
    if saved is None and damaged:
        raise CheckpointError(
            f"no checkpoint in {folder} is good",
            damaged="; ".join(error.message for error in damaged),
            fits="start the run anew",
        )
    return saved


def _without_recipe(settings: Settings) -> Settings:
    """For a DataLoader: the recipe sees no data, so what is not set gets plain values."""
    plain = {"weight_decay": 0.0, "label_smoothing": 0.0, "ema": 0.0, "learning_rate": 0.001}
    unset = {name: value for name, value in plain.items() if getattr(settings, name) is None}
    return settings.with_values(**unset)


def _batches(model: Model, prepared: Prepared, settings: Settings, device: torch.device) -> tuple[Batches, nn.Module]:
    task, data = model.task, prepared.data
    if data is not None:
        batches = task.batches(data.splits["train"], model.preprocess, settings, device, training=True)
        return batches, model.loss or task.loss(settings, data)
    if prepared.loader is None:
        raise UsageError("there is nothing to train on")
    if settings.class_weight or settings.mixup:
        raise UsageError("class_weight and mixup need the data themselves, not a DataLoader")
    loss = model.loss or losses.make(settings.loss, len(model.classes), smoothing=settings.label_smoothing or 0.0)
    return prepared.loader, loss


def _measure(loop: Loop, model: Model, data: DataLike) -> None:
    """Measure each epoch on validation, which chooses the best; else on test, which is only shown."""
    name = "validation" if "validation" in data.splits else "test"
    split = data.splits.get(name)
    loop.chooses = "validation" in data.splits
    if loop.settings.early_stop is not None and not loop.chooses:
        raise UsageError(
            "early stopping chooses by a validation split, and there is none", fits="--validation 0.1, or no early_stop"
        )
    if split is not None and len(split):

        def measure() -> dict[str, float]:
            found = model.task.quick(loop.net, split, model.preprocess, loop.settings, loop.execution)
            return {f"{name}_{what}": value for what, value in found.items()}

        loop.measure = measure
    if loop.chooses:
        loop.keep_best = lambda: loop.best.update({n: v.clone() for n, v in loop.net.state_dict().items()})
    loop.name_batch = lambda indices: [str(data.splits["train"].names[int(i)]) for i in indices]


def _attach_folder(
    loop: Loop, model: Model, prepared: Prepared, folder: Path, told: list[Listener], *, first: bool
) -> None:
    data = prepared.data
    loop.checkpoints = folder / "checkpoints"
    if model.preprocess is not None:
        facts = model.facts()
        loop.keep_best = lambda: weights.write_model(folder / "best", loop.net.state_dict(), facts)
    fingerprint = data.fingerprint if data is not None else ""
    before = runfolder.read_environment(folder)
    if before.get("data_fingerprint", fingerprint) != fingerprint:
        raise CheckpointError(
            f"the data have changed since the run in {folder} began",
            began_with=f"fingerprint {str(before['data_fingerprint'])[:16]}",
            found=f"fingerprint {fingerprint[:16]}",
            fits="the data as they were, or a new run",
        )
    if first:
        settings = loop.settings.model_dump()
        if loop.settings.weights is not None:  # a run that is killed before its first checkpoint reads them again
            settings["weights"] = origin_of(loop.settings.weights)
        runfolder.write_config(
            folder,
            {
                "data": prepared.origin or "given:arrays",
                "settings": settings,
                "classes": list(model.classes),
            },
        )
        runfolder.write_environment(
            folder,
            fingerprint,
            str(loop.execution.device),
            torch.get_num_threads(),
            list(data.notes) if data is not None else [],
            {**loop.execution.engine.state(), "why": loop.execution.engine.why},
        )
    elif (version := before.get("versions", {}).get("torch", torch.__version__)) != torch.__version__:
        _say(told, f"this run began with torch {version}, and this is {torch.__version__}: the last bits may differ")
    told += [Logger(folder, loop.settings.log_steps), LiveReport(folder)]
    if loop.settings.tensorboard:
        from pellucid.train.tensorboard import TensorBoardListener

        told.append(TensorBoardListener(folder))


def _give_back(model: Model, loop: Loop, folder: Path | None) -> None:
    """Leave the result in the network: the averaged weights, or the best where validation chose them."""
    if loop.position.ended and folder is not None and loop.chooses and (folder / "best").is_dir():
        tensors, _ = weights.read_model(folder / "best")
        weights.put(loop.net, tensors, folder / "best")
    elif loop.position.ended and loop.best:
        weights.put(loop.net, loop.best, Path("the best epoch"))
    elif loop.average is not None:
        weights.put(loop.net, loop.average.tensors, Path("the running average"))
    model.optimizer = None  # it has taken its steps; another fit begins with a fresh one


def _say(told: Sequence[Listener], sentence: str) -> None:
    for listener in told:
        listener.on_message(sentence)


@contextmanager
def stopping_by_signal(loop: Loop) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run after the step that is under way, with a checkpoint; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in its main thread alone
        return
    asked: list[str] = []

    def on_signal(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    loop.stop = lambda: asked[0] if asked else ""
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
