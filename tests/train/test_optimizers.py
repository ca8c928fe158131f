"""Each optimizer against its paper's formula in float64, which weights decay, and state that survives to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import CheckpointError, UsageError
from pellucid.train import optimizers
from tests.oracles import optimizers as oracle

RATE, DECAY, MU, STEPS = 0.01, 0.1, 0.9, 7
RULES = {
    "sgd": lambda decay: oracle.sgd(RATE, decay),
    "momentum": lambda decay: oracle.momentum(RATE, decay, MU),
    "adagrad": lambda decay: oracle.adagrad(RATE, decay),
    "rmsprop": lambda decay: oracle.rmsprop(RATE, decay),
    "adam": lambda decay: oracle.adam(RATE, decay, decoupled=False),
    "adamw": lambda decay: oracle.adam(RATE, decay, decoupled=True),
}


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 3))


def gradients(net: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in net.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))


def stepped(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        gradients(net, step)
        optimizer.step()


def made(name: str, net: nn.Module) -> torch.optim.Optimizer:
    return optimizers.make(name, net, learning_rate=RATE, momentum=MU, weight_decay=DECAY)


def expected(net: nn.Module, rule_of: object, index: int, start: torch.Tensor) -> np.ndarray:
    """The formula for one parameter: kernels decay, biases and normalisation do not."""
    seen = []
    for step in range(STEPS):
        gradients(net, step)
        seen.append(list(net.parameters())[index].grad.double().numpy())
    return rule_of(DECAY if start.ndim > 1 else 0.0)(start.double().numpy(), seen)


@pytest.mark.parametrize("name", RULES)
def test_steps_are_those_of_the_paper(name: str) -> None:
    net = network()
    starts = [parameter.detach().clone() for parameter in net.parameters()]
    stepped(net, made(name, net), range(STEPS))
    for index, (parameter, start) in enumerate(zip(net.parameters(), starts, strict=True)):
        wanted = expected(network(), RULES[name], index, start)
        np.testing.assert_allclose(parameter.detach().numpy(), wanted, rtol=2e-5, atol=2e-6)


def test_muon_steps_kernels_by_their_singular_values_and_the_rest_by_adamw() -> None:
    net = network()
    starts = [parameter.detach().clone() for parameter in net.parameters()]
    stepped(net, made("muon", net), range(STEPS))
    for index, (parameter, start) in enumerate(zip(net.parameters(), starts, strict=True)):
        if start.ndim == 4:  # a kernel inside; the last dense layer is the head
            wanted = expected(network(), lambda decay: oracle.muon(RATE, decay, MU), index, start)
        else:
            wanted = expected(network(), lambda decay: oracle.adam(0.1 * RATE, decay, decoupled=True), index, start)
        np.testing.assert_allclose(parameter.detach().numpy(), wanted, rtol=1e-3, atol=2e-5)


def test_decay_pulls_kernels_alone() -> None:
    net = network()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = made("adamw", net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"0.weight", "3.weight"}
    torch.testing.assert_close(net[0].weight, before["0.weight"] * (1 - RATE * DECAY))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels_last"])
@pytest.mark.parametrize("name", optimizers.NAMES)
def test_state_that_is_kept_and_put_back_goes_on_to_the_bit(name: str, layout: torch.memory_format) -> None:
    from safetensors.torch import load, save

    from pellucid.train.checkpoint import plain

    alone, stopped, fresh = (network().to(memory_format=layout) for _ in range(3))
    one, two = made(name, alone), made(name, stopped)
    stepped(alone, one, range(9))
    stepped(stopped, two, range(4))
    tensors, numbers = optimizers.state_of(two)
    tensors = load(save(plain(tensors)))
    fresh.load_state_dict(stopped.state_dict())
    three = made(name, fresh)
    optimizers.restore(three, tensors, numbers)
    stepped(fresh, three, range(4, 9))
    for parameter, wanted in zip(fresh.parameters(), alone.parameters(), strict=True):
        assert torch.equal(parameter, wanted)
    mine, theirs = optimizers.state_of(three), optimizers.state_of(one)
    assert mine[1] == theirs[1]
    assert mine[0].keys() == theirs[0].keys()
    assert all(
        torch.equal(mine[0][key], theirs[0][key]) and mine[0][key].dtype == theirs[0][key].dtype for key in mine[0]
    )


def test_any_torch_optimizer_is_kept() -> None:
    net = network()
    optimizer = torch.optim.NAdam(net.parameters(), lr=0.01)
    stepped(net, optimizer, range(3))
    tensors, numbers = optimizers.state_of(optimizer)
    again = torch.optim.NAdam(net.parameters(), lr=0.5)
    optimizers.restore(again, tensors, numbers)
    assert again.param_groups[0]["lr"] == 0.01
    assert set(optimizers.state_of(again)[0]) == set(tensors)


def test_a_state_that_json_cannot_hold_is_refused() -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    optimizer.state[net[0].weight]["history"] = [net]
    with pytest.raises(CheckpointError, match="SGD keeps a list named history"):
        optimizers.state_of(optimizer)


def test_names_and_networks_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="there is no optimizer named 'adamm'; did you mean 'adam"):
        optimizers.make("adamm", network(), learning_rate=0.1)
    frozen = network().requires_grad_(False)
    with pytest.raises(UsageError, match="no parameter of the network wants a gradient"):
        optimizers.make("sgd", frozen, learning_rate=0.1)
