"""``Model``: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pellucid.data import Data
from pellucid.errors import CheckpointError, DataError, DecodeError, UsageError
from pellucid.train import Model, Settings, find_learning_rate, start
from tests.train.conftest import CLASSES, PLAIN, pictures, tiny


@pytest.fixture
def trained(data: Data) -> Model:
    model = Model(tiny()).compile(**PLAIN)
    model.fit(data, epochs=6, progress=False)
    return model


def test_predictions_are_the_softmax_of_the_network(trained: Model) -> None:
    images, _ = pictures(9, 5)
    with torch.no_grad():
        wanted = trained.net.eval()(trained.preprocess.tensor(images[..., None])).softmax(1).numpy()
    found = trained.predict(images)
    np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-4, atol=1e-6)
    assert found.labels == [CLASSES[i] for i in wanted.argmax(1)]
    first = next(iter(found.top(3)))
    assert [name for name, _ in first.top] == [CLASSES[i] for i in np.argsort(-wanted[0])]


@pytest.mark.parametrize("kind", ["numpy NHWC", "torch NCHW", "float", "PIL", "bytes", "path"])
def test_pictures_of_any_form_say_the_same(kind: str, trained: Model, tmp_path: Path) -> None:
    images, _ = pictures(4, 6)
    encoded = []
    for i, image in enumerate(images):
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        encoded.append(out.getvalue())
        (tmp_path / f"{i}.png").write_bytes(out.getvalue())
    forms = {
        "numpy NHWC": images[..., None],
        "torch NCHW": torch.from_numpy(images[:, None]),
        "float": images.astype(np.float32) / 255,
        "PIL": [Image.fromarray(image) for image in images],
        "bytes": encoded,
        "path": [tmp_path / f"{i}.png" for i in range(4)],
    }
    np.testing.assert_array_equal(trained.predict(forms[kind]).probabilities, trained.predict(images).probabilities)


def test_measures_are_counted_over_the_predictions(trained: Model, data: Data) -> None:
    measured = trained.evaluate(data)
    predicted = trained.predict(data.test.images).probabilities
    assert measured.n == 30
    assert measured.accuracy == pytest.approx((predicted.argmax(1) == data.test.labels).mean())
    right = predicted[np.arange(30), data.test.labels]
    assert measured.loss == pytest.approx(-np.log(right).mean(), rel=1e-4)
    assert trained.evaluate(data, split="all").n == 120


def test_saved_and_loaded_it_is_the_same(trained: Model, tmp_path: Path) -> None:
    images, _ = pictures(9, 5)
    trained.save(tmp_path / "kept")
    assert sorted(item.name for item in (tmp_path / "kept").iterdir()) == ["classes.json", "model.safetensors"]
    again = Model.load(tmp_path / "kept", net=tiny())
    np.testing.assert_array_equal(again.predict(images).probabilities, trained.predict(images).probabilities)
    with pytest.raises(UsageError, match="was given as a module, not by name"):
        Model.load(tmp_path / "kept")
    with pytest.raises(CheckpointError, match="holds another network"):
        Model.load(tmp_path / "kept", net=tiny(norm=False))


def test_a_network_by_name_loads_by_itself(data: Data, tmp_path: Path) -> None:
    model = Model("basic_cnn", channels=(4,), dropout=0.0).compile(**PLAIN)
    model.fit(data, epochs=1, folder=tmp_path / "run", progress=False)
    again = Model.load(tmp_path / "run")
    images, _ = pictures(9, 5)
    np.testing.assert_array_equal(again.predict(images).probabilities, model.predict(images).probabilities)


@pytest.mark.parametrize("bit", range(0, 4000, 500))
def test_a_damaged_network_is_refused(bit: int, trained: Model, tmp_path: Path) -> None:
    folder = trained.save(tmp_path / "kept")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1 - bit // 8] ^= 1 << bit % 8
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        Model.load(folder, net=tiny())


def test_arrays_tensors_and_loaders_are_learned_from(data: Data) -> None:
    images, labels = pictures(120, 1)
    planes = torch.from_numpy(images[:, None].astype(np.float32) / 255)
    loader = DataLoader(TensorDataset(planes, torch.from_numpy(labels)), batch_size=10, shuffle=True)
    for given in ((images, labels), (planes, torch.from_numpy(labels)), (loader,)):
        model = Model(tiny(), classes=CLASSES).compile(**{**PLAIN, "optimizer": "adam"})
        history = model.fit(*given, epochs=8, progress=False)
        assert history.epochs[-1]["train_accuracy"] > 0.9, type(given[0])
    measured = model.evaluate(loader)
    assert measured.n == 120
    assert measured.accuracy > 0.9
    nameless = Model(tiny()).compile(**PLAIN)
    nameless.fit(loader, epochs=1, progress=False)
    assert nameless.classes == ("0", "1", "2")


def test_what_does_not_fit_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the network reads tokens, and the data are pictures"):
        start("fashion-mnist-small", Settings(net="textcnn", limit=100), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="the network reads tokens"):
        start("fashion-mnist-small", Settings(net="textcnn", limit=100), folder=tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_evaluation_splits_as_the_run_did(tmp_path: Path) -> None:
    from pellucid.data import load
    from tests.docs.photos import write_photos

    write_photos(tmp_path / "photos")
    settings = Settings.parse({"net": "lenet", "epochs": 1, "seed": 3, "validation": 0.3, "image_size": 32})
    finished = start(tmp_path / "photos", settings, folder=tmp_path / "run")
    model = Model.load(finished.folder)
    own = load(tmp_path / "photos", image_size=32, seed=3, validation=0.3)
    other = load(tmp_path / "photos", image_size=32)
    assert {*own.test.names} != {*other.test.names}  # else this says nothing
    again = model._load(str(tmp_path / "photos"))
    assert [*again.test.names] == [*own.test.names]
    assert model.evaluate(tmp_path / "photos").confusion == finished.measured.confusion


def test_answers_are_the_predictions_in_words(data: Data, tmp_path: Path) -> None:
    model = Model(tiny()).compile(**PLAIN)
    model.fit(data, epochs=1, progress=False)
    file = tmp_path / "one.png"
    Image.fromarray(data.test.images[0, :, :, 0]).save(file)
    (answer,) = model.answers(file, top=2)
    row = model.predict(data.test.images[:1]).probabilities[0]
    first, second = np.argsort(-row)[:2]
    assert answer.name == str(file)
    assert answer.text == f"{CLASSES[first]} {row[first]:.2f}, {CLASSES[second]} {row[second]:.2f}"
    assert [one["class"] for one in answer.record["classes"]] == [CLASSES[first], CLASSES[second]]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DecodeError, match="broken.png"):
        model.answers(file, tmp_path / "broken.png")


def test_an_optimizer_object_and_a_loss_of_ones_own(data: Data) -> None:
    net = tiny()
    optimizer = torch.optim.NAdam(net.parameters(), lr=0.01)
    model = Model(net).compile(optimizer, nn.MultiMarginLoss(), **PLAIN)
    history = model.fit(data, epochs=5, progress=False)
    assert history.epochs[-1]["validation_accuracy"] > 0.8
    assert type(optimizer.state[net[0].weight]["exp_avg"]) is torch.Tensor


def test_the_rate_finder_leaves_the_model_alone(data: Data) -> None:
    model = Model(tiny()).compile(**PLAIN)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    found = find_learning_rate(model, data, steps=40)
    assert torch.equal(torch.rand(1), wanted)
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert found.rates[0] == pytest.approx(1e-6)
    assert 1e-4 < found.suggestion < 1
    assert len(found.rates) == len(found.losses) > 20


def test_what_cannot_be_fitted(data: Data) -> None:
    images, labels = pictures(12, 1)
    with pytest.raises(UsageError, match="was given without labels"):
        Model(tiny()).fit(images)
    with pytest.raises(UsageError, match="there is no network named 'lenett'; did you mean 'lenet'"):
        Model("lenett")
    with pytest.raises(UsageError, match="'activation' is a setting for a network that is given by name"):
        Model(tiny(), activation="relu")
    with pytest.raises(UsageError, match="there is no setting named 'learning_rat'"):
        Model(tiny()).compile(learning_rat=0.1)
    with pytest.raises(UsageError, match="there is no metric 'auc' for every epoch"):
        Model(tiny()).compile(metrics=("auc",))
    with pytest.raises(UsageError, match="is made when its data are known"):
        _ = Model("lenet").net
    with pytest.raises(UsageError, match="has no valid split"):
        Model(tiny(), classes=CLASSES).compile(**PLAIN).evaluate(data, split="valid")
    with pytest.raises((UsageError, DataError)):
        Model("lenet").fit("no-such-folder")
    del labels


def test_repr_says_what_it_is(trained: Model) -> None:
    assert repr(Model("lenet")) == "Model(lenet, not yet made)"
    assert repr(trained) == "Model(Sequential, 3 classes)"
    assert repr(trained.history).startswith('History(6 epochs, last: {"epoch": 6')


def test_start_leaves_a_whole_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.parse({"net": "lenet", "epochs": 1, "limit": 200, "threads": 1, "channels_last": False})
    finished = start("fashion-mnist-small", settings)
    folder = finished.folder
    assert folder.parent == Path("runs")
    assert folder.name.endswith("-lenet")
    assert {item.name for item in folder.iterdir()} >= {
        "config.yaml", "environment.json", "log.jsonl", "checkpoints", "best",
        "report.html", "curves.png", "confusion.png", "mistakes.png", "metrics.json",
    }  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["split"] == "test"
    environment = json.loads((folder / "environment.json").read_text())
    assert len(environment["data_fingerprint"]) == 64
    assert str(finished).startswith(
        f"test accuracy {finished.measured.accuracy:.4f} on 200 pictures\nrun folder  {folder}"
    )
    assert start("fashion-mnist-small", settings).folder != folder


def test_a_setting_that_does_not_fit_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no setting of lenet named 'activaton'; did you mean 'activation'"):
        start("fashion-mnist-small", Settings.parse({"net": "lenet", "net_settings": {"activaton": "relu"}}))
    assert not (tmp_path / "runs").exists()


def test_a_second_fit_resolves_for_its_own_data(data: Data) -> None:
    model = Model(tiny()).compile(threads=1, channels_last=False)
    few = Data.from_arrays(*pictures(9, 1), CLASSES)
    model.fit(few, epochs=1, progress=False)
    assert model.settings.batch_size == 9
    model.fit(data, epochs=1, progress=False)
    assert model.settings.batch_size == 16
