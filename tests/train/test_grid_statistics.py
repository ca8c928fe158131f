"""Which differences are larger than the noise: against scipy, closed testing, and simulated chance."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from pellucid.train.grid_statistics import differences, holm, interval, spread


def scores(seed: int, *sizes: int) -> dict[str, list[float]]:
    """Some ways of training, ``a``, ``b`` and so on, each with so many seeds, and means and spreads of its own."""
    chance = np.random.default_rng(seed)
    drawn = [chance.normal(chance.normal(0.8, 0.02), chance.uniform(0.002, 0.02), size) for size in sizes]
    return {"abcdef"[i]: values.tolist() for i, values in enumerate(drawn)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (3, 5), (10, 4)])
def test_a_pair_is_welchs_test(seed: int, sizes: tuple[int, int]) -> None:
    given = scores(seed, *sizes)
    found = differences(given, [("a", "b")])[0]
    wanted = stats.ttest_ind(given["a"], given["b"], equal_var=False)
    bounds = wanted.confidence_interval(0.95)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert found.adjusted == found.p
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
    assert found.mean == pytest.approx(np.mean(given["a"]) - np.mean(given["b"]))


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_is_students(seed: int) -> None:
    values = scores(seed, 4)["a"]
    wanted = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx(wanted, rel=1e-9)
    assert spread(values) == pytest.approx(stats.tstd(values))


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_closed_test_of_bonferroni(seed: int) -> None:
    """Holm's p-value of a hypothesis is the largest of Bonferroni's over every set of hypotheses that holds it."""
    chance = np.random.default_rng(seed)
    given = (chance.random(5) ** 3).tolist()
    if seed % 2:
        given[3] = given[1]
    sets = [chosen for size in range(1, 6) for chosen in combinations(range(5), size)]
    wanted = [
        max(min(1.0, len(chosen) * min(given[j] for j in chosen)) for chosen in sets if i in chosen) for i in range(5)
    ]
    assert holm(given) == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(10))
def test_a_smaller_difference_could_not_have_been_seen(seed: int) -> None:
    """The most certain pair is larger than the noise just where it is larger than what could be seen."""
    given = scores(seed, 3, 3, 3)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    found = min(differences(given, pairs), key=lambda pair: pair.p or 0.0)
    assert found.visible is not None
    assert found.is_larger == (abs(found.mean) > found.visible)
    moved = {**given, found.one: [value - found.mean + 1.0001 * found.visible for value in given[found.one]]}
    only = next(pair for pair in differences(moved, pairs) if (pair.one, pair.other) == (found.one, found.other))
    assert only.p == pytest.approx(0.05 / 3, rel=0.01)


def test_chance_alone_is_seldom_called_real() -> None:
    """Of 400 grids of four ways that are all the same, few have any difference that is called larger."""
    chance = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        given = {name: chance.normal(0.8, 0.01, 3).tolist() for name in "abcd"}
        wrong += any(pair.is_larger for pair in differences(given, list(combinations("abcd", 2))))
    assert wrong <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize("given", [{"a": [0.5], "b": [0.7, 0.8]}, {"a": [0.5, 0.5], "b": [0.7, 0.7]}])
def test_where_nothing_spreads_nothing_can_be_said(given: dict[str, list[float]]) -> None:
    found = differences({**given, "c": [0.1, 0.2], "d": [0.9, 0.8]}, [("a", "b"), ("c", "d")])
    assert (found[0].p, found[0].adjusted, found[0].visible, found[0].is_larger) == (None, None, None, False)
    assert found[1].adjusted == found[1].p
    assert found[1].is_larger


def test_one_seed_has_no_interval() -> None:
    assert (interval([0.5]), spread([0.5])) == (None, None)
