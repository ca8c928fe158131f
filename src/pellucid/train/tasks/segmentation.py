"""Segmentation: a class for every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from pellucid.data import find_pictures
from pellucid.data.masks import MaskData, MaskSplit, load_masks
from pellucid.data.masks_batches import MaskBatches
from pellucid.data.masks_files import recognised
from pellucid.data.masks_preprocess import MaskPreprocess
from pellucid.errors import DataError, DecodeError, PellucidError, ShapeError, UsageError, unknown
from pellucid.train import recipe
from pellucid.train.execution import Execution
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked, DataLike, Task
from pellucid.train.tasks import segmentation_tiles as tiles
from pellucid.train.tasks.segmentation_loss import PixelCrossEntropy, class_weights
from pellucid.train.tasks.segmentation_measure import SegmentationMeasured, Shares, confusion_of, measure, shares

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord

_EVALUATED_PIXELS = 1 << 19  # of the pictures that are measured together
# The highest learning rate of the schedule at a batch of 4 pictures.
_RATES = {"sgd": 0.05, "momentum": 0.02, "adagrad": 0.01, "rmsprop": 5e-4, "adam": 0.002, "adamw": 0.003, "muon": 0.01}
_DECAYS = {"adamw": 0.05, "muon": 0.05}
_FINE_TUNING = 0.1  # of the rate, where weights come from a file


class Options(BaseModel):
    """The settings of segmentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    void: int | None = Field(None, ge=0, le=255, description="the label that is no class; else found from classes.txt")
    weighting: Literal["none", "balanced", "root", "median_frequency"] = Field(
        "root", description="of classes in the loss, by how many pixels they have"
    )


