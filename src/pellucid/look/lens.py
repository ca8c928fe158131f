"""``open``: a network and a picture become a scene, in which every number opens."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid.errors import UsageError
from pellucid.graph import Graph, capture, chained
from pellucid.look.recording import Recording
from pellucid.look.scene import Scene
from pellucid.look.subject import inputs_of, labels_of, subject_of
from pellucid.look.update_source import optimizer_of
from pellucid.train import Model


class Lens:
    """A network, captured once for each size of input; every picture that it opens is one run of the capture.

    Args:
        model: a ``Model``, a run folder, or any ``nn.Module``; it is left as it was.
        training: whether batch normalisation goes by the batch and dropout drops.
        loss: of the gradients; else the model's own, else cross-entropy.
        optimizer: of ``scene.update``: a ``torch.optim`` object on the network's parameters; else the model's own, or
            that of the run's last checkpoint, with its state.
        weights: of a run folder: ``best``, those that it predicts with; ``last``, those that its training would go on
            with, so that an update is the one that resuming makes of such a gradient.
    """

    def __init__(
        self,
        model: Model | nn.Module | str | Path,
        *,
        training: bool = False,
        loss: nn.Module | str | None = None,
        optimizer: Optimizer | None = None,
        weights: str = "best",
    ) -> None:
        self.subject = subject_of(model, weights)
        self.training = training
        self._optimizer = optimizer
        self._loss = loss
        self._graphs: dict[tuple[Any, ...], Graph] = {}

    def open(self, picture: Any, label: Any = None, *, seed: int = 0) -> Scene:
        """A picture, or several, run through the network with every number kept.

        Args:
            picture: a path, PIL image, encoded bytes, uint8 array (H, W, C), a list of these, or a tensor (N, C, H, W)
                that is the network's input itself; for a network of several inputs a tuple of tensors.
            label: the right class, by name or number, or one for each picture; without one there are no gradients.
            seed: of dropout's random numbers, where the network is opened in training.
        """
        inputs, pixels = inputs_of(self.subject, picture)
        device = next((p.device for p in self.subject.net.parameters()), inputs[0].device)
        inputs = tuple(tensor.to(device) for tensor in inputs)
        if inputs[0].ndim and not len(inputs[0]):
            raise UsageError("there is no picture to open")
        graph = self.graph(*inputs)
        given = inputs
        if label is not None:
            given = (*inputs, labels_of(self.subject, label, len(inputs[0])).to(device))
            graph = self._with_loss(graph, given)
        return Scene(self, graph, Recording(graph, given, seed), pixels, inputs=len(inputs))

    @cached_property
    def optimizer(self) -> Optimizer:
        """The optimizer whose next step ``scene.update`` opens.

        Raises:
            UsageError: for a plain module, where none was given, and for a folder without checkpoints.
        """
        if self._optimizer is not None:
            return self._optimizer
        source = self.subject.run or self.subject.model
        found = optimizer_of(source, self.subject.net) if source is not None else None
        if found is None:
            raise UsageError(
                f"the optimizer of {self.subject.name} is not known",
                fits="look.open(..., optimizer=torch.optim.SGD(net.parameters(), lr=0.1))",
            )
        return found

    def graph(self, *inputs: Tensor) -> Graph:
        """The network as it is captured for such inputs, without the loss."""
        key = _key(inputs)
        if key not in self._graphs:
            graph = capture(self.subject.net, inputs=[tensor[:1] for tensor in inputs], training=self.training)
            if not graph.outputs:
                raise UsageError(
                    f"{self.subject.name} returns no tensor", fits="a module that returns what it computes"
                )
            self._graphs[key] = graph
        return self._graphs[key]

    def _with_loss(self, graph: Graph, given: tuple[Tensor, ...]) -> Graph:
        *inputs, labels = given
        key = ("with loss", *_key(given))
        if key not in self._graphs:
            outputs = Recording(graph, [tensor[:1] for tensor in inputs]).output
            if not isinstance(outputs, Tensor):
                raise UsageError(
                    f"{self.subject.name} gives {len(outputs)} outputs, and a loss is of one",
                    fits="open without a label, or a module that returns the output alone",
                )
            loss = capture(self.subject.loss(self._loss), inputs=(outputs.detach(), labels[:1]), training=True)
            prefix = "loss." if not any(node.name.startswith("loss.") for node in graph.nodes) else "loss_of_all."
            self._graphs[key] = chained(graph, loss, prefix)
        return self._graphs[key]


def _key(inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """What a capture depends on: sizes without the batch, and types."""
    return tuple((tuple(tensor.shape[1:]), tensor.dtype) for tensor in inputs)


def open(
    model: Model | nn.Module | str | Path,
    picture: Any,
    label: Any = None,
    *,
    training: bool = False,
    loss: nn.Module | str | None = None,
    optimizer: Optimizer | None = None,
    weights: str = "best",
    seed: int = 0,
) -> Scene:
    """Open a picture in a network: every activation, gradient and update of the scene opens into its sum.

    Args: see ``Lens`` and ``Lens.open``. To open many pictures, make one ``Lens``: the network is captured once.

    Raises:
        CaptureError, ShapeError: where the network cannot be captured with such an input.
        UsageError, DecodeError: for a picture or label that does not fit.
    """
    lens = Lens(model, training=training, loss=loss, optimizer=optimizer, weights=weights)
    return lens.open(picture, label, seed=seed)
