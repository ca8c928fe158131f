"""Settings: mistakes are said in words, and what is resolved can be read back."""

from __future__ import annotations

import pytest
import yaml

from pellucid import nets
from pellucid.data import Data
from pellucid.errors import UsageError
from pellucid.train import Settings, recipe
from tests.train.conftest import pictures


def test_an_unknown_name_and_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no setting named 'batchsize'; did you mean 'batch_size'"):
        Settings.parse({"batchsize": 3})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs cannot be 0: input should be greater than or equal to 1"),
        ("epochs", "many", "epochs cannot be 'many'"),
        ("optimizer", "adamm", "optimizer cannot be 'adamm': input should be 'sgd', 'momentum'"),
        ("learning_rate", -1, "learning_rate cannot be -1: input should be greater than 0"),
        ("learning_rate", float("nan"), "learning_rate cannot be nan"),
        ("validation", 1.0, "validation cannot be 1.0"),
        ("precision", "float16", "precision cannot be 'float16'"),
    ],
)
def test_a_value_that_does_not_fit(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings.parse({name: value})


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_recipe_leaves_nothing_open_and_keeps_what_is_set() -> None:
    data = Data.from_arrays(*pictures(200, 0), ("a", "b", "c"), test=pictures(20, 1))
    net = nets.make("lenet", classes=3, in_channels=1, image_size=16)
    given = Settings.parse({"flip": False, "label_smoothing": 0.3, "weight_decay": 0.0})
    resolved = recipe.resolve(given, data, net)
    assert (resolved.flip, resolved.label_smoothing, resolved.weight_decay) == (False, 0.3, 0.0)
    open_still = {name for name, value in resolved.model_dump().items() if value is None}
    assert open_still <= {"weights", "image_size", "channels", "validation", "limit", "class_weight", "clip_norm",
                          "early_stop", "threads", "channels_last", "checkpoint_steps", "task"}  # fmt: skip
    assert recipe.resolve(resolved, data, net) == resolved


def test_settings_survive_yaml_to_the_bit() -> None:
    settings = Settings.parse({"learning_rate": 1e-05, "ema": 0.1 + 0.2, "image_size": (30, 40)})
    back = yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json")))
    back["image_size"] = tuple(back["image_size"])
    assert Settings.parse(back) == settings


@pytest.mark.parametrize(
    ("classes", "flip"), [(("0", "1", "2"), False), (("a", "b", "c"), False), (("cat", "dog", "bird"), True)]
)
def test_small_writing_is_never_mirrored(classes: tuple[str, ...], flip: bool) -> None:
    data = Data.from_arrays(*pictures(200, 0), classes)
    net = nets.make("lenet", classes=3, in_channels=1, image_size=16)
    assert recipe.resolve(Settings(), data, net).flip is flip
