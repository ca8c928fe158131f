"""What a page asks of a network and gets: pictures, predictions, maps, numbers, updates and projections as plain JSON
values. Threads take turns; a few scenes are kept, the others are opened again when they are asked for.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError, unknown
from pellucid.graph import Account
from pellucid.look.lens import Lens
from pellucid.look.number import Number
from pellucid.look.record import plain, record_of
from pellucid.look.recording import Recording
from pellucid.look.scene import Scene
from pellucid.look.tiles import Tiles, packed, sheet

Answer = dict[str, Any]
Pixels = NDArray[np.uint8]

MOST_SCENES = 4  # a scene holds every number of a run
MOST_PICTURES = 64  # of the network's size
MOST_MAPS, MOST_CELLS = 256, 1 << 20  # of one sheet
MOST_TERMS, MOST_DRAWN = 120, 2048  # of one number
METHODS = ("deconvnet", "saliency", "grad_cam", "field")


class Answers:
    """The answers for one network.

    Args:
        lens: of a network that knows how pictures become its input.
        label: the right class of every picture, by name or number; without one the predicted class stands for it.

    Raises:
        UsageError: where the network does not know how pictures become its input.
    """

    def __init__(self, lens: Lens, label: Any = None) -> None:
        if lens.subject.preprocess is None:
            raise UsageError(
                f"how a picture becomes the input of {lens.subject.name} is not known",
                fits="a run folder, or pellucid.Model(net, preprocess=...)",
            )
        self.lens, self.preprocess = lens, lens.subject.preprocess
        self.given = None if label is None else lens.subject.class_number(label)
        self._turn = threading.RLock()
        self._network: tuple[Answer, Account] | None = None
        self._pictures: OrderedDict[str, Pixels] = OrderedDict()
        self._kept: set[str] = set()
        self._scenes: OrderedDict[tuple[str, int | None], Scene] = OrderedDict()

    def network(self) -> Answer:
        """The network itself: name, mode, classes, input, and its nodes in the order of computation."""
        return self._known()[0]

    def account(self) -> Account:
        """Shapes and receptive fields of every node, the loss among them."""
        return self._known()[1]

    def add(self, picture: Any, *, keep: bool = False) -> str:
        """Take a picture (encoded bytes, a path, a PIL image, an array), brought to the network's size; its name.

        It stays until ``MOST_PICTURES`` others were asked about since; with ``keep``, for ever.

        Raises:
            DecodeError: where it cannot be decoded, or has too many pixels.
        """
        pixels = self.preprocess.picture(picture)
        name = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
        with self._turn:
            self._pictures[name] = pixels
            self._pictures.move_to_end(name)
            if keep:
                self._kept.add(name)
            passing = [other for other in self._pictures if other not in self._kept]
            for other in passing[: max(0, len(passing) - MOST_PICTURES)]:
                del self._pictures[other]
        return name

    def prediction(self, picture: str, label: int | None = None) -> Answer:
        """What the network says of a picture.

        pixels: as PNG. label: the class that the loss goes by; predicted: whether it is the predicted one for want of
        another. top: the classes by their probability, with the address of the number behind each. loss: its address.
        """
        with self._turn:
            scene = self.scene(picture, label)
            output, name = scene.output, scene.recording.tied(scene.network.outputs[0]).name
            classed = output.ndim == 2
            chosen = self._label(picture, label)
            top = _top(output[0], self.lens.subject.classes, name) if classed else []
            return {
                "picture": picture,
                "pixels": _png(self._pixels(picture)),
                "label": chosen,
                "predicted": self.given is None and label is None,
                "top": top,
                "loss": scene.loss.address if chosen is not None else "",
                "loss_value": plain(scene.loss.value) if chosen is not None else None,
            }

    def maps(self, picture: str, label: int | None, path: str, first: int = 0) -> Answer:
        """The pictures of a node's output, of a weight or of the input from channel ``first`` on; with ``d `` before
        the path, of their gradients. See ``tiles.sheet``."""
        with self._turn:
            scene = self.scene(picture, label)
            values, has_batch = values_of(scene, path)
            tiles = Tiles.of(values.shape, has_batch=has_batch)
            if not 0 <= first < max(1, tiles.channels):
                raise UsageError(f"{path} has no channel {first}", fits=f"0 to {tiles.channels - 1}")
            count = max(1, min(MOST_MAPS, MOST_CELLS // max(1, tiles.cells)))
            channels = range(first, min(first + count, tiles.channels))
            return {"path": path, **sheet(values, has_batch=has_batch, channels=channels)}

    def number(self, picture: str, label: int | None, address: str) -> Answer:
        """A number with its terms, see ``record.record_of``; has_gradient, has_update: what else can be asked of it."""
        with self._turn:
            return number_answer(self.scene(picture, label).open(address))

    def update(self, picture: str, label: int | None, address: str) -> Answer:
        """What the optimizer does next with a weight, line by line (``look.Update``)."""
        with self._turn:
            scene = self.scene(picture, label)
            return update_answer(scene, scene.open(address.removeprefix("d ")))

    def projection(self, picture: str, label: int | None, address: str, method: str) -> Answer:
        """What in the picture a number goes by, as a picture; ``METHODS`` names the ways."""
        with self._turn:
            scene = self.scene(picture, label)
            number = scene.open(address.removeprefix("d "))
            return projection_answer(scene, number, method, self._label(picture, label))

    def scene(self, picture: str, label: int | None = None) -> Scene:
        """The scene of a picture that was added, opened where it is not kept."""
        with self._turn:
            key = (picture, self._label(picture, label))
            if key not in self._scenes:
                self._scenes[key] = self.lens.open(self._pixels(picture)[None], key[1])
            self._scenes.move_to_end(key)
            while len(self._scenes) > MOST_SCENES:
                self._scenes.popitem(last=False)
            return self._scenes[key]

    def _known(self) -> tuple[Answer, Account]:
        """What is the same for every picture, found out with a black one."""
        with self._turn:
            if self._network is None:
                black = np.zeros((*self.preprocess.image_size, self.preprocess.channels), np.uint8)
                scene = self.scene(self.add(black))
                self._network = network_answer(scene), _without_label(scene)
            return self._network

    def _pixels(self, picture: str) -> Pixels:
        if picture not in self._pictures:
            raise UsageError("this picture is no longer in memory", fits="choose it again")
        self._pictures.move_to_end(picture)
        return self._pictures[picture]

    def _label(self, picture: str, label: int | None) -> int | None:
        """The class that a scene's loss goes by: the asked one, else the given one, else the predicted one."""
        if label is not None:
            return self.lens.subject.class_number(label)
        if self.given is not None:
            return self.given
        for (name, chosen), scene in self._scenes.items():
            if name == picture and scene.output.ndim == 2 and chosen is not None:
                return int(scene.output[0].argmax())
        inputs = self.preprocess.tensor(self._pixels(picture)[None])
        output = Recording(self.lens.graph(inputs), (inputs,)).output
        return int(output[0].argmax()) if getattr(output, "ndim", 0) == 2 else None


