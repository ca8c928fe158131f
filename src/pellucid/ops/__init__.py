"""What each operation is: its shape, its multiply-accumulates, what it sees. One class an operation; no torch here."""

from pellucid.ops.activation import Activation, GatedLinearUnit
from pellucid.ops.arithmetic import Arithmetic, Concatenation
from pellucid.ops.base import Arguments, Op, Opaque, Shape, TensorShape
from pellucid.ops.convolution import Convolution, TransposedConvolution
from pellucid.ops.dense import Attention, Einsum, Embedding, Linear, MatrixProduct
from pellucid.ops.dropout import Dropout
from pellucid.ops.field import Axis, Reach, Window
from pellucid.ops.layout import Bookkeeping, Expand, Permute, Repeat, Reshape, Stack, Unsqueeze
from pellucid.ops.loss import BinaryCrossEntropy, CrossEntropy, Loss, NegativeLogLikelihood, SquaredError
from pellucid.ops.normalisation import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from pellucid.ops.part import Part, Pick, Slice
from pellucid.ops.pooling import AdaptivePooling, AveragePooling, MaxPooling, Pooling
from pellucid.ops.reduction import Reduction
from pellucid.ops.registry import op_for, targets
from pellucid.ops.resize import Pad, PixelShuffle, PixelUnshuffle, Upsample
from pellucid.ops.softmax import Softmax

__all__ = [
    "Activation",
    "AdaptivePooling",
    "Arguments",
    "Arithmetic",
    "Attention",
    "AveragePooling",
    "Axis",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Bookkeeping",
    "Concatenation",
    "Convolution",
    "CrossEntropy",
    "Dropout",
    "Einsum",
    "Embedding",
    "Expand",
    "GatedLinearUnit",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "Linear",
    "Loss",
    "MatrixProduct",
    "MaxPooling",
    "NegativeLogLikelihood",
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
    "SquaredError",
    "Stack",
    "TensorShape",
    "TransposedConvolution",
    "Unsqueeze",
    "Upsample",
    "Window",
    "op_for",
    "targets",
]
