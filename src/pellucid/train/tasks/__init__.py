"""The kinds of learning that there are. The registry imports a task when it is asked for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pellucid.errors import unknown
from pellucid.train.task import Task

__all__ = ["names", "of_data", "recognised", "task"]

# name -> module and class; data are offered to them in this order, and pictures take what nobody else does
_HOMES = MappingProxyType(
    {
        "segmentation": ("pellucid.train.tasks.segmentation", "Segmentation"),
        "forecasting": ("pellucid.train.tasks.forecasting", "Forecasting"),
        "translation": ("pellucid.train.tasks.translation", "Translation"),
        "sound": ("pellucid.train.tasks.sound", "Sound"),
        "text": ("pellucid.train.tasks.text", "Text"),
        "classification": ("pellucid.train.tasks.classification", "Classification"),
    }
)
_LAST = "classification"


def names() -> tuple[str, ...]:
    """The tasks that there are."""
    return tuple(_HOMES)


def task(name: str | None) -> Task:
    """A task by name; None is classification.

    Raises:
        UsageError: where there is none of that name.
    """
    chosen = name or _LAST
    if chosen not in _HOMES:
        raise unknown("task", chosen, _HOMES)
    module, kind = _HOMES[chosen]
    made: Task = getattr(import_module(module), kind)()
    return made


def recognised(where: str | Path, name: str | None = None) -> Task:
    """The task of a path or known name: the one asked for, else the first that recognises it."""
    if name is not None:
        return task(name)
    for other in _HOMES:
        if other != _LAST and task(other).recognises(str(where)):
            return task(other)
    return task(_LAST)


def of_data(data: Any, name: str | None = None) -> Task:
    """The task of what ``Model.fit`` was given: a data set says by its ``task`` what it is for."""
    if isinstance(data, str | Path):
        return recognised(data, name)
    return task(name or getattr(data, "task", None))