def network_answer(scene: Scene) -> Answer:
    """A network as plain values: what ``Answers.network`` gives."""
    subject, preprocess = scene.lens.subject, scene.lens.subject.preprocess
    size = (
        {"channels": preprocess.channels, "rows": preprocess.image_size[0], "columns": preprocess.image_size[1]}
        if preprocess
        else {}
    )
    return {
        "name": subject.name,
        "training": scene.graph.training,
        "classes": list(subject.classes),
        "input": size,
        "output": scene.recording.tied(scene.network.outputs[0]).name,
        "nodes": [
            {
                "name": row.name,
                "operation": row.operation,
                "kind": row.kind,
                "shape": list(row.shape),
                "field": str(row.field) if row.field is not None else "",
                "parameters": _parameters(scene, row.name),
            }
            for row in _without_label(scene).rows
        ],
    }


def _without_label(scene: Scene) -> Account:
    """The account without the box of the label: it is no layer, and would make the drawing twice as wide."""
    labels = {own.name for own in scene.graph.inputs[1:]}
    rows = tuple(
        replace(row, inputs=tuple(name for name in row.inputs if name not in labels))
        for row in scene.account.rows
        if row.name not in labels
    )
    return replace(scene.account, rows=rows)


def _parameters(scene: Scene, node: str) -> list[dict[str, Any]]:
    graph = scene.graph
    inputs = scene.recording.nodes[node].inputs if node in scene.recording.nodes else ()
    names = dict.fromkeys(name for name in inputs if name in graph.parameters)
    return [{"name": name, "shape": list(graph.tensors[name].shape)} for name in names]


