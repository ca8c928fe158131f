"""ShuffleNet written as functions of a state dict, a group at a time, with the shuffle as a list of channels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channel 0 of each group, then channel 1 of each, and so on."""
    share = x.shape[1] // groups
    order = [g * share + i for i in range(share) for g in range(groups)]
    return torch.stack([x[:, channel] for channel in order], 1)


def convolved(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """Grouped, as one convolution for each group; the padding keeps the size."""
    groups = x.shape[1] // weight.shape[1]
    pieces = zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True)
    padding = weight.shape[-1] // 2
    return torch.cat([functional.conv2d(a, b, stride=stride, padding=padding) for a, b in pieces], 1)


def normalised(x: Tensor, own: Weights, name: str) -> Tensor:
    """By the running mean and variance."""

    def part(key: str) -> Tensor:
        return own[f"{name}.{key}"][:, None, None]

    return (x - part("running_mean")) / (part("running_var") + 1e-5).sqrt() * part("weight") + part("bias")


def version_1(own: Weights, x: Tensor, groups: int, small: bool) -> Tensor:
    x = normalised(convolved(x, own["conv1.0.weight"], 1 if small else 2), own, "conv1.1").clamp(min=0)
    x = x if small else functional.max_pool2d(x, 3, 2, 1)
    for stage, units in ((2, 4), (3, 8), (4, 4)):
        for i in range(units):
            name, stride = f"stage{stage}.{i}", 1 if i else 2
            y = normalised(convolved(x, own[f"{name}.conv1.weight"]), own, f"{name}.bn1").clamp(min=0)
            y = normalised(convolved(shuffled(y, groups), own[f"{name}.conv2.weight"], stride), own, f"{name}.bn2")
            y = normalised(convolved(y, own[f"{name}.conv3.weight"]), own, f"{name}.bn3")
            x = torch.cat((functional.avg_pool2d(x, 3, 2, 1), y), 1) if stride == 2 else x + y
            x = x.clamp(min=0)
    return x.mean((2, 3)) @ own["fc.weight"].T + own["fc.bias"]


def version_2(own: Weights, x: Tensor, small: bool) -> Tensor:
    x = normalised(convolved(x, own["conv1.0.weight"], 1 if small else 2), own, "conv1.1").clamp(min=0)
    x = x if small else functional.max_pool2d(x, 3, 2, 1)
    for stage, units in ((2, 4), (3, 8), (4, 4)):
        for i in range(units):
            name = f"stage{stage}.{i}"
            half = x.shape[1] // 2
            left, right, stride = (x, x, 2) if not i else (x[:, :half], x[:, half:], 1)
            if stride == 2:
                left = normalised(convolved(left, own[f"{name}.branch1.0.weight"], 2), own, f"{name}.branch1.1")
                left = convolved(left, own[f"{name}.branch1.2.weight"])
                left = normalised(left, own, f"{name}.branch1.3").clamp(min=0)
            right = convolved(right, own[f"{name}.branch2.0.weight"])
            right = normalised(right, own, f"{name}.branch2.1").clamp(min=0)
            right = normalised(convolved(right, own[f"{name}.branch2.3.weight"], stride), own, f"{name}.branch2.4")
            right = convolved(right, own[f"{name}.branch2.5.weight"])
            right = normalised(right, own, f"{name}.branch2.6").clamp(min=0)
            x = shuffled(torch.cat((left, right), 1), 2)
    x = normalised(convolved(x, own["conv5.0.weight"]), own, "conv5.1").clamp(min=0)
    return x.mean((2, 3)) @ own["fc.weight"].T + own["fc.bias"]
