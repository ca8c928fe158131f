"""Roads that depend on values: the run is written down, for any batch, in both modes; and what cannot be is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid import capture
from pellucid.errors import CaptureError
from pellucid.graph.trace import trace


class Chooses(nn.Module):
    """A body, and then one of two roads, by the numbers."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y * 2 if bool(y.sum() > -1e30) else y - 1


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


BODIES: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "classifier": (
        lambda: [
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5),
            nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(36, 2),
        ],
        (3, 8, 8),
    ),
    "map of features": (
        lambda: [nn.Conv2d(3, 6, 3, padding="same"), nn.Dropout2d(0.5), nn.GroupNorm(2, 6), nn.SiLU(), nn.AvgPool2d(2)],
        (3, 8, 8),
    ),
    "upwards": (lambda: [nn.ConvTranspose2d(3, 4, 3, stride=2), nn.Upsample(scale_factor=2), nn.Softmax(1)], (3, 5, 5)),
    "no batch statistics": (lambda: [nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3)], (3, 5, 5)),
    "encoder": (lambda: [nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)], (9, 16)),
    "batch folded": (
        lambda: [Function(lambda x: (x.reshape(-1, 4, 4) @ torch.ones(4, 4)).reshape(x.shape[0], 3, -1))],
        (3, 4, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_the_road_is_run_as_the_module_runs_for_any_batch(name: str, training: bool) -> None:
    make, size = BODIES[name]
    module = Chooses(*make()).train(training)
    graph = capture(module, size)
    assert graph.specialized
    assert graph.training == training
    for batch in (3, 2, 7):
        x = torch.randn(batch, *size)
        torch.manual_seed(4)
        before = [buffer.clone() for buffer in module.buffers()]
        result = graph.run(x)
        assert all(torch.equal(a, b) for a, b in zip(before, module.buffers(), strict=True))
        torch.manual_seed(4)
        wanted = module(x)
        torch.testing.assert_close(result, wanted)
        rows = graph.account(batch).rows
        assert rows[0].shape == (batch, *size)
        assert rows[-1].shape == tuple(wanted.shape)


def test_costs_of_a_road_are_those_that_pytorch_counts() -> None:
    module = Chooses(
        nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.Flatten(), nn.Linear(1014, 2)
    )
    module.eval()
    account = capture(module, (3, 8, 8)).account(5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.randn(5, 3, 8, 8))
    assert 2 * account.macs == counter.get_total_flops()
    assert account.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert sum(row.parameters for row in account.rows) == account.parameters
    assert account.specialized
    field = account["body.1"].field
    assert field is not None
    assert field.step == (0.5, 0.5)


def test_names_and_lines_of_a_road() -> None:
    graph = capture(Chooses(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), (3, 8, 8))
    assert [node.name for node in graph.shown] == ["body.0", "body.1", "mul"]
    assert graph["mul"].source.startswith("test_trace.py:")


def test_a_loop_as_long_as_the_numbers_say() -> None:
    def halve(x: Tensor) -> Tensor:
        while x.abs().max() > 0.5:
            x = x / 2
        return x

    module = Function(halve)
    graph = capture(module, inputs=[torch.full((3, 2), 3.0)])
    assert graph.specialized
    assert [node.op.name for node in graph.shown] == ["div"] * 3
    assert torch.equal(graph.run(torch.full((4, 2), 8.0)), torch.ones(4, 2))


def test_the_caller_keeps_its_example() -> None:
    def change(x: Tensor) -> Tensor:
        x.add_(1)
        return x * 2 if bool(x.sum() > 0) else x

    example = torch.zeros(3, 2)
    graph = capture(Function(change), inputs=[example])
    assert torch.equal(example, torch.zeros(3, 2))
    assert torch.equal(graph.run(torch.zeros(2, 2)), torch.full((2, 2), 2.0))


def test_a_change_that_another_name_sees_is_refused_not_missed() -> None:
    def change_a_part(x: Tensor) -> Tensor:
        y = x + 1
        y[:, 0] = 5
        return y if bool(y.sum() > 0) else -y

    def change_the_whole(x: Tensor) -> Tensor:
        y = x + 1
        part = y[:, 0]
        y.mul_(2)
        return part if bool(y.sum() > 0) else y

    for function in (change_a_part, change_the_whole):
        module = Function(function)
        with pytest.raises(CaptureError, match="changed in place and then used under another name"):
            capture(module, inputs=[torch.ones(3, 2)])


def test_a_view_that_takes_the_place_of_its_tensor_may_change() -> None:
    def change(x: Tensor) -> Tensor:
        y = (x + 1).flatten(1).relu_()
        return y if bool(y.sum() > 0) else -y

    x = torch.randn(2, 3, 4)
    assert torch.equal(capture(Function(change), (3, 4)).run(x), change(x))


def test_what_was_computed_before_an_error_is_kept() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(5, 6, 3))
    traced = trace(module, (torch.randn(3, 3, 8, 8),))
    assert traced.graph is None
    assert isinstance(traced.error, RuntimeError)
    assert traced.path == "2"
    assert traced.given == ((3, 4, 6, 6),)
    assert [(node.name, node.shape(7)) for node in traced.partial.shown] == [("0", (7, 4, 6, 6)), ("1", (7, 4, 6, 6))]
