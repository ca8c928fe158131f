"""Random numbers of the networks with grouped, separable, dilated, local and transposed layers opened, in training and
in evaluation; and no operation of theirs that is unknown."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pellucid
from pellucid import nets
from tests.look.numbers import check

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "shufflenet_v1": ("shufflenet_v1", {}),
    "shufflenet_v2_x0_5": ("shufflenet_v2_x0_5", {}),
    "mobilenet_v1": ("mobilenet_v1", {}),
    "mobilenet_v2": ("mobilenet_v2", {}),
    "dilated_cnn": ("dilated_cnn", {"width": 4}),
    "dilated_cnn_large": ("dilated_cnn", {"width": 1, "size": "large"}),
    "local_cnn": ("local_cnn", {"channels": [6, 8]}),
    **{
        kind: ("variant_cnn", {"kind": kind, "channels": [8, 12]})
        for kind in ("grouped_shuffled", "separable", "transposed")
    },
}


LARGE = {"shufflenet_v1": False, "shufflenet_v2_x0_5": True, "mobilenet_v1": False, "mobilenet_v2": True}
# Whole networks in one mode each, and what they are made of in both: the capture of the former takes seconds.
CASES = [(name, mode) for name in NETS for mode in (False, True) if LARGE.get(name, mode) == mode]


@pytest.mark.parametrize(("name", "training"), CASES)
def test_terms_of_variants_add_up(name: str, training: bool) -> None:
    torch.manual_seed(0)
    factory, settings = NETS[name]
    net = nets.make(factory, classes=5, image_size=16, **settings)
    checked = check(net, torch.randn(2, 3, 16, 16), [1, 3], training=training, count=150, boxes=20)
    assert not checked.wrong
    assert checked.activations + checked.gradients == 300
    assert checked.worst < 1e-5
    assert not checked.from_pytorch


@pytest.mark.parametrize(("name", "training"), [(name, mode ^ (name in LARGE)) for name, mode in CASES])
def test_no_operation_of_the_variants_is_unknown(name: str, training: bool) -> None:
    factory, settings = NETS[name]
    net = nets.make(factory, image_size=16, **settings)
    table = pellucid.summary(net, (3, 16, 16), training=training, show=False)
    assert "opaque" not in {row.kind for row in table.account.rows}
    assert not table.account.missing
