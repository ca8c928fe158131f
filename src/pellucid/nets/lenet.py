"""LeNet-5: two convolutions with pooling, three dense layers."""

from __future__ import annotations

from torch import nn

from pellucid.nets.parts import activation_layer, at_least, pair, pooling_layer


def lenet(
    classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    activation: str = "sigmoid",
    pool: str = "average",
) -> nn.Sequential:
    """(N, C, H, W) -> (N, classes), as in Figure 2 of LeCun, Bottou, Bengio & Haffner (1998).

    5x5 kernels (the first padded by 2, so that 28x28 pictures do as the paper's 32x32), 6 and 16 feature maps, pooling
    over 2x2, and dense layers of 120, 84 and ``classes``. 61,706 parameters on 28x28 grey pictures and ten classes.
    Simplified as usual: no weights in the pooling, all maps connected, a linear output.
    ``activation="relu", pool="max"`` is the modern variant. Sigmoids start from Glorot's weights (2010, eq. 16).
    """
    at_least("lenet", image_size, 12)
    height, width = ((side // 2 - 4) // 2 for side in pair(image_size))
    network = nn.Sequential(
        nn.Conv2d(in_channels, 6, kernel_size=5, padding=2),
        activation_layer(activation),
        pooling_layer(pool, 2),
        nn.Conv2d(6, 16, kernel_size=5),
        activation_layer(activation),
        pooling_layer(pool, 2),
        nn.Flatten(),
        nn.Linear(16 * height * width, 120),
        activation_layer(activation),
        nn.Linear(120, 84),
        activation_layer(activation),
        nn.Linear(84, classes),
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear) and activation in ("sigmoid", "tanh"):
            nn.init.xavier_uniform_(layer.weight)
    return network
