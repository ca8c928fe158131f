"""The registry of tasks, and what each task must say of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid import nets
from pellucid.errors import UsageError
from pellucid.train import Settings, tasks


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_says_what_it_is(name: str) -> None:
    task = tasks.task(name)
    assert task.name == name
    assert task.net in nets.names()
    assert {"loss", task.score, task.train_score} <= set(task.units)
    assert all(field.description for field in task.Options.model_fields.values())
    assert task.options(Settings()) == task.Options()


@pytest.mark.parametrize("name", tasks.names())
def test_a_wrong_option_is_said_in_words(name: str) -> None:
    task = tasks.task(name)
    with pytest.raises(UsageError, match=f"there is no setting of {name} named 'colour_of_hat'"):
        task.options(Settings.parse({"task_settings": {"colour_of_hat": 3}}))


def test_an_unknown_task_is_said_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="there is no task named 'classificaton'; did you mean 'classification'?"):
        tasks.task("classificaton")


@pytest.mark.parametrize("where", ["fashion-mnist-small", "nowhere/at/all", "cifar10"])
def test_pictures_take_what_nobody_else_does(where: str) -> None:
    assert tasks.recognised(where).name == "classification"


def test_the_one_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    assert {tasks.recognised(tmp_path, name).name for name in tasks.names()} == set(tasks.names())


def test_a_folder_of_pictures_is_nobody_elses(tmp_path: Path) -> None:
    from tests.docs.photos import write_photos

    write_photos(tmp_path / "photos")
    assert tasks.recognised(tmp_path / "photos").name == "classification"
