"""A classifier as a map of classifiers: its dense layers as convolutions, its global pooling as a sliding one.

Long, Shelhamer & Darrell (2015), section 3.1: a dense layer on (C, h, w) cells is a convolution whose kernel covers
them all; on a larger picture it gives what the classifier would say at every place, and what windows share is computed
once.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from pellucid.errors import ShapeError, UsageError
from pellucid.nets.alexnet import AlexNet
from pellucid.nets.inception import GoogLeNet
from pellucid.nets.mobilenet import MobileNet
from pellucid.nets.parts import pair
from pellucid.nets.resnet import ResNet
from pellucid.nets.shufflenet import ShuffleNetV1, ShuffleNetV2
from pellucid.nets.vgg import VGG

_LARGEST = 2048  # pixels a side that are tried to find the window of a classifier
_FAR = 2048  # pixels by which a picture grows to see how many places it gains: a multiple of every stride
_POINTWISE = (nn.Dropout, nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid) + (
    nn.Tanh,
)


class Dense(nn.Module):
    """A classifier at every place of a picture: (N, C, H, W) -> (N, classes, P, Q), P = (H - window) / stride + 1.

    ``body`` are the layers before the flattening, as they were; ``head`` the rest, as convolutions and poolings.

    Attributes:
        window: (height, width) in pixels of the picture that one place is given: a picture of this size has one place.
        stride: pixels between places.
        padded: the layers that put something around the maps. Where there are none, every place holds exactly what the
            classifier says of its window. Where there are, a window in the midst of a picture has the picture around it
            where the classifier had padding, so the two differ, the more the nearer to the window's border a feature
            is; on a picture of one window they are the same.
    """

    def __init__(
        self, body: nn.Module, head: nn.Sequential, window: tuple[int, int], stride: int, padded: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.window, self.stride, self.padded = window, stride, padded

    @property
    def exact(self) -> bool:
        """Whether every place is what the classifier says of its window, wherever the window lies."""
        return not self.padded

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes, P, Q)

        Raises:
            ShapeError: where the picture is smaller than a window.
        """
        if x.shape[2] < self.window[0] or x.shape[3] < self.window[1]:
            raise ShapeError(
                f"a picture of {x.shape[2]} x {x.shape[3]} is smaller than the window of the classifier",
                fits=f"at least {self.window[0]} x {self.window[1]}",
            )
        return cast(Tensor, self.head(self.body(x)))


def convolutionalize(
    classifier: nn.Module, image_size: int | tuple[int, int] | None = None, *, padding: bool = True
) -> Dense:
    """``classifier`` as a network that says what it says at every place of a larger picture. It is copied, not changed.

    Args:
        classifier: any of ``nets`` that ends in pooling or flattening and dense layers, or an ``nn.Sequential`` that
            does.
        image_size: of the pictures that it was made for, (H, W) or one number. Left out, it is found from its first
            dense layer, where a flattening of square maps stands before it.
        padding: False takes the padding of convolutions and poolings away, so that every window sees the picture alone
            and places are exact; the window then grows by what was padding. The classifier with its padding set to 0
            and pictures of ``window`` is what it equals. Only for layers in one chain.

    Raises:
        UsageError: for a network that cannot be converted, and why; where ``image_size`` has to be said.
        ShapeError: where ``image_size`` is not that of the classifier.
    """
    whole, pool, head = _parts(classifier)
    body = copy.deepcopy(whole)
    cells = _cells(Maps(body), pool, head, image_size)
    if not padding:
        _strip(body)
    maps = Maps(body)
    window = maps.smallest(cells) if image_size is None or not padding else pair(image_size)
    converted = Dense(body, _head(head, pool, cells), window, maps.stride(), _padded(body))
    return converted.train(classifier.training)


