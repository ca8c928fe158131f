"""ShuffleNet: its table's sums, the published names, values and gradients against functions of a state dict."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid import nets
from pellucid.errors import UsageError
from tests.nets.test_counts import on_meta, parameters
from tests.nets.test_names import affine, norm
from tests.oracles import shufflenet

TABLE_1 = {  # of version 1: output channels of the stages
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}


def sum_of_table(groups: int) -> int:
    """Weights and norms of version 1, 1,000 classes, from the table alone."""
    total = 24 * 27 + 2 * 24
    before = 24
    for stage, (after, units) in enumerate(zip(TABLE_1[groups], (4, 8, 4), strict=True)):
        quarter = after // 4
        for i in range(units):
            inputs, made = (before, after - before) if i == 0 else (after, after)
            first = 1 if stage == 0 and i == 0 else groups
            total += quarter * inputs // first + 9 * quarter + made * quarter // groups
            total += 2 * (quarter + quarter + made)
        before = after
    return total + before * 1000 + 1000


@pytest.mark.parametrize("groups", sorted(TABLE_1))
def test_version_1_has_the_parameters_of_its_table(groups: int) -> None:
    assert parameters(on_meta("shufflenet_v1", groups=groups)) == sum_of_table(groups)


def test_version_1_with_three_groups_has_1_865_728_parameters() -> None:
    assert sum_of_table(3) == 1_865_728


def test_version_1_has_the_multiply_accumulates_of_its_table() -> None:
    """137 million with three groups (Table 2)."""
    with FlopCounterMode(display=False) as counter:
        on_meta("shufflenet_v1")(torch.zeros(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() / 2e6 == pytest.approx(137, abs=0.5)


def published(widths: tuple[int, int, int]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of the checkpoints of version 2."""

    def unit(name: str, after: int, before: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        place, number = name.rsplit(".", 1)
        yield f"{name}.weight", (after, before, kernel, kernel)
        yield from norm(f"{place}.{int(number) + 1}", after)

    yield from unit("conv1.0", 24, 3, 3)
    before = 24
    for stage, (after, units) in enumerate(zip(widths, (4, 8, 4), strict=True), start=2):
        half = after // 2
        for i in range(units):
            path = f"stage{stage}.{i}"
            if i == 0:
                yield from unit(f"{path}.branch1.0", before, 1, 3)
                yield from unit(f"{path}.branch1.2", half, before, 1)
            yield from unit(f"{path}.branch2.0", half, before if i == 0 else half, 1)
            yield from unit(f"{path}.branch2.3", half, 1, 3)
            yield from unit(f"{path}.branch2.5", half, half, 1)
        before = after
    yield from unit("conv5.0", 1024, before, 1)
    yield from affine("fc", 1000, 1024)


@pytest.mark.parametrize(
    ("name", "widths"), [("shufflenet_v2_x0_5", (48, 96, 192)), ("shufflenet_v2_x1_0", (116, 232, 464))]
)
def test_version_2_has_the_names_of_the_published_checkpoints(name: str, widths: tuple[int, int, int]) -> None:
    own = {key: tuple(value.shape) for key, value in on_meta(name).state_dict().items()}
    assert own == dict(published(widths))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_shuffle_deals_out_the_channels_of_all_groups_in_turns(groups: int) -> None:
    x = torch.randn(2, 6, 3, 4)
    assert torch.equal(nets.channel_shuffle(x, groups), shufflenet.shuffled(x, groups))


def test_a_shuffle_by_groups_and_one_by_their_size_undo_each_other() -> None:
    x = torch.randn(1, 12, 2, 2)
    assert torch.equal(nets.channel_shuffle(nets.channel_shuffle(x, 3), 4), x)


Written = Callable[[dict[str, Tensor], Tensor], Tensor]
CASES: dict[str, tuple[str, dict[str, object], Written]] = {
    "v1 groups 3": ("shufflenet_v1", {}, lambda own, x: shufflenet.version_1(own, x, 3, small=True)),
    "v1 groups 8 imagenet": (
        "shufflenet_v1",
        {"groups": 8, "stem": "imagenet"},
        lambda own, x: shufflenet.version_1(own, x, 8, small=False),
    ),
    "v2 0.5": ("shufflenet_v2_x0_5", {}, lambda own, x: shufflenet.version_2(own, x, small=True)),
    "v2 1.0 imagenet": (
        "shufflenet_v2_x1_0",
        {"stem": "imagenet"},
        lambda own, x: shufflenet.version_2(own, x, small=False),
    ),
}


def assert_same_values_and_gradients(net: nn.Module, written: Written, x: Tensor) -> None:
    """In float64, at random running statistics: else every norm would be the identity."""
    net = net.double().eval()
    for name, value in net.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    given = x.double().requires_grad_()
    outputs = net(given)
    outputs[:, 1].sum().backward()
    own = {name: value.detach().clone() for name, value in net.state_dict().items()}
    learned = {name: own[name].requires_grad_() for name, _ in net.named_parameters()}
    again = x.double().requires_grad_()
    expected = written(own, again)
    expected[:, 1].sum().backward()
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(given.grad, again.grad, rtol=1e-9, atol=1e-12)
    assert float(outputs.detach().std()) > 0
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, learned[name].grad, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_plain_functions(case: str) -> None:
    name, settings, written = CASES[case]
    torch.manual_seed(0)
    size = 64 if settings.get("stem") else 24
    net = nets.make(name, classes=3, image_size=size, **settings)
    assert_same_values_and_gradients(net, written, torch.randn(2, 3, size, size))


def test_a_number_of_groups_that_the_table_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="shufflenet_v1 has no column for 5 groups\n.*1, 2, 3, 4 or 8"):
        nets.make("shufflenet_v1", groups=5)
