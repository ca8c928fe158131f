"""The running average against a sum in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pellucid.train.ema import Average


def test_average_follows_its_recurrence_buffers_included() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = Average(net, decay=0.8)
    names = [name for name, value in net.state_dict().items() if value.is_floating_point()]
    wanted = {name: net.state_dict()[name].double().numpy().copy() for name in names}
    for step in range(40):
        with torch.no_grad():
            for value in net.state_dict().values():
                value.add_(torch.randn(value.shape) if value.is_floating_point() else 1)
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        for name in names:
            wanted[name] = decay * wanted[name] + (1 - decay) * net.state_dict()[name].double().numpy()
    for name in names:
        np.testing.assert_allclose(average.tensors[name].numpy(), wanted[name], rtol=1e-4, atol=1e-5)
    assert int(average.tensors["1.num_batches_tracked"]) == 40


def test_applied_and_taken_back() -> None:
    net = nn.Linear(2, 2)
    average = Average(net, decay=0.5)
    own = net.weight.detach().clone()
    average.tensors["weight"].fill_(7.0)
    with average.applied():
        assert torch.equal(net.weight, torch.full((2, 2), 7.0))
    assert torch.equal(net.weight, own)
    assert torch.equal(average.tensors["weight"], torch.full((2, 2), 7.0))
