"""A grid of runs: each cell an ordinary run folder below one folder, the page of all kept up to date.

Killed at any moment and started again, it goes on: cells that are over are kept, the one under way goes on from its
checkpoint (``resume``), and the result is that of a grid which never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.draw.grid_page import write_grid_page
from pellucid.errors import CheckpointError, DivergedError, PellucidError, UsageError
from pellucid.train import grid_plan, runfolder, tasks
from pellucid.train.execution import device_of, left_as_found
from pellucid.train.fitting import build
from pellucid.train.grid_plan import Cell, Plan, State, label_of
from pellucid.train.grid_record import DIVERGED, Grid, read_grid
from pellucid.train.inputs import Prepared
from pellucid.train.model import Model
from pellucid.train.record import read_run
from pellucid.train.settings import Settings
from pellucid.train.start import resume, start

PAGE = "compare.html"
Say = Callable[[str], None]
_OF_DATA = ("image_size", "channels", "validation", "limit", "seed", "task", "task_settings")


def run_grid(folder: str | Path, plan: Plan | None = None, *, say: Say = print) -> Grid:
    """Run every cell of a grid that is not over yet.

    Args:
        folder: of the grid; made where there is none.
        plan: what to run; None goes on with the grid that is there. A plan with more seeds or values than the grid has
            makes it larger.
        say: told what happens, a sentence at a time.

    Raises:
        UsageError: where the folder holds something else, another process trains in it, or the plan contradicts the
            grid that is there.
        CheckpointError: where there is no grid to go on with, or the data have changed since it began.
        ShapeError, DataError: where a cell cannot run; this is found before the first one does.
    """
    root = Path(folder)
    _check_folder(root, plan)
    with _locked(root):
        state = _state_of(root, plan)
        left = [cell for cell in state.plan.cells if cell.name not in state.ended or not _is_over(root / cell.name)]
        state.ended = [name for name in state.ended if name not in {cell.name for cell in left}]
        if left:
            _try_all(root, state)
        grid_plan.write(root, state)
        _draw(root)
        count = len(state.plan.cells)
        if not left:
            say(f"all {count} cells are over")
        for cell in left:
            say(f"cell {len(state.ended) + 1} of {count}: {cell.name}")
            if _interrupted(_run_cell(root, state.plan, cell, say)):
                say(f"interrupted; go on with: pellucid compare --folder {root}")
                break
            state.ended.append(cell.name)
            grid_plan.write(root, state)
            _draw(root)
    return read_grid(root)


def _run_cell(root: Path, plan: Plan, cell: Cell, say: Say) -> str:
    """How the run of a cell ended."""
    folder = root / cell.name
    try:
        if _has_begun(folder):
            if _is_diverged(folder):
                return DIVERGED
            return resume(folder).reason
        return start(plan.data, cell.settings, folder=folder).reason
    except DivergedError as error:
        say(f"{cell.name} diverged: {error.message}; the grid goes on")
        return DIVERGED


def _interrupted(reason: str) -> bool:
    return reason.startswith("interrupted")


def _has_begun(folder: Path) -> bool:
    """Whether there is a run to go on with. What a process left that was killed as it made the folder is removed.

    Raises:
        UsageError: where the folder holds something else.
    """
    if (folder / "config.yaml").is_file():
        return True
    if folder.is_dir():
        for item in folder.iterdir():
            if item.name.startswith((".config.yaml.tmp-", ".lock")):
                item.unlink()
            else:
                raise UsageError(
                    f"{folder} holds {item.name}, and no run", fits="another --folder, or that file somewhere else"
                )
    return False


def _is_over(folder: Path) -> bool:
    return _is_diverged(folder) or (folder / "metrics.json").is_file()


def _is_diverged(folder: Path) -> bool:
    try:
        return read_run(folder).state == DIVERGED
    except CheckpointError:
        return False


def _check_folder(root: Path, plan: Plan | None) -> None:
    """Raises UsageError for a folder of something else: nothing of the user's is mixed with a grid."""
    if (root / grid_plan.FILE).is_file():
        return
    if plan is None:
        grid_plan.read(root)
    others = [root.name] if root.is_file() else [item.name for item in root.iterdir()] if root.is_dir() else []
    strange = sorted(name for name in others if not name.startswith((".lock", f".{grid_plan.FILE}.tmp-")))
    if strange:
        raise UsageError(
            f"{root} holds {strange[0]}, and no grid", fits="--folder with the name of a new folder, or of a grid"
        )


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    made = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {root} cannot be made: {error.strerror}", fits="--folder FOLDER") from error
    try:
        with runfolder.locked(root):
            yield
    except PellucidError:
        if made and not (root / grid_plan.FILE).exists():  # what cannot run leaves nothing behind
            (root / ".lock").unlink(missing_ok=True)
            root.rmdir()
        raise


def _state_of(root: Path, plan: Plan | None) -> State:
    """The grid that is there, with the plan that is asked for."""
    if not (root / grid_plan.FILE).is_file():
        if plan is None:
            raise CheckpointError(f"there is no grid in {root}")
        return State(plan)
    state = grid_plan.read(root)
    if plan is not None:
        grid_plan.check_extends(root, state.plan, plan)
        state.plan = plan
    return state


def _try_all(root: Path, state: State) -> None:
    """Build each combination's network and give it a batch, so that what cannot run is said before hours have passed;
    count its parameters; see that the data are still those of the cells that are over."""
    data: Any = None
    loaded: dict[str, Any] = {}
    with left_as_found():
        for cell in _one_of_each(state):
            wanted = {name: getattr(cell.settings, name) for name in _OF_DATA}
            if data is None or wanted != loaded:
                data, loaded = tasks.task(cell.settings.task).load(state.plan.data, cell.settings), wanted
            before = runfolder.read_environment(root / cell.name).get("data_fingerprint", data.fingerprint)
            if before != data.fingerprint:
                raise CheckpointError(
                    f"the data have changed since the grid in {root} began",
                    began_with=f"fingerprint {str(before)[:16]}",
                    found=f"fingerprint {data.fingerprint[:16]}",
                    fits="the data as they were, or a new grid",
                )
            if state.plan.choose and "validation" not in data.splits:
                raise UsageError(
                    f"{' and '.join(state.plan.choose)} cannot be chosen: there is no validation split to choose by",
                    fits="--set validation=0.1",
                )
            if label_of(cell.values) not in state.parameters:
                state.parameters[label_of(cell.values)] = _parameters(cell, data)


def _one_of_each(state: State) -> list[Cell]:
    found: dict[str, Cell] = {}
    for cell in state.plan.cells:
        found.setdefault(label_of(cell.values), cell)
    return list(found.values())


def _parameters(cell: Cell, data: Any) -> int:
    """Of the network of a cell, which a batch goes through."""
    settings: Settings = cell.settings
    device_of(settings.device)
    model = Model(settings.net, task=settings.task, **settings.net_settings)
    model.settings = settings.with_values(channels_last=False, engine="torch")  # measuring would take its time
    try:
        build(model, Prepared(data), [], None, None)
    except PellucidError as error:
        error.facts.setdefault("cell", cell.name)
        raise
    net: nn.Module = model.net
    return sum(parameter.numel() for parameter in net.parameters())


def _draw(root: Path) -> None:
    write_grid_page(root / PAGE, read_grid(root))
