"""``pellucid look RUN PICTURE --attention FILE``: where each head looks, over the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pellucid.draw.attention_map import attention_page
from pellucid.errors import ShapeError, UsageError
from pellucid.look.attention_weights import attention, grid_of, rollout
from pellucid.look.lens import Lens


def write_attention(file: Path, run: Path, picture: Path, *, weights: str = "best") -> str:
    """Write the page; returns a sentence for the user.

    Of each self-attention the first token is the one that looks: the class token of a ViT, and the first patch where
    the network has none. The page begins with all layers together (``rollout``).

    Raises:
        UsageError: where the network has no attention, or the file is there already.
    """
    if file.exists():
        raise UsageError(f"{file} is there already", fits="another name")
    scene = Lens(run, weights=weights).open(picture)
    layers = attention(scene)
    if scene.pixels is None:
        raise UsageError(f"{run} reads no pictures")
    shown = np.asarray(scene.pixels[0])
    try:
        before, rows, columns = grid_of(layers[0].weights.shape[-1], *shown.shape[:2])
    except ShapeError as error:
        raise UsageError(f"the attention of {run} is not over patches: {error.message}") from None

    def mapped(row: np.ndarray) -> np.ndarray:
        return row[before:].reshape(rows, columns)

    looks = "the class token" if before else "the first patch"
    drawn = [("all layers together (rollout)", [("mean over heads", mapped(rollout(layers)[0, 0]))])]
    for layer in layers:
        heads = [(f"head {i}", mapped(head[0])) for i, head in enumerate(layer.weights[0])]
        drawn.append((layer.layer, heads))
    lead = (
        f"The weights with which {looks} looks at each of {rows} x {columns} patches of {picture.name}. In each map "
        "the largest weight is full red; what is left of 1 goes to tokens that are no patch."
    )
    file.write_text(attention_page(f"Where {run.resolve().name} looks", lead, shown, drawn), "utf-8")
    return f"the maps of {len(layers)} layers are in {file}"
