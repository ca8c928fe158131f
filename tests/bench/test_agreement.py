"""Twenty steps of training on the engine follow the loss of PyTorch; bench/agreement.py does it for every network."""

from __future__ import annotations

import pytest
from agreement import twenty_steps


@pytest.mark.parametrize("name", ["basic_cnn", "dilated_cnn", "fcn8s", "inception_small", "lenet", "m5", "mlp"])
def test_a_network_learns_as_with_pytorch(name: str) -> None:
    found = twenty_steps(name)
    assert not found["runs_on_pytorch"]
    assert found["last_loss"] < 0.999 * found["first_loss"], "it must learn, else nothing is compared"
    assert found["worst_difference"] < 1e-3


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "shufflenet_v2_x0_5", "unet_small", "variant_cnn"])
def test_a_network_with_batch_norms_learns_as_with_pytorch(name: str) -> None:
    found = twenty_steps(name)
    assert found["last_loss"] < 0.999 * found["first_loss"], "it must learn, else nothing is compared"
    assert found["worst_difference"] < 1e-3
