"""What a kind of learning is beside the loop: its data, its loss, its score, its measures, its part of the report.

The loop (``loop.py``), the run folder, resuming and the page are one for all. To add a task is to add a subclass of
``Task`` in ``tasks/``, and a line in its registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from pellucid.errors import PellucidError, UsageError, unknown
from pellucid.train.execution import Execution
from pellucid.train.settings import Settings

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord


class Preparation(Protocol):
    """What turns a thing (a picture, a sentence) into the network's input, learned on the training split alone and
    saved beside the weights: means, a vocabulary, a scaling."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``Task.read_preparation`` reads back exactly."""
        ...


class SplitLike(Protocol):
    """One part of a data set: how many things, and what to call each."""

    @property
    def names(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...


class DataLike(Protocol):
    """A data set: ``splits`` by name (train, validation, test; only those that there are), ``classes`` where outputs
    have names, ``notes`` for the user, and a ``fingerprint`` that changes with anything that training would see."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def splits(self) -> Mapping[str, Any]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def origin(self) -> str: ...


class Batch(Protocol):
    """What one forward pass takes: the loop calls ``net(*inputs)`` and ``loss(outputs, targets)``.

    ``labels`` are what ``Task.right`` compares with. ``count`` is what the means of the loss and of the score are taken
    over: pictures, pixels that are not void, tokens. ``len()`` is the number of things.
    """

    @property
    def inputs(self) -> tuple[Tensor, ...]: ...
    @property
    def count(self) -> int: ...

    targets: Tensor
    labels: Tensor

    def __len__(self) -> int: ...


class Batches(Protocol):
    """Deals the same batches of an epoch whenever it is asked, from any step on."""

    def __len__(self) -> int: ...
    def epoch(self, number: int, start: int = 0) -> Iterator[Any]: ...


class Measured(Protocol):
    """What a network is worth on one split; a frozen dataclass.

    ``n`` things were measured; ``score`` is the main figure, the one that ``Task.score`` names.
    """

    @property
    def n(self) -> int: ...
    @property
    def score(self) -> float: ...

    def headline(self) -> str:
        """One line: ``accuracy 0.9126 on 10,000 pictures``."""
        ...

    def text(self) -> str:
        """For a terminal."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain values, which ``Task.read_measured`` reads back; NaN becomes None."""
        ...


@dataclass(frozen=True)
class Asked:
    """What ``pellucid predict`` was asked: things as words of the command line (paths, sentences; ``-`` is standard
    input), how many answers for each, and the task's own options (``--set beam=4``)."""

    things: tuple[str, ...]
    top: int = 3
    options: Mapping[str, Any] = field(default_factory=dict)
    standard_input: Callable[[], bytes] = lambda: b""


@dataclass(frozen=True)
class Answer:
    """What the network says of one thing: a line for a terminal, rows for CSV, a record for JSON."""

    name: str
    text: str
    rows: tuple[Mapping[str, Any], ...]
    record: Mapping[str, Any]


class NoOptions(BaseModel):
    """A task without settings of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(ABC):
    """A kind of learning. An object of it holds nothing: all that it needs is handed in."""

    name: ClassVar[str]
    things: ClassVar[str]  # "pictures": in sentences for the user
    reads: ClassVar[tuple[str, ...]] = ("pictures",)  # what its inputs are; a network says by ``reads`` what it takes
    net: ClassVar[str]  # where no network is asked for
    score: ClassVar[str] = "accuracy"  # of a split after each epoch; the best epoch by it is kept
    train_score: ClassVar[str] = "accuracy"  # what ``right`` sums over training batches
    lower_is_better: ClassVar[bool] = False
    units: ClassVar[Mapping[str, str]] = {"loss": "mean over pictures", "accuracy": "share of pictures"}  # of charts
    Options: ClassVar[type[BaseModel]] = NoOptions

    def options(self, settings: Settings) -> Any:
        """The task's own settings, checked and complete.

        Raises:
            UsageError: for an unknown name or a value that does not fit.
        """
        given = settings.task_settings
        for name in given:
            if name not in self.Options.model_fields:
                raise unknown(f"setting of {self.name}", name, self.Options.model_fields)
        try:
            return self.Options(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"][:1])
            said = f"{first['msg'][0].lower()}{first['msg'][1:]}"
            about = self.Options.model_fields.get(name)
            raise UsageError(
                f"{name} cannot be {given.get(name)!r}: {said}", meaning=about.description if about else ""
            ) from None

    @abstractmethod
    def recognises(self, where: str) -> bool:
        """Whether a path (or known name) looks like data of this task; a cheap look that raises nothing."""

    @abstractmethod
    def load(self, where: str, settings: Settings) -> Any:
        """The data set.

        Raises:
            DataError, UsageError: with one clear sentence.
        """

    def load_again(self, where: str, preparation: Any, settings: Settings) -> Any:
        """Data to measure a trained network on, read as its training data were."""
        return self.load(where, settings)

    @abstractmethod
    def prepare(self, data: Any, settings: Settings) -> Any:
        """What the training split teaches of inputs: a ``Preparation``."""

    @abstractmethod
    def read_preparation(self, values: Mapping[str, Any]) -> Any:
        """What ``Preparation.to_json`` gave."""

    @abstractmethod
    def facts(self, preparation: Any, classes: tuple[str, ...]) -> dict[str, Any]:
        """What networks of this task are made for: classes, in_channels, image_size, vocabulary, horizon. A network is
        given those that its factory names."""

    @abstractmethod
    def resolve(self, settings: Settings, data: Any, net: nn.Module) -> Settings:
        """Settings with nothing left to choose; what the user has set stays as it is."""

    @abstractmethod
    def batches(
        self, split: Any, preparation: Any, settings: Settings, device: torch.device, *, training: bool
    ) -> Batches:
        """The batches of a split: shuffled and augmented in training, else all of it in its order."""

    @abstractmethod
    def loss(self, settings: Settings, data: Any) -> nn.Module:
        """(outputs, targets) -> the mean over what ``Batch.count`` counts."""

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The sum of ``train_score`` over a batch, on its device: how many are right."""
        return (outputs.argmax(1) == labels).sum()

    @abstractmethod
    def check_outputs(self, outputs: Any, count: int, data: DataLike | None, classes: tuple[str, ...]) -> None:
        """Raises ShapeError where the outputs for ``count`` things do not fit the data."""

    @abstractmethod
    def quick(
        self, net: nn.Module, split: Any, preparation: Any, settings: Settings, execution: Execution
    ) -> dict[str, float]:
        """``loss`` and ``score`` (and more, by their names) of a split after an epoch."""

    @abstractmethod
    def measure(self, model: Model, split: Any) -> Any:
        """Everything that is measured at the end: a ``Measured``."""

    @abstractmethod
    def read_measured(self, values: Mapping[str, Any]) -> Any:
        """What ``Measured.to_json`` gave."""

    @abstractmethod
    def report(self, folder: Path, record: RunRecord, model: Model, split: Any) -> Body:
        """The task's part of the report of a measured run; figures may be written beside it."""

    @abstractmethod
    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """What the network says of things. What cannot be read goes to ``broken``."""

    def whole(self, data: Any) -> Any:
        """All splits of a data set after one another.

        Raises:
            UsageError: where the task has no such split.
        """
        raise UsageError(f"--split all is not for {self.things}", fits="test, validation or train")
