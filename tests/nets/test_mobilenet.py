"""MobileNet: published names and numbers; values and gradients against transformers' own by mapped weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from pellucid import nets
from tests.nets.test_counts import on_meta, parameters
from tests.nets.test_names import affine, norm

TABLE_1 = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # of version 1
TABLE_2 = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))  # of version 2


def test_version_1_has_the_parameters_of_its_table() -> None:
    total, before = 27 * 32 + 2 * 32, 32
    for after in TABLE_1:
        total += 9 * before + 2 * before + before * after + 2 * after
        before = after
    assert total + 1024 * 1000 + 1000 == 4_231_976
    assert parameters(on_meta("mobilenet_v1")) == 4_231_976


def published() -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of the checkpoints of version 2."""

    def unit(name: str, after: int, before: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.0.weight", (after, before, kernel, kernel)
        yield from norm(f"{name}.1", after)

    yield from unit("features.0", 32, 3, 3)
    before, block = 32, 1
    for expansion, after, repeats in TABLE_2:
        for _ in range(repeats):
            path, wide, place = f"features.{block}.conv", before * expansion, 0
            if expansion > 1:
                yield from unit(f"{path}.0", wide, before, 1)
                place = 1
            yield from unit(f"{path}.{place}", wide, 1, 3)
            yield f"{path}.{place + 1}.weight", (after, wide, 1, 1)
            yield from norm(f"{path}.{place + 2}", after)
            before, block = after, block + 1
    yield from unit(f"features.{block}", 1280, before, 1)
    yield from affine("classifier.1", 1000, 1280)


def test_version_2_has_the_names_of_the_published_checkpoints() -> None:
    own = {key: tuple(value.shape) for key, value in on_meta("mobilenet_v2").state_dict().items()}
    assert own == dict(published())


def of_transformers_1(key: str) -> str:
    """Our name of a tensor of version 1 in transformers' words."""
    part, block, *rest = key.split(".")
    if part == "classifier":
        return f"classifier.{rest[0]}"
    place = int(rest[0])
    kind = "normalization" if place % 3 else "convolution"
    if block == "0":
        return f"mobilenet_v1.conv_stem.{kind}.{rest[1]}"
    return f"mobilenet_v1.layer.{2 * (int(block) - 1) + place // 3}.{kind}.{rest[1]}"


def of_transformers_2(key: str) -> str:
    """Likewise of version 2."""
    part, block, *rest = key.split(".")
    kinds = {"0": "convolution", "1": "normalization"}
    if part == "classifier":
        return f"classifier.{rest[0]}"
    if rest[0] != "conv":
        return f"mobilenet_v2.{'conv_stem.first_conv' if block == '0' else 'conv_1x1'}.{kinds[rest[0]]}.{rest[1]}"
    units = ["conv_3x3"] if block == "1" else ["expand_1x1", "conv_3x3"]
    place = int(rest[1])
    if place < len(units):
        unit, kind = units[place], kinds[rest[2]]
    else:
        unit, kind = "reduce_1x1", kinds[str(place - len(units))]
    owner = "conv_stem" if block == "1" else f"layer.{int(block) - 2}"
    return f"mobilenet_v2.{owner}.{unit}.{kind}.{rest[-1]}"


def theirs(version: int) -> nn.Module:
    """transformers' own, padded on all sides as the published PyTorch weights want it, and with the usual epsilon."""
    import transformers

    config: Any = getattr(transformers, f"MobileNetV{version}Config")
    made: Any = getattr(transformers, f"MobileNetV{version}ForImageClassification")
    activation = "relu" if version == 1 else "relu6"
    settings = {"tf_padding": False, "layer_norm_eps": 1e-5, "hidden_act": activation, "num_labels": 5}
    net: nn.Module = made(config(**settings))
    for key, value in net.state_dict().items():  # else every norm would be the identity
        if "running_mean" in key:
            value.normal_(0, 0.1)
        elif "running_var" in key:
            value.uniform_(0.5, 1.5)
        elif value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5)
    return net.double().eval()


@pytest.mark.parametrize(("version", "name_of"), [(1, of_transformers_1), (2, of_transformers_2)], ids=["v1", "v2"])
def test_values_and_gradients_are_those_of_transformers(version: int, name_of: Callable[[str], str]) -> None:
    torch.manual_seed(0)
    other = theirs(version)
    own = nets.make(f"mobilenet_v{version}", classes=5, image_size=48, stem="imagenet").double().eval()
    given = other.state_dict()
    own.load_state_dict({key: given[name_of(key)] for key in own.state_dict()})
    x, again = (torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1)).double() for _ in range(2))
    outputs, expected = own(x.requires_grad_()), other(again.requires_grad_()).logits
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-12)
    assert float(expected.detach().std()) > 0
    outputs[:, 2].sum().backward()
    expected[:, 2].sum().backward()
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-9, atol=1e-12)
    learned = dict(other.named_parameters())
    for key, parameter in own.named_parameters():
        torch.testing.assert_close(parameter.grad, learned[name_of(key)].grad, rtol=1e-7, atol=1e-12, msg=key)


@pytest.mark.parametrize(("name", "cells"), [("mobilenet_v1", 4), ("mobilenet_v2", 4)])
def test_small_pictures_are_halved_three_times_alone(name: str, cells: int) -> None:
    features = on_meta(name, image_size=32).get_submodule("features")
    assert features(torch.zeros(1, 3, 32, 32, device="meta")).shape[2:] == (cells, cells)
    large = on_meta(name, image_size=32, stem="imagenet").get_submodule("features")
    assert large(torch.zeros(1, 3, 32, 32, device="meta")).shape[2:] == (1, 1)
