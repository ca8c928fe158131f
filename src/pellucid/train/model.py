"""``Model``: the six steps - import, data, network, compile, fit, summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from pellucid import nets
from pellucid.data import Data, Preprocess, Split, load
from pellucid.data.dataset import Numbered
from pellucid.errors import DecodeError, PellucidError, UsageError
from pellucid.train import inputs, weights
from pellucid.train.execution import Execution, device_of, left_as_found
from pellucid.train.listeners import History, Listener
from pellucid.train.measure import Measured, measure
from pellucid.train.predictions import Prediction, Predictions, in_order, outputs_of, probabilities_of
from pellucid.train.settings import Settings

if TYPE_CHECKING:
    from pellucid.summarize import Summary


class Model:
    """A network with what is needed to train it, measure it and use it.

    >>> model = Model("lenet").compile(optimizer="adamw")     # doctest: +SKIP
    >>> model.fit("fashion-mnist", epochs=10)                 # doctest: +SKIP
    >>> model.evaluate("fashion-mnist").accuracy              # doctest: +SKIP

    Args:
        net: a network's name (made when the data are known), ``package.module:factory``, or any ``nn.Module``.
        classes: the names of its outputs; else those of the data.
        preprocess: how pictures become its input; else measured on the training pictures.
        net_settings: of a network given by name.
    """

    def __init__(
        self,
        net: str | nn.Module,
        *,
        classes: Sequence[str] | None = None,
        preprocess: Preprocess | None = None,
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
        self.settings = Settings(net=net if isinstance(net, str) else "given:module")
        self.optimizer: Optimizer | None = None
        self.loss: nn.Module | None = None
        self.history: History | None = None
        self._asked: Settings | None = None

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
        return self.preprocess.classes if self.preprocess else ()

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
        if metrics is not None and set(metrics) - {"accuracy", "loss"}:
            raise UsageError(
                f"there is no metric {sorted(set(metrics) - {'accuracy', 'loss'})[0]!r} for every epoch",
                fits="accuracy and loss; evaluate() measures precision, recall, F1, confusion and calibration",
            )
        self.optimizer = optimizer if isinstance(optimizer, Optimizer) else None
        self.loss = loss if isinstance(loss, nn.Module) else None
        named: dict[str, Any] = {"net": self.settings.net, "net_settings": self._net_settings, **settings}
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
        prepared = inputs.prepare(data, labels, self.settings)
        path = Path(folder) if folder is not None else None
        return fit(self, prepared, path, resume=resume, listeners=listeners, progress=progress)

    def build(self, data: Data) -> nn.Module:
        """The network for this data: made by name with its classes, channels and size, if it is not there yet."""
        if self._net is None:
            size = data.image_size
            facts = {
                "classes": len(data.classes),
                "in_channels": data.channels,
                "image_size": size[0] if size[0] == size[1] else size,
            }
            with torch.random.fork_rng(()):
                torch.manual_seed(self.settings.seed)  # a run that was killed before it began starts from these again
                self._net = nets.make(str(self._given), **{**facts, **self._net_settings})
        if self._classes is None:
            self._classes = data.classes
        return self._net

    def name_classes(self, names: tuple[str, ...]) -> None:
        """Call the classes so, where they have no names yet."""
        if not self.classes:
            self._classes = names

    def outputs(self, split: Split) -> NDArray[np.float32]:
        """The outputs before the softmax for a split, (N, classes)."""
        execution = self._execution()
        execution.place(self.net)
        return outputs_of(self.net, in_order(split, self._preprocess(), execution), execution)

    def evaluate(self, data: Any, labels: Any = None, *, split: str = "test") -> Measured:
        """Measure the network.

        Args:
            data, labels: as for ``fit``; a ``DataLoader`` is measured whole.
            split: test, validation or train; ``all`` for every picture. Pictures given as arrays are all measured.

        Raises:
            UsageError: where the data have no such split, or other classes.
        """
        if isinstance(data, DataLoader):
            return self._evaluate_loader(data)
        if labels is not None:
            chosen = Data.from_arrays(data, labels, self.classes or None).train
        else:
            chosen = inputs.one_split(self._load(data), split)
        probabilities = probabilities_of(self.outputs(chosen))
        return measure(probabilities, chosen.labels, chosen.names, self.classes)

    def _evaluate_loader(self, loader: DataLoader[Any]) -> Measured:
        labels: list[NDArray[np.int64]] = []

        def batches() -> Iterator[Any]:
            for batch in inputs.LoaderBatches(loader).epoch(0):
                labels.append(batch.labels.cpu().numpy().astype(np.int64))
                yield batch

        execution = self._execution()
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
        split, found = inputs.pictures(pictures, self._preprocess())
        called = tuple(names) if names is not None else found
        return Predictions(probabilities_of(self.outputs(split)).astype(np.float32), self.classes, called)

    def predict_files(
        self, files: Iterable[tuple[str, Path | bytes]], *, top: int, broken: list[PellucidError]
    ) -> Iterator[Prediction]:
        """The ``top`` classes of named files, a few at a time; what cannot be decoded goes to ``broken``."""
        for chunk in _chunks(files, 256):
            good: list[tuple[str, NDArray[np.uint8]]] = []
            for name, file in chunk:
                try:
                    good.append((name, self._preprocess().picture(file)))
                except DecodeError as error:
                    broken.append(DecodeError(error.message.replace("the picture", name, 1), **error.facts))
            if good:
                stacked = np.stack([picture for _, picture in good])
                yield from self.predict(stacked, names=[name for name, _ in good]).top(min(top, len(self.classes)))

    def summary(self, input_size: tuple[int, ...] | None = None) -> Summary:
        """Print the table of the network."""
        from pellucid.summarize import summary

        if input_size is None:
            preprocess = self._preprocess()
            input_size = (preprocess.channels, *preprocess.image_size)
        return summary(self.net, input_size)

    def save(self, folder: str | Path) -> Path:
        """Write ``model.safetensors`` and ``classes.json``, which ``Model.load`` reads, into a folder."""
        path = Path(folder)
        weights.write_model(path, self.net.state_dict(), self.facts())
        return path

    def facts(self) -> dict[str, Any]:
        """What ``load`` needs beside the weights."""
        return {
            "classes": list(self.classes),
            "preprocess": self._preprocess().to_json(),
            "net": self.settings.net,
            "net_settings": self._made_with(),
        }

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
        model = cls(
            net if net is not None else nets.make(facts["net"], **facts["net_settings"]),
            classes=facts["classes"],
            preprocess=Preprocess.from_json(facts["preprocess"]),
        )
        model.settings = Settings.parse({"net": facts["net"], "net_settings": facts["net_settings"]})
        weights.put(model.net, tensors, folder)
        return model

    def __repr__(self) -> str:
        name = self._given if isinstance(self._given, str) else type(self._given).__name__
        state = f"{len(self.classes)} classes" if self.classes else "not yet made"
        return f"Model({name}, {state})"

    def _made_with(self) -> dict[str, Any]:
        if self.settings.net == "given:module":
            return {}
        preprocess = self._preprocess()
        height, width = preprocess.image_size
        known = nets.signature(self.settings.net)
        facts = {
            "classes": len(self.classes),
            "in_channels": preprocess.channels,
            "image_size": height if height == width else [height, width],
        }
        takes = {name: value for name, value in facts.items() if name in known}
        return {**takes, **self.settings.net_settings, **self._net_settings}

    def _preprocess(self) -> Preprocess:
        if self.preprocess is None:
            raise UsageError("how pictures become input is not known yet", fits="fit first, or Model(preprocess=...)")
        return self.preprocess

    def _execution(self) -> Execution:
        settings = self.settings
        return Execution(device_of(settings.device), bool(settings.channels_last), settings.precision == "bf16")

    def _load(self, data: Any) -> Data:
        if isinstance(data, Data):
            inputs.check_classes(data, self.classes)
            return data
        preprocess = self._preprocess()
        loaded = load(data, image_size=preprocess.image_size, channels=preprocess.channels, fit=preprocess.fit)
        inputs.check_classes(loaded, self.classes)
        return loaded


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
