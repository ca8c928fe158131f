"""Twenty steps of training on the engine follow the loss of PyTorch; bench/agreement.py does it for every network."""

from __future__ import annotations

import pytest
from agreement import twenty_steps


@pytest.mark.parametrize("name", ["basic_cnn", "dilated_cnn", "lenet", "m5", "mlp"])
def test_a_network_learns_as_with_pytorch(name: str) -> None:
    found = twenty_steps(name)
    assert not found["runs_on_pytorch"]
    assert found["last_loss"] < 0.999 * found["first_loss"], "it must learn, else nothing is compared"
    assert found["worst_difference"] < 1e-3


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "unet_small", "variant_cnn"])
def test_a_network_that_drives_rounding_apart_does_so_no_more_than_with_pytorch(name: str) -> None:
    found = twenty_steps(name)
    assert found["last_loss"] < 0.999 * found["first_loss"], "it must learn, else nothing is compared"
    assert found["worst_difference"] < max(1e-3, 4 * found["worst_difference_of_pytorch_to_float64"])
