"""``pellucid atlas``: what each channel of a trained network responds to most, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EXAMPLES = "Example: pellucid atlas runs/2026-11-24-1015-lenet fashion-mnist --layer features.3"


def atlas(
    run: Annotated[Path, typer.Argument(help="A run folder, its best/ folder, or a saved model.")],
    where: Annotated[str, typer.Argument(help="A folder of pictures, a file of them, or a known name.")],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer, by name; may be repeated. Left out: all convolutions and dense layers."),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="How many pictures for each channel.")] = 9,
    split: Annotated[str, typer.Option(help="test, validation, train, or all.")] = "test",
    folder: Annotated[Path | None, typer.Option(help="Where to write. Left out: RUN/atlas.")] = None,
    html: Annotated[Path | None, typer.Option(help="The page. Left out: atlas.html in the folder.")] = None,
    projections: Annotated[
        bool, typer.Option(help="Make the deconvnet's projections: in a deep network they take most of the time.")
    ] = True,
    project: Annotated[
        list[str] | None, typer.Option(help="Make the projections of this layer alone; may be repeated.")
    ] = None,
) -> None:
    """For every channel the places in the pictures that excite it most, as a page to browse, search and compare.

    A command that was stopped goes on where it was when it is given again.
    """
    from pellucid.look import atlas as make

    place = folder if folder is not None else run / "atlas"
    with _Shown() as shown:
        made = make(
            run,
            where,
            k=k,
            layers=layer or None,
            split=split,
            folder=place,
            projections=project or projections,
            progress=shown.tell,
        )
    if not shown.asked:
        print(f"the atlas in {place} was complete already")
    print(made)
    files = made.html(html if html is not None else place / "atlas.html")
    print(f"page: {files[0]}" + (f", with {len(files) - 1} sheets in {files[1].parent}" if len(files) > 1 else ""))
    left_out = [name for name in made if name not in made.projected]
    if left_out:
        print(f"without projections: {', '.join(left_out) if made.projected else 'all layers'}")


class _Shown:
    """A bar a stage, on standard error."""

    def __init__(self) -> None:
        self.asked = False
        self._bars: dict[str, TaskID] = {}
        self._progress: Progress | None = None

    def __enter__(self) -> _Shown:
        return self

    def tell(self, what: str, done: int, total: int) -> None:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

        self.asked = True
        if self._progress is None:
            columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._progress.start()
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._bars[what], completed=done)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
