"""Weights files: what is taken, what is replaced, what is refused; nothing is unpickled, nothing is half loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid import nets
from pellucid.errors import CheckpointError, UsageError

State = dict[str, Tensor]


def small(classes: int = 4, channels: int = 3) -> nn.Module:
    return nets.make("basic_cnn", classes=classes, channels=[channels], image_size=8, in_channels=1)


def state(**settings: Any) -> State:
    """Weights unlike those that a new network has."""
    torch.manual_seed(5)
    return {
        name: torch.randn(value.shape) if value.is_floating_point() else torch.tensor(12)
        for name, value in small(**settings).state_dict().items()
    }


def write(path: Path, tensors: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def assert_holds(net: nn.Module, expected: State) -> None:
    own = net.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(own[name], value.to(own[name].dtype), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_every_tensor_is_taken_in_the_networks_precision(tmp_path: Path, kind: str, precision: torch.dtype) -> None:
    given = {name: value.to(precision) if value.is_floating_point() else value for name, value in state().items()}
    net = small()
    path = write(tmp_path / f"weights{kind}", given)
    assert nets.load_weights(net, path) == (f"weights read from {path}",)
    assert_holds(net, given)
    assert net.state_dict()["0.0.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {f"module.{name}": value for name, value in tensors.items()},
        lambda tensors: {name: value for name, value in tensors.items() if "num_batches" not in name},
    ],
    ids=["state_dict", "data_parallel", "old"],
)
def test_usual_wrappings_are_understood(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    net = small()
    nets.load_weights(net, write(tmp_path / "weights.pth", wrap(state())))
    assert_holds(net, {name: value for name, value in state().items() if "num_batches" not in name})


def test_a_head_of_other_classes_is_replaced_and_said(tmp_path: Path) -> None:
    net = small(classes=4)
    head = {name: value.clone() for name, value in net.state_dict().items() if name.startswith("2.")}
    assert sorted(head) == ["2.bias", "2.weight"]
    given = state(classes=9)
    sentences = nets.load_weights(net, write(tmp_path / "weights.safetensors", given))
    assert sentences[1:] == ("head 2 replaced: 9 -> 4 classes, which have to be trained",)
    assert_holds(net, {name: value for name, value in given.items() if name not in head} | head)


@pytest.mark.parametrize("classes", [4, 5])
def test_a_head_that_reads_other_features_is_another_network(tmp_path: Path, classes: int) -> None:
    net = nets.make("basic_cnn", classes=classes, channels=[3], image_size=16, in_channels=1)
    path = write(tmp_path / "weights.safetensors", state())
    with pytest.raises(
        CheckpointError, match=r"another network(.|\n)*2.weight is 4 x 48 in the file and [45] x 192 here"
    ):
        nets.load_weights(net, path)


def without(name: str) -> Callable[[State], State]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("0.0.weight"), r"another network.*\n  missing  0.0.weight\n"),
        (without("2.bias"), r"missing  2.bias\n  try "),
        (lambda tensors: {**tensors, "extra": torch.zeros(1)}, r"unexpected  extra\n"),
        (lambda tensors: {**tensors, "aux3.fc.weight": torch.zeros(1)}, r"unexpected  aux3.fc.weight\n"),
        (
            lambda tensors: {**tensors, "0.0.weight": torch.zeros(3, 1, 5, 5)},
            "is 3 x 1 x 5 x 5 in the file and 3 x 1 x",
        ),
        (lambda tensors: {**tensors, "0.1.bias": torch.tensor(1.0)}, "0.1.bias is one number in the file and 3 here"),
        (
            lambda tensors: {f"net.{key}": value for key, value in tensors.items()},
            r"missing     0.0.weight, 0.1.weight, 0.1.bias and 4 more",
        ),
        (
            lambda tensors: {**tensors, "0.1.bias": torch.tensor([0, 1, torch.nan])},
            "NaN or infinite\n  where  0.1.bias",
        ),
        (lambda tensors: {**tensors, "2.weight": tensors["2.weight"] / 0}, "NaN or infinite\n  where  2.weight"),
    ],
    ids=["missing", "no_bias", "extra", "aux3", "kernel", "scalar", "prefix", "nan", "infinite"],
)
def test_weights_of_another_network_are_refused_and_change_nothing(
    tmp_path: Path, change: Callable[[State], State], message: str
) -> None:
    net = small()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    path = write(tmp_path / "weights.safetensors", change(state()))
    with pytest.raises(CheckpointError, match=message):
        nets.load_weights(net, path)
    assert_holds(net, before)


class Program:
    """A pickle of this makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("hidden", [lambda program: program, lambda program: {**state(), "0.0.weight": program}])
