"""Matrix products, einsum, embeddings and attention opened: every number and every gradient, against float64 PyTorch
and autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.ops import Attention, op_for
from tests.ops.every_result import gradient_of
from tests.ops.opened import CLOSE, assert_opens, numbers, opened

aten = torch.ops.aten


@pytest.mark.parametrize(("rows", "weight"), [((2, 3), (4, 3)), ((3,), (4, 3)), ((2, 2, 3), (3,))], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_dense_layers_of_several_units_and_of_one(rows: tuple[int, ...], weight: tuple[int, ...], biased: bool) -> None:
    bias = numbers(1, *weight[:-1], seed=2)[0] if biased else None
    assert_opens(aten.linear.default, numbers(*rows), numbers(*weight, seed=1), bias)


@pytest.mark.parametrize(
    ("target", "left", "right"),
    [
        (aten.mm.default, (2, 3), (3, 4)),
        (aten.bmm.default, (2, 2, 3), (2, 3, 2)),
        (aten.mv.default, (2, 3), (3,)),
        (aten.dot.default, (3,), (3,)),
        (aten.vdot.default, (3,), (3,)),
        (aten.matmul.default, (3,), (3,)),
        (aten.matmul.default, (3,), (2, 3, 4)),
        (aten.matmul.default, (2, 4, 3), (3,)),
        (aten.matmul.default, (2, 1, 2, 3), (4, 3, 2)),
        (aten.matmul.default, (2, 3), (2, 2, 3, 2)),
    ],
    ids=str,
)
def test_matrix_products(target: Any, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    assert_opens(target, numbers(*left), numbers(*right, seed=1))


@pytest.mark.parametrize("addend", [(2, 4), (4,), (1, 4), (2, 1), ()], ids=str)
@pytest.mark.parametrize("by", [{}, {"beta": 0.5, "alpha": -2}, {"beta": 0}], ids=["plain", "scaled", "left_out"])
def test_a_matrix_product_and_an_addend(addend: tuple[int, ...], by: dict[str, float]) -> None:
    assert_opens(aten.addmm.default, numbers(1, *addend, seed=2)[0], numbers(2, 3), numbers(3, 4, seed=1), **by)


@pytest.mark.parametrize("addend", [(2, 2, 4), (1, 2, 1), (4,)], ids=str)
def test_matrix_products_of_a_batch_and_an_addend(addend: tuple[int, ...]) -> None:
    matrices = numbers(2, 2, 3), numbers(2, 3, 4, seed=1)
    assert_opens(aten.baddbmm.default, numbers(*addend, seed=2), *matrices, beta=2, alpha=0.5)


def test_an_addend_by_0_is_not_looked_at() -> None:
    addend = torch.full((4,), torch.nan, dtype=torch.float64)
    op, call, _ = opened(aten.addmm.default, addend, numbers(2, 3), numbers(3, 4, seed=1), beta=0)
    assert op.terms((1, 2), call).total == pytest.approx(call.result[1, 2], rel=1e-12)


@pytest.mark.parametrize(
    ("by", "notes"), [({}, ["", ""]), ({"beta": 0.5, "alpha": -2}, ["-2 x mat2", "0.5"])], ids=["plain", "scaled"]
)
def test_a_product_says_what_it_is_multiplied_with(by: dict[str, Any], notes: list[str]) -> None:
    op, call, _ = opened(aten.addmm.default, numbers(4, seed=2), numbers(2, 3), numbers(3, 4, seed=1), **by)
    assert [group.note for group in op.terms((1, 2), call).groups] == notes


def test_a_product_names_both_factors() -> None:
    op, call, _ = opened(aten.mm.default, numbers(2, 3), numbers(3, 4, seed=1))
    (group,) = op.terms((1, 2), call).groups
    assert (group.source, group.weight) == ("self", "mat2")
    assert group.places is not None
    assert group.weight_places is not None
    assert group.places.tolist() == [3, 4, 5]
    assert group.weight_places.tolist() == [2, 6, 10]


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("nchw,ndhw->ncd", [(2, 2, 2, 3), (2, 3, 2, 3)]),
        ("...hw,...vw->...hv", [(2, 1, 2, 3), (4, 3, 3)]),
        ("ij,jk", [(2, 3), (3, 2)]),
        ("b i d , b j d -> b i j", [(2, 2, 3), (2, 3, 3)]),
        ("ba", [(2, 3)]),
        ("ij->i", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("iij,jk->ik", [(2, 2, 3), (3, 2)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 2)]),
        ("ab,bc->ac", [(2, 1), (3, 2)]),
        ("...i->...", [(2, 2, 3)]),
        ("Ab,bA", [(2, 3), (3, 2)]),
        ("...ij,jk", [(2, 2, 3), (3, 2)]),
    ],
    ids=str,
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    assert_opens(aten.einsum.default, equation, [numbers(*shape, seed=i) for i, shape in enumerate(shapes)])


@pytest.mark.parametrize("settings", [{}, {"padding_idx": 2}, {"scale_grad_by_freq": True}], ids=str)
def test_embedding(settings: dict[str, Any]) -> None:
    assert_opens(aten.embedding.default, numbers(5, 3), torch.tensor([[4, 2, 2], [0, 2, 4]]), **settings)


def test_an_embedding_is_a_copy_of_a_row() -> None:
    op, call, _ = opened(aten.embedding.default, numbers(5, 3), torch.tensor([4, 2]))
    (group,) = op.terms((1, 2), call).groups
    assert (group.role, group.source, group.places) == ("copy", "weight", np.array([2 * 3 + 2]))


def mask_of(*shape: int) -> Tensor:
    """Which keys count: about half of them, and in the last row none."""
    found = numbers(*shape, seed=5) > 0
    found[..., -1, :] = False
    return found


@pytest.mark.parametrize(
    ("shapes", "settings"),
    [
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 2)), {}),
        (((2, 3, 4), (2, 3, 4), (2, 3, 4)), {"is_causal": True}),
        (((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)), {"is_causal": True, "scale": 0.3}),
        (((3, 4), (5, 4), (5, 2)), {"scale": 0.7}),
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)), {"attn_mask": mask_of(2, 1, 3, 5)}),
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)), {"attn_mask": mask_of(3, 5)}),
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 2)), {"attn_mask": numbers(1, 2, 3, 5, seed=6)}),
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)), {"attn_mask": numbers(2, 1, 1, 5, seed=6)}),
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)), {"attn_mask": numbers(3, 5, seed=6)}),
        (((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)), {"attn_mask": numbers(5, seed=6)}),
        (((2, 2, 3, 4), (2, 1, 5, 4), (1, 2, 5, 4)), {}),
        (((1, 4, 3, 2), (1, 2, 3, 2), (1, 2, 3, 2)), {"enable_gqa": True, "is_causal": True}),
    ],
    ids=[
        "plain", "causal", "causal_apart", "one_head", "mask", "shared_mask", "bias", "bias_of_keys", "shared_bias",
        "bias_of_one_row", "shared_heads", "grouped_queries",
    ],
)  # fmt: skip
def test_attention(shapes: tuple[tuple[int, ...], ...], settings: dict[str, Any]) -> None:
    q, k, v = (numbers(*shape, seed=i) for i, shape in enumerate(shapes))
    assert_opens(aten.scaled_dot_product_attention.default, q, k, v, **settings)


def test_flash_attention_on_a_processor() -> None:
    q, k, v = numbers(2, 2, 3, 4), numbers(2, 2, 5, 4, seed=1), numbers(2, 2, 5, 4, seed=2)
    assert_opens(aten._scaled_dot_product_flash_attention_for_cpu.default, q, k, v, is_causal=True, scale=0.4)


@pytest.mark.parametrize(
    "target",
    [
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_fused_attention_overrideable.default,
    ],
    ids=str,
)
def test_attention_of_other_devices_opens_by_its_own_names(target: Any) -> None:
    """What they compute is what the plain one computes; only the mask has another name."""
    names = [argument.name for argument in target._schema.arguments]
    mask: dict[str, Any] = {"attn_mask": numbers(2, 1, 3, 5, seed=6)} if "attn_bias" in names else {}
    q, k, v = numbers(2, 2, 3, 4), numbers(2, 2, 5, 4, seed=1), numbers(2, 2, 5, 4, seed=2)
    _, plain, truth = opened(aten.scaled_dot_product_attention.default, q, k, v, **mask)
    arguments = {"attn_bias" if name == "attn_mask" else name: value for name, value in plain.arguments.items()}
    op, call = op_for(str(target), {}), replace(plain, arguments=arguments)
    totals = [op.terms(at, call).total for at in np.ndindex(call.result.shape)]
    np.testing.assert_allclose(totals, call.result.reshape(-1), rtol=0, atol=1e-12)
    for slot, gradient in truth.items():
        own = "attn_bias" if slot == "attn_mask" else slot
        np.testing.assert_allclose(gradient_of(op, call, own), gradient.numpy(), rtol=0, atol=1e-12)


def test_an_attention_weight_opens_as_a_score() -> None:
    """Against the scores and the softmax, written out."""
    q, k, v = numbers(2, 4, 3, 6), numbers(2, 2, 5, 6, seed=1), numbers(2, 2, 5, 7, seed=2)
    mask = numbers(2, 1, 3, 5, seed=6)
    op, call, _ = opened(aten.scaled_dot_product_attention.default, q, k, v, mask, enable_gqa=True)
    assert isinstance(op, Attention)
    scores = (q @ k.repeat_interleave(2, 1).mT / 6**0.5 + mask).detach()
    weights = scores.softmax(-1)
    for at in np.ndindex(2, 4, 3, 5):
        terms = op.inside_terms("scores", at, call)
        assert abs(terms.total - float(scores[at])) <= CLOSE * terms.magnitude
        assert terms.facts["attention weight"] == pytest.approx(float(weights[at]), rel=1e-12)
        powers = (scores[at[:-1]] - scores[at[:-1]].max()).exp()
        assert terms.facts["sum of exp(score - largest)"] == pytest.approx(float(powers.sum()), rel=1e-12)
        assert terms.facts["largest score"] == pytest.approx(float(scores[at[:-1]].max()), rel=1e-12)
        assert [group.role for group in terms.groups] == ["product", "mask"]
    terms = op.terms((1, 3, 2, 0), call)
    assert terms.facts["largest weight"] == pytest.approx(float(weights[1, 3, 2].max()), rel=1e-12)
    assert terms.facts["key of the largest weight"] == int(weights[1, 3, 2].argmax())


@pytest.mark.parametrize(
    ("settings", "at", "note"),
    [
        ({"is_causal": True}, (0, 0, 1, 2), "a later key: causal attention does not see it"),
        ({"attn_mask": torch.tensor([[True, True, False]])}, (0, 0, 1, 2), "hidden by the mask"),
    ],
    ids=["causal", "mask"],
)
def test_what_is_hidden_has_a_score_of_minus_infinity(settings: dict[str, Any], at: Any, note: str) -> None:
    op, call, _ = opened(aten.scaled_dot_product_attention.default, *(numbers(1, 1, 3, 4) for _ in "qkv"), **settings)
    assert isinstance(op, Attention)
    terms = op.inside_terms("scores", at, call)
    assert terms.total == -np.inf
    assert terms.groups[-1].note == note
    assert terms.facts["attention weight"] == 0
    assert [group.role for group in op.inside_terms("scores", (0, 0, 1, 0), call).groups] == ["product"]


def test_a_query_that_may_see_no_key_gives_no_weights() -> None:
    hidden = torch.zeros(1, 3, dtype=torch.bool)
    qkv = (numbers(1, 1, 3, 4) for _ in "qkv")
    op, call, _ = opened(aten.scaled_dot_product_attention.default, *qkv, attn_mask=hidden)
    assert isinstance(op, Attention)
    terms = op.inside_terms("scores", (0, 0, 1, 2), call)
    assert (terms.facts["attention weight"], terms.facts["sum of exp(score - largest)"]) == (0, 0)


def test_attention_with_dropout_says_that_nobody_knows() -> None:
    op, call, _ = opened(aten.scaled_dot_product_attention.default, *(numbers(1, 1, 3, 4) for _ in "qkv"), None, 0.5)
    assert "at random" in op.terms((0, 0, 1, 2), call).missing
    terms = op.terms_of_gradient("query", (0, 0, 1, 2), call)
    assert terms is not None
    assert "at random" in terms.missing


@pytest.mark.parametrize("mask", [None, numbers(1, 1, 3, 5, seed=6), mask_of(3, 5)], ids=["plain", "bias", "added"])
def test_attention_with_dropout_opens_where_the_weights_that_were_left_are_known(mask: Tensor | None) -> None:
    """This operator gives them as its second result; it adds even a mask of truth values."""
    q, k, v = numbers(2, 2, 3, 4), numbers(2, 2, 5, 4, seed=1), numbers(2, 2, 5, 4, seed=2)
    torch.manual_seed(3)
    target = aten._scaled_dot_product_attention_math.default
    op, call, _ = opened(target, q, k, v, mask, 0.4)
    torch.manual_seed(3)
    result, weights = target(q, k, v, mask, 0.4)
    assert 0.2 < float((weights == 0).double().mean()) < 0.6
    leaves = {"query": q, "key": k, "value": v}
    if mask is not None and mask.is_floating_point():
        leaves["attn_mask"] = mask
    wanted = torch.autograd.grad(result, list(leaves.values()), torch.from_numpy(call.gradients[0]))
    call = replace(call, gradients=(call.gradients[0], np.zeros_like(call.gradients[1])))
    assert op.terms((0, 0, 0, 0), call).groups[0].note == "attention weight after dropout"
    totals = [op.terms(at, call).total for at in np.ndindex(call.result.shape)]
    np.testing.assert_allclose(totals, call.result.reshape(-1), rtol=0, atol=1e-12)
    for slot, gradient in zip(leaves, wanted, strict=True):
        np.testing.assert_allclose(gradient_of(op, call, slot), gradient.numpy(), rtol=0, atol=1e-12)


def test_what_comes_back_through_other_results_is_left_to_pytorch() -> None:
    op, call, _ = opened(aten._scaled_dot_product_attention_math.default, *(numbers(1, 1, 3, 4) for _ in "qkv"))
    assert op.terms_of_gradient("query", (0, 0, 1, 2), call) is None
    only = replace(call, gradients=(call.gradients[0], np.zeros_like(call.gradients[1])))
    assert op.terms_of_gradient("query", (0, 0, 1, 2), only) is not None
    assert "softmax" in op.terms((0, 0, 1, 2), replace(call, which=1)).missing
