"""What tests of the page of ``pellucid look`` share: a small network, pictures, and a running server."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pellucid import Model, look, nets
from pellucid.data import Preprocess
from pellucid.look.answers import Answers
from pellucid.look.server import LookServer

CLASSES = ("zero", "one", "<b>two</b>", "three", "four", "five", "six", "seven", "eight", "nine")


def lenet_lens() -> look.Lens:
    """A LeNet for grey pictures of 28 x 28 with AdamW, that knows nothing."""
    torch.manual_seed(3)
    net = nets.make("lenet", activation="relu", pool="max")
    model = Model(net, classes=CLASSES, preprocess=Preprocess((28, 28), 1, (0.3,), (0.35,))).compile("adamw")
    return look.Lens(model)


def pixels(seed: int = 0) -> NDArray[np.uint8]:
    """Noise with a bright bar."""
    found = np.random.default_rng(seed).integers(0, 120, (28, 28), np.uint8)
    found[4:24, 12:16] = 250
    return found


def encoded(seed: int = 0) -> bytes:
    """The same as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels(seed)).save(out, "PNG")
    return out.getvalue()


@contextmanager
def serving(answers: Answers, picture: str = "") -> Iterator[LookServer]:
    """A server in a thread."""
    with LookServer(answers, picture) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
