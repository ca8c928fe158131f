"""A picture in a network: every number of one run, by path and place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.errors import UsageError, unknown
from pellucid.graph import Account, Graph
from pellucid.look import attribution
from pellucid.look.deconvnet import deconvnet
from pellucid.look.field import EffectiveField, bounds, coupled, effective_field
from pellucid.look.field import clipped as clipped_to
from pellucid.look.number import Index, Number
from pellucid.look.occlusion import occlusion
from pellucid.look.projection import Projection
from pellucid.look.recording import Recording, Tied
from pellucid.look.update import Update, clip_scale_of, open_update
from pellucid.ops import Reach
from pellucid.ops.terms import Group, Terms, constant

if TYPE_CHECKING:
    from pellucid.look.lens import Lens

Box = tuple[tuple[int, int], ...]
_ADDRESS = re.compile(r"(d )?(.+?)(?::(\d+))?\[([\d, ]*)\]")
_AXES = ("channel", "y", "x")


class Scene:
    """What ``look.open`` gives. ``str()`` says what the network sees in the picture.

    graph: the network, with the loss at its end where a label was given. pixels: uint8 (N, H, W, C), None for an input
    that was given as a tensor. inputs: how many the network takes; a label comes after them.
    """

    def __init__(
        self, lens: Lens, graph: Graph, recording: Recording, pixels: NDArray[np.uint8] | None, *, inputs: int = 1
    ) -> None:
        self.lens, self.graph, self.recording, self.pixels = lens, graph, recording, pixels
        self.inputs = tuple(given.name for given in graph.inputs[:inputs])

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of everything that an author wrote, in the order of computation."""
        return tuple(node.name for node in self.graph.shown)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the weights and biases."""
        return self.graph.parameters

    @cached_property
    def account(self) -> Account:
        """Shapes and receptive fields of every node."""
        return self.graph.account(self.pictures)

    @property
    def network(self) -> Graph:
        """The network without the loss."""
        return self.lens.graph(*(self.recording.leaves[name].detach() for name in self.inputs))

    @property
    def picture(self) -> Tensor:
        """The network's input, (N, C, H, W)."""
        return self.recording.leaves[self.input_name].detach()

    @property
    def input_name(self) -> str:
        """The name under which the picture stands."""
        return self.graph.inputs[0].name

    @property
    def pictures(self) -> int:
        """How many pictures were opened together."""
        return len(self.picture)

    @cached_property
    def output(self) -> NDArray[np.float32]:
        """What the network gives, before the loss."""
        return self.recording.array(self.recording.tied(self.network.outputs[0]))

    @property
    def loss(self) -> Number:
        """The loss; it opens like any number.

        Raises:
            UsageError: where no label was given.
        """
        tied = self.recording.tied(self.graph.outputs[0])
        if len(self.graph.inputs) == len(self.inputs) or self.recording.tensor(tied).ndim:
            raise UsageError("there is no loss without a label", fits='open(..., label="cat")')
        return Number(self, tied.name, (), tied.which)

    def values(self, path: str) -> NDArray[np.float32]:
        """All numbers of a node's output, of a weight, or of the input."""
        return self.recording.array(self._tied(path))

    def gradients(self, path: str) -> NDArray[np.float32]:
        """The gradient of the loss with respect to them."""
        return self.recording.gradient(self._tied(path))

    def at(
        self,
        path: str,
        index: Index | None = None,
        *,
        channel: int | None = None,
        y: int | None = None,
        x: int | None = None,
        picture: int = 0,
    ) -> Number:
        """One number.

        Args:
            path: of a module (its output), a node's name from ``nodes``, a weight (``conv1.weight``), or the input.
            index: in its tensor, the picture first; or
            channel, y, x: the place in a map (N, C, H, W), or ``channel`` in (N, C); ``picture``: of several.

        Raises:
            UsageError: for a path or place that there is not.
        """
        tied = self._tied(path)
        shape = tuple(self.recording.tensor(tied).shape)
        given = {"channel": channel, "y": y, "x": x}
        if index is None:
            index = _index(path, shape, picture, given, has_batch=tied.name not in self.graph.tensors)
        return Number(self, tied.name, _checked(path, shape, tuple(index)), tied.which)

    def gradient(self, path: str, index: Index | None = None, **place: int) -> Number:
        """dL/d(a number), with the arguments of ``at``; its terms are what each call that uses the number adds."""
        number = self.at(path, index, **place).gradient()
        _ = number.value  # says at once where there is no loss
        return number

    def update(self, path: str, index: Index) -> Update:
        """What the optimizer does next with one weight, number by number (see ``Update``).

        The gradient is that of this scene's loss; where the model's settings clip gradients, it is clipped as there.

        Raises:
            UsageError: where the path is no weight, no label was given, or the optimizer is not known or does not hold
                the weight.
        """
        number = self.gradient(path, index)
        subject = self.lens.subject
        own = dict(subject.net.named_parameters(remove_duplicate=False))
        if number.name not in own:
            raise UsageError(f"an optimizer updates weights, and {path} is none", known=", ".join(self.parameters))
        clip_norm = subject.settings.clip_norm if subject.settings is not None else None
        scale = 1.0
        if clip_norm is not None:
            first = {self.graph.same.get(name, name) for name, weight in own.items() if weight.requires_grad}
            scale = clip_scale_of((torch.from_numpy(self.gradients(name)) for name in sorted(first)), clip_norm)
        optimizer = self.lens.optimizer
        return open_update(optimizer, own[number.name], number.index, number.value, name=number.name, clip_scale=scale)

    def open(self, address: str) -> Number:
        """The number of an address, as ``number.address`` gives it: ``features.3[0,7,10,12]``, and ``d ...`` for its
        gradient."""
        match = _ADDRESS.fullmatch(address.strip())
        if match is None:
            raise UsageError(f"'{address}' is no address of a number", fits="features.3[0,7,10,12]")
        sign, path, which, index = match.groups()
        tied = self.tied(path, None if which is None else int(which))
        shape = tuple(self.recording.tensor(tied).shape)
        places = _checked(path, shape, tuple(int(i) for i in index.split(",") if i.strip()))
        number = Number(self, tied.name, places, tied.which)
        return number.gradient() if sign else number

    def tied(self, path: str, which: int | None = None) -> Tied:
        """The tensor behind a path, or the ``which``-th result of its node: of a batch normalisation in training the
        second is the batch's mean."""
        tied = self._tied(path)
        if which is None:
            return tied
        count = len(self.recording.results(self.recording.nodes[tied.name])) if tied.name in self.recording.nodes else 1
        if which >= count:
            raise UsageError(f"{path} has no result {which}", fits=f"0 to {count - 1}")
        return Tied(tied.name, which)

    def deconvnet(self, path: str, *, channel: int | None = None, **chosen: Any) -> Projection:
        """Zeiler & Fergus (2013): one activation, or one map (``keep="map"``), sent down to the pixels."""
        node = self._tied(path).name
        return deconvnet(self.network, self.picture, node, channel=channel, values=self.recording.values, **chosen)

    def saliency(self, target: Any = None, **chosen: Any) -> Projection:
        """The gradient of a class's output, or of ``node`` and ``channel``, with respect to the pixels."""
        found = self._target(target)
        return attribution.saliency(self.network, self.picture, found, values=self.recording.values, **chosen)

    def guided_backpropagation(self, target: Any = None, **chosen: Any) -> Projection:
        """The same with rectifiers that let no negative signal pass (Springenberg et al. 2014)."""
        found = self._target(target)
        return attribution.guided_backpropagation(
            self.network, self.picture, found, values=self.recording.values, **chosen
        )

    def grad_cam(self, target: Any = None, *, path: str | None = None, **chosen: Any) -> Projection:
        """Which places of a layer's maps speak for a class (Selvaraju et al. 2016)."""
        found, node = self._target(target), None if path is None else self._tied(path).name
        return attribution.grad_cam(
            self.network, self.picture, found, node=node, values=self.recording.values, **chosen
        )

    def integrated_gradients(self, target: Any = None, **chosen: Any) -> Projection:
        """The gradient summed on the way from a baseline to the picture (Sundararajan et al. 2017)."""
        return attribution.integrated_gradients(self.network, self.picture, self._target(target), **chosen)

    def occlusion(self, target: Any = None, **chosen: Any) -> Projection:
        """How much of a class's output goes where a patch covers the picture (Zeiler & Fergus 2013, section 4.2)."""
        return occlusion(self.network, self.picture, self._target(target), **chosen)

    def effective_field(self, number: Number) -> EffectiveField:
        """Which pixels of the scene's pictures a number does depend on, and how much (Luo et al. 2016)."""
        if number.kind != "activation" or number.name.startswith("loss"):
            raise UsageError(f"a {number.kind} has no field: {number.address}", fits="a number of a layer's output")
        return effective_field(self.network, self.picture, number.name, number.index[1:], values=self.recording.values)

    def box(self, number: Number, *, clipped: bool = True) -> Box:
        """The receptive field of a number, see ``Number.box``."""
        picture = [int(n) for n in self.picture.shape[2:]]
        if number.kind in ("weight", "label") or (number.of_gradient and number.name in self.graph.tensors):
            return ()
        reach = self._reaches.get(number.name, Reach())
        if number.of_gradient or number.name in self._coupled:
            reach = Reach()  # it depends on what the whole network says, or on the whole batch
        ends = bounds(reach, number.index, picture)
        return clipped_to(ends, picture) if clipped else ends

    def couples(self, number: Number) -> bool:
        """Whether the number depends on all pictures and places, through a normalisation by the batch."""
        return number.name in self._coupled or number.name.startswith("loss.")

    def pixel_terms(self, number: Number) -> Terms | None:
        """A number of the input as what its pixel was: x / 255 scaled and shifted; None where there is no picture."""
        preprocess = self.lens.subject.preprocess
        if self.pixels is None or preprocess is None:
            return None
        n, c, y, x = number.index
        pixel, deviation = float(self.pixels[n, y, x, c]), preprocess.std[c]
        factor = 1 / (255 * deviation)
        scaled = Group(
            "pixel", np.array([pixel * factor]), factors=np.array([factor]), note=f"{pixel:g} of 255, / deviation"
        )
        return Terms(
            (scaled, constant("mean", -preprocess.mean[c] / deviation, "- mean / deviation")),
            "(pixel / 255 - mean) / deviation",
            {"pixel": pixel, "mean": preprocess.mean[c], "deviation": deviation},
        )

    @cached_property
    def _reaches(self) -> dict[str, Reach]:
        return {row.name: row.field.reach for row in self.account.rows if row.field is not None}

    @cached_property
    def _coupled(self) -> frozenset[str]:
        """The nodes whose numbers see all pictures and places, through a normalisation by the batch."""
        return coupled(self.graph)

    def _target(self, target: Any) -> Any:
        """Classes by name or number, one or one for each picture; None: each picture's strongest."""
        if isinstance(target, list | tuple | np.ndarray):
            return [self.lens.subject.class_number(item) for item in target]
        return None if target is None else self.lens.subject.class_number(target)

    def _tied(self, path: str) -> Tied:
        names = {own.name for own in self.graph.inputs} | set(self.graph.tensors) | set(self.recording.nodes)
        if path in names:
            return self.recording.tied(path)
        if self.recording.inner_of(path) is not None:
            return Tied(path)
        inside = [node.name for node in self.graph.shown if f"{node.path}.".startswith(f"{path}.")]
        if path and inside:
            return self.recording.tied(inside[-1])
        if path in ("input", ""):
            return Tied(self.input_name)
        raise unknown("node or weight", path, [*self.nodes, *self.parameters, self.input_name])

    def __str__(self) -> str:
        subject = self.lens.subject
        mode = "training" if self.graph.training else "evaluation"
        text = f"{subject.name} in {mode}: {len(self.nodes)} nodes, {self.pictures} picture"
        return text + ("s" if self.pictures != 1 else "")


