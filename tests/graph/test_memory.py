"""The forecast of training memory against what PyTorch's profiler sees allocated."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from pellucid import nets
from pellucid.errors import UsageError
from pellucid.graph import forecast


def really(module: nn.Module, size: tuple[int, ...], batch: int) -> int:
    """Bytes at the highest moment of a training step with AdamW."""
    module.train()
    images, labels = torch.randn(batch, *size), torch.zeros(batch, dtype=torch.long)
    optimizer = torch.optim.AdamW(module.parameters())

    def step() -> None:
        nn.functional.cross_entropy(module(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    gc.collect()
    kept = [*module.parameters(), *module.buffers(), images]
    kept += [value for state in optimizer.state.values() for value in state.values()]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    now = highest = 0
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        highest = max(highest, now)
    return sum(tensor.numel() * tensor.element_size() for tensor in kept) + highest


@pytest.mark.parametrize(("name", "batch"), [("basic_cnn", 32), ("resnet18", 8), ("inception_small", 8)])
def test_forecast_is_within_a_tenth(name: str, batch: int) -> None:
    module = nets.make(name, classes=10, image_size=32)
    told = forecast(module, (3, 32, 32), batch=batch, optimizer="adamw").peak
    assert told == pytest.approx(really(module, (3, 32, 32), batch), rel=0.10)


def test_what_stays_is_exact() -> None:
    module = nets.make("basic_cnn")
    told = forecast(module, (3, 32, 32), batch=4, optimizer="adam")
    count = sum(parameter.numel() for parameter in module.parameters())
    assert told.parameters == told.gradients == 4 * count
    assert told.optimizer == 8 * count
    assert forecast(module, (3, 32, 32), batch=4, optimizer="sgd").optimizer == 0
    assert told.inputs == 4 * 3 * 32 * 32 * 4


def test_bf16_takes_less_and_more_pictures_more() -> None:
    module = nets.make("resnet18", classes=10, image_size=32)
    small = forecast(module, (3, 32, 32), batch=8)
    assert forecast(module, (3, 32, 32), batch=8, precision="bf16").activations < 0.8 * small.activations
    large = forecast(module, (3, 32, 32), batch=16)
    assert large.activations == pytest.approx(2 * small.activations, rel=0.1)


def test_frozen_parameters_have_no_gradients_and_no_state() -> None:
    module = nets.make("lenet")
    nets.freeze_all_but_head(module)
    told = forecast(module, (1, 28, 28), batch=2, optimizer="adamw")
    assert (told.gradients, told.optimizer) == (4 * 850, 8 * 850)


def test_nothing_of_the_activations_size_is_allocated_and_the_module_is_left() -> None:
    module = nets.make("vgg11", image_size=224)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        told = forecast(module, (3, 224, 224), batch=64)
    taken = sum(
        max(0, event.nbytes()) for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    )
    assert taken < told.activations / 50
    assert module.training
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_unknown_names_are_said() -> None:
    with pytest.raises(UsageError, match="there is no optimizer named 'adamx'; did you mean 'adam'?"):
        forecast(nets.make("lenet"), (1, 28, 28), optimizer="adamx")
    with pytest.raises(UsageError, match="there is no precision named 'fp8'"):
        forecast(nets.make("lenet"), (1, 28, 28), precision="fp8")
