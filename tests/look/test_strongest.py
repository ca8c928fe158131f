"""The streaming search against sorting everything at once, in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import UsageError
from pellucid.look.strongest import Strongest

Found = list[tuple[float, int, int]]


def sorted_out(maps: np.ndarray, channel: int, k: int) -> Found:
    """(value, picture, place) of the k strongest pictures: everything in memory, sorted by Python."""
    best: Found = []
    for picture in range(len(maps)):
        places = [
            (float(v), p)
            for p, v in enumerate(maps[picture, channel].reshape(-1))
            if not math.isnan(v) and v > -math.inf
        ]
        if places:
            value, place = max(places, key=lambda item: (item[0], -item[1]))
            best.append((value, picture, place))
    return sorted(best, key=lambda item: (-item[0], item[1]))[:k]


def streamed(maps: torch.Tensor, k: int, batch: int) -> Strongest:
    found = Strongest(maps.shape[1], k)
    for first in range(0, len(maps), batch):
        found.update(maps[first : first + batch], first)
    return found


def listed(found: Strongest, channel: int) -> Found:
    rows = zip(
        found.values[channel].tolist(), found.pictures[channel].tolist(), found.places[channel].tolist(), strict=True
    )
    return [row for row in rows if row[1] >= 0]


@given(
    seed=st.integers(0, 10**6),
    pictures=st.integers(1, 23),
    channels=st.integers(1, 4),
    side=st.sampled_from([(), (1,), (3,), (2, 3)]),
    k=st.integers(1, 6),
    batch=st.integers(1, 9),
    levels=st.sampled_from([2, 5, 1000]),
    broken=st.sampled_from([0.0, 0.3, 0.9]),
)
@settings(max_examples=150, deadline=None)
def test_a_stream_finds_what_sorting_finds(
    seed: int, pictures: int, channels: int, side: tuple[int, ...], k: int, batch: int, levels: int, broken: float
) -> None:
    """Few levels make many equal values; some numbers are NaN or infinite."""
    chance = np.random.default_rng(seed)
    maps = (chance.integers(-levels, levels, (pictures, channels, *side)) / 4).astype(np.float32)
    odd = chance.random(maps.shape) < broken
    maps[odd] = chance.choice([np.nan, -np.inf, np.inf, -0.0], odd.sum())
    found = streamed(torch.from_numpy(maps), k, batch)
    for channel in range(channels):
        assert listed(found, channel) == sorted_out(maps, channel, k)
    has_nan = np.isnan(maps).reshape(pictures, channels, -1).any(2)
    assert found.nans.tolist() == has_nan.sum(0).tolist()


def test_of_equal_values_the_first_picture_and_the_first_place_win() -> None:
    maps = torch.zeros(5, 1, 2, 2)
    maps[1, 0, 1, 0] = maps[3, 0, 0, 1] = maps[3, 0, 1, 1] = maps[4, 0, 0, 0] = 7.0
    assert listed(streamed(maps, 2, batch=2), 0) == [(7.0, 1, 2), (7.0, 3, 1)]


def test_minus_zero_is_zero() -> None:
    maps = torch.tensor([[-0.0], [0.0], [-1e-40], [1e-40]])
    assert [row[1] for row in listed(streamed(maps, 4, batch=1), 0)] == [3, 0, 1, 2]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_layout_and_precision_of_the_maps_change_nothing(layout: torch.memory_format, dtype: torch.dtype) -> None:
    maps = torch.randn(20, 6, 5, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = streamed(maps.to(dtype, memory_format=layout), 3, batch=7)
    plain = maps.float().numpy()
    assert [listed(found, c) for c in range(6)] == [sorted_out(plain, c, 3) for c in range(6)]


def test_a_search_goes_on_where_it_was_left() -> None:
    maps = torch.randn(30, 4, 3, 3, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    maps[4, 2] = torch.nan
    half = streamed(maps[:14], 20, batch=5)
    again = Strongest.from_arrays(half.arrays())
    again.update(maps[14:], 14)
    whole = streamed(maps, 20, batch=30)
    for name, array in whole.arrays().items():
        assert np.array_equal(array, again.arrays()[name], equal_nan=array.dtype.kind == "f"), name


def test_fewer_pictures_than_asked_for_leave_ranks_empty() -> None:
    found = streamed(torch.tensor([[1.0, math.nan], [2.0, -math.inf]]), 3, batch=1)
    assert found.pictures.tolist() == [[1, 0, -1], [-1, -1, -1]]
    assert found.places.tolist() == [[0, 0, -1], [-1, -1, -1]]
    assert np.isnan(found.values).tolist() == [[False, False, True], [True] * 3]


def test_maps_may_have_gradients() -> None:
    maps = torch.randn(3, 2, 2, 2, requires_grad=True) * 2
    assert listed(streamed(maps, 2, batch=3), 0) == sorted_out(maps.detach().numpy(), 0, 2)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UsageError, match="k is 0"):
        Strongest(4, 0)
    with pytest.raises(UsageError, match="picture 4,294,967,296 is one too many"):
        Strongest(1, 1).update(torch.zeros(1, 1), (1 << 32) - 1)
