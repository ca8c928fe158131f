"""The classic networks, one family a file, as plain ``torch.nn.Module``s. No training, no data, no weights here."""

from pellucid.nets.alexnet import alexnet, zfnet
from pellucid.nets.bag_of_words import bag_of_words
from pellucid.nets.basic_cnn import basic_cnn
from pellucid.nets.inception import inception, inception_small
from pellucid.nets.lenet import lenet
from pellucid.nets.mlp import mlp
from pellucid.nets.recurrent import gru, lstm, rnn, tcn
from pellucid.nets.recurrent_seq2seq import seq2seq
from pellucid.nets.registry import factory, from_spec, make, names, signature
from pellucid.nets.resnet import resnet18, resnet34, resnet50, resnet101
from pellucid.nets.textcnn import textcnn
from pellucid.nets.transformer import transformer
from pellucid.nets.vgg import vgg11, vgg13, vgg16, vgg19
from pellucid.nets.vit import vit_b_16, vit_mini, vit_small, vit_tiny
from pellucid.nets.weights import freeze_all_but_head, head, load_weights

__all__ = [
    "alexnet",
    "bag_of_words",
    "basic_cnn",
    "factory",
    "freeze_all_but_head",
    "from_spec",
    "gru",
    "head",
    "inception",
    "inception_small",
    "lenet",
    "load_weights",
    "lstm",
    "make",
    "mlp",
    "names",
    "resnet101",
    "resnet18",
    "resnet34",
    "resnet50",
    "rnn",
    "seq2seq",
    "signature",
    "tcn",
    "textcnn",
    "transformer",
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