class PredictOptions(BaseModel):
    """What ``pellucid predict`` can be told by ``--set``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: str | None = Field(None, description="a folder for the masks and overlays")
    tile: int | None = Field(None, ge=32, description="side of the tiles of a large picture, in pixels")
    overlap: int = Field(tiles.OVERLAP, ge=0, description="by which tiles overlap, in pixels")


class Segmentation(Task):
    """Pictures and masks: one of K classes for each pixel."""

    name: ClassVar[str] = "segmentation"
    things: ClassVar[str] = "pictures"
    net: ClassVar[str] = "unet_small"
    score: ClassVar[str] = "mean_iou"
    train_score: ClassVar[str] = "pixel_accuracy"
    units: ClassVar[Mapping[str, str]] = {
        "loss": "mean over pixels",
        "pixel_accuracy": "share of pixels",
        "mean_iou": "intersection over union, mean of the classes",
    }
    Options: ClassVar[type[BaseModel]] = Options

    def recognises(self, where: str) -> bool:
        """A folder or archive with pictures beside masks."""
        return recognised(where)

    def load(self, where: str, settings: Settings) -> MaskData:
        """Pictures and masks from a path, as the settings ask.

        Raises:
            UsageError: for a loss or an augmentation that has no meaning for masks, before anything is read.
        """
        _refuse_what_is_not_for_masks(settings)
        return load_masks(
            where,
            image_size=settings.image_size,
            channels=settings.channels,
            validation=settings.validation,
            limit=settings.limit,
            seed=settings.seed,
            void=self.options(settings).void,
        )

    def load_again(self, where: str, preparation: MaskPreprocess, settings: Settings) -> MaskData:
        """Pictures and masks brought to the network's size."""
        return load_masks(
            where,
            image_size=preparation.image_size,
            channels=preparation.channels,
            fit=preparation.fit,
            void=self.options(settings).void,
            classes=preparation.classes,
        )

    def prepare(self, data: MaskData, settings: Settings) -> MaskPreprocess:
        """Mean and deviation of each channel, and the pixels of each class, over the training pictures."""
        return MaskPreprocess.of_masks(data)

    def read_preparation(self, values: Mapping[str, Any]) -> MaskPreprocess:
        """What ``MaskPreprocess.to_json`` gave."""
        return MaskPreprocess.from_json(values)

    def facts(self, preparation: MaskPreprocess, classes: tuple[str, ...]) -> dict[str, Any]:
        """classes, in_channels, image_size."""
        height, width = preparation.image_size
        return {
            "classes": len(classes),
            "in_channels": preparation.channels,
            "image_size": height if height == width else [height, width],
        }

    def resolve(self, settings: Settings, data: MaskData, net: nn.Module) -> Settings:
        """Good values for whatever is not set.

        Raises:
            UsageError: for a loss or an augmentation that has no meaning for masks.
        """
        _refuse_what_is_not_for_masks(settings)
        batch_size = min(settings.batch_size or 4, len(data.train))
        rate = _RATES[settings.optimizer] * (batch_size / 4) ** 0.5
        if settings.weights is not None and not settings.freeze:
            rate *= _FINE_TUNING
        chosen = {
            "learning_rate": float(f"{rate:.3g}"),
            "weight_decay": _DECAYS.get(settings.optimizer, 5e-4),
            "label_smoothing": 0.0,
            "ema": 0.0,
            **{"crop": 0, "resized_crop": 0.0, "rotation": 0.0, "cutout": 0, "mixup": 0.0},
            **{"flip": True, "scale": 0.5, "color": 0.2},
        }
        given = {name: value for name, value in settings.model_dump().items() if value is not None}
        return Settings.parse({**settings.model_dump(), **chosen, **given, "batch_size": batch_size})

    def batches(
        self, split: MaskSplit, preparation: MaskPreprocess, settings: Settings, device: torch.device, *, training: bool
    ) -> MaskBatches:
        """In training shuffled and changed, without the rest that fills no batch; else all in order."""
        if not training:
            height, width = preparation.image_size
            size = max(1, _EVALUATED_PIXELS // (height * width))
            return MaskBatches(split, preparation, batch_size=size, device=device)
        size = settings.batch_size or 4
        return MaskBatches(
            split,
            preparation,
            batch_size=size,
            seed=settings.seed,
            augment=recipe.augment(settings),
            shuffle=True,
            drop_last=len(split) >= size,
            device=device,
        )

    def loss(self, settings: Settings, data: MaskData) -> nn.Module:
        """Cross-entropy over pixels, classes weighted as the settings ask."""
        weighting = settings.class_weight or self.options(settings).weighting
        weight = class_weights(weighting, data.train.counts(len(data.classes)))
        return PixelCrossEntropy(weight, settings.label_smoothing or 0.0)

    def check_outputs(self, outputs: Any, count: int, data: DataLike | None, classes: tuple[str, ...]) -> None:
        """Raises ShapeError unless the outputs are (N, K, H, W), K classes and the pictures' size."""
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else (type(outputs).__name__,)
        height, width = data.image_size if isinstance(data, MaskData) else found[-2:] if len(found) == 4 else (0, 0)
        wanted = (count, len(classes), height, width)
        if found != wanted:
            raise ShapeError(
                f"for {count} pictures of {height} x {width} in {len(classes)} classes the network gives {found}",
                fits=f"scores {wanted}: --net unet_small, unet, fcn32s, fcn16s or fcn8s",
            )

    def quick(
        self, net: nn.Module, split: MaskSplit, preparation: MaskPreprocess, settings: Settings, execution: Execution
    ) -> dict[str, float]:
        """Mean cross-entropy, pixel accuracy and mean IoU."""
        confusion, _, loss = self._counted(net, split, preparation, settings, execution)
        found = shares(confusion)
        return {"loss": loss, "pixel_accuracy": found.pixel_accuracy, "mean_iou": found.mean_iou}

    def _counted(
        self, net: nn.Module, split: MaskSplit, preparation: MaskPreprocess, settings: Settings, execution: Execution
    ) -> tuple[NDArray[np.int64], list[Shares], float]:
        """Pixels by truth and what they were called, (K, K), the measures of each picture, the loss without weights."""
        classes, plain = len(preparation.classes), PixelCrossEntropy()
        confusion, own, total, pixels = np.zeros((classes, classes), np.int64), [], 0.0, 0
        for batch, outputs in self._outputs(net, split, preparation, settings, execution):
            total += float(plain(outputs, batch.targets)) * batch.count
            pixels += batch.count
            called = outputs.argmax(1).cpu().numpy()
            truth = split.masks[batch.indices]
            for one, other in zip(truth, called, strict=True):
                counts = confusion_of(one, other, classes)
                confusion += counts
                own.append(shares(counts))
        return confusion, own, total / max(1, pixels)

    @torch.no_grad()
    def _outputs(
        self, net: nn.Module, split: MaskSplit, preparation: MaskPreprocess, settings: Settings, execution: Execution
    ) -> Iterator[tuple[Any, Tensor]]:
        """The batches of a split in order with their scores, float32, in evaluation mode; the mode is put back."""
        training = net.training
        net.eval()
        try:
            for batch in self.batches(split, preparation, settings, execution.device, training=False).epoch(0):
                yield batch, execution.run(net, batch).float()
        finally:
            net.train(training)

    def measure(self, model: Model, split: MaskSplit) -> SegmentationMeasured:
        """The measures of the FCN paper beside those of always the same answer; classes, pictures."""
        execution, preparation = model.execution(), model.preprocess
        execution.place(model.net)
        confusion, own, loss = self._counted(model.net, split, preparation, model.settings, execution)
        frequent = int(np.argmax(preparation.counts)) if preparation.counts else 0
        return measure(confusion, own, loss, split.names, model.classes, frequent)

    def read_measured(self, values: Mapping[str, Any]) -> SegmentationMeasured:
        """What ``SegmentationMeasured.to_json`` gave."""
        return SegmentationMeasured.from_json(values)

    def report(self, folder: Path, record: RunRecord, model: Model, split: MaskSplit) -> Body:
        """The worst pictures and some others with truth and prediction over them, classes, confusion."""
        from pellucid.draw import segmentation_report

        measured: SegmentationMeasured = record.measured
        shown = [item.index for item in measured.pictures]
        execution = model.execution()
        execution.place(model.net)
        chosen = split.take(shown)
        found = self._outputs(model.net, chosen, model.preprocess, model.settings, execution)
        called = [mask for _, outputs in found for mask in outputs.argmax(1).to(torch.uint8).cpu().numpy()]
        scenes = {
            index: (np.asarray(picture), np.asarray(mask), other)
            for index, picture, mask, other in zip(shown, chosen.images, chosen.masks, called, strict=True)
        }
        segmentation_report.save_overlays(folder / "overlays.png", record, scenes)
        return segmentation_report.body(record, scenes)

    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """The share of each class in pictures of any size; masks and overlays go to the folder ``out``, if it is named.

        Raises:
            UsageError: where a file would be written over.
        """
        options = _predict_options(asked.options)
        found = [item for given in asked.things for item in ([given] if given == "-" else find_pictures(given))]
        if not found:
            raise UsageError(f"there is no picture in {', '.join(asked.things)}")
        targets = _targets(options.out, [str(item) for item in found])
        execution = model.execution()
        execution.place(model.net)
        for item, target in zip(found, targets, strict=True):
            name = "standard input" if item == "-" else str(item)
            try:
                content = asked.standard_input() if item == "-" else Path(item)
                picture = model.preprocess.whole(content, name)
            except (DecodeError, DataError) as error:
                broken.append(error)
                continue
            mask = predicted_mask(model, picture, execution, tile=options.tile, overlap=options.overlap)
            if target is not None:
                _write(target, picture, mask, len(model.classes))
            yield _answer(name, mask, model.classes, asked.top, target)

    def whole(self, data: MaskData) -> MaskSplit:
        """All pictures, split after split."""
        parts = list(data.splits.values())
        return MaskSplit(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.masks for part in parts]),
            [str(called) for part in parts for called in part.names],
        )


