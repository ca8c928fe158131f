"""Random numbers against the generator's definition, and against the distributions they should have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pellucid.data.random import Purpose, beta_symmetric, integers, permutation, uniform, words
from tests.oracles.philox import philox, words_of_sample


def test_the_oracle_gives_the_published_answer() -> None:
    # Random123, tests/kat_vectors: philox4x64 10, counter and key all zero.
    assert philox((0, 0, 0, 0), (0, 0)) == (
        0x16554D9ECA36314C,
        0xDB20FE9D672D0FDC,
        0xD7E772CEE186176B,
        0x7E68B68AEC7BA23B,
    )


@pytest.mark.parametrize(
    ("seed", "epoch", "purpose"), [(0, 0, Purpose.SHUFFLE), (7, 3, Purpose.FLIP), (2**70 + 5, 2**33, Purpose.MIXUP)]
)
def test_words_are_philox_of_seed_epoch_purpose_and_sample(seed: int, epoch: int, purpose: Purpose) -> None:
    ours = words(seed, epoch, purpose, 50)
    for sample in (0, 1, 2, 17, 49):
        assert ours[sample].tolist() == words_of_sample(seed, epoch, purpose, sample)


def test_a_sample_has_the_same_numbers_in_a_larger_data_set() -> None:
    np.testing.assert_array_equal(words(1, 2, Purpose.CROP, 10), words(1, 2, Purpose.CROP, 1000)[:10])


@pytest.mark.parametrize("other", [(2, 5, Purpose.FLIP), (1, 6, Purpose.FLIP), (1, 5, Purpose.CROP)], ids=str)
def test_seed_epoch_and_purpose_each_change_the_numbers(other: tuple[int, int, Purpose]) -> None:
    same = words(1, 5, Purpose.FLIP, 1000) == words(*other, 1000)
    assert same.mean() < 0.01


def test_uniform_is_uniform() -> None:
    values = uniform(3, 0, Purpose.COLOR, 20000, 3)
    assert values.shape == (20000, 3)
    assert values.min() >= 0
    assert values.max() < 1
    for column in values.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.03


def test_integers_cover_their_range_evenly() -> None:
    values = integers(9, 3, 1, Purpose.CROP, 9000, 2)
    for column in values.T:
        counts = np.bincount(column, minlength=9)
        assert len(counts) == 9
        assert stats.chisquare(counts).pvalue > 1e-4


def test_permutation_is_one_and_differs_between_epochs() -> None:
    first, second = permutation(0, 0, 1000), permutation(0, 1, 1000)
    assert sorted(first.tolist()) == list(range(1000))
    assert (first == second).mean() < 0.02
    assert (first == np.arange(1000)).mean() < 0.02


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 2.0, 8.0])
def test_beta_quantile_against_scipy(alpha: float) -> None:
    lower = np.linspace(1e-4, 0.5, 2001)
    found = beta_symmetric(lower, alpha)
    np.testing.assert_allclose(stats.beta.cdf(found, alpha, alpha), lower, atol=2e-6)
    np.testing.assert_allclose(beta_symmetric(1 - lower, alpha), 1 - found, atol=1e-12)
