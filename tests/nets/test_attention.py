"""Attention against loops in float64, and against PyTorch's own multi-head attention, with masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.nets.attention import (
    AdditiveAttention,
    MultiHeadAttention,
    attend,
    earlier,
    scaled_dot_product,
    sinusoids,
)
from tests.oracles import attention as oracle


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SEEN = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 1, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)


@pytest.mark.parametrize("seen", [SEEN, torch.ones_like(SEEN)], ids=["some", "all"])
def test_scaled_dot_product_against_loops(seen: Tensor) -> None:
    query, key, value = numbers(4, 3), numbers(5, 3, seed=1), numbers(5, 2, seed=2)
    out, weights = scaled_dot_product(query, key, value, seen)
    wanted, wanted_weights = oracle.scaled_dot_product(query.numpy(), key.numpy(), value.numpy(), seen.numpy())
    np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(weights.numpy(), wanted_weights, rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True], ids=["masked", "causal"])
def test_the_fused_call_is_the_readable_one(causal: bool) -> None:
    query, key, value = numbers(2, 3, 4, 8), numbers(2, 3, 4, 8, seed=1), numbers(2, 3, 4, 8, seed=2)
    mask = earlier(4) if causal else SEEN[:, :4]
    fused = attend(query, key, value, None if causal else mask, causal=causal)
    torch.testing.assert_close(fused, scaled_dot_product(query, key, value, mask)[0], rtol=1e-12, atol=1e-12)


def test_dropout_drops_weights_and_lets_the_others_grow() -> None:
    value = torch.eye(64, dtype=torch.float64)  # the result is the weights themselves
    zeros = torch.zeros(500, 64, dtype=torch.float64)
    torch.manual_seed(0)
    kept = attend(zeros, torch.zeros(64, 64, dtype=torch.float64), value, dropout=0.25)
    assert set(kept.mul(64).unique().tolist()) == {0.0, 1 / 0.75}
    assert float((kept == 0).double().mean()) == pytest.approx(0.25, abs=0.01)


def test_dropout_hides_what_comes_later() -> None:
    value = numbers(6, 2)
    torch.manual_seed(0)
    out = attend(numbers(6, 2, seed=1), numbers(6, 2, seed=2), value, causal=True, dropout=0.5)
    value[3:] = 1e9
    torch.manual_seed(0)
    changed = attend(numbers(6, 2, seed=1), numbers(6, 2, seed=2), value, causal=True, dropout=0.5)
    assert torch.equal(out[:3], changed[:3])


def test_earlier_counts_the_places_before() -> None:
    assert earlier(2, before=2).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def torch_twin(own: MultiHeadAttention, width: int) -> nn.MultiheadAttention:
    """PyTorch's, with the same weights."""
    twin = nn.MultiheadAttention(width, own.heads, batch_first=True).double()
    parts = (own.q_proj, own.k_proj, own.v_proj)
    with torch.no_grad():
        twin.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        twin.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        twin.out_proj.weight.copy_(own.out_proj.weight)
        twin.out_proj.bias.copy_(own.out_proj.bias)
    return twin


def test_multi_head_attention_against_pytorch() -> None:
    torch.manual_seed(0)
    own = MultiHeadAttention(12, 3).double()
    twin = torch_twin(own, 12)
    x, seen = numbers(2, 4, 12), numbers(2, 5, 12, seed=1)
    hidden = torch.tensor([[0, 0, 0, 1, 1], [0, 1, 0, 0, 0]], dtype=torch.bool)
    out, (key, value) = own(x, seen, ~hidden[:, None, None, :])
    wanted = twin(x, seen, seen, key_padding_mask=hidden, need_weights=False)[0]
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-12)
    assert key.shape == value.shape == (2, 3, 5, 4)


def test_gradients_of_multi_head_attention_against_pytorch() -> None:
    torch.manual_seed(0)
    own = MultiHeadAttention(12, 3).double()
    twin = torch_twin(own, 12)
    x, weights = numbers(2, 4, 12), numbers(2, 4, 12, seed=3)
    (own(x, x, causal=True)[0] * weights).sum().backward()
    later = ~earlier(4)
    (twin(x, x, x, attn_mask=later, need_weights=False)[0] * weights).sum().backward()
    gradient = torch.cat([part.weight.grad for part in (own.q_proj, own.k_proj, own.v_proj)])  # type: ignore[misc]
    torch.testing.assert_close(gradient, twin.in_proj_weight.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(own.out_proj.weight.grad, twin.out_proj.weight.grad, rtol=1e-9, atol=1e-12)


def test_kept_keys_and_values_come_before_the_new_ones() -> None:
    torch.manual_seed(0)
    own = MultiHeadAttention(8, 2).double()
    x = numbers(2, 5, 8)
    whole = own(x, x, causal=True)[0]
    _, kept = own(x[:, :3], x[:, :3], causal=True)
    rest, both = own(x[:, 3:], x[:, 3:], earlier(2, 3), before=kept)
    torch.testing.assert_close(rest, whole[:, 3:], rtol=1e-12, atol=1e-12)
    again = own(x[:, 4:], None, before=both)[0]
    torch.testing.assert_close(again, whole[:, 4:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seen", [SEEN, torch.ones_like(SEEN)], ids=["some", "all"])
def test_additive_attention_against_loops(seen: Tensor) -> None:
    torch.manual_seed(0)
    own = AdditiveAttention(3, 4, 6).double()
    query, values = numbers(1, 4, 3), numbers(1, 5, 4, seed=1)
    out, weights = own(query, values, seen)
    w, u, v = own.query.weight, own.key.weight, own.score.weight[0]
    arrays = [tensor.detach().numpy() for tensor in (w, u, own.key.bias, v)]
    wanted, wanted_weights = oracle.additive(query[0].numpy(), values[0].numpy(), seen.numpy(), *arrays)
    np.testing.assert_allclose(out[0].detach().numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(weights[0].detach().numpy(), wanted_weights, rtol=1e-12)


def test_keys_that_are_there_already_give_the_same() -> None:
    torch.manual_seed(0)
    own = AdditiveAttention(3, 4, 6).double()
    query, values = numbers(2, 4, 3), numbers(2, 5, 4, seed=1)
    assert torch.equal(own(query, values)[0], own(query, values, keys=own.key(values))[0])


@pytest.mark.parametrize("width", [2, 6, 16])
def test_sinusoids_are_those_of_the_paper(width: int) -> None:
    wanted = [[oracle.sinusoid(place, number, width) for number in range(width)] for place in range(40)]
    np.testing.assert_allclose(sinusoids(40, width).numpy(), wanted, atol=1e-6)


def test_a_shift_turns_every_pair_by_the_same_angle() -> None:
    """Section 3.5: for any fixed offset, position p + k is a linear function of position p."""
    table = sinusoids(50, 8).double().reshape(50, 4, 2)
    turns = torch.stack([F.cosine_similarity(table[place], table[place + 7], dim=1) for place in range(43)])
    torch.testing.assert_close(turns, turns[:1].expand_as(turns), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("width", "heads"), [(10, 3), (8, 0)])
def test_heads_that_do_not_fit_are_named(width: int, heads: int) -> None:
    with pytest.raises(UsageError, match=f"{heads} heads cannot share a width of {width}"):
        MultiHeadAttention(width, heads)


def test_an_odd_width_has_no_sinusoids() -> None:
    with pytest.raises(UsageError, match="a width of 7 is odd"):
        sinusoids(3, 7)


def test_attention_to_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to look at"):
        MultiHeadAttention(4, 1)(torch.zeros(1, 1, 4), None)
