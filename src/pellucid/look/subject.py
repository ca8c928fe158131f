"""What is looked at: a network with what is known of it, and pictures as its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data import Preprocess
from pellucid.errors import ShapeError, UsageError, unknown
from pellucid.look.update_source import state_of_run
from pellucid.train import Model, Settings
from pellucid.train.loop import load_all_tensors
from pellucid.train.losses import make
from pellucid.train.runfolder import read_config


@dataclass(frozen=True)
class Subject:
    """A network, the names of its outputs, and how pictures become its input (None: tensors alone are taken).

    settings: how it is trained, where that is known. model: where it came from one. run: the run folder, where it came
    from one.
    """

    net: nn.Module
    name: str
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    settings: Settings | None = None
    model: Model | None = None
    run: Path | None = None

    def loss(self, given: nn.Module | str | None) -> nn.Module:
        """The loss that is opened: the given one, else that of the model's settings, else cross-entropy."""
        if isinstance(given, nn.Module):
            return given
        if self.model is not None and self.model.loss is not None and given is None:
            return self.model.loss
        settings = self.settings
        name = given or (settings.loss if settings is not None else "cross_entropy")
        smoothing = (settings.label_smoothing or 0.0) if settings is not None else 0.0
        return make(str(name), len(self.classes), smoothing=smoothing)

    def class_number(self, label: Any) -> int:
        """A class by its name or number.

        Raises:
            UsageError: for a class that there is not.
        """
        if isinstance(label, str):
            if label in self.classes:
                return self.classes.index(label)
            if self.classes:
                raise unknown("class", label, self.classes)
            raise UsageError(f"the classes of {self.name} have no names; '{label}' is one", fits="label=3")
        number = int(label)
        if number < 0 or (self.classes and number >= len(self.classes)):
            raise UsageError(f"there is no class {number}", fits=f"0 to {len(self.classes) - 1}, or a name")
        return number


def subject_of(model: Model | nn.Module | str | Path, weights: str = "best") -> Subject:
    """What a ``Model``, a run folder or any ``nn.Module`` says of itself; ``weights``: of a run, best or last."""
    if weights not in ("best", "last"):
        raise UsageError(f"a run has no weights named '{weights}'", fits="weights='best' or 'last'")
    if isinstance(model, str | Path):
        loaded = Model.load(model)
        run = Path(model)
        if weights == "last":
            load_all_tensors(loaded.net, state_of_run(run).weights)
        has_settings = (run / "config.yaml").is_file()  # what ``Model.save`` wrote has none
        settings = Settings.parse(read_config(run)["settings"]) if has_settings else loaded.settings
        return Subject(loaded.net, run.name, loaded.classes, _of_pictures(loaded), settings, loaded, run)
    if isinstance(model, Model):
        name = model.settings.net if model.settings.net != "given:module" else type(model.net).__name__
        return Subject(model.net, name, model.classes, _of_pictures(model), model.settings, model)
    if isinstance(model, nn.Module):
        return Subject(model, type(model).__name__)
    raise UsageError(
        f"what is looked at is of type {type(model).__name__}, which is no network",
        fits="a Model, a run folder, or an nn.Module",
    )


def _of_pictures(model: Model) -> Preprocess | None:
    """How pictures become its input; of a network that reads something else, tensors alone are taken."""
    return model.preprocess if isinstance(model.preprocess, Preprocess) else None


def inputs_of(subject: Subject, given: Any) -> tuple[tuple[Tensor, ...], NDArray[np.uint8] | None]:
    """The network's inputs: a tuple of tensors as it is, for a network of several; all else as ``input_of``."""
    if isinstance(given, tuple) and given and all(isinstance(item, Tensor) for item in given):
        if len({len(item) if item.ndim else 0 for item in given}) > 1:
            shapes = ", ".join(str(tuple(item.shape)) for item in given)
            raise ShapeError(f"the inputs have different first dimensions: {shapes}", fits="as many of each, (N, ...)")
        return given, None
    picture, pixels = input_of(subject, given)
    return (picture,), pixels


def input_of(subject: Subject, picture: Any) -> tuple[Tensor, NDArray[np.uint8] | None]:
    """A picture as the network's input, (N, C, H, W), and its pixels as uint8 (N, H, W, C) where there are some.

    A tensor of floating numbers is the input itself; all else goes through the model's preprocessing.

    Raises:
        UsageError: for a picture that is no tensor, where nobody knows how to make it input.
        DecodeError: where it cannot be decoded.
    """
    if isinstance(picture, Tensor) and (picture.is_floating_point() or subject.preprocess is None):
        return _as_batch(subject, picture), None
    if subject.preprocess is None:
        raise UsageError(
            f"how a picture becomes the input of {subject.name} is not known",
            fits="a tensor (N, C, H, W), or pellucid.Model(net, preprocess=...)",
        )
    wanted = (*subject.preprocess.image_size, subject.preprocess.channels)
    if isinstance(picture, Tensor):
        picture = picture.cpu().numpy()
    if isinstance(picture, np.ndarray) and picture.ndim == 4:
        pixels = picture
    else:
        listed: Sequence[Any] = picture if isinstance(picture, list | tuple) else [picture]
        pixels = np.stack([subject.preprocess.picture(item) for item in listed])
    if pixels.dtype != np.uint8 or pixels.shape[1:] != wanted:
        raise ShapeError(
            f"the pictures are {pixels.dtype} of shape {pixels.shape}", fits=f"uint8 (N, {', '.join(map(str, wanted))})"
        )
    return subject.preprocess.tensor(pixels), pixels


def _as_batch(subject: Subject, tensor: Tensor) -> Tensor:
    rank = 1 + 3 if subject.preprocess is not None or _has_2d(subject.net) else tensor.ndim
    return tensor[None] if tensor.ndim == rank - 1 else tensor


def _has_2d(net: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d) for part in net.modules())


def labels_of(subject: Subject, label: Any, pictures: int) -> Tensor:
    """One label, or one for each picture, as int64 (N,)."""
    if isinstance(label, Tensor):
        return label if label.ndim else label[None].expand(pictures)
    listed = list(label) if isinstance(label, list | tuple | np.ndarray) else [label] * pictures
    if len(listed) != pictures:
        raise UsageError(f"there are {len(listed)} labels for {pictures} pictures", fits="one label for each picture")
    return torch.tensor([subject.class_number(item) for item in listed], dtype=torch.int64)
