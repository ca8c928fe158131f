"""State-dict names and shapes are those of the widely published ImageNet checkpoints.

The lists are built from the checkpoints' naming alone and share nothing with the networks. ResNet is also compared,
number by number, with transformers' own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pellucid import nets
from tests.nets.test_counts import on_meta

Shapes = dict[str, tuple[int, ...]]


def affine(name: str, *weight: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def alexnet() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from affine("features.0", 64, 3, 11, 11)
    yield from affine("features.3", 192, 64, 5, 5)
    yield from affine("features.6", 384, 192, 3, 3)
    yield from affine("features.8", 256, 384, 3, 3)
    yield from affine("features.10", 256, 256, 3, 3)
    yield from affine("classifier.1", 4096, 9216)
    yield from affine("classifier.4", 4096, 4096)
    yield from affine("classifier.6", 1000, 4096)


VGG_PLACES = {  # of the convolutions in `features`, as in the checkpoints
    "vgg11": (0, 3, 6, 8, 11, 13, 16, 18),
    "vgg13": (0, 2, 5, 7, 10, 12, 15, 17, 20, 22),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
    "vgg11_bn": (0, 4, 8, 11, 15, 18, 22, 25),
    "vgg13_bn": (0, 3, 7, 10, 14, 17, 21, 24, 28, 31),
    "vgg16_bn": (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40),
    "vgg19_bn": (0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49),
}
VGG_KERNELS = {8: (1, 1, 2, 2, 2), 10: (2, 2, 2, 2, 2), 13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}


def vgg(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    places = VGG_PLACES[name]
    kernels = [
        k for k, times in zip((64, 128, 256, 512, 512), VGG_KERNELS[len(places)], strict=True) for _ in range(times)
    ]
    for place, before, after in zip(places, [3, *kernels[:-1]], kernels, strict=True):
        yield from affine(f"features.{place}", after, before, 3, 3)
        if name.endswith("_bn"):
            yield from norm(f"features.{place + 1}", after)
    yield from affine("classifier.0", 4096, 25088)
    yield from affine("classifier.3", 4096, 4096)
    yield from affine("classifier.6", 1000, 4096)


INCEPTIONS = {  # Table 1 of the paper: in, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def googlenet() -> Iterator[tuple[str, tuple[int, ...]]]:
    def unit(name: str, after: int, before: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.conv.weight", (after, before, kernel, kernel)
        yield from norm(f"{name}.bn", after)

    yield from unit("conv1", 64, 3, 7)
    yield from unit("conv2", 64, 64, 1)
    yield from unit("conv3", 192, 64, 3)
    for block, (before, one, three_in, three, five_in, five, pool) in INCEPTIONS.items():
        yield from unit(f"inception{block}.branch1", one, before, 1)
        yield from unit(f"inception{block}.branch2.0", three_in, before, 1)
        yield from unit(f"inception{block}.branch2.1", three, three_in, 3)
        yield from unit(f"inception{block}.branch3.0", five_in, before, 1)
        yield from unit(f"inception{block}.branch3.1", five, five_in, 3)
        yield from unit(f"inception{block}.branch4.1", pool, before, 1)
    yield from affine("fc", 1000, 1024)


RESNETS = {
    "resnet18": ((2, 2, 2, 2), 1),
    "resnet34": ((3, 4, 6, 3), 1),
    "resnet50": ((3, 4, 6, 3), 4),
    "resnet101": ((3, 4, 23, 3), 4),
}


def resnet(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    depths, expansion = RESNETS[name]
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    before = 64
    for stage, depth in enumerate(depths, start=1):
        width = 32 * 2**stage
        for block in range(depth):
            path = f"layer{stage}.{block}"
            if expansion == 1:
                convolutions = [(width, before, 3), (width, width, 3)]
            else:
                convolutions = [(width, before, 1), (width, width, 3), (4 * width, width, 1)]
            for i, (after, inputs, kernel) in enumerate(convolutions, start=1):
                yield f"{path}.conv{i}.weight", (after, inputs, kernel, kernel)
                yield from norm(f"{path}.bn{i}", after)
            if block == 0 and (stage > 1 or expansion == 4):
                yield f"{path}.downsample.0.weight", (width * expansion, before, 1, 1)
                yield from norm(f"{path}.downsample.1", width * expansion)
            before = width * expansion
    yield from affine("fc", 1000, before)


def expected(name: str) -> Shapes:
    if name == "alexnet":
        return dict(alexnet())
    if name == "googlenet":
        return dict(googlenet())
    return dict(vgg(name) if name.startswith("vgg") else resnet(name))


@pytest.mark.parametrize("name", ["alexnet", "googlenet", *VGG_PLACES, *RESNETS])
def test_names_and_shapes_are_those_of_the_published_checkpoints(name: str) -> None:
    own = {key: tuple(value.shape) for key, value in on_meta(name).state_dict().items()}
    assert own == expected(name)


def of_transformers(key: str) -> str:
    """Our name of a ResNet tensor in transformers' words."""
    parts = key.split(".")
    if parts[0] == "fc":
        return f"classifier.1.{parts[1]}"
    if parts[0] in ("conv1", "bn1"):
        return f"resnet.embedder.embedder.{'convolution' if parts[0] == 'conv1' else 'normalization'}.{parts[1]}"
    path = f"resnet.encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
    if parts[2] == "downsample":
        return f"{path}.shortcut.{'convolution' if parts[3] == '0' else 'normalization'}.{parts[4]}"
    kind = "convolution" if parts[2].startswith("conv") else "normalization"
    return f"{path}.layer.{int(parts[2][-1]) - 1}.{kind}.{parts[3]}"


@pytest.mark.parametrize(
    ("name", "layer", "sizes"),
    [("resnet18", "basic", [64, 128, 256, 512]), ("resnet50", "bottleneck", [256, 512, 1024, 2048])],
)
def test_resnet_computes_what_transformers_computes(name: str, layer: str, sizes: list[int]) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    depths = list(RESNETS[name][0])
    theirs = ResNetForImageClassification(
        ResNetConfig(depths=depths, layer_type=layer, hidden_sizes=sizes, num_labels=7)
    ).eval()
    for key, value in theirs.state_dict().items():  # else every norm would be the identity
        if "running" in key:
            value.uniform_(0.5, 1.5)
    ours = nets.make(name, classes=7, image_size=65, stem="imagenet").eval()
    given = theirs.state_dict()
    ours.load_state_dict({key: given[of_transformers(key)] for key in ours.state_dict()})
    x = torch.randn(2, 3, 65, 65)
    with torch.no_grad():
        expected_outputs = theirs(x).logits
        assert expected_outputs.abs().max() > 0.01
        torch.testing.assert_close(ours(x), expected_outputs, rtol=1e-4, atol=1e-4 * float(expected_outputs.std()))
