"""What the speed runs are made of: pictures in memory, the recipe of airbench94, and how a network is scored.

Keller Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, arXiv:2404.00498 (section 3 and the listing of
airbench94), in float32. Written anew; each number of the recipe is the listing's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from airbench import whiten
from torch import Tensor, nn
from torch.nn import functional

TEST_BATCH = 2000


@dataclass(frozen=True)
class Recipe:
    """Rate and decay are for 1,024 pictures and independent of the momentum, as the listing has them."""

    epochs: float = 9.9
    batch: int = 1024
    rate: float = 11.5
    momentum: float = 0.85
    weight_decay: float = 0.0153
    bias_factor: float = 64.0
    smoothing: float = 0.2
    whitening_bias_epochs: int = 3
    translate: int = 2
    warm_up: float = 0.23  # of all steps, from 0.2 of the rate; then down to 0.07 of it
    ends: tuple[float, float] = (0.2, 0.07)
    average_every: int = 5
    average_decay: float = 0.95


@dataclass
class Pictures:
    """(N, C, H, W) float32, normalised, and (N,) labels."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, raw: Tensor, labels: Tensor, mean: Tensor, deviation: Tensor) -> Pictures:
        """From (N, H, W, C) uint8."""
        images = (raw.permute(0, 3, 1, 2).float() / 255 - mean.view(1, -1, 1, 1)) / deviation.view(1, -1, 1, 1)
        return cls(images.contiguous(), labels)


@dataclass
class Batches:
    """Alternating flip and translation: every picture mirrored or not at random, then all mirrored every other epoch;
    each epoch each picture is moved by up to ``translate`` pixels, its border reflected.
    """

    pictures: Pictures
    recipe: Recipe
    chance: torch.Generator
    epoch: int = 0
    padded: Tensor = field(init=False)

    def __post_init__(self) -> None:
        images = self.pictures.images
        mirrored = torch.rand(len(images), generator=self.chance) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        self.padded = functional.pad(images, (self.recipe.translate,) * 4, "reflect")

    def __len__(self) -> int:
        return len(self.padded) // self.recipe.batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        size, count = self.recipe.batch, len(self.padded)
        most = 2 * self.recipe.translate
        side_h, side_w = (side - most for side in self.padded.shape[-2:])
        shifts = torch.randint(0, most + 1, (count, 2), generator=self.chance)
        order = torch.randperm(count, generator=self.chance)
        rows, columns = torch.arange(side_h), torch.arange(side_w)
        if self.epoch % 2:
            columns = columns.flip(0)
        self.epoch += 1
        for first in range(0, len(self) * size, size):
            chosen = order[first : first + size]
            down, right = shifts[chosen, 0], shifts[chosen, 1]
            places = ((down[:, None] + rows)[:, :, None] * self.padded.shape[-1]) + (right[:, None] + columns)[:, None]
            flat = self.padded[chosen].flatten(2)
            places = places.flatten(1)[:, None].expand(-1, flat.shape[1], -1)
            images = flat.gather(2, places).unflatten(2, (side_h, side_w))
            yield images, self.pictures.labels[chosen]


class Average:
    """The weights' running average, which every few steps also replaces them (lookahead)."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.held = {name: value.clone() for name, value in net.state_dict().items() if value.is_floating_point()}

    @torch.no_grad()
    def update(self, decay: float) -> None:
        now = self.net.state_dict()
        for name, held in self.held.items():
            held.lerp_(now[name], 1 - decay)
            now[name].copy_(held)


def factor(recipe: Recipe, step: int, steps: int) -> float:
    """Of the rate: a triangle."""
    rise = int(steps * recipe.warm_up)
    if step < rise:
        share = step / rise
        return recipe.ends[0] * (1 - share) + share
    share = (step - rise) / (steps - rise)
    return 1 - share + recipe.ends[1] * share


def optimizer_of(net: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Nesterov's momentum; the normalisations' biases learn faster, and decay as the rest."""
    scale = 1024 * (1 + 1 / (1 - recipe.momentum))
    rate, decay = recipe.rate / scale, recipe.weight_decay * recipe.batch / scale
    biases = [layer.bias for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    of_norm = {id(bias) for bias in biases}
    others = [p for p in net.parameters() if p.requires_grad and id(p) not in of_norm]
    fast = rate * recipe.bias_factor
    groups = [
        {"params": biases, "lr": fast, "weight_decay": decay / fast},
        {"params": others, "lr": rate, "weight_decay": decay / rate},
    ]
    return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=True, fused=True)


def train(net: nn.Sequential, engine: nn.Module, pictures: Pictures, recipe: Recipe, seed: int) -> Iterator[float]:
    """Whiten and train; the loss of a picture after each step. ``engine`` computes what ``net`` is, and shares its
    parameters.
    """
    chance = torch.Generator().manual_seed(seed)
    batches = Batches(pictures, recipe, chance)
    whiten(net, pictures.images[:5000])
    optimizer = optimizer_of(net, recipe)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = math.ceil(len(batches) * recipe.epochs)
    average = Average(net)
    loss_of = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing, reduction="sum")
    step = 0
    while step < steps:
        whitening_bias = net[0].bias
        if isinstance(whitening_bias, Tensor):
            whitening_bias.requires_grad_(batches.epoch < recipe.whitening_bias_epochs)
        engine.train()
        for images, labels in batches:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(recipe, step, steps)
            loss = loss_of(engine(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            if step % recipe.average_every == 0:
                average.update(recipe.average_decay**recipe.average_every * (step / steps) ** 3)
            yield float(loss.item()) / len(labels)
            if step >= steps:
                average.update(1.0)
                break


def six_views(engine: nn.Module, images: Tensor) -> Tensor:
    """What the engine answers on average: mirrored or not, and for half moved by a pixel to either corner."""

    def both(images: Tensor) -> Tensor:
        found: Tensor = 0.5 * engine(images) + 0.5 * engine(images.flip(-1))
        return found

    padded = functional.pad(images, (1,) * 4, "reflect")
    height, width = images.shape[-2:]
    corners = (padded[..., :height, :width].contiguous(), padded[..., 2:, 2:].contiguous())
    return 0.5 * both(images) + 0.25 * both(corners[0]) + 0.25 * both(corners[1])


@torch.no_grad()
def score(engine: nn.Module, pictures: Pictures, views: bool, batch: int = TEST_BATCH) -> float:
    """The accuracy, of the pictures as they are or of six views of each."""
    engine.eval()
    right = 0
    for images, labels in zip(pictures.images.split(batch), pictures.labels.split(batch), strict=True):
        outputs = six_views(engine, images) if views else engine(images)
        right += int((outputs.argmax(1) == labels).sum())
    return right / len(pictures.labels)
