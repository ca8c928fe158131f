"""What each operation is: its shape, its multiply-accumulates, what it sees. One class an operation; no torch here."""

from pellucid.ops.activation import Activation, Dropout, GatedLinearUnit, Softmax
from pellucid.ops.arithmetic import Arithmetic, Concatenation
from pellucid.ops.base import Arguments, Op, Opaque, Shape, TensorShape
from pellucid.ops.convolution import Convolution, TransposedConvolution
from pellucid.ops.dense import Attention, Einsum, Embedding, Linear, MatrixProduct
from pellucid.ops.field import Axis, Reach, Window
from pellucid.ops.layout import Bookkeeping, Expand, Permute, Repeat, Reshape, Stack, Unsqueeze
from pellucid.ops.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from pellucid.ops.part import Part, Pick, Slice
from pellucid.ops.pooling import AdaptivePooling, AveragePooling, MaxPooling, Pooling, Reduction
from pellucid.ops.registry import op_for, targets
from pellucid.ops.resize import Pad, PixelShuffle, PixelUnshuffle, Upsample

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
    "Einsum",
    "Embedding",
    "Expand",
    "GatedLinearUnit",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Linear",
    "MatrixProduct",
    "MaxPooling",
    "Op",
    "Opaque",
    "Pad",
    "Part",
    "Permute",
    "Pick",
    "PixelShuffle",
    "PixelUnshuffle",
    "Pooling",
    "Reach",
    "Reduction",
    "Repeat",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Stack",
    "TensorShape",
    "TransposedConvolution",
    "Unsqueeze",
    "Upsample",
    "Window",
    "op_for",
    "targets",
]
