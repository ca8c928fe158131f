"""Networks by name, with their settings checked against the factory's signature."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from pellucid.errors import PellucidError, UsageError, unknown
from pellucid.nets.alexnet import alexnet, zfnet
from pellucid.nets.bag_of_words import bag_of_words
from pellucid.nets.basic_cnn import basic_cnn
from pellucid.nets.context import dilated_cnn
from pellucid.nets.fcn import fcn8s, fcn16s, fcn32s
from pellucid.nets.inception import inception, inception_small
from pellucid.nets.lenet import lenet
from pellucid.nets.m5 import m5
from pellucid.nets.mlp import mlp
from pellucid.nets.mobilenet import mobilenet_v1, mobilenet_v2
from pellucid.nets.recurrent import gru, lstm, rnn, tcn
from pellucid.nets.recurrent_seq2seq import seq2seq
from pellucid.nets.resnet import resnet18, resnet34, resnet50, resnet101
from pellucid.nets.shufflenet import shufflenet_v1, shufflenet_v2_x0_5, shufflenet_v2_x1_0
from pellucid.nets.textcnn import textcnn
from pellucid.nets.transformer import transformer
from pellucid.nets.unet import unet, unet_small
from pellucid.nets.variants import local_cnn, variant_cnn
from pellucid.nets.vgg import vgg11, vgg13, vgg16, vgg19
from pellucid.nets.vit import vit_b_16, vit_mini, vit_small, vit_tiny

Factory = Callable[..., nn.Module]
_OF_DATA = ("classes", "in_channels", "image_size")

_FACTORIES: Mapping[str, Factory] = MappingProxyType(
    {
        "alexnet": alexnet,
        "bag_of_words": bag_of_words,
        "basic_cnn": basic_cnn,
        "dilated_cnn": dilated_cnn,
        "fcn16s": fcn16s,
        "fcn32s": fcn32s,
        "fcn8s": fcn8s,
        "googlenet": inception,
        "gru": gru,
        "inception": inception,
        "inception_small": inception_small,
        "lenet": lenet,
        "local_cnn": local_cnn,
        "lstm": lstm,
        "m5": m5,
        "mlp": mlp,
        "mobilenet_v1": mobilenet_v1,
        "mobilenet_v2": mobilenet_v2,
        "resnet101": resnet101,
        "resnet18": resnet18,
        "resnet34": resnet34,
        "resnet50": resnet50,
        "rnn": rnn,
        "seq2seq": seq2seq,
        "shufflenet_v1": shufflenet_v1,
        "shufflenet_v2_x0_5": shufflenet_v2_x0_5,
        "shufflenet_v2_x1_0": shufflenet_v2_x1_0,
        "tcn": tcn,
        "textcnn": textcnn,
        "transformer": transformer,
        "unet": unet,
        "unet_small": unet_small,
        "variant_cnn": variant_cnn,
        "vgg11": vgg11,
        "vgg11_bn": partial(vgg11, batch_norm=True),
        "vgg13": vgg13,
        "vgg13_bn": partial(vgg13, batch_norm=True),
        "vgg16": vgg16,
        "vgg16_bn": partial(vgg16, batch_norm=True),
        "vgg19": vgg19,
        "vgg19_bn": partial(vgg19, batch_norm=True),
        "vit_b_16": vit_b_16,
        "vit_mini": vit_mini,
        "vit_small": vit_small,
        "vit_tiny": vit_tiny,
        "zfnet": zfnet,
    }
)


def names() -> list[str]:
    """The networks that there are, sorted."""
    return sorted(_FACTORIES)


def factory(name: str) -> Factory:
    """The function that makes a network: one of ours by name, or anyone's by ``package.module:factory``.

    Raises:
        UsageError: where there is none of that name.
    """
    if ":" in name:
        return _imported(name)
    if name not in _FACTORIES:
        raise unknown("network", name, _FACTORIES)
    return _FACTORIES[name]


def signature(name: str) -> Mapping[str, inspect.Parameter]:
    """The settings that a network understands, with their defaults."""
    build = factory(name)
    try:
        return inspect.signature(build).parameters
    except ValueError:  # a callable written in C
        return MappingProxyType({})


def make(name: str, **settings: Any) -> nn.Module:
    """A network by name.

    Args:
        name: one of ``names()``, or ``package.module:factory`` for a function or class of your own.
        settings: ``classes``, ``in_channels`` and ``image_size`` as the data has them, and the network's own. A factory
            of your own gets the first three only where it takes them.

    Raises:
        UsageError: for an unknown name or setting, or a value that the network does not take.
    """
    build = factory(name)
    known = signature(name)
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    if ":" in name and not takes_any:
        settings = {key: value for key, value in settings.items() if key in known or key not in _OF_DATA}
    for key in settings:
        if key not in known and not takes_any:
            raise unknown(f"setting of {name}", key, known)
    for key in ("classes", "in_channels"):
        value = settings.get(key, 1)
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{key} of {name} is {value!r}", fits="a whole number from 1 on")
    try:
        module = build(**settings)
    except PellucidError:
        raise
    except Exception as error:  # the factory may be anyone's, and so may the error
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        message = f"{name} cannot be made: {type(error).__name__}: {error}"
        raise UsageError(message, settings=given, where=_line(error)) from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name} returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def from_spec(spec: str, **settings: Any) -> nn.Module:
    """Anyone's network, ``package.module:factory``; the current folder is on the path. Otherwise as ``make``."""
    _parsed(spec)
    return make(spec, **settings)


def _imported(spec: str) -> Factory:
    module_name, function = _parsed(spec)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python my_script.py` would find it
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        fits = f"a file {module_name.replace('.', '/')}.py in this folder, or an installed package"
        raise UsageError(f"{spec}: there is no module '{error.name}'", fits=fits) from None
    except Exception as error:
        message = f"{spec}: importing {module_name} failed: {type(error).__name__}: {error}"
        raise UsageError(message, where=_line(error)) from error
    found = getattr(module, function, None)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"function in {module_name}", function, public)
    return found  # type: ignore[no-any-return]


def _parsed(spec: str) -> tuple[str, str]:
    module, _, function = spec.partition(":")
    if not function or not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"'{spec}' names no network", fits="package.module:factory, such as my_nets:tiny")
    return module, function


def _line(error: Exception) -> str:
    """The last line of the user's own code on the way to an error: not that of an installed package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(mark in frame.filename for mark in ("site-packages", "<frozen"))]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"
