"""``Model``: the six steps - import, data, network, compile, fit, summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from pellucid import nets
from pellucid.data import Data, Preprocess, Split
from pellucid.data.dataset import Numbered
from pellucid.errors import PellucidError, UsageError
from pellucid.train import inputs, tasks, weights
from pellucid.train.engine import Engine
from pellucid.train.execution import Execution, device_of, left_as_found
from pellucid.train.listeners import History, Listener
from pellucid.train.measure import Measured, measure
from pellucid.train.predictions import Predictions, outputs_of, probabilities_of
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked, DataLike, Task

if TYPE_CHECKING:
    from pellucid.summarize import Summary

_OF_SPLITS = ("seed", "validation", "limit")  # with them the same data fall into the same splits again


class Model:
    """A network with what is needed to train it, measure it and use it.

    >>> model = Model("lenet").compile(optimizer="adamw")     # doctest: +SKIP
    >>> model.fit("fashion-mnist", epochs=10)                 # doctest: +SKIP
    >>> model.evaluate("fashion-mnist").accuracy              # doctest: +SKIP

    Args:
        net: a network's name (made when the data are known), ``package.module:factory``, or any ``nn.Module``.
        classes: the names of its outputs; else those of the data.
        preprocess: how pictures become its input; else measured on the training pictures.
        task: what is learned, by name; else found from the data (classification of pictures, where nothing says more).
        net_settings: of a network given by name.
    """

    def __init__(
        self,
        net: str | nn.Module,
        *,
        classes: Sequence[str] | None = None,
        preprocess: Any = None,
        task: str | None = None,
        **net_settings: Any,
    ) -> None:
        if isinstance(net, str):
            nets.signature(net)  # a wrong name is said at once
        elif net_settings:
            raise UsageError(f"'{next(iter(net_settings))}' is a setting for a network that is given by name")
        self._given = net
        self._net_settings = net_settings
        self._net = net if isinstance(net, nn.Module) else None
        self._classes = tuple(classes) if classes is not None else None
        self.preprocess = preprocess
        self._task = tasks.task(task) if task is not None else None
        self.settings = Settings(task=task, net=net if isinstance(net, str) else "given:module")
        self.optimizer: Optimizer | None = None
        self.loss: nn.Module | None = None
        self.history: History | None = None
        self._asked: Settings | None = None
        self._engine: Engine | None = None
        self._engine_for = ("", "", "")

    @property
    def net(self) -> nn.Module:
        """The network itself.

        Raises:
            UsageError: before the data have made it.
        """
        if self._net is None:
            raise UsageError(f"the network '{self._given}' is made when its data are known", fits="fit first")
        return self._net

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the outputs."""
        if self._classes is not None:
            return self._classes
        return tuple(getattr(self.preprocess, "classes", ()))

    @property
    def task(self) -> Task:
        """What is learned; classification until data say otherwise."""
        return self._task or tasks.task(None)

    def learn_of(self, data: Any) -> None:
        """Take the task of data that ``fit`` is given, where none was named."""
        if self._task is None:
            self._task = tasks.of_data(data, self.settings.task)

    def compile(
        self, optimizer: str | Optimizer = "adamw", loss: str | nn.Module = "cross_entropy", **settings: Any
    ) -> Self:
        """Choose how to train: any field of ``Settings`` by name.

        Args:
            optimizer: a name, or a ``torch.optim`` object on this network's parameters.
            loss: a name, or a module of (outputs (N, classes), targets) -> a number.
            settings: learning_rate, schedule, weight_decay, label_smoothing, ema, flip, mixup, precision, seed ...
        """
        metrics = settings.pop("metrics", None)
        if metrics is not None and set(metrics) - {self.task.score, "loss"}:
            raise UsageError(
                f"there is no metric {sorted(set(metrics) - {self.task.score, 'loss'})[0]!r} for every epoch",
                fits=f"{self.task.score} and loss; evaluate() measures all that there is at the end",
            )
        self.optimizer = optimizer if isinstance(optimizer, Optimizer) else None
        self.loss = loss if isinstance(loss, nn.Module) else None
        kept = {"net": self.settings.net, "net_settings": self._net_settings, "task": self.settings.task}
        named: dict[str, Any] = {**kept, **settings}
        if isinstance(optimizer, str):
            named["optimizer"] = optimizer
        if isinstance(loss, str):
            named["loss"] = loss
        self.settings = self._asked = Settings.parse(named)
        return self

    def fit(
        self,
        data: Any,
        labels: Any = None,
        *,
        epochs: int | None = None,
        folder: str | Path | None = None,
        resume: bool = False,
        listeners: Sequence[Listener] = (),
        progress: bool = True,
        **settings: Any,
    ) -> History:
        """Train.

        Args:
            data: ``Data``, a path or known name, pictures as array or tensor (with ``labels``), or a ``DataLoader``.
            labels: of pictures given as array or tensor, (N,).
            epochs: times through the training pictures.
            folder: a run folder to make; without one nothing is written.
            resume: go on in ``folder`` where a run stopped.
            listeners: told of every step and epoch.
            progress: show a bar or a line an epoch.
            settings: any field of ``Settings``, over those of ``compile``.

        Raises:
            DivergedError: where the loss becomes NaN or infinite.
            UsageError, DataError, ShapeError: for what does not fit.
        """
        from pellucid.train.fitting import fit

        asked = {**settings, **({"epochs": epochs} if epochs is not None else {})}
        self._asked = self._asked or self.settings  # each fit resolves what was asked, not what another data set chose
        self.settings = self._asked.with_values(**asked)
        self.learn_of(data)
        options = self.task.options(self.settings).model_dump(mode="json")
        self.settings = self.settings.with_values(task=self.task.name, task_settings=options)
        prepared = inputs.prepare(data, labels, self.settings, self.task)
        path = Path(folder) if folder is not None else None
        return fit(self, prepared, path, resume=resume, listeners=listeners, progress=progress)

    def build(self, data: DataLike) -> nn.Module:
        """The network for this data: made by name with its classes, channels and size, if it is not there yet."""
        if self.preprocess is None:
            self.preprocess = self.task.prepare(data, self.settings)
        if self._classes is None:
            self._classes = data.classes
        if self._net is None:
            with torch.random.fork_rng(()):
                torch.manual_seed(self.settings.seed)  # a run that was killed before it began starts from these again
                self._net = nets.make(str(self._given), **{**self._facts_for(str(self._given)), **self._net_settings})
        return self._net

    def _facts_for(self, net: str) -> dict[str, Any]:
        """Of what is known of the data, that which a network asks for."""
        known = nets.signature(net)
        facts = self.task.facts(self._preparation(), self.classes)
        return {name: value for name, value in facts.items() if name in known}

    def name_classes(self, names: tuple[str, ...]) -> None:
        """Call the classes so, where they have no names yet."""
        if not self.classes:
            self._classes = names

    def outputs(self, split: Split) -> NDArray[np.float32]:
        """The outputs before the softmax for a split, (N, classes)."""
        execution = self.execution()
        execution.place(self.net)
        batches = self.task.batches(split, self._preparation(), self.settings, execution.device, training=False)
        return outputs_of(self.net, batches.epoch(0), execution)

    def evaluate(self, data: Any, labels: Any = None, *, split: str = "test") -> Any:
        """Measure the network.

        Args:
            data, labels: as for ``fit``; a ``DataLoader`` is measured whole.
            split: test, validation or train; ``all`` for every picture. Pictures given as arrays are all measured.

        Raises:
            UsageError: where the data have no such split, or other classes.

        Returns:
            The task's record: of a classifier ``pellucid.train.Measured``.
        """
        if isinstance(data, DataLoader):
            return self._evaluate_loader(data)
        if labels is not None:
            return self.task.measure(self, Data.from_arrays(data, labels, self.classes or None).train)
        return self.task.measure(self, inputs.one_split(self._load(data), split, self.task))

    def _evaluate_loader(self, loader: DataLoader[Any]) -> Measured:
        labels: list[NDArray[np.int64]] = []

        def batches() -> Iterator[Any]:
            for batch in inputs.LoaderBatches(loader).epoch(0):
                labels.append(batch.labels.cpu().numpy().astype(np.int64))
                yield batch

        execution = self.execution()
        execution.place(self.net)
        with left_as_found():
            probabilities = probabilities_of(outputs_of(self.net, batches(), execution))
        return measure(probabilities, np.concatenate(labels), Numbered("picture", len(probabilities)), self.classes)

    def predict(self, pictures: Any, *, names: Sequence[str] | None = None) -> Predictions:
        """What the network says of pictures: a path, a PIL image, encoded bytes, a list of them, or an array or tensor
        (N, H, W), (N, H, W, C) or (N, C, H, W).

        Raises:
            DecodeError: for a picture that cannot be decoded.
        """
        split, found = inputs.pictures(pictures, self._preparation())
        called = tuple(names) if names is not None else found
        return Predictions(probabilities_of(self.outputs(split)).astype(np.float32), self.classes, called)

    def answers(self, *things: str | Path, top: int = 3, **options: Any) -> list[Answer]:
        """What ``pellucid predict`` prints, of things of any task: paths, or where it reads text the text itself.

        Args:
            things: what is asked about.
            top: how many answers for each, where there are several.
            options: of the task, such as ``beam=4`` of a translation.

        Raises:
            DataError: for the first thing that cannot be read.
        """
        broken: list[PellucidError] = []
        found = list(self.task.answers(self, Asked(tuple(map(str, things)), top, options), broken))
        if broken:
            raise broken[0]
        return found

    def summary(self, input_size: tuple[int, ...] | None = None) -> Summary:
        """Print the table of the network."""
        from pellucid.summarize import summary

        if input_size is None and isinstance(self.preprocess, Preprocess):
            input_size = (self.preprocess.channels, *self.preprocess.image_size)
        return summary(self.net, input_size)

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``classes.json``, which ``Model.load`` reads, into a folder."""
        path = Path(folder)
        weights.write_model(path, self.net.state_dict(), self.facts())
        return path

    def facts(self) -> dict[str, Any]:
        """What ``load`` needs beside the weights."""
        return {
            "task": self.task.name,
            "task_settings": self.settings.task_settings,
            **{name: getattr(self.settings, name) for name in _OF_SPLITS},
            "classes": list(self.classes),
            "preprocess": self._preparation().to_json(),
            "net": self.settings.net,
            "net_settings": self._made_with(),
            **self._engine_facts(),
        }

    def _engine_facts(self) -> dict[str, Any]:
        """The engine of a CPU, whose numbers a loaded network gives again; of other devices nothing."""
        known = self.engine is not None and device_of(self.settings.device).type == "cpu"
        return {"engine": self.engine.described()} if known and self.engine is not None else {}

    @classmethod
    def load(cls, path: str | Path, net: nn.Module | None = None) -> Self:
        """A trained network from a run folder (its best), or from a folder that ``save`` wrote.

        Args:
            path: the folder.
            net: the network itself, where it was given as a module and not by name.

        Raises:
            CheckpointError: where there is none, or it is damaged or that of another network.
        """
        folder = Path(path)
        folder = folder / "best" if (folder / "best").is_dir() else folder
        tensors, facts = weights.read_model(folder)
        if net is None and facts["net"] == "given:module":
            raise UsageError(
                f"the network in {folder} was given as a module, not by name", fits="Model.load(path, net=your_module)"
            )
        task = tasks.task(facts.get("task"))
        model = cls(
            net if net is not None else nets.make(facts["net"], **facts["net_settings"]),
            classes=facts["classes"],
            preprocess=task.read_preparation(facts["preprocess"]),
            task=task.name,
        )
        kept = ("task", "task_settings", "net", "net_settings", *_OF_SPLITS)
        model.settings = Settings.parse({name: facts[name] for name in kept if name in facts})
        weights.put(model.net, tensors, folder)
        if isinstance(facts.get("engine"), dict) and model._engine_key()[1] == "cpu":
            model.take_engine(Engine.kept(facts["engine"]))
        return model

    def __repr__(self) -> str:
        name = self._given if isinstance(self._given, str) else type(self._given).__name__
        state = f"{len(self.classes)} classes" if self.classes else "not yet made"
        return f"Model({name}, {state})"

    def _made_with(self) -> dict[str, Any]:
        if self.settings.net == "given:module":
            return {}
        return {**self._facts_for(self.settings.net), **self.settings.net_settings, **self._net_settings}

    def _preparation(self) -> Any:
        if self.preprocess is None:
            raise UsageError(
                f"how {self.task.things} become input is not known yet", fits="fit first, or Model(preprocess=...)"
            )
        return self.preprocess

    def execution(self) -> Execution:
        """How its arithmetic runs, by its settings."""
        settings, device = self.settings, device_of(self.settings.device)
        bf16 = settings.precision == "bf16"
        if self._engine is None or self._engine_for != self._engine_key():
            self.take_engine(Engine.asked(settings.engine, self.net, device, bf16))
        return Execution(device, bool(settings.channels_last), bf16, self._engine or Engine())

    @property
    def engine(self) -> Engine | None:
        """What runs the network's passes, and why; None where nothing has run yet."""
        return self._engine if self._engine is not None and self._engine.name else None

    def take_engine(self, engine: Engine) -> None:
        """Run passes by an engine, as long as the settings stay what they are."""
        self._engine, self._engine_for = engine, self._engine_key()

    def forget_engine(self) -> None:
        """Ask the settings again."""
        self._engine = None

    def _engine_key(self) -> tuple[str, str, str]:
        return self.settings.engine, str(device_of(self.settings.device)), self.settings.precision

    def _load(self, data: Any) -> Any:
        given = isinstance(getattr(data, "splits", None), Mapping)
        loaded = data if given else self.task.load_again(str(data), self._preparation(), self.settings)
        inputs.check_classes(loaded, self.classes)
        return loaded
