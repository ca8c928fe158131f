"""``probe``: how far a network tolerates changes of its pictures, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data import Data, Preprocess, Split, load
from pellucid.data.random import permutation
from pellucid.errors import ShapeError, TrainingError, UsageError
from pellucid.graph import Graph, Row, capture
from pellucid.look.changes import Asked, Change, Motion, chosen_changes
from pellucid.look.equivariance import Grid, errors, lengths, places
from pellucid.look.probe_record import Curve, Probe, ProbedLayer, Sample
from pellucid.train.allocator import keeping_freed_memory
from pellucid.train.inputs import check_classes, one_split
from pellucid.train.measure import wilson
from pellucid.train.predictions import probabilities_of

if TYPE_CHECKING:
    from pellucid.train import Model

KINDS = ("convolution", "pooling", "linear")
MOST_LAYERS = 12  # compared where none are asked for
_BATCH_BYTES = 128 << 20  # of features that are held at a time
_BATCH = 64  # what is compared should stay in the processor's cache
_SAMPLES = 3
_SMALLEST_SIDE = 4

Indices = NDArray[np.int64]
Steps = list[tuple[Change, tuple[float, ...]]]


def probe(
    model: Model,
    data: Data | str | Path,
    *,
    changes: Asked = None,
    pictures: int = 1000,
    layers: Iterable[str] | None = None,
    split: str = "test",
    name: str | None = None,
    shown: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Probe:
    """Change pictures by steps, and see what becomes of the answers and of the features of each layer.

    Args:
        model: a trained network; its graph is run in evaluation mode, the module is not touched.
        data: ``Data``, a path or a known name.
        changes: names of changes (``pellucid.look.changes.CHANGES``), or names -> sizes; all by default.
        pictures: how many of the split, evenly spread over it, at most.
        layers: nodes of the network whose features are compared; by default its convolutions, poolings and linear
            layers, up to twelve spread evenly.
        split: test, validation, train, or all.
        name: what to call the network; else what it is made of.
        shown: numbers of pictures, among those that are taken, to keep at every size; by default three of different
            classes, of those that are answered rightly if there are such.
        progress: told after each pass how many are done, and of how many.

    Raises:
        UsageError: for a change, layer or split that does not exist, a size that makes no sense, other classes than the
            network's, or pictures too small to be moved.
        TrainingError: where the network's outputs are not finite.
    """
    if pictures < 1:
        raise UsageError(f"pictures is {pictures}", fits="1 or more")
    preprocess = _preprocess(model)
    steps = chosen_changes(changes, preprocess.image_size)
    graph = capture(model.net, (preprocess.channels, *preprocess.image_size), training=False)
    rows, left_out = _layers(graph, layers)
    origin, whole = _split(model, preprocess, data, split)
    sample = whole.take(np.arange(min(pictures, len(whole))) * len(whole) // min(pictures, len(whole)))
    if shown is not None and not all(0 <= number < len(sample) for number in shown):
        raise UsageError(f"the pictures to show are {list(shown)}", fits=f"numbers from 0 to {len(sample) - 1}")
    network = _Network(graph, preprocess, tuple(row.name for row in rows), len(model.classes))
    with torch.no_grad(), keeping_freed_memory():
        found = _Probing(network, sample, steps, rows, progress)
        found.run()
        samples = _samples(network, sample, steps, model.classes, found.to_show() if shown is None else shown)
    unchanged = found.unchanged
    return Probe(
        name=name or _name(model),
        data=origin,
        split=split,
        pictures=len(sample),
        total=len(whole),
        classes=model.classes,
        image_size=preprocess.image_size,
        channels=preprocess.channels,
        accuracy=unchanged.right / unchanged.count,
        interval=wilson(unchanged.right, unchanged.count),
        probability=unchanged.probability / unchanged.count,
        layers=found.layers(),
        left_out=left_out,
        curves=tuple(found.curve(change, sizes) for change, sizes in steps),
        samples=samples,
    )


@dataclass(frozen=True)
class _Network:
    """The captured network from pictures of 0..255, float32 (N, C, H, W), to probabilities (N, classes) in double
    precision and to the values of the watched layers."""

    graph: Graph
    preprocess: Preprocess
    watched: tuple[str, ...]
    classes: int

    def __call__(self, pictures: Tensor) -> tuple[NDArray[np.float64], list[Tensor]]:
        given = self.preprocess.normalise(pictures).to(self._device())
        out, kept = self.graph.run(given, record=(*self.watched, self.graph.inputs[0].name))
        outputs = (out[0] if isinstance(out, tuple) else out).float().cpu()
        if outputs.ndim != 2 or outputs.shape[1] != self.classes:
            shape = " x ".join(map(str, outputs.shape))
            raise ShapeError(
                f"the network gives {shape} numbers for {len(pictures)} pictures in {self.classes} classes"
            )
        values = (kept[name] for name in self.watched)
        return probabilities_of(outputs.numpy()), [v[0] if isinstance(v, tuple) else v for v in values]

    def _device(self) -> torch.device:
        return next((tensor.device for tensor in self.graph.tensors.values()), torch.device("cpu"))


@dataclass
class _Sums:
    """What is added up over pictures, for one size of one change; arrays have one number a layer."""

    layers: int
    count: int = 0
    right: int = 0
    same: int = 0
    probability: float = 0.0
    features: NDArray[np.float64] = field(init=False)  # (2, layers): the sum of the finite ones, and how many they are
    equivariance: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.features, self.equivariance = np.zeros((2, self.layers)), np.zeros((2, self.layers))

    def answers(self, found: NDArray[np.float64], before: NDArray[np.float64], labels: Indices) -> None:
        self.count += len(labels)
        self.right += int((found.argmax(1) == labels).sum())
        self.same += int((found.argmax(1) == before.argmax(1)).sum())
        self.probability += float(found[np.arange(len(labels)), labels].sum())


def _add(sums: NDArray[np.float64], layer: int, values: Tensor) -> None:
    finite = values[values.isfinite()]
    sums[:, layer] += float(finite.sum()), len(finite)


def _means(sums: Sequence[NDArray[np.float64]], layer: int) -> tuple[float | None, ...]:
    return tuple(float(one[0, layer] / one[1, layer]) if one[1, layer] else None for one in sums)


class _Probing:
    """Goes through a sample once, batch by batch; each batch is changed by every size of every change."""

    def __init__(
        self,
        network: _Network,
        sample: Split,
        steps: Steps,
        rows: Sequence[Row],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.network, self.sample, self.steps, self.rows = network, sample, steps, rows
        self.grids = [Grid.of(row.shape, row.field) for row in rows]
        self.sums = {(change.name, size): _Sums(len(rows)) for change, sizes in steps for size in sizes}
        self.unchanged = _Sums(len(rows))
        self._right: list[int] = []
        self._last: list[Tensor] = []  # the features of the last picture of the batch before
        self._progress = progress

    def run(self) -> None:
        # In random order, so that a batch holds pictures of all classes where the data are sorted by class.
        order, batch = permutation(0, 0, len(self.sample)), _batch_size(self.network.graph, self.rows)
        batches = [order[first : first + batch] for first in range(0, len(order), batch)]
        passes = 1 + sum(size != change.neutral for change, sizes in self.steps for size in sizes)
        for i, numbers in enumerate(batches):
            for j in self._one(numbers):
                if self._progress is not None:
                    self._progress(i * passes + j, len(batches) * passes)

    def _one(self, numbers: Indices) -> Iterator[int]:
        """One batch; gives the number of passes through the network, after each."""
        pictures, labels = _planes(self.sample, numbers), self.sample.labels[numbers]
        before, features = self.network(pictures)
        if not np.isfinite(before).all():
            raise TrainingError("the network's outputs are not finite", fits="train again with a lower learning rate")
        self.unchanged.answers(before, before, labels)
        self._right += numbers[before.argmax(1) == labels].tolist()
        for layer, values in enumerate(features):
            row = torch.cat([self._last[layer], values]) if self._last else values
            _add(self.unchanged.features, layer, lengths(row[:-1] - row[1:]) / lengths(row[1:]))
        self._last = [values[-1:].clone() for values in features]
        kept = [(values, lengths(values)) for values in features]
        yield (passes := 1)
        for change, sizes in self.steps:
            for size in sizes:
                found = before, features
                if size != change.neutral:
                    found = self.network(change.apply(pictures, size, numbers))
                    yield (passes := passes + 1)
                sums = self.sums[change.name, size]
                sums.answers(found[0], before, labels)
                self._compare(sums, change, size, numbers, found[1], kept)

    def _compare(
        self,
        sums: _Sums,
        change: Change,
        size: float,
        numbers: Indices,
        found: list[Tensor],
        kept: list[tuple[Tensor, Tensor]],
    ) -> None:
        """Add up how the features that were found differ from those of the unchanged pictures, with their lengths."""
        image_size = self.network.preprocess.image_size
        for layer, (changed, (unchanged, length)) in enumerate(zip(found, kept, strict=True)):
            _add(sums.features, layer, lengths(changed - unchanged) / length)
            grid = self.grids[layer]
            if grid is None or not isinstance(change, Motion):
                continue
            for way, chosen in change.dealt(numbers):
                at = places(grid, change.look_up(size, way, image_size), image_size)
                if len(at.index):
                    _add(sums.equivariance, layer, errors(changed[chosen], unchanged[chosen], at))

    def to_show(self) -> list[int]:
        """The numbers of some pictures of different classes, of those that are answered rightly if there are such."""
        right = set(self._right)
        firsts: dict[int, int] = {}
        for number in [*self._right, *(number for number in range(len(self.sample)) if number not in right)]:
            firsts.setdefault(int(self.sample.labels[number]), number)
        return list(firsts.values())[:_SAMPLES]

    def layers(self) -> tuple[ProbedLayer, ...]:
        between = [_means([self.unchanged.features], layer)[0] for layer in range(len(self.rows))]
        return tuple(
            ProbedLayer(
                row.name,
                row.operation,
                row.kind,
                row.shape[1:],
                str(row.field or ""),
                tuple(grid.step.tolist()) if grid is not None else (),
                math.nan if value is None else value,
            )
            for row, grid, value in zip(self.rows, self.grids, between, strict=True)
        )

    def curve(self, change: Change, sizes: tuple[float, ...]) -> Curve:
        sums = [self.sums[change.name, size] for size in sizes]
        layers = range(len(self.rows))
        return Curve(
            change=change.name,
            unit=change.unit,
            what=change.what,
            neutral=change.neutral,
            sizes=sizes,
            accuracy=tuple(one.right / one.count for one in sums),
            probability=tuple(one.probability / one.count for one in sums),
            same=tuple(one.same / one.count for one in sums),
            features=tuple(_means([one.features for one in sums], layer) for layer in layers),
            equivariance=tuple(_means([one.equivariance for one in sums], layer) for layer in layers),
        )


def _preprocess(model: Model) -> Preprocess:
    if not isinstance(model.preprocess, Preprocess):
        raise UsageError("how pictures become input is not known", fits="a trained or loaded Model of pictures")
    height, width = model.preprocess.image_size
    if min(height, width) < _SMALLEST_SIDE:
        raise UsageError(
            f"the network sees {height} x {width} pixels: there is nothing to move, turn or scale",
            fits=f"a network of pictures of {_SMALLEST_SIDE} x {_SMALLEST_SIDE} pixels or more",
        )
    return model.preprocess


def _layers(graph: Graph, asked: Iterable[str] | None) -> tuple[list[Row], int]:
    """The rows of the layers to compare, and how many were left out."""
    account = graph.account()
    if asked is not None:
        wanted = [asked] if isinstance(asked, str) else list(asked)
        return [account[graph[name].name] for name in dict.fromkeys(wanted)], 0
    rows = [row for row in account.rows if row.kind in KINDS]
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_LAYERS)).round().astype(int))
    return [rows[i] for i in chosen], len(rows) - len(chosen)


def _split(model: Model, preprocess: Preprocess, data: Data | str | Path, split: str) -> tuple[str, Split]:
    """Where the data come from, and the split as the network's pictures."""
    given = data if isinstance(data, Data) else None
    if given is None:
        size, channels = preprocess.image_size, preprocess.channels
        given = load(str(data), image_size=size, channels=channels, fit=preprocess.fit)
    check_classes(given, model.classes)
    found: Split = one_split(given, split, model.task)
    if not len(found):
        raise UsageError(f"there is no picture in the {split} split of {given.origin}")
    wanted = (*preprocess.image_size, preprocess.channels)
    if found.images.shape[1:] != wanted:
        shapes = [" x ".join(map(str, shape)) for shape in (found.images.shape[1:], wanted)]
        raise ShapeError(f"pictures are {shapes[0]}, the network was made for {shapes[1]} (H x W x C)")
    return given.origin, found


