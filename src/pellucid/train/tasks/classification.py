"""Classification: one label a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from pellucid.data import Batches, Data, Preprocess, Split, find_pictures, load
from pellucid.errors import DecodeError, PellucidError, ShapeError, UsageError
from pellucid.train import losses, recipe
from pellucid.train.execution import Execution
from pellucid.train.measure import Measured, measure
from pellucid.train.predictions import Prediction, outputs_of, probabilities_of, quick_measures
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked, DataLike, Task

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord

EVALUATION_BATCH = 500
_CHUNK = 256  # files that are decoded before the network sees them


class Classification(Task):
    """Pictures, one of K classes each."""

    name: ClassVar[str] = "classification"
    things: ClassVar[str] = "pictures"
    net: ClassVar[str] = "basic_cnn"

    def recognises(self, where: str) -> bool:
        """Every path: what nobody else takes is pictures, and ``load`` says what is wrong with them."""
        return True

    def load(self, where: str, settings: Settings) -> Data:
        """Pictures from a path or a known name, as the settings ask."""
        return load(
            where,
            image_size=settings.image_size,
            channels=settings.channels,
            validation=settings.validation,
            limit=settings.limit,
            seed=settings.seed,
        )

    def load_again(self, where: str, preparation: Preprocess, settings: Settings) -> Data:
        """Pictures brought to the network's size, in the same splits: what was learned from is not measured on."""
        return load(
            where,
            image_size=preparation.image_size,
            channels=preparation.channels,
            fit=preparation.fit,
            validation=settings.validation,
            limit=settings.limit,
            seed=settings.seed,
        )

    def prepare(self, data: Data, settings: Settings) -> Preprocess:
        """Mean and deviation of each channel over the training pictures."""
        return Preprocess.of(data)

    def read_preparation(self, values: Mapping[str, Any]) -> Preprocess:
        """What ``Preprocess.to_json`` gave."""
        return Preprocess.from_json(values)

    def facts(self, preparation: Preprocess, classes: tuple[str, ...]) -> dict[str, Any]:
        """classes, in_channels, image_size (one number for squares)."""
        height, width = preparation.image_size
        return {
            "classes": len(classes),
            "in_channels": preparation.channels,
            "image_size": height if height == width else [height, width],
        }

    def resolve(self, settings: Settings, data: Data, net: nn.Module) -> Settings:
        """The recipe of docs/recipe.md."""
        return recipe.resolve(settings, data, net)

    def batches(
        self, split: Split, preparation: Preprocess, settings: Settings, device: torch.device, *, training: bool
    ) -> Batches:
        """In training shuffled and augmented, without the rest that fills no batch; else all in order."""
        if not training:
            return Batches(split, preparation, batch_size=EVALUATION_BATCH, device=device)
        size = settings.batch_size or 128
        return Batches(
            split,
            preparation,
            batch_size=size,
            seed=settings.seed,
            augment=recipe.augment(settings),
            shuffle=True,
            drop_last=len(split) >= size,
            device=device,
        )

    def loss(self, settings: Settings, data: Data) -> nn.Module:
        """The loss that the settings name, its classes weighted where they ask for it."""
        classes = len(data.classes)
        weight = None
        if settings.class_weight == "balanced":
            weight = losses.balanced_weights(torch.from_numpy(data.train.labels), classes)
        return losses.make(settings.loss, classes, smoothing=settings.label_smoothing or 0.0, weight=weight)

    def check_outputs(self, outputs: Any, count: int, data: DataLike | None, classes: tuple[str, ...]) -> None:
        """Raises ShapeError unless the outputs are (N, classes)."""
        known = len(data.classes) if data is not None else len(classes)
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2 or (known and outputs.shape[1] != known):
            fits = f"a tensor ({count}, {known or 'classes'})"
            raise ShapeError(f"for {count} {self.things} of {known} classes the network gives {found}", fits=fits)

    def quick(
        self, net: nn.Module, split: Split, preparation: Preprocess, settings: Settings, execution: Execution
    ) -> dict[str, float]:
        """Mean cross-entropy and accuracy."""
        return quick_measures(self.outputs(net, split, preparation, settings, execution), split.labels)

    def outputs(
        self, net: nn.Module, split: Split, preparation: Preprocess, settings: Settings, execution: Execution
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The outputs before the softmax, (N, classes), in the split's order."""
        batches = self.batches(split, preparation, settings, execution.device, training=False)
        return outputs_of(net, batches.epoch(0), execution)

    def measure(self, model: Model, split: Split) -> Measured:
        """Accuracy, confusion, precision and recall, calibration, mistakes."""
        return measure(probabilities_of(model.outputs(split)), split.labels, split.names, model.classes)

    def read_measured(self, values: Mapping[str, Any]) -> Measured:
        """What ``Measured.to_json`` gave."""
        return Measured.from_json(values)

    def report(self, folder: Path, record: RunRecord, model: Model, split: Split) -> Body:
        """Mistakes with their pictures, confusion, classes, calibration."""
        from pellucid.draw import classification_report

        pictures = {item.index: np.asarray(split.images[item.index]) for item in record.measured.mistakes}
        classification_report.save_figures(folder, record, pictures)
        return classification_report.body(record, pictures)

    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """The most probable classes of pictures, of all in a folder; a few files are held at a time."""
        found = [item for given in asked.things for item in ([given] if given == "-" else find_pictures(given))]
        if not found:
            raise UsageError(f"there is no picture in {', '.join(asked.things)}")
        top = min(asked.top, len(model.classes))
        for first in range(0, len(found), _CHUNK):
            named = [
                (str(file), asked.standard_input() if file == "-" else Path(file)) for file in found[first:][:_CHUNK]
            ]
            yield from map(answer, self._predict(model, named, top, broken))

    def _predict(
        self, model: Model, files: Iterable[tuple[str, Path | bytes]], top: int, broken: list[PellucidError]
    ) -> Iterator[Prediction]:
        good = []
        for name, file in files:
            try:
                good.append((name, model.preprocess.picture(file)))
            except DecodeError as error:
                broken.append(DecodeError(error.message.replace("the picture", name, 1), **error.facts))
        if good:
            stacked = np.stack([picture for _, picture in good])
            yield from model.predict(stacked, names=[name for name, _ in good]).top(top)

    def whole(self, data: Data) -> Split:
        """All pictures, split after split."""
        parts = list(data.splits.values())
        return Split(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            [str(called) for part in parts for called in part.names],
        )


def answer(found: Prediction, thing: str = "picture") -> Answer:
    """A prediction as what ``pellucid predict`` prints."""
    return Answer(
        found.name,
        ", ".join(f"{name} {probability:.2f}" for name, probability in found.top),
        tuple(
            {thing: found.name, "rank": rank, "class": name, "probability": f"{probability:.6f}"}
            for rank, (name, probability) in enumerate(found.top, start=1)
        ),
        {thing: found.name, "classes": [{"class": n, "probability": p} for n, p in found.top]},
    )
