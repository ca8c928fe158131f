"""What each operation is: its shape, its multiply-accumulates, what it sees. One class an operation; no torch here."""

from pellucid.ops.activation import Activation, Dropout, Softmax
from pellucid.ops.arithmetic import Arithmetic, Concatenation
from pellucid.ops.base import Arguments, Op, Opaque, Shape, TensorShape
from pellucid.ops.convolution import Convolution, TransposedConvolution
from pellucid.ops.dense import Attention, Embedding, Linear, MatrixProduct
from pellucid.ops.field import Axis, Reach, Window
from pellucid.ops.layout import Bookkeeping, Expand, Pad, Permute, Pick, PixelShuffle, Reshape, Slice, Stack, Upsample
from pellucid.ops.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from pellucid.ops.pooling import AdaptivePooling, AveragePooling, MaxPooling, Pooling, Reduction
from pellucid.ops.registry import op_for, targets

__all__ = [
    "Activation",
    "AdaptivePooling",
    "Arguments",
    "Arithmetic",
    "Attention",
    "AveragePooling",
    "Axis",
    "BatchNorm",
    "Bookkeeping",
    "Concatenation",
    "Convolution",
    "Dropout",
    "Embedding",
    "Expand",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Linear",
    "MatrixProduct",
    "MaxPooling",
    "Op",
    "Opaque",
    "Pad",
    "Permute",
    "Pick",
    "PixelShuffle",
    "Pooling",
    "Reach",
    "Reduction",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Stack",
    "TensorShape",
    "TransposedConvolution",
    "Upsample",
    "Window",
    "op_for",
    "targets",
]