def _index(
    path: str, shape: Sequence[int], picture: int, given: dict[str, int | None], *, has_batch: bool
) -> tuple[int, ...]:
    """(picture, channel, y, x) as far as the shape goes; (picture, channel, x) in three dimensions."""
    if not has_batch:
        raise UsageError(
            f"{path} is a weight of shape {tuple(shape)}", fits=f"at({path!r}, index) with one number each"
        )
    names = {1: (), 2: ("channel",), 3: ("channel", "x"), 4: _AXES}.get(len(shape))
    if names is None:
        raise UsageError(
            f"{path} has {len(shape)} dimensions, {tuple(shape)}", fits=f"at({path!r}, index) with one each"
        )
    missing = [name for name in names if given[name] is None]
    extra = [name for name, value in given.items() if value is not None and name not in names]
    if missing or extra:
        asked = ", ".join(names) if names else "picture alone"
        raise UsageError(f"{path} is of shape {tuple(shape)}: a place in it is {asked}", fits="or a whole index")
    return (picture, *(int(given[name] or 0) for name in names))


def _checked(path: str, shape: tuple[int, ...], index: Index) -> Index:
    """The index with negative places counted from the end. Raises UsageError where it is outside."""
    if len(index) != len(shape):
        raise UsageError(
            f"{path} is of shape {shape}, and {index} has {len(index)} places", fits=f"{len(shape)} places"
        )
    for dim, (i, n) in enumerate(zip(index, shape, strict=True)):
        if not -n <= i < n:
            raise UsageError(
                f"{path} is of shape {shape}: place {i} of dimension {dim} is outside", fits=f"0 to {n - 1}"
            )
    return tuple(int(i) % n for i, n in zip(index, shape, strict=True))
