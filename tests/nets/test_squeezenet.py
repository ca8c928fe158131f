"""Published weights in a network of the user's own: SqueezeNet 1.1 tells a cat and a cup, and takes a new head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import Model, nets
from pellucid.data import Preprocess

SPEC = "tests.nets.squeezenet:squeezenet"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def prepared(file: Path) -> torch.Tensor:
    """The shorter side to 256, the middle 224 x 224, standardised: (1, 3, 224, 224)."""
    with Image.open(file) as picture:
        picture = picture.convert("RGB")
        scale = 256 / min(picture.size)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
        )
        left, top = round((picture.width - 224) / 2), round((picture.height - 224) / 2)
        pixels = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32) / 255
    standard = (pixels - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(standard).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("picture", "name", "confidence"), [("chelsea.jpg", "Egyptian cat", 0.67), ("coffee.jpg", "espresso", 0.86)]
)
def test_published_weights_tell_the_sample_pictures(
    shared_data: Path, picture: str, name: str, confidence: float
) -> None:
    folder = shared_data / "squeezenet1_1"
    net = nets.from_spec(SPEC, classes=1000, in_channels=3, image_size=224)
    assert nets.load_weights(net, folder / "model.safetensors") == (
        f"weights read from {folder / 'model.safetensors'}",
    )
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    names = (folder / "imagenet_classes.txt").read_text("utf-8").splitlines()
    net.eval()
    with torch.no_grad():
        probabilities = net(prepared(shared_data / "pictures" / picture)).softmax(1)[0]
    best = int(probabilities.argmax())
    assert name in names[best]
    assert float(probabilities[best]) == pytest.approx(confidence, abs=0.015)


def test_the_same_through_model_and_preprocess(shared_data: Path) -> None:
    folder = shared_data / "squeezenet1_1"
    net = nets.make(SPEC)
    nets.load_weights(net, folder / "model.safetensors")
    names = tuple((folder / "imagenet_classes.txt").read_text("utf-8").splitlines())
    preprocess = Preprocess((224, 224), 3, MEAN, DEVIATION, names, shorter=256)
    said = Model(net, classes=names, preprocess=preprocess).predict(
        [shared_data / "pictures" / name for name in ("chelsea.jpg", "coffee.jpg")]
    )
    assert said.labels == ["Egyptian cat", "espresso"]
    # The middle is cut out between pixels here, and at whole pixels there: a little of the certainty hangs on it.
    assert said.probabilities.max(1).tolist() == pytest.approx([0.67, 0.86], abs=0.1)


def test_the_head_is_a_convolution_and_is_replaced(shared_data: Path) -> None:
    net = nets.from_spec(SPEC, classes=10)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sentences = nets.load_weights(net, shared_data / "squeezenet1_1" / "model.safetensors")
    assert sentences[1:] == ("head classifier.1 replaced: 1000 -> 10 classes, which have to be trained",)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(before) - {"classifier.1.weight", "classifier.1.bias"}
    assert nets.freeze_all_but_head(net) == ("classifier.1.weight", "classifier.1.bias")