def values_of(scene: Scene, path: str) -> tuple[NDArray[Any], bool]:
    """The numbers of a path, or with ``d `` before it their gradients, and whether the first dimension is the batch."""
    plain = path.removeprefix("d ")
    name, _, which = plain.rpartition(":")
    tied = scene.tied(name, int(which)) if name and which.isdecimal() else scene.tied(plain)
    recording = scene.recording
    values = recording.gradient(tied) if path != plain else recording.array(tied)
    has_batch = tied.name not in scene.graph.tensors and values.ndim > 1 and len(values) == scene.pictures
    return values, has_batch


def number_answer(number: Number, most: int = MOST_TERMS, drawn: int = MOST_DRAWN) -> Answer:
    """A number's record, with what else can be asked of it."""
    scene = number.scene
    learned = scene.recording.tensor(number.tied).requires_grad
    has_loss = len(scene.graph.inputs) > 1
    is_weight = number.name in scene.parameters
    return {
        **record_of(number, most, drawn),
        "has_gradient": learned and has_loss,
        "has_update": is_weight and learned and has_loss and scene.lens.subject.model is not None,
    }


def update_answer(scene: Scene, number: Number) -> Answer:
    """The next step of a weight as plain values."""
    update = scene.update(number.name, number.index)
    return {
        "optimizer": update.optimizer,
        "before": plain(update.before),
        "gradient": plain(update.gradient),
        "after": plain(update.after),
        "stored": plain(update.stored),
        "note": update.note,
        "settings": {name: list(v) if isinstance(v, tuple) else plain(v) for name, v in update.settings.items()},
        "steps": [{"name": step.name, "formula": step.formula, "sum": step.sum} for step in update.steps],
        "terms": [{name: plain(v) for name, v in asdict(term).items()} for term in update.terms()],
    }


def projection_answer(scene: Scene, number: Number, method: str, label: int | None) -> Answer:
    """What in the picture a number goes by, as a picture of one or three channels in 8 bits (see ``tiles.sheet``)."""
    if method not in METHODS:
        raise unknown("way to project", method, METHODS)
    if number.kind != "activation" or number.name.startswith("loss") or len(number.index) < 2:
        raise UsageError(f"{number.address} is no number of a layer's output", fits="a number of a layer's output")
    place: dict[str, Any] = {"channel": number.index[1], "index": number.index[2:] or None}
    if method == "field":
        found, paper = np.sqrt(scene.effective_field(number).energy)[None], "Luo et al. (2016)"
    elif method == "grad_cam":
        path = number.name if len(number.index) == 4 else None
        projected = scene.grad_cam(label, path=path)
        found, paper = projected.image[0], projected.paper
    elif method == "saliency":
        projected = scene.saliency(node=number.name, **place)
        found, paper = projected.map, projected.paper
    else:
        projected = scene.deconvnet(number.name, **place)
        found, paper = projected.image[0], projected.paper
    return {"method": method, "paper": paper, "address": number.address, **_picture(found)}


def _picture(image: NDArray[Any]) -> Answer:
    """(C, H, W) as bytes that lie pixel by pixel; more than three channels, or two, become the largest magnitude."""
    planes = image if len(image) in (1, 3) else np.abs(image).max(0, keepdims=True)
    planes = np.nan_to_num(planes)
    largest = float(np.abs(planes).max(initial=0))
    codes = np.rint(planes * (127 / (largest or 1)) + 128).astype(np.uint8)
    channels, rows, columns = planes.shape
    data = packed(np.ascontiguousarray(codes.transpose(1, 2, 0)))
    return {"channels": channels, "rows": rows, "columns": columns, "largest": largest, "data": data}


def _top(outputs: NDArray[np.float32], classes: tuple[str, ...], node: str) -> list[Mapping[str, Any]]:
    """The ten most probable classes, by the softmax of the outputs; what is not finite counts as nothing."""
    finite = np.where(np.isfinite(outputs), outputs, -np.inf).astype(np.float64)
    powers = np.exp(finite - max(finite.max(), np.finfo(np.float64).min))
    shares = powers / max(powers.sum(), np.finfo(np.float64).tiny)
    return [
        {
            "index": int(i),
            "name": classes[i] if i < len(classes) else str(i),
            "probability": float(shares[i]),
            "output": plain(float(outputs[i])),
            "address": f"{node}[0,{i}]",
        }
        for i in np.argsort(-shares, kind="stable")[:10]
    ]


def _png(pixels: Pixels) -> str:
    from PIL import Image

    out = io.BytesIO()
    channels = pixels.shape[2]
    plain = pixels if channels == 3 else pixels[:, :, 0]
    Image.fromarray(np.ascontiguousarray(plain)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