def _refuse_what_is_not_for_masks(settings: Settings) -> None:
    if settings.mixup:
        raise UsageError("mixup blends labels, and a mask has one for each pixel", fits="mixup=0")
    if settings.loss != "cross_entropy":
        raise UsageError(f"segmentation learns by cross_entropy, not by {settings.loss}", fits="loss=cross_entropy")


def predicted_mask(
    model: Model, picture: NDArray[np.uint8], execution: Execution, *, tile: int | None = None, overlap: int = 128
) -> NDArray[np.uint8]:
    """The most probable class of each pixel of a picture (h, w, C) of any size, uint8 (h, w).

    The network sees the picture scaled as its training pictures were; probabilities are interpolated back to its own
    pixels.
    """
    image = model.preprocess.scaled(picture)
    found = torch.from_numpy(tiles.probabilities(model.net, image, execution, tile=tile, overlap=overlap))[None]
    if found.shape[2:] != picture.shape[:2]:
        found = nn.functional.interpolate(found, size=picture.shape[:2], mode="bilinear", align_corners=False)
    mask: NDArray[np.uint8] = found[0].argmax(0).to(torch.uint8).numpy()
    return mask


def _predict_options(given: Mapping[str, Any]) -> PredictOptions:
    for name in given:
        if name not in PredictOptions.model_fields:
            raise unknown("option of segmentation", name, PredictOptions.model_fields)
    try:
        return PredictOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        meaning = PredictOptions.model_fields[name].description or ""
        raise UsageError(f"{name} cannot be {given[name]!r}: {first['msg'].lower()}", meaning=meaning) from None


