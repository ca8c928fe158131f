"""What several families share: sizes, activations and pooling by name, initial weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pellucid.errors import ShapeError, UsageError, unknown

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) from one number or two."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def several(name: str, sizes: int | Sequence[int]) -> tuple[int, ...]:
    """The sizes of several layers as a tuple; one number is one layer.

    Raises:
        UsageError: where a size is not at least 1.
    """
    found = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    if not all(isinstance(size, int) and size >= 1 for size in found):
        raise UsageError(f"{name} is {sizes}: a layer has at least one number", fits=f"{name}=[32, 64]")
    return found


def activation_layer(name: str) -> nn.Module:
    """The activation of this name. Raises UsageError for another."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def pooling_layer(name: str, kernel: int, stride: int | None = None) -> nn.Module:
    """``max`` or ``average`` pooling; or ``stride``, which pools nothing: one place of each window goes on, as behind a
    convolution with this stride. Raises UsageError for another name."""
    if name == "stride":
        return EveryNth(stride or kernel)
    kinds: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
    if name not in kinds:
        raise unknown("pooling", name, [*kinds, "stride"])
    return kinds[name](kernel, stride or kernel)


class EveryNth(nn.Module):
    """The first place of each window of ``stride`` by ``stride``: what a convolution with this stride would compute."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H // stride, W // stride)"""
        height, width = x.shape[2] // self.stride * self.stride, x.shape[3] // self.stride * self.stride
        return x[..., : height : self.stride, : width : self.stride]

    def extra_repr(self) -> str:
        """For the module's representation."""
        return f"stride={self.stride}"


def at_least(network: str, image_size: int | tuple[int, int], smallest: int) -> None:
    """Raises ShapeError where a side of the picture is smaller than the network's strides and poolings can shrink."""
    height, width = pair(image_size)
    if min(height, width) < smallest:
        raise ShapeError(
            f"{network} shrinks its pictures until nothing is left of {height} x {width}",
            fits=f"image_size of at least {smallest}",
        )


def initialize(network: nn.Module) -> None:
    """He initialisation of convolutions (fan out, ReLU; He et al. 2015, eq. 14), unit scale of norms."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def small_stem(stem: str, image_size: int | tuple[int, int]) -> bool:
    """Whether a network leaves out the halvings before its first stage: for pictures up to 64 pixels, unless told.

    Raises:
        UsageError: for a stem other than ``auto``, ``imagenet`` and ``small``.
    """
    if stem not in ("auto", "imagenet", "small"):
        raise unknown("stem", stem, ("auto", "imagenet", "small"))
    return max(pair(image_size)) <= 64 if stem == "auto" else stem == "small"
