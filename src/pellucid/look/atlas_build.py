"""``atlas``: what each channel of a network responds to most, in a whole data set."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pellucid.errors import UsageError, unknown
from pellucid.graph import Graph, Node, Ref, capture
from pellucid.look import atlas_files as files
from pellucid.look.atlas_files import Folder
from pellucid.look.atlas_layers import Layer, Ranks, boxes, layers_of
from pellucid.look.atlas_patches import Cutter
from pellucid.look.atlas_read import About, Atlas, Sheets
from pellucid.look.atlas_sheets import PATCHES, PROJECTIONS, pictures_a_sheet
from pellucid.look.atlas_source import Source, source_of
from pellucid.look.strongest import Strongest
from pellucid.look.subject import Subject, subject_of
from pellucid.look.walk import up_to
from pellucid.ops import Opaque
from pellucid.train import Model
from pellucid.train.allocator import keeping_freed_memory

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how much of it, of how much)."""

SAVE_SECONDS = 5.0  # between two writings of what was found so far
_BATCH = 500  # pictures, at most: that of evaluation
_BUDGET = 512 << 20  # bytes of the numbers of a batch that are there at one time
_AT_ONCE = 4  # maps as large as the largest, about: roads that meet again, and what an operation needs
_MOST = 100  # patches a channel
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in memory, of an argument that is an object


def atlas(
    model: Model | nn.Module | str | Path,
    data: Any,
    *,
    k: int = 9,
    layers: Sequence[str] | None = None,
    split: str = "test",
    folder: str | Path | None = None,
    pictures: Any = None,
    projections: bool | Sequence[str] = True,
    progress: Progress | None = None,
) -> Atlas:
    """For every channel of some layers the ``k`` pictures, and the place in each, that excite it most.

    Each picture counts once for a channel, by the highest number of its map; of equal numbers the first picture and the
    first place win. Each place is cropped to its receptive field and shown beside what a deconvnet projects of that one
    number to the pixels (Zeiler & Fergus 2013, figure 2). One pass over the data, in memory that does not grow with it.

    Args:
        model: a ``Model``, a run folder, or any ``nn.Module``; it is left as it was.
        data: for a model: a path or known name, ``Data``, a ``Split``, or uint8 pictures (N, H, W, C). For any module:
            a tensor (N, C, H, W), its input. Arrays and tensors may come with labels (N,), as a pair.
        k: how many pictures for each channel, at most 100.
        layers: names of nodes; all convolutions and dense layers by default. A layer is what it is called: of a
            convolution the numbers before the normalisation and the activation behind it.
        split: test, validation, train, or all.
        folder: where to write; a process that was killed is followed there by the next. Without one nothing is written,
            and patches and projections are made when they are asked for.
        pictures: to show beside a tensor, uint8 (N, H, W, 1 or 3).
        projections: whether to write them, or of which layers. The others are left out of the folder and of pages.
        progress: called with ("pictures", done, total), then so with "patches", "projections" and "whole pictures";
            not at all where everything was there already.

    Raises:
        UsageError, ShapeError, DataError: for what does not fit, and for a folder that holds another atlas.
        CheckpointError: for a folder that is damaged or cannot be written.
    """
    if not 1 <= k <= _MOST:
        raise UsageError(f"k is {k}", fits=f"1 to {_MOST} patches a channel")
    if folder is not None:
        files.check_place(Path(folder))
    subject = subject_of(model)
    work = _Work(subject, source_of(subject, data, split, pictures), k, layers)
    return work.run(folder, split, projections, progress or (lambda what, done, total: None))


