"""Where the pictures of an atlas come from: a split of a data set, or a tensor that is the network's input itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data import Batches, Data, Preprocess, Split, load
from pellucid.data.dataset import Numbered
from pellucid.errors import ShapeError, UsageError
from pellucid.look.subject import Subject
from pellucid.train import inputs, tasks

Pixels = NDArray[np.uint8]
_PICTURES = "classification"  # its files are pictures; another task makes pictures of its files, such as spectrograms
_CHUNK = 1 << 24  # bytes that are digested at once


class Source(Protocol):
    """Pictures in a fixed order."""

    @property
    def origin(self) -> str:
        """What the data set is called; empty where it has no name."""

    @property
    def names(self) -> Sequence[str]:
        """What to call each."""

    @property
    def classes(self) -> Sequence[str]:
        """What labels stand for."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,), where they are known."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W)"""

    def __len__(self) -> int: ...

    def batches(self, first: int, size: int) -> Iterator[Tensor]:
        """The inputs (n, C, H, W) of pictures ``first`` and on; ``first`` is a multiple of ``size``."""

    def inputs(self, indices: NDArray[np.int64]) -> Tensor:
        """The inputs of some pictures, (n, C, H, W)."""

    def pixels(self, indices: NDArray[np.int64]) -> Pixels:
        """The same pictures for people, (n, H, W, 1 or 3)."""

    def fingerprint(self) -> str:
        """SHA-256 of everything that an atlas shows of them."""


@dataclass(frozen=True, eq=False)
class SplitSource:
    """A split, made into input by a model's preprocessing."""

    split: Split
    preprocess: Preprocess
    device: torch.device
    classes: Sequence[str] = ()
    labels: NDArray[np.int64] | None = None
    origin: str = ""

    @property
    def names(self) -> Sequence[str]:
        return self.split.names

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.split.channels, *self.split.image_size

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, first: int, size: int) -> Iterator[Tensor]:
        for batch in self._dealt(self.split, size).epoch(0, start=first // size):
            yield batch.images

    def inputs(self, indices: NDArray[np.int64]) -> Tensor:
        return next(self._dealt(self.split.take(indices), len(indices)).epoch(0)).images

    def pixels(self, indices: NDArray[np.int64]) -> Pixels:
        return _one_or_three(np.ascontiguousarray(self.split.images[indices]))

    def fingerprint(self) -> str:
        digest = _begun(f"{self.split.images.shape} {self.preprocess}", self.classes, self.labels)
        for chunk in self.split.chunks():
            digest.update(chunk.data)
        for name in self.split.names:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()

    def _dealt(self, split: Split, size: int) -> Batches:
        return Batches(split, self.preprocess, batch_size=size, device=self.device)


@dataclass(frozen=True, eq=False)
class TensorSource:
    """A tensor (N, C, H, W) that is the network's input; ``shown`` are the same pictures for people.

    Without ``shown`` each picture is its own input, stretched from its least number (black) to its greatest (white).
    """

    tensor: Tensor
    shown: Pixels | None
    device: torch.device
    classes: Sequence[str] = ()
    labels: NDArray[np.int64] | None = None
    origin: str = ""

    def __post_init__(self) -> None:
        if self.tensor.ndim != 4:
            raise ShapeError(f"the data are a tensor of shape {tuple(self.tensor.shape)}", fits="(N, C, H, W)")
        if self.shown is not None:
            wanted = (len(self.tensor), *self.tensor.shape[2:])
            if self.shown.dtype != np.uint8 or self.shown.ndim != 4 or self.shown.shape[:3] != wanted:
                raise ShapeError(
                    f"the pictures to show are {self.shown.dtype} of shape {self.shown.shape}",
                    fits=f"uint8 of shape ({', '.join(map(str, wanted))}, 1 or 3)",
                )

    @property
    def names(self) -> Sequence[str]:
        return Numbered("picture", len(self.tensor))

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[1:])

    def __len__(self) -> int:
        return len(self.tensor)

    def batches(self, first: int, size: int) -> Iterator[Tensor]:
        for start in range(first, len(self), size):
            yield self.tensor[start : start + size].to(self.device)

    def inputs(self, indices: NDArray[np.int64]) -> Tensor:
        return self.tensor[torch.from_numpy(indices)].to(self.device)

    def pixels(self, indices: NDArray[np.int64]) -> Pixels:
        if self.shown is not None:
            return _one_or_three(self.shown[indices])
        chosen = self.tensor[torch.from_numpy(indices)].detach().float().cpu().nan_to_num()
        low, high = chosen.amin((1, 2, 3), keepdim=True), chosen.amax((1, 2, 3), keepdim=True)
        scaled = (chosen - low) / (high - low).clamp(min=1e-12) * 255
        return _one_or_three(scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())

    def fingerprint(self) -> str:
        digest = _begun(f"{self.tensor.dtype} {tuple(self.tensor.shape)}", self.classes, self.labels)
        step = max(1, _CHUNK // max(1, self.tensor[:1].numel() * self.tensor.element_size()))
        for start in range(0, len(self), step):
            part = self.tensor[start : start + step].detach().cpu().contiguous()
            digest.update(part.reshape(-1).view(torch.uint8).numpy().data)
        if self.shown is not None:
            digest.update(np.ascontiguousarray(self.shown).data)
        return digest.hexdigest()


def source_of(subject: Subject, data: Any, split: str, pictures: Any = None) -> Source:
    """The pictures that ``atlas`` was given.

    Args:
        subject: the network.
        data: for a model that knows how pictures become input: ``Data``, a ``Split``, a path or known name, or uint8
            pictures (N, H, W), (N, H, W, C) or (N, C, H, W). For any network: a tensor of floating numbers
            (N, C, H, W) that is its input. Pictures and tensors may come with labels (N,), as a pair.
        split: of a data set: test, validation, train or all.
        pictures: to show, uint8 (N, H, W, C), beside a tensor.

    Raises:
        UsageError, DataError, ShapeError: for what does not fit.
    """
    device = next((parameter.device for parameter in subject.net.parameters()), torch.device("cpu"))
    given, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if isinstance(given, Tensor) and (given.is_floating_point() or subject.preprocess is None):
        found: Source = _of_tensor(subject, given, labels, pictures, device)
    elif subject.preprocess is None:
        raise UsageError(
            f"how a picture becomes the input of {subject.name} is not known",
            fits="a tensor (N, C, H, W), or pellucid.Model(net, preprocess=...)",
        )
    else:
        if isinstance(given, str | Path) and subject.model is not None and subject.model.task.name != _PICTURES:
            given = subject.model.task.load_again(str(given), subject.preprocess, subject.model.settings)
        found = _of_pictures(subject.classes, subject.preprocess, given, labels, split, device)
    if not len(found):
        raise UsageError("there is no picture to make an atlas of")
    return found


def _of_tensor(subject: Subject, tensor: Tensor, labels: Any, pictures: Any, device: torch.device) -> TensorSource:
    known = None if labels is None else np.asarray(labels, np.int64)
    if known is not None and known.shape != (len(tensor),):
        raise ShapeError(f"the labels have shape {known.shape}", fits=f"({len(tensor)},), one for each picture")
    shown = None if pictures is None else np.asarray(pictures)
    return TensorSource(tensor, shown, device, subject.classes, known)


def _of_pictures(
    classes: Sequence[str], preprocess: Preprocess, data: Any, labels: Any, split: str, device: torch.device
) -> SplitSource:
    """Pictures in the size that the network takes. Their classes need not be the network's: they are shown, no more."""
    if isinstance(data, str | Path):
        data = load(data, image_size=preprocess.image_size, channels=preprocess.channels, fit=preprocess.fit)
    if isinstance(data, Data):
        chosen = inputs.one_split(data, split, tasks.task(None))
        called = Path(data.origin).name if data.origin != "arrays" else ""
        return SplitSource(chosen, preprocess, device, data.classes, chosen.labels, called)
    if isinstance(data, Split):
        return SplitSource(data, preprocess, device, classes, data.labels)
    if labels is not None:
        made = Data.from_arrays(data, labels, classes or None)
        return SplitSource(made.train, preprocess, device, made.classes, made.train.labels)
    return SplitSource(inputs.pictures(data, preprocess)[0], preprocess, device)


def _begun(about: str, classes: Sequence[str], labels: NDArray[np.int64] | None) -> hashlib._Hash:
    """A digest that has read everything but the pictures."""
    digest = hashlib.sha256(f"{about} {list(classes)}\n".encode())
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest


def _one_or_three(pixels: Pixels) -> Pixels:
    """(n, H, W, 1 or 3); other numbers of channels become grey, their mean."""
    if pixels.shape[3] in (1, 3):
        return pixels
    mean: Pixels = pixels.mean(3, keepdims=True).round().astype(np.uint8)
    return mean
