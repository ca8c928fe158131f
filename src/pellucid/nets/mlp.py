"""The multilayer perceptron: dense layers on the picture laid out as one vector."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pellucid.nets.parts import activation_layer, at_least, pair, several


def mlp(
    classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    hidden: int | Sequence[int] = (256, 128),
    activation: str = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """(N, C, H, W) -> (N, classes) through dense layers of the sizes ``hidden``.

    Rosenblatt's perceptron with hidden layers, trained by back-propagation (Rumelhart, Hinton & Williams 1986).
    """
    at_least("mlp", image_size, 1)
    height, width = pair(image_size)
    layers: list[nn.Module] = [nn.Flatten()]
    size = in_channels * height * width
    for width_of_layer in several("hidden", hidden):
        layers += [nn.Linear(size, width_of_layer), activation_layer(activation)]
        if dropout:
            layers.append(nn.Dropout(dropout))
        size = width_of_layer
    return nn.Sequential(*layers, nn.Linear(size, classes))
