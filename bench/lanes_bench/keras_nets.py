"""The workloads' networks in Keras, pictures (H, W, C) as it prefers them: the same layers, sizes and parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airbench import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, SCALING, WIDTHS

from lanes_bench.workloads import CLASSES, Workload

Tensor = Any
_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def keras_network(keras: Any, work: Workload) -> Any:
    """A model (N, H, W, C) -> (N, classes) without a softmax."""
    makers: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "tiny": _tiny,
        "lenet": _lenet,
        "basic_cnn": _basic_cnn,
        "airbench": _airbench,
        "resnet18": lambda layers, x: _resnet18(layers, x, large=False),
        "resnet18_224": lambda layers, x: _resnet18(layers, x, large=True),
        "vgg11_bn": _vgg11,
        "inception_small": _inception,
        "mobilenet_v2_224": _mobilenet,
    }
    inputs = keras.Input((work.size, work.size, work.channels))
    return keras.Model(inputs, makers[work.name](keras.layers, inputs))


def _unit(
    layers: Any, x: Tensor, width: int, kernel: int, stride: int = 1, bias: bool = False, act: str = "relu"
) -> Tensor:
    """Convolution, batch normalisation, activation."""
    x = layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=bias)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return layers.Activation(act)(x) if act else x


def _tiny(layers: Any, x: Tensor) -> Tensor:
    x = layers.Dropout(0.1)(layers.MaxPooling2D(2)(_unit(layers, x, 8, 3)))
    return layers.Dense(CLASSES)(layers.Flatten()(layers.Conv2D(8, 3, activation="gelu")(x)))


def _lenet(layers: Any, x: Tensor) -> Tensor:
    x = layers.Conv2D(6, 5, padding="same", activation="sigmoid")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(16, 5, activation="sigmoid")(x)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    x = layers.Dense(120, activation="sigmoid")(x)
    return layers.Dense(CLASSES)(layers.Dense(84, activation="sigmoid")(x))


def _basic_cnn(layers: Any, x: Tensor) -> Tensor:
    for width in (32, 64, 128):
        x = layers.Dropout(0.1)(layers.MaxPooling2D(2)(_unit(layers, x, width, 3)))
    return layers.Dense(CLASSES)(layers.Flatten()(x))


def _airbench(layers: Any, x: Tensor) -> Tensor:
    def norm(x: Tensor) -> Tensor:
        x = layers.BatchNormalization(momentum=1 - BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, scale=False)(x)
        return layers.Activation("gelu")(x)

    whitening = layers.Conv2D(8 * x.shape[-1], 2)
    x = layers.Activation("gelu")(whitening(x))
    whitening.kernel.trainable = False  # its bias is learned
    for width in WIDTHS:
        x = norm(layers.MaxPooling2D(2)(layers.Conv2D(width, 3, padding="same", use_bias=False)(x)))
        x = norm(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
    x = layers.Flatten()(layers.MaxPooling2D(3)(x))
    return layers.Rescaling(SCALING)(layers.Dense(CLASSES, use_bias=False)(x))


def _resnet18(layers: Any, x: Tensor, *, large: bool) -> Tensor:
    x = _unit(layers, x, 64, 7 if large else 3, 2 if large else 1)
    if large:
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for width, strides in ((64, (1, 1)), (128, (2, 1)), (256, (2, 1)), (512, (2, 1))):
        for stride in strides:
            short = x
            y = _unit(layers, _unit(layers, x, width, 3, stride), width, 3, act="")
            if stride != 1 or x.shape[-1] != width:
                short = _unit(layers, x, width, 1, stride, act="")
            x = layers.Activation("relu")(layers.Add()([y, short]))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def _vgg11(layers: Any, x: Tensor) -> Tensor:
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for width in stage:
            x = _unit(layers, x, width, 3, bias=True)
        x = layers.MaxPooling2D(2)(x)
    return layers.Dense(CLASSES)(layers.Flatten()(x))


def _inception(layers: Any, x: Tensor) -> Tensor:
    def mixed(x: Tensor, one: int, three: int) -> Tensor:
        return layers.Concatenate()([_unit(layers, x, one, 1), _unit(layers, x, three, 3)])

    def halved(x: Tensor, three: int) -> Tensor:
        pooled = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        return layers.Concatenate()([_unit(layers, x, three, 3, 2), pooled])

    x = _unit(layers, x, 96, 3)
    x = halved(mixed(mixed(x, 32, 32), 32, 48), 80)
    for one, three in ((112, 48), (96, 64), (80, 80), (48, 96)):
        x = mixed(x, one, three)
    x = mixed(mixed(halved(x, 96), 176, 160), 176, 160)
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def _mobilenet(layers: Any, x: Tensor) -> Tensor:
    x = _unit(layers, x, 32, 3, 2, act="relu6")
    for expansion, after, repeats, first in _INVERTED:
        for i in range(repeats):
            before, stride = x.shape[-1], 1 if i else first
            y = _unit(layers, x, before * expansion, 1, act="relu6") if expansion != 1 else x
            y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(y)
            y = layers.Activation("relu6")(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(y))
            y = _unit(layers, y, after, 1, act="")
            x = layers.Add()([x, y]) if stride == 1 and before == after else y
    x = layers.GlobalAveragePooling2D()(_unit(layers, x, 1280, 1, act="relu6"))
    return layers.Dense(CLASSES)(layers.Dropout(0.2)(x))
