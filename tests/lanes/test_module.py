"""What a lowered network is to its user: a module that shares everything, and says plainly what it cannot do."""

from __future__ import annotations

import copy
import ctypes
import gc
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.lanes import Lanes, lower
from pellucid.lanes.frame import ArenaMemory
from pellucid.lanes.library import library

SHAPE = (19, 3, 12, 12)


class Small(nn.Module):
    """Convolutions, a join, a norm, smooth activations, a dense layer: nothing that a rounding error can flip."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(8 * 6 * 6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.norm(self.first(x)))
        x = self.drop(x + torch.sigmoid(self.second(x)))
        return self.last(nn.functional.avg_pool2d(x, 2).flatten(1))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(1)
    return Small()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def lowered(net: nn.Module, **settings: bool) -> Lanes:
    return lower(net, tune=False, **settings)


def gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_parameters_buffers_and_names_are_the_modules_own(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net)
    assert dict(fast.named_parameters()).keys() == dict(net.named_parameters()).keys()
    assert all(a is b for a, b in zip(fast.parameters(), net.parameters(), strict=True))
    before = net.norm.running_mean.clone()
    fast(images)
    assert not torch.equal(net.norm.running_mean, before)
    assert net.norm.num_batches_tracked == 1
    assert fast.state_dict().keys() == net.state_dict().keys()


def test_two_passes_before_a_way_back(net: nn.Module, images: Tensor) -> None:
    other = copy.deepcopy(net)
    fast = lowered(net)
    for run in (fast, other):
        (run(images).square().mean() + run(images.flip(0) * 2).square().mean()).backward()
    for a, b in zip(gradients(net), gradients(other), strict=True):
        same(a, b)


def test_the_way_back_twice_over_one_pass(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net)
    loss = fast(images).square().mean()
    loss.backward(retain_graph=True)
    once = [gradient.clone() for gradient in gradients(net)]
    loss.backward()
    for a, b in zip(gradients(net), once, strict=True):
        torch.testing.assert_close(a, 2 * b, rtol=1e-6, atol=1e-7)


def test_gradients_accumulate_over_steps(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net)
    fast(images).sum().backward()
    once = [gradient.clone() for gradient in gradients(net)]
    net.norm.load_state_dict(Small().norm.state_dict(), strict=False)
    fast(images).sum().backward()
    for a, b in zip(gradients(net), once, strict=True):
        same(a, 2 * b)


def test_frozen_parameters_have_no_gradient_and_the_others_the_same(net: nn.Module, images: Tensor) -> None:
    net.first.requires_grad_(False)
    other = copy.deepcopy(net)
    fast = lowered(net)
    for run in (fast, other):
        run(images).square().mean().backward()
    assert net.first.weight.grad is None
    assert net.first.bias.grad is None
    for a, b in zip(gradients(net), gradients(other), strict=True):
        same(a, b)
    net.first.requires_grad_(True)
    fast(images).square().mean().backward()
    assert net.first.weight.grad is not None


def test_parameters_changed_in_place_loaded_and_replaced_are_seen(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net).eval()
    with torch.no_grad():
        first = fast(images)
        net.last.bias.add_(1)
        same(fast(images), first + 1)
        net.load_state_dict({name: torch.zeros_like(value) for name, value in net.state_dict().items()})
        assert torch.equal(fast(images), torch.zeros_like(first))
        net.last.bias = nn.Parameter(torch.full((5,), 7.0))
        assert torch.equal(fast(images), torch.full_like(first, 7.0))


def test_a_parameter_changed_between_a_pass_and_its_way_back_is_refused(net: nn.Module, images: Tensor) -> None:
    loss = lowered(net)(images).sum()
    with torch.no_grad():
        net.first.weight.add_(1)
    with pytest.raises(UsageError, match="a parameter was changed in place between the pass and its way back"):
        loss.backward()


def test_training_and_evaluation_switch_both(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net)
    fast.eval()
    assert not net.training
    same(fast(images), net(images))
    fast.train()
    assert net.norm.training


def test_other_batch_and_picture_sizes_are_planned_anew(images: Tensor) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    fast = lowered(net)
    for batch, size in ((1, 5), (16, 12), (17, 12), (33, 9), (2, 1)):
        x = torch.randn(batch, 3, size, size)
        same(fast(x), net(x))


def test_copies_and_saved_files_are_networks_of_their_own(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net).eval()
    with torch.no_grad():
        expected = fast(images)
        other = copy.deepcopy(fast)
        file = io.BytesIO()
        torch.save(fast, file)
        file.seek(0)
        read = torch.load(file, weights_only=False)
        net.last.bias.add_(1)
        assert torch.equal(other(images), expected)
        assert torch.equal(read(images), expected)


@pytest.mark.usefixtures("threads")
def test_direct_sums_are_the_same_bits_for_any_number_of_threads_and_again(net: nn.Module, images: Tensor) -> None:
    found = []
    for count in (1, 2, 2, 3):
        torch.set_num_threads(count)
        own = copy.deepcopy(net)
        output = lowered(own, exact=True)(images.repeat(4, 1, 1, 1))
        output.square().mean().backward()
        found.append([output.detach(), *gradients(own), own.norm.running_var])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_dropout_follows_pytorchs_seed(images: Tensor) -> None:
    torch.manual_seed(3)
    net = Small(dropout=0.5)
    fast = lowered(net)
    fast(images)

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            return fast(images)

    assert torch.equal(drawn(5), drawn(5))
    assert not torch.equal(drawn(5), drawn(6))


def test_the_mask_is_the_same_forward_and_back() -> None:
    fast = lowered(nn.Sequential(nn.Dropout(0.3)))
    x = torch.rand(40, 6, 5, 5).add(0.5).requires_grad_()
    y = fast(x)
    y.sum().backward()
    kept = y != 0
    assert 0.65 < kept.float().mean() < 0.75
    same(y.detach(), x.detach() / 0.7 * kept)
    same(x.grad, kept.float() / 0.7)


def test_nothing_stays_of_a_pass(net: nn.Module, images: Tensor) -> None:
    """An output must not hold its own pass, or memory would grow until Python looks for cycles."""
    fast = lowered(net)
    fast(images)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            fast(images).sum().backward()
        assert len(fast._pool._free) <= 2
        held = [o for o in gc.get_objects() if type(o).__name__ == "ArenaMemory"]
        assert len(held) <= 3
    finally:
        gc.enable()


def test_tied_weights_get_the_sum_of_both_gradients(images: Tensor) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 3, 3, padding=1)
            self.two = nn.Conv2d(3, 3, 3, padding=1)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.two(torch.tanh(self.one(x)))

    torch.manual_seed(4)
    net = Tied()
    other = copy.deepcopy(net)
    for run in (lowered(net), other):
        run(images).square().mean().backward()
    same(net.one.weight.grad, other.one.weight.grad)


def test_second_derivatives_hooks_and_autocast_are_refused(net: nn.Module, images: Tensor) -> None:
    fast = lowered(net)
    x = images.requires_grad_()
    with pytest.raises(UsageError, match="lanes has no second derivatives"):
        torch.autograd.grad(fast(x).sum(), x, create_graph=True)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(UsageError, match="lanes computes in float32 and autocast asks for less"),
    ):
        fast(x)
    handle = net.norm.register_forward_hook(lambda *_: None)
    with pytest.raises(UsageError, match="there is a hook on norm, and lanes runs no module by itself"):
        fast(x)
    handle.remove()
    fast(x)


def test_what_the_engine_cannot_take_runs_as_in_pytorch(net: nn.Module, images: Tensor) -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4 * 10 * 10, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cumsum(self.body(x), dim=2).flatten(1))

    torch.manual_seed(5)
    module = Sorted()
    other = copy.deepcopy(module)
    fast = lowered(module)
    for run in (fast, other):
        run(images).square().mean().backward()
    for a, b in zip(gradients(module), gradients(other), strict=True):
        same(a, b)
    (plan,) = fast._plans.values()
    assert list(plan.lowered.reasons.values()) == ["there is no kernel for aten.cumsum.default"]
    double = copy.deepcopy(net).double().eval()
    assert torch.equal(lowered(double)(images.double()), double(images.double()))


def test_channels_last_weights_and_pictures(net: nn.Module, images: Tensor) -> None:
    other = copy.deepcopy(net)
    net.to(memory_format=torch.channels_last)
    lowered(net)(images.contiguous(memory_format=torch.channels_last)).square().mean().backward()
    other(images).square().mean().backward()
    for a, b in zip(gradients(net), gradients(other), strict=True):
        same(a, b)


def test_nan_goes_through(net: nn.Module, images: Tensor) -> None:
    images = images.clone()
    images[3, 0, 5, 5] = float("nan")
    output = lowered(net).eval()(images)
    assert torch.isnan(output).any(1).nonzero().flatten().tolist() == [3]


class Tied(nn.Module):
    """What is looked up is what is compared with: one weight by two names, both read by what PyTorch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.look_up = nn.Embedding(11, 8)
        self.compare = nn.Linear(8, 11, bias=False)
        self.compare.weight = self.look_up.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.compare(torch.tanh(self.look_up(words)))


def test_a_weight_of_two_names_has_its_whole_gradient_where_pytorch_reads_it() -> None:
    torch.manual_seed(0)
    net = Tied()
    words = torch.randint(0, 11, (5, 7))
    other = copy.deepcopy(net)
    net(words).square().sum().backward()
    lower(other, tune=False)(words).square().sum().backward()
    assert net.look_up.weight.grad is not None
    torch.testing.assert_close(other.look_up.weight.grad, net.look_up.weight.grad)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what is in memory")
def test_memory_of_feature_maps_goes_back_to_the_system() -> None:
    """malloc keeps what it is given back, up to 64 MB: a network whose algorithms were measured would hold twice."""
    own = library()
    sizes = [24 << 20, 12 << 20, 6 << 20, (2 << 20) - 64]
    before = resident()
    blocks = [ArenaMemory(own, size) for size in sizes]
    del blocks
    blocks = [ArenaMemory(own, size) for size in sizes]
    for block in blocks:
        assert block.address % 64 == 0
        ctypes.memset(block.address, 1, block.size)
        assert ctypes.string_at(block.copy().address + block.size - 8, 8) == b"\1" * 8
    assert resident() > before + (40 << 20)
    del blocks, block
    assert resident() < before + (8 << 20)