def _batch_size(graph: Graph, rows: Sequence[Row]) -> int:
    """Pictures at a time: kept twice is what the layers give, and the largest values of the others come and go."""
    account = graph.account()
    largest = max((row.activation_bytes for row in account.rows), default=0)
    watched = sum(4 * math.prod(row.shape) for row in rows)
    return max(1, min(_BATCH, _BATCH_BYTES // (2 * watched + 4 * largest + 1)))


def _planes(split: Split, numbers: Indices) -> Tensor:
    """Pictures of a split as float32 (N, C, H, W) of 0..255."""
    return torch.from_numpy(np.ascontiguousarray(split.images[numbers].transpose(0, 3, 1, 2))).float()


def _samples(
    network: _Network, sample: Split, steps: Steps, classes: tuple[str, ...], chosen: Sequence[int]
) -> tuple[Sample, ...]:
    """Some pictures with every change of theirs and what they are called."""
    numbers = np.array(chosen, np.int64)
    if not len(numbers):
        return ()
    pictures = _planes(sample, numbers)
    shown: list[dict[str, Any]] = [{} for _ in numbers]
    answers: list[dict[str, Any]] = [{} for _ in numbers]
    for change, sizes in steps:
        changed = [pictures if size == change.neutral else change.apply(pictures, size, numbers) for size in sizes]
        called = [network(one)[0] for one in changed]
        pixels = [one.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy() for one in changed]
        for i in range(len(numbers)):
            shown[i][change.name] = tuple(np.ascontiguousarray(one[i]) for one in pixels)
            best = [int(one[i].argmax()) for one in called]
            answers[i][change.name] = tuple((classes[k], float(one[i, k])) for k, one in zip(best, called, strict=True))
    return tuple(
        Sample(int(number), str(sample.names[number]), classes[int(sample.labels[number])], shown[i], answers[i])
        for i, number in enumerate(numbers)
    )


def _name(model: Model) -> str:
    return type(model.net).__name__ if model.settings.net == "given:module" else model.settings.net