class _Work:
    """What is to be done, once everything that was given has been understood."""

    def __init__(self, subject: Subject, source: Source, k: int, layers: Sequence[str] | None) -> None:
        self.subject, self.source, self.k = subject, source, k
        size = source.input_shape[1:]
        self.picture = (size[0], size[1])
        self.graph = _captured(subject, source)
        self.layers = layers_of(self.graph, [layers] if isinstance(layers, str) else layers, self.picture)
        account = self.graph.account(1)
        self.fields = {layer.name: account[layer.name].field for layer in self.layers}
        largest = max(row.activation_bytes for row in account.rows)
        self.batch = int(max(1, min(_BATCH, _BUDGET // (_AT_ONCE * largest + 1))))

    def run(self, folder: str | Path | None, split: str, projections: bool | Sequence[str], tell: Progress) -> Atlas:
        about, chosen = self.about(split), self.projected(projections)
        if folder is None:
            cutter = self.cutter(self.search(None, tell))
            return Atlas(about, self.layers, cutter.ranks, cutter, cutter.named(), [own.name for own in chosen])
        with files.locked(Path(folder)):
            made = Folder.make(Path(folder), self.facts(about))
            cutter = self.cutter(self.search(made, tell))
            _Writer(made, cutter, chosen, tell).write()
        return Sheets(made, cutter).atlas()

    def projected(self, asked: bool | Sequence[str]) -> list[Layer]:
        """The layers whose projections are written."""
        if isinstance(asked, bool):
            return self.layers if asked else []
        names = [asked] if isinstance(asked, str) else list(asked)
        known = [layer.name for layer in self.layers]
        for name in names:
            if name not in known:
                raise unknown("layer of this atlas", name, known)
        return [layer for layer in self.layers if layer.name in names]

    def about(self, split: str) -> About:
        """What a reader is told of the atlas."""
        return About(
            network=_network(self.subject),
            data=self.source.origin,
            split=split,
            classes=tuple(self.source.classes),
            k=self.k,
            pictures=len(self.source),
            picture_size=self.picture,
            specialized=self.graph.specialized,
            output=self.output(),
        )

    def output(self) -> str:
        """The layer whose channels are the classes of the pictures."""
        classes = tuple(self.subject.classes)
        if not classes or classes != tuple(self.source.classes) or len(self.graph.outputs) != 1:
            return ""
        found = [own.name for own in self.layers if own.name == self.graph.outputs[0] and own.channels == len(classes)]
        return found[0] if found else ""

    def facts(self, about: About) -> dict[str, Any]:
        """What atlas.json begins with."""
        return {
            "about": about.to_json(),
            "format": files.FORMAT,
            "state": "begun",
            "k": self.k,
            "layers": [layer.to_json() for layer in self.layers],
            "batch": self.batch,
            "weights": _fingerprint(self.graph),
            "data": self.source.fingerprint(),
            "projections": [],
        }

    def search(self, folder: Folder | None, tell: Progress) -> dict[str, Ranks]:
        """The strongest of all pictures; goes on where the folder was left, and writes to it every few seconds."""
        kept, done = folder.strongest() if folder is not None else ({}, 0)
        found = {
            layer.name: Strongest.from_arrays(vars(kept[layer.name])) if kept else Strongest(layer.channels, self.k)
            for layer in self.layers
        }
        layers = {layer.name: layer for layer in self.layers}

        def see(name: str, value: Any) -> None:
            found[name].update(layers[name].of(value), done)

        graph, total, saved = _watched(self.graph, list(found), see), len(self.source), time.monotonic()
        with torch.no_grad(), keeping_freed_memory():
            for images in self.source.batches(done, self.batch) if done < total else ():
                graph.run(images)
                done += len(images)
                if folder is not None and (done == total or time.monotonic() - saved >= SAVE_SECONDS):
                    folder.put_strongest(self.ranks(found), done)
                    saved = time.monotonic()
                tell("pictures", done, total)
        return self.ranks(found)

    def ranks(self, found: dict[str, Strongest]) -> dict[str, Ranks]:
        """What was found, with the pixels that each place sees."""
        ranks = {}
        for layer in self.layers:
            own: dict[str, Any] = found[layer.name].arrays()
            seen = boxes(self.fields[layer.name], layer, own["places"], self.picture)
            ranks[layer.name] = Ranks(**own, boxes=seen)
        return ranks

    def cutter(self, ranks: dict[str, Ranks]) -> Cutter:
        """What makes tiles of what was found."""
        return Cutter(self.graph, self.source, self.layers, ranks)


class _Writer:
    """Writes the sheets that are not there yet, then closes the folder."""

    def __init__(self, folder: Folder, cutter: Cutter, projected: list[Layer], tell: Progress) -> None:
        self.folder, self.cutter, self.tell = folder, cutter, tell
        earlier = folder.facts["projections"]
        self.projected = [own for own in folder.layers if own in projected or own.name in earlier]

    def write(self) -> None:
        projected = [layer.name for layer in self.projected]
        if self.folder.complete and projected == self.folder.facts["projections"]:
            return
        self._sheets(PATCHES, self.folder.layers)
        self._sheets(PROJECTIONS, self.projected)
        self._pictures()
        named = [list(vars(item).values()) for item in self.cutter.named().values()]
        self.folder.finish(projections=projected, shown=named, whole_tile=list(self.cutter.whole_tile))

    def _sheets(self, kind: str, layers: list[Layer]) -> None:
        total, done = sum(layer.channels for layer in layers), 0
        for layer in layers:
            for part, channels in enumerate(layer.parts()):
                name = self.folder.sheet(kind, layer, part)
                if not self.folder.has(name):
                    self.folder.put(name, self.cutter.sheet(kind, layer.name, part))
                done += len(channels)
                self.tell(kind, done, total)

    def _pictures(self) -> None:
        total, size = len(self.cutter.shown), pictures_a_sheet(self.cutter.whole_tile[0])
        for part, first in enumerate(range(0, total, size)):
            name = self.folder.picture_sheet(part)
            if not self.folder.has(name):
                self.folder.put(name, self.cutter.picture_sheet(part))
            self.tell("whole pictures", min(first + size, total), total)


def _network(subject: Subject) -> str:
    """What the network is called, rather than the folder that it came from."""
    named = subject.model.settings.net if subject.model is not None else "given:module"
    return type(subject.net).__name__ if named == "given:module" else named.rpartition(":")[2]


def _captured(subject: Subject, source: Source) -> Graph:
    """The network in evaluation, for such pictures.

    Raises:
        UsageError: where it takes more than the pictures.
    """
    graph = capture(subject.net, inputs=source.inputs(np.zeros(1, np.int64)), training=False)
    if len(graph.inputs) != 1:
        raise UsageError(f"{subject.name} takes {len(graph.inputs)} inputs", fits="a network of pictures alone")
    return graph


def _watched(graph: Graph, names: Sequence[str], see: Callable[[str, Any], None]) -> Graph:
    """The part of a graph that some nodes need, with a call behind each of them that shows its value while it is at
    hand: none is kept longer than the network itself needs it, and each is read while it is still in the cache."""
    nodes: list[Node] = []
    for node in up_to(graph, *names).nodes:
        nodes.append(node)
        if node.name in names:
            watcher = Node(
                name=f"{node.name}/seen",
                op=Opaque("seen"),
                target="seen",
                call=partial(see, node.name),
                arguments=(Ref(node.name),),
                options={},
                path=node.path,
                source="",
                dims=(),
                itemsize=0,
                schema=("value",),
                hidden=True,
            )
            nodes.append(watcher)
    return replace(graph, nodes=tuple(nodes), outputs=())


def _fingerprint(graph: Graph) -> str:
    """SHA-256 of what a network computes: its calls, and every tensor that they use."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(_ADDRESS.sub("", f"{node.name} {node.target} {node.arguments} {dict(node.options)}\n").encode())
    for name in sorted(graph.tensors):
        value = graph.tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
