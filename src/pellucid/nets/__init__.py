"""The classic networks, one family a file, as plain ``torch.nn.Module``s. No training, no data, no weights here."""

from pellucid.nets.alexnet import alexnet, zfnet
from pellucid.nets.bag_of_words import bag_of_words
from pellucid.nets.basic_cnn import basic_cnn
from pellucid.nets.context import ContextModule, dilated_cnn
from pellucid.nets.convolutionalize import convolutionalize
from pellucid.nets.fcn import fcn8s, fcn16s, fcn32s
from pellucid.nets.inception import inception, inception_small
from pellucid.nets.lenet import lenet
from pellucid.nets.local import LocallyConnected2d
from pellucid.nets.m5 import m5
from pellucid.nets.mlp import mlp
from pellucid.nets.mobilenet import mobilenet_v1, mobilenet_v2
from pellucid.nets.recurrent import gru, lstm, rnn, tcn
from pellucid.nets.recurrent_seq2seq import seq2seq
from pellucid.nets.registry import factory, from_spec, make, names, signature
from pellucid.nets.resnet import resnet18, resnet34, resnet50, resnet101
from pellucid.nets.shufflenet import channel_shuffle, shufflenet_v1, shufflenet_v2_x0_5, shufflenet_v2_x1_0
from pellucid.nets.textcnn import textcnn
from pellucid.nets.transformer import transformer
from pellucid.nets.unet import unet, unet_small
from pellucid.nets.variants import local_cnn, variant_cnn
from pellucid.nets.vgg import vgg11, vgg13, vgg16, vgg19
from pellucid.nets.vit import vit_b_16, vit_mini, vit_small, vit_tiny
from pellucid.nets.weights import freeze_all_but_head, head, load_weights

__all__ = [
    "ContextModule",
    "LocallyConnected2d",
    "alexnet",
    "bag_of_words",
    "basic_cnn",
    "channel_shuffle",
    "convolutionalize",
    "dilated_cnn",
    "factory",
    "fcn16s",
    "fcn32s",
    "fcn8s",
    "freeze_all_but_head",
    "from_spec",
    "gru",
    "head",
    "inception",
    "inception_small",
    "lenet",
    "load_weights",
    "local_cnn",
    "lstm",
    "m5",
    "make",
    "mlp",
    "mobilenet_v1",
    "mobilenet_v2",
    "names",
    "resnet101",
    "resnet18",
    "resnet34",
    "resnet50",
    "rnn",
    "seq2seq",
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "signature",
    "tcn",
    "textcnn",
    "transformer",
    "unet",
    "unet_small",
    "variant_cnn",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit_b_16",
    "vit_mini",
    "vit_small",
    "vit_tiny",
    "zfnet",
]