def _targets(out: str | None, names: list[str]) -> list[tuple[Path, Path] | None]:
    """Where the mask and the overlay of each picture go.

    Raises:
        UsageError: where one is there already, or two pictures would have the same.
    """
    if out is None:
        return [None] * len(names)
    folder, targets = Path(out), []
    for name in names:
        stem = "standard-input" if name == "-" else Path(name).stem
        targets.append((folder / f"{stem}.mask.png", folder / f"{stem}.overlay.png"))
    taken = [file for pair in targets for file in pair if file.exists()]
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", fits="out=FOLDER")
    if taken:
        raise UsageError(f"{taken[0]} is there already; nothing is written over it", fits="another folder, or none yet")
    if len(set(targets)) < len(targets):
        twice = next(pair for pair in targets if targets.count(pair) > 1)
        raise UsageError(f"two pictures would both become {twice[0].name}", fits="one folder of pictures at a time")
    return list(targets)


def _write(target: tuple[Path, Path], picture: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int) -> None:
    from pellucid.draw.segmentation_overlay import encoded_mask, encoded_picture, overlay

    try:
        target[0].parent.mkdir(parents=True, exist_ok=True)
        for file, content in (
            (target[0], encoded_mask(mask, classes)),
            (target[1], encoded_picture(overlay(picture, mask, classes))),
        ):
            with file.open("xb") as out:
                out.write(content)
    except FileExistsError as error:
        raise UsageError(f"{error.filename} is there already; nothing is written over it") from None
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from None


def _answer(
    name: str, mask: NDArray[np.uint8], classes: tuple[str, ...], top: int, target: tuple[Path, Path] | None
) -> Answer:
    """The shares of the classes, the largest first; the first ``top`` as a line."""
    counts = np.bincount(mask.reshape(-1), minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    there = [(classes[i], float(counts[i] / mask.size)) for i in order if counts[i]]
    files = {"mask": str(target[0]), "overlay": str(target[1])} if target else {}
    said = ", ".join(f"{called} {share:.2f}" for called, share in there[:top])
    return Answer(
        name,
        f"{said} (of {mask.shape[0]} x {mask.shape[1]} pixels)" + (f"  {files['mask']}" if files else ""),
        tuple({"picture": name, "class": called, "share": f"{share:.6f}"} for called, share in there),
        {
            "picture": name,
            "height": mask.shape[0],
            "width": mask.shape[1],
            "shares": [{"class": called, "share": share} for called, share in there],
            **files,
        },
    )
