"""What people hand to ``fit``, ``evaluate`` and ``predict``, made into ``Data`` and ``Split``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pellucid.data import Data, Preprocess, Split
from pellucid.errors import UsageError
from pellucid.train.settings import Settings
from pellucid.train.task import DataLike, Task


@dataclass
class LoaderBatch:
    """One batch of a ``DataLoader``."""

    images: Tensor
    targets: Tensor
    labels: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network is called with."""
        return (self.images,)

    @property
    def count(self) -> int:
        """Over how many things the means of loss and accuracy are taken: pictures."""
        return len(self.labels)

    def __len__(self) -> int:
        return len(self.labels)


class LoaderBatches:
    """A ``DataLoader`` as batches of the loop. PyTorch's generator, from which loaders draw their order, is seeded at
    each epoch and each batch; after a resume the batches that were done are drawn and passed over. So the run is the
    same where what the loader gives depends on nothing but that generator."""

    def __init__(self, loader: DataLoader[Any], seed: int = 0) -> None:
        self.loader, self.seed = loader, seed

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[LoaderBatch]:
        """The batches from ``start`` on."""
        first = (number << 32) + (1 << 31)  # far from the seeds of steps
        torch.manual_seed(mixed_seed(self.seed, first))
        batches = iter(self.loader)
        for i in range(len(self.loader)):
            torch.manual_seed(mixed_seed(self.seed, first + 1 + i))
            batch = next(batches, None)
            if batch is None:
                return
            if not isinstance(batch, list | tuple) or len(batch) != 2:
                raise UsageError("a batch of the DataLoader is no pair", fits="(images, labels)")
            images, targets = batch
            if i >= start:
                yield LoaderBatch(images, targets, targets if targets.ndim == 1 else targets.argmax(1))


def mixed_seed(seed: int, step: int) -> int:
    """A seed for torch's generators: a mix (splitmix64) of the run's seed and the step."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step + 1) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> shift)) * factor % 2**64
    return (mixed ^ (mixed >> 31)) >> 1


@dataclass(frozen=True)
class Prepared:
    """Exactly one of the two: our own data, or a loader."""

    data: Any = None  # a data set of any task
    loader: LoaderBatches | None = None
    origin: str | None = None  # what ``resume`` can load again


def prepare(data: Any, labels: Any, settings: Settings, task: Task) -> Prepared:
    """What ``Model.fit`` was given.

    Raises:
        UsageError: for labels that are missing or too many.
    """
    if isinstance(data, DataLoader):
        if labels is not None:
            raise UsageError("a DataLoader brings its own labels; labels were given as well")
        return Prepared(loader=LoaderBatches(data, settings.seed))
    if isinstance(getattr(data, "splits", None), Mapping):
        return Prepared(data=data)
    if isinstance(data, str | Path):
        if labels is not None:
            raise UsageError(f"{data} brings its own labels; labels were given as well")
        return Prepared(data=task.load(str(data), settings), origin=origin_of(data))
    if labels is None:
        raise UsageError(f"a {type(data).__name__} of pictures was given without labels", fits="fit(pictures, labels)")
    return Prepared(data=Data.from_arrays(data, labels, validation=settings.validation, seed=settings.seed))


def origin_of(where: str | Path) -> str:
    """A path as an absolute one, so that a run can be resumed from anywhere; a known name as it is."""
    path = Path(where).expanduser()
    return str(path.resolve()) if path.exists() else str(where)


def one_split(data: Any, name: str, task: Task) -> Any:
    """One split of a data set, or ``all`` of them after one another.

    Raises:
        UsageError: where there is none of that name.
    """
    if name == "all":
        return task.whole(data)
    if name not in data.splits:
        raise UsageError(
            f"{data.origin} has no {name} split", found=", ".join(data.splits), fits="--split all, or one of these"
        )
    return data.splits[name]


def check_classes(data: DataLike, classes: Sequence[str]) -> None:
    """Raises UsageError where the data's classes are not the network's, in their order."""
    if tuple(data.classes) != tuple(classes):
        raise UsageError(
            "the data have other classes than the network",
            data=", ".join(data.classes),
            network=", ".join(classes),
            fits="folders named as the network's classes",
        )


def pictures(given: Any, preprocess: Preprocess) -> tuple[Split, tuple[str, ...]]:
    """Pictures of any usual form as a split with labels 0, and what to call each."""
    if isinstance(given, np.ndarray | torch.Tensor):
        array = given[None] if given.ndim == 2 or (given.ndim == 3 and _is_one(given)) else given
        found = Data.from_arrays(array, np.zeros(len(array), np.int64), ("any",)).train
        return found, tuple(str(i) for i in range(len(found)))
    listed = given if isinstance(given, list | tuple) else [given]
    if not listed:
        raise UsageError("there is no picture to predict")
    images = np.stack([preprocess.picture(item) for item in listed])
    names = tuple(str(item) if isinstance(item, str | Path) else str(i) for i, item in enumerate(listed))
    return Split(images, np.zeros(len(images), np.int64), names), names


def _is_one(given: Any) -> bool:
    """Whether three dimensions are one colour picture (H, W, 3), rather than N grey ones."""
    return int(given.shape[-1]) in (1, 3) and int(given.shape[0]) > 4
