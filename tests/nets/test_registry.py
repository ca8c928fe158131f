"""Networks by name, and anyone's by package.module:factory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from pellucid import nets
from pellucid.errors import UsageError

SOURCE = '''
"""Networks of a user."""
import torch
from torch import nn

threshold = 3


def tiny(classes, width=4):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, classes))


def fixed():
    return nn.Linear(4, 2)


def anything(**settings):
    layer = nn.Linear(1, 1)
    layer.settings = settings
    return layer


class Net(nn.Module):
    def __init__(self, in_channels=1, classes=2):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, classes, 1)


def text():
    return "a network"


def broken(classes):
    return {}["weights"]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a module of the user's; the module is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "nets_of_a_user.py").write_text(SOURCE)
    yield tmp_path  # type: ignore[misc]
    for name in [name for name in sys.modules if name.startswith("nets_of_a_user")]:
        del sys.modules[name]


def test_names_are_those_of_the_issue() -> None:
    wanted = "mlp lenet basic_cnn alexnet zfnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn"
    wanted += " inception inception_small googlenet resnet18 resnet34 resnet50 resnet101"
    wanted += " rnn lstm gru tcn"
    wanted += " seq2seq transformer"
    wanted += " textcnn bag_of_words"
    wanted += " vit_b_16 vit_mini vit_small vit_tiny"
    wanted += " fcn32s fcn16s fcn8s unet unet_small"
    wanted += " m5"
    wanted += " shufflenet_v1 shufflenet_v2_x0_5 shufflenet_v2_x1_0 mobilenet_v1 mobilenet_v2"
    wanted += " dilated_cnn local_cnn variant_cnn"
    assert nets.names() == sorted(wanted.split())


def test_a_wrong_name_or_setting_says_the_nearest() -> None:
    with pytest.raises(UsageError, match="no network named 'resnet81'; did you mean 'resnet18'"):
        nets.make("resnet81")
    with pytest.raises(UsageError, match="no network named 'resnet81'; did you mean 'resnet18'"):
        nets.signature("resnet81")
    with pytest.raises(UsageError, match="no setting of lenet named 'activasion'; did you mean 'activation'"):
        nets.make("lenet", activasion="relu")
    with pytest.raises(UsageError, match="no setting of vgg11 named 'stem'"):
        nets.make("vgg11", stem="small")


def test_signature_says_the_settings_and_their_defaults() -> None:
    known = nets.signature("lenet")
    assert {name: known[name].default for name in known} == {
        "classes": 10,
        "in_channels": 1,
        "image_size": 28,
        "activation": "sigmoid",
        "pool": "average",
    }
    assert nets.signature("vgg11_bn")["batch_norm"].default is True


def test_a_factory_of_the_users_gets_what_it_takes(folder: Path) -> None:
    facts = {"classes": 5, "in_channels": 3, "image_size": 32}
    tiny = nets.from_spec("nets_of_a_user:tiny", **facts, width=6)
    assert isinstance(tiny, nn.Sequential)
    assert (tiny[2].in_features, tiny[2].out_features) == (6, 5)
    assert isinstance(nets.from_spec("nets_of_a_user:fixed", **facts), nn.Linear)
    assert nets.from_spec("nets_of_a_user:anything", **facts, more=1).settings == {**facts, "more": 1}
    layer = nets.from_spec("nets_of_a_user:Net", **facts).layer
    assert isinstance(layer, nn.Conv2d)
    assert (layer.in_channels, layer.out_channels) == (3, 5)
    assert isinstance(nets.make("nets_of_a_user:fixed", **facts), nn.Linear), "make takes a spec as well"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lenet", "'lenet' names no network\n.*package.module:factory"),
        ("nets_of_a_user:", "'nets_of_a_user:' names no network"),
        ("nets_of_a_user.py:tiny", "there is no module"),
        ("my nets:tiny", "'my nets:tiny' names no network"),
        ("./nets:tiny", "'./nets:tiny' names no network"),
        ("nets_of_nobody:tiny", "there is no module 'nets_of_nobody'"),
        ("nets_of_a_user:tinny", "no function in nets_of_a_user named 'tinny'; did you mean 'tiny'"),
        ("nets_of_a_user:threshold", "no function in nets_of_a_user named 'threshold'"),
        ("nets_of_a_user:text", "returned a str, not a torch.nn.Module"),
        ("nets_of_a_user:broken", r"cannot be made: KeyError: 'weights'\n(.|\n)*nets_of_a_user.py:34"),
        ("nets_of_a_user:tiny", r"missing 1 required positional argument: 'classes'"),
    ],
)
def test_a_wrong_spec_is_explained(folder: Path, spec: str, message: str) -> None:
    settings = {"classes": 2} if spec.endswith("broken") else {}
    with pytest.raises(UsageError, match=message):
        nets.from_spec(spec, **settings)


def test_a_setting_that_the_users_factory_does_not_take_is_said(folder: Path) -> None:
    with pytest.raises(UsageError, match="no setting of nets_of_a_user:tiny named 'widht'; did you mean 'width'"):
        nets.from_spec("nets_of_a_user:tiny", classes=2, widht=3)


def test_a_module_that_does_not_import_says_where(folder: Path) -> None:
    (folder / "nets_of_a_user_2.py").write_text("import torch\n\ntorch.no_such_thing\n")
    with pytest.raises(UsageError, match=r"importing nets_of_a_user_2 failed: AttributeError(.|\n)*user_2.py:3"):
        nets.from_spec("nets_of_a_user_2:tiny")
    (folder / "nets_of_a_user_3.py").write_text("import no_such_package\n")
    with pytest.raises(UsageError, match="there is no module 'no_such_package'"):
        nets.from_spec("nets_of_a_user_3:tiny")
