"""What several commands parse in the same way: sizes, ``--set key=value`` and a YAML file of settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pellucid.errors import UsageError, unknown


def parse_size(text: str) -> tuple[int, ...]:
    """``3x224x224`` as (3, 224, 224).

    Raises:
        UsageError: where the text is no list of positive whole numbers joined by ``x``.
    """
    try:
        size = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        size = ()
    if not size or min(size) < 1:
        raise UsageError(f"'{text}' is no size", fits="whole numbers joined by x, such as 3x224x224 or 1x28x28")
    return size


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """``["epochs=3", "pool=max"]`` as {"epochs": 3, "pool": "max"}; values are read as YAML.

    Raises:
        UsageError: where a pair has no ``=``, no name, or a value that is no YAML.
    """
    import yaml

    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set takes name=value; this is '{pair}'", fits="--set epochs=10 --set optimizer=adamw")
        try:
            settings[name.strip()] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            raise UsageError(f"the value of --set {pair} is no YAML value", fits="put it in quotes") from None
    return settings


def read_settings(file: Path | None) -> dict[str, Any]:
    """The settings in a YAML file; empty where there is none.

    Raises:
        UsageError: where the file is missing, is no YAML, or holds something else than names with values.
    """
    if file is None:
        return {}
    import yaml

    if not file.is_file():
        raise UsageError(f"there is no settings file {file}", fits="--config takes a YAML file of name: value lines")
    try:
        settings = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no YAML file: {str(error).splitlines()[0]}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UsageError(f"{file} holds a {type(settings).__name__}, not settings", fits="name: value lines")
    if isinstance(settings.get("settings"), dict):  # a run's config.yaml, which names its data and classes as well
        settings = settings["settings"]
    return {str(name): value for name, value in settings.items()}


def place_settings(
    settings: dict[str, Any], of_training: Iterable[str], of_net: Iterable[str], of_task: Iterable[str] = ()
) -> dict[str, Any]:
    """Sort settings into those of training, those of the task, which go under ``task_settings``, and those of the
    network, which go under ``net_settings``.

    A name that several have is the first one's of these; ``net.NAME`` is always the network's.

    Raises:
        UsageError: for a name that none has, with the nearest.
    """
    training, net, task = set(of_training), set(of_net), set(of_task)
    placed: dict[str, Any] = {}
    for name, value in settings.items():
        if name in training:
            placed[name] = value
        elif name in task:
            placed["task_settings"] = {**placed.get("task_settings", {}), name: value}
        elif name.removeprefix("net.") in net:
            placed["net_settings"] = {**placed.get("net_settings", {}), name.removeprefix("net."): value}
        else:
            raise unknown("setting", name, training | net | task)
    return placed
