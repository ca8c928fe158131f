"""Records of numbers: plain values that JSON holds, whose addresses open to what they say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import look
from pellucid.errors import UsageError
from pellucid.look.record import record_of


@pytest.fixture(scope="module")
def scene() -> look.Scene:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1), nn.Flatten(),
                        nn.Linear(4 * 5 * 5, 6))  # fmt: skip
    return look.open(net, torch.randn(1, 3, 9, 9), label=2)


def addresses(origin: dict[str, Any]) -> list[str | None]:
    """The address of each number of a patch, as a page makes it."""
    return [
        None if place < 0 else f"{origin['address']}[{','.join(map(str, np.unravel_index(place, origin['shape'])))}]"
        for place in origin["places"]
    ]


NUMBERS = ["2[0,1,0,2]", "d 1[0,3,4,8]", "d 0.weight[5,1,0,2]", "d 2.weight[1,2,2,2]"]


@pytest.mark.parametrize("address", NUMBERS)
@pytest.mark.parametrize(("origin", "shown"), [("sources", "values"), ("weights", "factors")])
def test_each_number_of_a_patch_opens_by_its_address(scene: look.Scene, address: str, origin: str, shown: str) -> None:
    found = 0
    for patch in record_of(scene.open(address))["patches"]:
        for at, value, outside in zip(addresses(patch[origin]), patch[shown], patch["outside"], strict=True):
            if at is None:
                assert outside
            else:
                assert scene.open(at).value == pytest.approx(value, rel=1e-5)
                found += 1
    assert found >= 4


def test_a_record_is_plain_json(scene: look.Scene) -> None:
    record = record_of(scene.open("2[0,1,0,2]"))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["count"] == 73
    assert math.fsum(term["product"] for term in record["terms"]) == pytest.approx(record["value"], rel=1e-5)


def test_what_is_too_much_is_summed_up(scene: look.Scene) -> None:
    whole, record = record_of(scene.open("2[0,1,2,2]")), record_of(scene.open("2[0,1,2,2]"), most=10, drawn=30)
    assert len(record["terms"]) == 10
    assert record["rest"]["count"] == 63
    shown = math.fsum(term["product"] for term in record["terms"])
    assert shown + record["rest"]["sum"] == pytest.approx(whole["total"], rel=1e-9)
    least = min(abs(term["product"]) for term in record["terms"])
    assert sum(abs(term["product"]) > least for term in whole["terms"]) == 9
    patch, all_channels = record["patches"][0], np.array(whole["patches"][0]["products"]).reshape(8, 9)
    assert patch["shape"] == [3, 3, 3]
    assert patch["of_channels"] == 8
    strongest = np.argsort(-np.abs(all_channels).sum(1))[:3]
    assert patch["channels"] == sorted(strongest.tolist())
    assert patch["products"] == all_channels[patch["channels"]].reshape(-1).tolist()


def test_what_is_no_number_goes_as_text() -> None:
    scene = look.open(nn.Conv2d(1, 1, 2), torch.tensor([[[[math.inf, 1.0], [math.nan, 2.0]]]]))
    record = record_of(scene.at("", (0, 0, 0, 0)))
    assert record["value"] == "inf"
    assert record_of(scene.at(scene.nodes[0], (0, 0, 0, 0)))["value"] == "nan"
    json.dumps(record, allow_nan=False)


def test_a_second_result_opens_by_its_address() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 5, 5)
    scene = look.open(nn.BatchNorm2d(3), images, training=True)
    node = scene.nodes[0]
    assert scene.open(f"{node}:1[2]").value == pytest.approx(float(images[:, 2].mean()), abs=1e-6)
    assert scene.open(f"{node}:0[1,2,3,4]").value == scene.at(node, (1, 2, 3, 4)).value
    with pytest.raises(UsageError, match="has no result 9"):
        scene.open(f"{node}:9[2]")
