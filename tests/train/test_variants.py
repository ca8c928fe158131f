"""The networks of other convolutions train, stop and go on as every network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pellucid.data import Data
from pellucid.train import Model
from tests.train.conftest import PLAIN
from tests.train.test_resume import Stop, StopAt, assert_same

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "local": ("local_cnn", {"channels": [4]}),
    "grouped_shuffled": ("variant_cnn", {"kind": "grouped_shuffled", "channels": [4, 8], "groups": 2}),
    "dilated": ("dilated_cnn", {"width": 3}),
}


@pytest.mark.parametrize("name", NETS)
def test_stopped_in_the_midst_of_an_epoch_it_goes_on_to_the_same_bits(name: str, data: Data, tmp_path: Path) -> None:
    net, net_settings = NETS[name]
    settings = {**PLAIN, "epochs": 2, "checkpoint_steps": 2, "crop": 1, "learning_rate": 0.02}

    def run(folder: Path, *, resume: bool = False, stop: int | None = None) -> float:
        model = Model(net, **net_settings).compile(**settings)
        listeners = [StopAt(stop)] if stop is not None else []
        model.fit(data, folder=folder, resume=resume, listeners=listeners, progress=False)
        return model.evaluate(data).loss

    whole = run(tmp_path / "alone")
    with pytest.raises(Stop):
        run(tmp_path / "failed", stop=9)
    assert run(tmp_path / "failed", resume=True) == whole
    assert_same(tmp_path / "alone", tmp_path / "failed")