def test_a_pickled_program_never_runs(tmp_path: Path, hidden: Callable[[Any], Any]) -> None:
    mark = tmp_path / "it ran"
    path = write(tmp_path / "weights.pth", hidden(Program(mark)))
    with pytest.raises(CheckpointError, match="holds Python objects, which are never unpickled"):
        nets.load_weights(small(), path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the file does not do what this test is about"


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("weights.safetensors", b"", "cannot be read"),
        ("weights.safetensors", b"\xff" * 100, "cannot be read"),
        ("weights.pth", b"", "cannot be read|is damaged"),
        ("weights.pth", b"not a file of torch", "weights.pth is damaged, or no file that torch.save wrote"),
        ("weights.pt", b"PK\x03\x04" + bytes(60), "cannot be read"),
        ("weights.h5", b"x", "'.h5' is no kind of weights file"),
        ("weights", b"x", "'' is no kind of weights file"),
    ],
)
def test_files_that_hold_no_weights(tmp_path: Path, name: str, contents: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(CheckpointError, match=message):
        nets.load_weights(small(), tmp_path / name)


@pytest.mark.parametrize("held", [[1, 2], {"a": "b"}, {3: torch.zeros(1)}, torch.zeros(3), {"state_dict": {"a": 1}}])
def test_a_torch_file_of_something_else(tmp_path: Path, held: Any) -> None:
    with pytest.raises(CheckpointError, match="something else than named tensors"):
        nets.load_weights(small(), write(tmp_path / "weights.pth", held))


@pytest.mark.parametrize("kind", [".safetensors", ".pth"])
def test_truncated_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"weights{kind}", state())
    whole = path.read_bytes()
    for size in (1, 10, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="cannot be read|is damaged"):
            nets.load_weights(small(), path)


def test_published_weights_on_small_pictures_say_the_setting_that_they_need(tmp_path: Path) -> None:
    published = nets.make("resnet18", classes=2, image_size=224).state_dict()
    path = write(tmp_path / "weights.safetensors", published)
    with pytest.raises(CheckpointError, match=r"conv1.weight is 64 x 3 x 7 x 7 in the file(.|\n)*try .*stem=imagenet"):
        nets.load_weights(nets.make("resnet18", classes=2, image_size=32), path)
    net = nets.make("resnet18", classes=2, image_size=32, stem="imagenet")
    nets.load_weights(net, path)
    assert_holds(net, published)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no weights file"):
        nets.load_weights(small(), tmp_path / "weights.pth")


def test_auxiliary_heads_of_googlenet_are_left_out_and_said(tmp_path: Path) -> None:
    net = nets.make("googlenet", classes=3, image_size=32)
    given = {name: value.half() for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    for auxiliary in ("aux1", "aux2"):
        given[f"{auxiliary}.conv.conv.weight"] = torch.zeros(128, 512, 1, 1)
        given[f"{auxiliary}.fc2.weight"] = torch.zeros(1000, 1024)
    sentences = nets.load_weights(net, write(tmp_path / "weights.pth", given))
    assert sentences[1:] == ("auxiliary heads in the file are left out: aux1, aux2",)


def test_a_network_with_auxiliary_heads_of_its_own_keeps_them(tmp_path: Path) -> None:
    def with_auxiliary() -> nn.Module:
        return nn.ModuleDict({"body": nn.Linear(2, 2), "aux1": nn.Linear(2, 2), "fc": nn.Linear(2, 2)})

    net, other = with_auxiliary(), with_auxiliary()
    path = write(tmp_path / "weights.safetensors", other.state_dict())
    assert nets.load_weights(net, path) == (f"weights read from {path}",)
    assert_holds(net, other.state_dict())


HEADS = {
    "alexnet": "classifier.6",
    "googlenet": "fc",
    "inception_small": "14",
    "lenet": "11",
    "resnet18": "fc",
    "vgg16": "classifier.6",
}


@pytest.mark.parametrize("name", sorted(HEADS))
def test_the_head_is_the_last_dense_layer(name: str) -> None:
    with torch.device("meta"):
        net = nets.make(name)
    path = nets.head(net)
    assert path == HEADS[name]
    assert nets.freeze_all_but_head(net) == (f"{path}.weight", f"{path}.bias")
    learning = {key for key, parameter in net.named_parameters() if parameter.requires_grad}
    assert learning == {f"{path}.weight", f"{path}.bias"}


def test_a_layer_by_itself_is_its_own_head() -> None:
    layer = nn.Linear(2, 2)
    assert nets.head(layer) == ""
    assert nets.freeze_all_but_head(layer) == ("weight", "bias")


def test_a_network_without_layers_has_no_head() -> None:
    with pytest.raises(UsageError, match="Sequential has no dense layer and no convolution"):
        nets.head(nn.Sequential(nn.ReLU()))