class Maps:
    """The sizes of a body's maps, from shapes alone."""

    def __init__(self, body: nn.Module) -> None:
        self.shapes = copy.deepcopy(body).to("meta").eval()
        found = [layer for layer in body.modules() if isinstance(layer, nn.Conv2d)]
        self.channels = found[0].in_channels if found else 0  # of the pictures; 0: nothing here says it
        self.kernels = found[-1].out_channels if found else 0  # of the last convolution
        self.dtype = found[0].weight.dtype if found else torch.float32

    def of(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, h, w) of the map for a picture; zeros where the body refuses it."""
        try:
            with torch.no_grad():
                maps = self.shapes(torch.empty(1, self.channels, *size, device="meta", dtype=self.dtype))
        except (RuntimeError, ValueError):
            return 0, 0, 0
        return int(maps.shape[1]), int(maps.shape[2]), int(maps.shape[3])

    def stride(self) -> int:
        """Pixels from one cell of the map to the next."""
        if not self.channels:
            return 1
        small, large = (self.of((size, size))[1] for size in (_LARGEST, _LARGEST + _FAR))
        return _FAR // (large - small)

    def smallest(self, cells: tuple[int, int]) -> tuple[int, int]:
        """The smallest picture (height, width) whose map has so many cells."""
        if not self.channels:
            return cells
        found = []
        for wanted in cells:
            low, high = 1, _LARGEST
            while low < high:
                middle = (low + high) // 2
                if self.of((middle, middle))[1] >= wanted:
                    high = middle
                else:
                    low = middle + 1
            found.append(low)
        return found[0], found[1]


def _parts(classifier: nn.Module) -> tuple[nn.Module, int | None, nn.Sequential]:
    """What comes before the pooling over all places, the cells that it leaves (None: there is no such pooling), and
    the layers after the flattening."""
    named = dict(classifier.named_children())
    if isinstance(classifier, AlexNet | VGG):
        cells = cast(int, named["avgpool"].output_size)
        return named["features"], cells, nn.Sequential(*cast(nn.Sequential, named["classifier"]))
    if isinstance(classifier, MobileNet):
        return named["features"], 1, nn.Sequential(*cast(nn.Sequential, named["classifier"]))
    if isinstance(classifier, ResNet | GoogLeNet | ShuffleNetV1 | ShuffleNetV2):
        last = nn.Sequential(*(named[name] for name in ("dropout", "fc") if name in named))
        body = nn.Sequential()  # their layers stand in the order in which they work
        for name, layer in named.items():
            if name not in ("avgpool", "dropout", "fc"):
                body.add_module(name, layer)
        return body, 1, last
    if isinstance(classifier, nn.Sequential):
        return _parts_of_sequence(classifier)
    raise UsageError(
        f"a {type(classifier).__name__} cannot be made to slide: how its layers follow one another is not known",
        fits="a network of pellucid.nets that ends in pooling or flattening and dense layers, or an nn.Sequential of "
        "layers with one nn.Flatten",
    )


def _parts_of_sequence(classifier: nn.Sequential) -> tuple[nn.Module, int | None, nn.Sequential]:
    layers = list(classifier)
    flat = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten)]
    if len(flat) != 1:
        raise UsageError(
            f"there are {len(flat)} nn.Flatten in the network: where it leaves the picture's places is not known",
            fits="an nn.Sequential with one nn.Flatten between its maps and its dense layers",
        )
    before, head = layers[: flat[0]], nn.Sequential(*layers[flat[0] + 1 :])
    if before and isinstance(before[-1], nn.AdaptiveAvgPool2d):
        size = before[-1].output_size
        if isinstance(size, int):
            return nn.Sequential(*before[:-1]), size, head
    return nn.Sequential(*before), None, head


def _cells(
    maps: Maps, pool: int | None, head: nn.Sequential, image_size: int | tuple[int, int] | None
) -> tuple[int, int]:
    """(h, w) of the map that the head was made for, before its pooling."""
    first = next((layer for layer in head if isinstance(layer, nn.Linear)), None)
    if image_size is not None and not maps.channels:
        return pair(image_size)
    if image_size is not None:
        found = maps.of(pair(image_size))
        if min(found) < 1 or (pool is None and first is not None and first.in_features != math.prod(found)):
            height, width = pair(image_size)
            raise ShapeError(f"the classifier was not made for pictures of {height} x {width}", fits="its image_size")
        return found[1], found[2]
    side = round((first.in_features / maps.kernels) ** 0.5) if first is not None and maps.kernels and not pool else 0
    if first is None or not side or maps.kernels * side * side != first.in_features:
        raise UsageError(
            "the size of the pictures that the classifier was made for does not follow from its layers",
            fits="convolutionalize(classifier, image_size=...)",
        )
    return side, side


def _strip(body: nn.Module) -> None:
    """Take padding away, in place.

    Raises:
        UsageError: where branches of the network meet again, whose sizes would no longer be the same.
    """
    kinds = (nn.Sequential, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.LocalResponseNorm, *_POINTWISE)
    for layer in body.modules():
        if not isinstance(layer, kinds):
            raise UsageError(
                f"the padding of a {type(layer).__name__} cannot be taken away: its branches must keep their size",
                fits="padding=True, for places that are exact in the midst of a picture but for what padding does",
            )
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layer.padding = 0 if not isinstance(layer, nn.Conv2d) else (0, 0)


def _padded(body: nn.Module) -> tuple[str, ...]:
    """The layers that put something around maps, or whose windows reach over the border."""
    found = []
    for name, layer in body.named_modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            around = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,)
            if any(around) or (not isinstance(layer, nn.Conv2d) and layer.ceil_mode):
                found.append(name)
    return tuple(found)


def _head(head: nn.Sequential, pool: int | None, cells: tuple[int, int]) -> nn.Sequential:
    """The layers after the flattening, for maps."""
    layers: list[nn.Module] = []
    kernel = (1, 1)
    if pool == 1:
        layers.append(nn.AvgPool2d(cells, stride=1))
    else:
        kernel = cells
    for layer in head:
        if isinstance(layer, nn.Linear):
            layers.append(_convolution(layer, kernel, pool if kernel != (1, 1) else None))
            kernel = (1, 1)
        elif isinstance(layer, _POINTWISE):
            layers.append(copy.deepcopy(layer))
        else:
            raise UsageError(
                f"a {type(layer).__name__} after the flattening cannot be made to slide", fits="dense layers"
            )
    return nn.Sequential(*layers)


def _convolution(dense: nn.Linear, kernel: tuple[int, int], pool: int | None) -> nn.Conv2d:
    """A dense layer on (C, h, w) as a convolution; where ``pool`` x ``pool`` averages stand between the map and the
    layer, their windows are multiplied into the kernel."""
    height, width = kernel
    rows, columns = (height, width) if pool is None else (pool, pool)
    if dense.in_features % (rows * columns):
        raise ShapeError(
            f"a dense layer of {dense.in_features} inputs was not made for maps of {rows} x {columns}",
            fits="the image_size of the classifier",
        )
    weight = dense.weight.detach().reshape(dense.out_features, -1, rows, columns)
    if pool is not None:
        over_rows, over_columns = (_averages(pool, size).to(weight.dtype) for size in kernel)
        weight = torch.einsum("ocij,iy,jx->ocyx", weight, over_rows, over_columns)
    made = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, bias=dense.bias is not None).to(weight)
    with torch.no_grad():
        made.weight.copy_(weight)
        if dense.bias is not None and made.bias is not None:
            made.bias.copy_(dense.bias)
    return made


def _averages(cells: int, size: int) -> Tensor:
    """What adaptive pooling does along one axis, (cells, size): cell i is the mean of i n / k to (i + 1) n / k, the
    first rounded down, the last up."""
    matrix = torch.zeros(cells, size, dtype=torch.float64)
    for i in range(cells):
        first, last = i * size // cells, -(-(i + 1) * size // cells)
        matrix[i, first:last] = 1 / (last - first)
    return matrix
