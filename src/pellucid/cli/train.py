"""``pellucid train``: from pictures to a trained, measured network; or go on with a run that stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.train import Settings

EXAMPLES = (
    "Examples: pellucid train fashion-mnist --net lenet --set activation=relu --epochs 10 | "
    "pellucid train photos/ --net resnet18 --weights resnet18.safetensors --freeze | "
    "pellucid train --resume runs/2026-11-24-1015-lenet"
)


def train(
    where: Annotated[
        str | None, typer.Argument(help="A folder or file of pictures (or other data), or a known name.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="What to learn; else found from the data.")] = None,
    net: Annotated[str | None, typer.Option(help="A network by name, or package.module:factory for your own.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Times through the training pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures in one step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd, momentum, adagrad, rmsprop, adam, adamw, muon.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest learning rate of the schedule.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the pictures that the network sees.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of the training pictures held out.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Start from these weights (.safetensors or .pth).")] = None,
    freeze: Annotated[bool, typer.Option("--freeze", help="Train the head alone.")] = False,
    precision: Annotated[str | None, typer.Option(help="float32 or bf16.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, or auto.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, lanes or torch: what runs the network on a CPU.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; else all cores.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of everything random.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run folder to make; else runs/DATE-TIME-NET.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder where it stopped.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings, such as a run's config.yaml.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, of training or of the network: name=value.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")] = False,
) -> None:
    """Train a network on pictures, or on other data that a task is for; measure it; keep all in a run folder."""
    options = {
        "task": task,
        "net": net,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "image_size": image_size,
        "validation": validation,
        "weights": str(weights) if weights else None,
        "freeze": freeze or None,
        "precision": precision,
        "device": device,
        "engine": engine,
        "threads": threads,
        "seed": seed,
        "tensorboard": tensorboard or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if resume is not None:
        _resume(resume, where, given, settings or [], config)
        return
    if where is None:
        raise UsageError("there is nothing to train on", fits="pellucid train DATA, or pellucid train --resume RUN")
    _start(where, run, config, settings or [], given)


def _start(where: str, run: Path | None, config: Path | None, pairs: list[str], given: dict[str, Any]) -> None:
    from pellucid.cli.options import parse_settings, read_settings

    merged = {**read_settings(config), **parse_settings(pairs), **given}
    from pellucid.train import start

    print(start(where, settings_of(where, merged), folder=run))


def settings_of(where: str, merged: dict[str, Any]) -> Settings:
    """The settings for some data: each name placed with training, the task or the network.

    Raises:
        UsageError: for a name that none of them has, or a value that does not fit.
    """
    from pellucid.cli.options import place_settings
    from pellucid.train import Settings, tasks

    task = tasks.recognised(where, merged.get("task"))
    net = str(merged.get("net") or task.net)
    of_net = _settings_of_net(task.net if net == "auto" else net, merged)
    placed = place_settings(merged, Settings.model_fields, of_net, task.Options.model_fields)
    return Settings.parse({**placed, "task": task.name})


def _settings_of_net(net: str, merged: dict[str, Any]) -> set[str]:
    from inspect import Parameter

    from pellucid import nets

    known = nets.signature(net)
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known.values())
    return {name.removeprefix("net.") for name in merged} if takes_any else set(known)


def _resume(run: Path, where: str | None, given: dict[str, Any], pairs: list[str], config: Path | None) -> None:
    if where is not None or given or pairs or config:
        extra = [where] if where else [*given, *pairs, *([str(config)] if config else [])]
        raise UsageError(
            f"a resumed run keeps its data and settings; '{extra[0]}' cannot be given with --resume",
            fits=f"pellucid train --resume {run}",
        )
    from pellucid.train import resume

    print(resume(run))
