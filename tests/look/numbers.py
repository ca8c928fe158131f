"""Random numbers of a network opened and checked: the sums, the gradients, the boxes."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.look import Lens, Number, Scene


@dataclass
class Checked:
    """How many numbers were opened, and what was found wrong with which; worst: error / sum of magnitudes."""

    activations: int = 0
    gradients: int = 0
    boxes: int = 0
    worst: float = 0.0
    wrong: list[str] = field(default_factory=list)
    from_pytorch: Counter[str] = field(default_factory=Counter)


def check(
    net: nn.Module,
    images: Tensor | tuple[Tensor, ...],
    labels: list[int] | Tensor,
    *,
    training: bool,
    count: int,
    boxes: int,
    seed: int = 0,
    loss: nn.Module | None = None,
) -> Checked:
    """Open ``count`` random activations and as many gradients (of activations, weights, biases, pixels), and compare
    with the module's own run and with autograd; ``boxes`` of the activations are held against the gradient's support.

    images: the network's input, or a tuple of several. loss: of (output, labels), cross-entropy where none is given.
    """
    checked = Checked()
    scene = Lens(net, training=training, loss=loss).open(images, labels, seed=seed)
    inputs = images if isinstance(images, tuple) else (images,)
    assert_runs_as_module(scene, net, inputs, torch.as_tensor(labels), training, seed, loss or nn.CrossEntropyLoss())
    random = np.random.default_rng(seed)
    for place in range(count):
        number = random_activation(scene, random)
        checked.activations += 1
        _sum(checked, number)
        if place < boxes:
            checked.boxes += 1
            if not support_inside(number):
                checked.wrong.append(f"box of {number.address}")
    for place in range(count):
        number = random_weight(scene, random) if place % 2 else random_activation(scene, random)
        checked.gradients += 1
        gradient = number.gradient()
        _sum(checked, gradient)
        for part in gradient.parts:
            if "derivative" in part.terms.facts and part.node is not None:
                checked.from_pytorch[part.node.target] += 1
    return checked


def _sum(checked: Checked, number: Number) -> None:
    if not number.adds_up:
        checked.wrong.append(f"{number.address}: {number.value} is not {number.total}. {number.missing}")
        return
    terms = number.terms()
    if len(terms):
        checked.worst = max(checked.worst, abs(number.total - number.value) / max(number.magnitude, 1e-37))
        term = terms[int(len(terms) // 2)]
        assert term.source is None or np.isfinite(term.source.value)


def random_activation(scene: Scene, random: np.random.Generator) -> Number:
    """A number of a random node."""
    name = scene.nodes[int(random.integers(len(scene.nodes)))]
    shape = scene.recording.tensor(scene.recording.tied(name)).shape
    return scene.at(name, tuple(int(random.integers(n)) for n in shape))


def random_weight(scene: Scene, random: np.random.Generator) -> Number:
    """A number of a random parameter."""
    name = scene.parameters[int(random.integers(len(scene.parameters)))]
    return scene.at(name, tuple(int(random.integers(n)) for n in scene.graph.tensors[name].shape))


def support_inside(number: Number) -> bool:
    """Whether the pixels that the number changes with, by autograd, all lie in its box."""
    recording = number.scene.recording
    tensor = recording.tensor(number.tied)
    if not tensor.requires_grad:
        return True
    picture = recording.leaves[number.scene.input_name]
    (found,) = torch.autograd.grad(tensor[number.index], picture, retain_graph=True, allow_unused=True)
    if found is None:
        return True
    support = (found != 0).flatten(2).any(1).view(len(found), *found.shape[2:])
    (top, bottom), (left, right) = number.box
    for i, one in enumerate(support):
        rows, columns = torch.nonzero(one, as_tuple=True)
        if len(rows) and not (
            top <= int(rows.min())
            and int(rows.max()) <= bottom
            and left <= int(columns.min())
            and int(columns.max()) <= right
        ):
            return False
        if len(rows) and number.index and i != number.index[0] and not number.scene.couples(number):
            return False
    return True


def assert_runs_as_module(
    scene: Scene,
    net: nn.Module,
    inputs: tuple[Tensor, ...],
    labels: Tensor,
    training: bool,
    seed: int,
    loss_of: nn.Module,
) -> None:
    """The scene's output and the gradients of all weights are those of the module itself."""
    net = copy.deepcopy(net).train(training)
    torch.manual_seed(seed)
    result = net(*inputs)
    output = result if isinstance(result, Tensor) else result.logits
    loss = loss_of(output, labels)
    gradients = torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad], allow_unused=True)
    scale = float(output.detach().abs().max())
    np.testing.assert_allclose(scene.output, output.detach().numpy(), rtol=0, atol=1e-5 * scale)
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    for name, gradient in zip(names, gradients, strict=True):
        wanted = np.zeros(tuple(scene.graph.tensors[name].shape)) if gradient is None else gradient.numpy()
        bound = 1e-4 * max(float(np.abs(wanted).max()), 1e-12)
        np.testing.assert_allclose(scene.gradients(name), wanted, rtol=0, atol=bound, err_msg=name)
