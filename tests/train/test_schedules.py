"""Schedules against torch's where the definitions agree, and by their shape."""

from __future__ import annotations

import warnings

import pytest
import torch

from pellucid.errors import UsageError
from pellucid.train import schedules

TOTAL = 40


def rates_of(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
    return rates


def ours(name: str, warmup: float = 0.0) -> list[float]:
    return [schedules.factor(name, step, TOTAL, warmup) for step in range(TOTAL)]


@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.5])
def test_one_cycle_is_that_of_torch(warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=TOTAL, pct_start=warmup, cycle_momentum=False
    )
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(TOTAL - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert ours("one_cycle", warmup) == pytest.approx(rates, abs=1e-12)


def test_cosine_is_that_of_torch() -> None:
    wanted = rates_of(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=TOTAL))
    assert ours("cosine") == pytest.approx(wanted, abs=1e-12)


def test_step_is_that_of_torch() -> None:
    wanted = rates_of(lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [TOTAL // 2, 3 * TOTAL // 4]))
    assert ours("step") == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("width", [64, 512])
def test_the_inverse_square_root_is_that_of_the_paper(width: int) -> None:
    """Vaswani et al. 2017, eq. 3, whose steps count from 1, as a share of its highest rate."""
    rising = 10
    paper = [width**-0.5 * min(step**-0.5, step * rising**-1.5) for step in range(1, TOTAL + 1)]
    highest = 1 / (width * rising) ** 0.5
    assert [highest * rate for rate in ours("inverse_square_root", rising / TOTAL)] == pytest.approx(paper)


def test_constant() -> None:
    assert ours("constant") == [1.0] * TOTAL


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "inverse_square_root"])
def test_warm_up_rises_in_a_line_to_the_top(name: str) -> None:
    rates = ours(name, warmup=0.25)
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(rates) == pytest.approx(1.0)
    assert min(rates) >= 0


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("name", schedules.NAMES)
def test_the_shortest_runs_have_rates(name: str, total: int) -> None:
    for warmup in (0.0, 0.2, 0.9):
        rates = [schedules.factor(name, step, total, warmup) for step in range(total)]
        assert all(0 <= rate <= 1 for rate in rates)
        assert max(rates) > 0


def test_an_unknown_schedule() -> None:
    with pytest.raises(UsageError, match="there is no schedule named 'cosin'; did you mean 'cosine'"):
        schedules.factor("cosin", 0, 10)
