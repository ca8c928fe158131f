"""Attention opened: softmax(q k scale + mask) v, and what comes back to queries, keys, values and mask.

For one head, with scores s[l, t] = scale sum over e of q[l, e] k[t, e] + mask[l, t] and weights a = softmax over t of s
(Vaswani et al. 2017, eq. 1), the result is o[l, d] = sum over t of a[l, t] v[t, d]. Since the derivative of a[l, t] by
s[l, u] is a[l, t] ((1 if t = u) - a[l, u]), a gradient g of the result comes back as

    dL/dv[t, d] = sum over l of g[l, d] a[l, t]
    dL/ds[l, t] = sum over d of g[l, d] a[l, t] (v[t, d] - o[l, d])
    dL/dq[l, e] = scale sum over t of dL/ds[l, t] k[t, e],  dL/dk[t, e] = scale sum over l of dL/ds[l, t] q[l, e]

With dropout, values are weighted by what dropout made of a, here b, so that a v becomes b v, and a o stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from pellucid.ops.terms import Array, Call, Floats, Group, Index, Places, Terms, flat, scaled, weighted

Leads = tuple[Places, ...]  # for each dimension in front (pictures, heads) the index of each head that is looked at

NO_SUM = "this result is what the softmax gave (its weights, or the logarithm of their sum), no sum of products"
NO_DROPOUT_MASK = "attention dropped weights at random (dropout_p) and kept no record of which, so nobody can say"


@dataclass(frozen=True)
class Heads:
    """A call of attention.

    lead: the dimensions in front of the result's last two, such as pictures and heads. mask: the slot of what is added
    to the scores, or of what says which scores count (``hides``), empty where there is none. dropped: whether weights
    were dropped at random; recorded: whether the call gives what was left of them as its second result.
    """

    call: Call
    lead: tuple[int, ...]
    scale: float
    causal: bool
    mask: str
    hides: bool
    dropped: bool
    recorded: bool

    @classmethod
    def of(cls, call: Call, *, adds_mask: bool) -> Heads:
        """From a call's arguments. adds_mask: whether even a mask of truth values is added, as numbers."""
        scale = call.arguments.get("scale")
        width = call.array("query").shape[-1]
        mask = next((name for name in ("attn_mask", "attn_bias") if call.optional(name) is not None), "")
        out = call.results[0].shape
        weights = (*out[:-1], call.array("key").shape[-2])
        return cls(
            call,
            lead=out[:-2],
            scale=1 / sqrt(width) if scale is None else float(scale),
            causal=bool(call.arguments.get("is_causal", False)),
            mask=mask,
            hides=bool(mask) and not adds_mask and call.array(mask).dtype == np.bool_,
            dropped=bool(call.arguments.get("dropout_p", 0.0)),
            recorded=len(call.results) > 1 and call.results[1].shape == weights,
        )

    def one(self, lead: Index) -> Leads:
        """The one head at an index."""
        return tuple(np.array([index]) for index in lead)

    def place(self, slot: str, leads: Leads) -> Leads:
        """Where the heads stand in an argument: where it has fewer, several read the same one (broadcasting, or grouped
        queries, Ainslie et al. 2023)."""
        own = self.lead_of(slot)
        missing = len(self.lead) - len(own)
        shared = zip(leads[missing:], self.lead[missing:], own, strict=True)
        return tuple(index // (whole // n) for index, whole, n in shared)

    def lead_of(self, slot: str) -> tuple[int, ...]:
        """The dimensions in front of an argument's last two."""
        return self.call.array(slot).shape[:-2]

    def readers(self, slot: str, lead: Index) -> Leads:
        """All heads that read an argument at an index in front."""
        own = self.lead_of(slot)
        missing = len(self.lead) - len(own)
        lists = [np.arange(n) for n in self.lead[:missing]]
        for index, whole, n in zip(lead, self.lead[missing:], own, strict=True):
            lists.append(np.arange(index * (whole // n), (index + 1) * (whole // n)))
        return tuple(grid.reshape(-1) for grid in np.meshgrid(*lists, indexing="ij"))

    def rows(self, slot: str, leads: Leads) -> Floats:
        """(B, L, E): an argument of B heads."""
        array, place = self.call.array(slot), self.place(slot, leads)
        own = np.asarray(array[place] if place else array[None], np.float64)
        return np.broadcast_to(own, (len(leads[0]) if leads else 1, *own.shape[1:]))

    def scores(self, leads: Leads, query: int | None = None) -> Floats:
        """(B, L, S): of B heads, all queries or one (then L is 1)."""
        queries = self.rows("query", leads)
        length = queries.shape[1]
        rows = slice(None) if query is None else slice(query, query + 1)
        scores: Floats = queries[:, rows] @ self.rows("key", leads).swapaxes(1, 2) * self.scale
        if self.mask:
            mask = self.mask_of(leads)
            mask = mask if mask.shape[1] == 1 else mask[:, rows]
            scores = np.where(mask, scores, -np.inf) if self.hides else scores + mask
        if self.causal:
            keys = np.arange(scores.shape[2])
            scores = np.where(keys <= np.arange(length)[rows, None], scores, -np.inf)
        return scores

    def mask_of(self, leads: Leads) -> Array:
        """(B, L or 1, S or 1): the mask of B heads."""
        mask, place = np.atleast_2d(self.call.array(self.mask)), self.place(self.mask, leads)
        return np.asarray(mask[place] if place else mask[None])

    def weights(self, leads: Leads, query: int | None = None) -> Floats:
        """(B, L, S): the softmax of the scores; zeros where a query may see no key."""
        return softmax(self.scores(leads, query))

    def kept(self, leads: Leads, query: int | None = None) -> Floats:
        """(B, L, S): the weights after dropout."""
        if not self.dropped:
            return self.weights(leads, query)
        recorded = np.asarray(self.call.results[1][leads] if leads else self.call.results[1][None], np.float64)
        return recorded if query is None else recorded[:, query : query + 1]

    def inner(self, name: str) -> Floats:
        """(..., L, S): the scores, or the weights that the softmax makes of them."""
        every = np.unravel_index(np.arange(int(np.prod(self.lead))), self.lead) if self.lead else ()
        found = self.weights(every) if name == "weights" else self.scores(every)
        return found.reshape(*self.lead, *found.shape[-2:])

    def row(self, lead: Index, query: int, keys: int) -> Places:
        """Flat places of a query's scores or weights in (..., L, S)."""
        return flat((*self.lead, self.call.results[0].shape[-2], keys), *lead, query, np.arange(keys))

    def out(self, leads: Leads, *rest: Any) -> Places:
        """Flat places in the result of B heads, all combinations with indices of its last two dimensions."""
        shape = self.call.results[0].shape
        heads = np.ravel_multi_index(leads, self.lead) if leads else np.zeros(1, np.int64)
        return flat((max(1, int(np.prod(self.lead))), *shape[-2:]), heads, *rest)


def softmax(scores: Floats) -> Floats:
    """Over the last dimension; zeros where all are minus infinity."""
    top = scores.max(-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = powers.sum(-1, keepdims=True)
    found: Floats = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
    return found


def attention_terms(heads: Heads, at: Index) -> Terms:
    """o[l, d] = sum over s of a[l, s] v[s, d]."""
    call, leads, (query, column) = heads.call, heads.one(at[:-2]), at[-2:]
    if heads.dropped and not heads.recorded:
        return Terms(missing=NO_DROPOUT_MASK)
    weights = heads.kept(leads, query)[0, 0]
    values = call.array("value").shape
    lead = [int(index[0]) for index in heads.place("value", leads)]
    places = flat(values, *lead, np.arange(values[-2]), column)
    note = "attention weight after dropout" if heads.dropped else "attention weight"
    table = scaled("product", call, "value", places, weights, note)
    if not heads.dropped:
        table = replace(table, weight="~weights", weight_places=heads.row(at[:-2], query, len(weights)))
    largest = int(weights.argmax()) if len(weights) else 0
    facts: dict[str, float | str] = {
        "largest weight": float(weights[largest]),
        "key of the largest weight": largest,
        "scale": heads.scale,
    }
    return Terms((table,), "sum over the keys of attention weight x value", facts)


def weight_terms(heads: Heads, at: Index) -> Terms:
    """The weight a[l, t] = exp(s[l, t] - largest) / sum: of its own score, and the others in the denominator."""
    scores = heads.scores(heads.one(at[:-2]), at[-2])[0, 0]
    places, key, top = heads.row(at[:-2], at[-2], len(scores)), at[-1], float(scores.max())
    note = "exp(x - largest) / sum"
    own = Group("share", softmax(scores)[key : key + 1], "~scores", places[key : key + 1], note=note)
    others = np.delete(places, key)
    facts: dict[str, float | str] = {
        "largest score": top,
        "sum of exp(score - largest)": float(np.exp(scores - top).sum()) if np.isfinite(top) else 0.0,
    }
    return Terms((own, Group("denominator", np.zeros(len(others)), "~scores", others, note=note)), note, facts)


def score_terms(heads: Heads, at: Index) -> Terms:
    """The score s[l, t] = sum over e of q[l, e] k[t, e] scale + mask[l, t]; its share of the softmax in the facts."""
    call, leads, (query, key) = heads.call, heads.one(at[:-2]), at[-2:]
    slots = {slot: [int(index[0]) for index in heads.place(slot, leads)] for slot in ("query", "key")}
    width = np.arange(call.array("query").shape[-1])
    table = weighted(
        "product",
        call,
        "query",
        flat(call.array("query").shape, *slots["query"], query, width),
        "key",
        flat(call.array("key").shape, *slots["key"], key, width),
        "key x scale",
    )
    factors = np.asarray(table.factors) * heads.scale
    table = Group(
        "product", table.products * heads.scale, "query", table.places, factors, "key", table.weight_places, table.note
    )
    scores = heads.scores(leads, query)[0, 0]
    groups = [table, *_mask_group(heads, leads, query, key)]
    top = float(scores.max())
    facts: dict[str, float | str] = {
        "attention weight": float(softmax(scores)[key]),
        "scale": heads.scale,
        "largest score": top,
        "sum of exp(score - largest)": float(np.exp(scores - top).sum()) if np.isfinite(top) else 0.0,
    }
    formula = "sum of query x key x scale" + (" + mask" if len(groups) > 1 else "")
    return Terms(tuple(groups), formula, facts)


def _mask_group(heads: Heads, leads: Leads, query: int, key: int) -> list[Group]:
    """What the mask adds to a score."""
    if heads.causal and key > query:
        return [Group("mask", np.array([-np.inf]), note="a later key: causal attention does not see it")]
    if not heads.mask:
        return []
    mask = np.atleast_2d(heads.call.array(heads.mask))
    lead = [int(index[0]) for index in heads.place(heads.mask, leads)]
    place = flat(mask.shape, *lead, min(query, mask.shape[-2] - 1), min(key, mask.shape[-1] - 1))
    if heads.hides:
        hidden = not bool(mask.reshape(-1)[place[0]])
        return [Group("mask", np.array([-np.inf]), heads.mask, place, note="hidden by the mask")] if hidden else []
    return [scaled("mask", heads.call, heads.mask, place, 1.0)]


def attention_gradient(heads: Heads, of: str, at: Index) -> Terms | None:
    """What comes back to a query, a key, a value or a number of the mask, over all heads that read it. None where
    something comes back through the call's other results."""
    if any(gradient.any() for gradient in heads.call.gradients[1:]):
        return None
    if heads.dropped and not heads.recorded:
        return Terms(missing=NO_DROPOUT_MASK)
    if of == "value":
        return _gradient_of_value(heads, at)
    if of == "query":
        return _gradient_of_query(heads, at)
    return _gradient_of_key(heads, at) if of == "key" else _gradient_of_mask(heads, at)


def _gradient_of_value(heads: Heads, at: Index) -> Terms:
    leads, (key, column) = heads.readers("value", at[:-2]), at[-2:]
    weights = heads.kept(leads)[:, :, key]
    places = heads.out(leads, np.arange(weights.shape[1]), column)
    table = scaled("product", heads.call, "gradient", places, weights.reshape(-1), "attention weight")
    return Terms((table,), "sum over the queries of the output's gradient x attention weight")


def _gradient_of_query(heads: Heads, at: Index) -> Terms:
    leads, (query, entry) = heads.readers("query", at[:-2]), at[-2:]
    weights, kept, values = heads.weights(leads, query), heads.kept(leads, query), heads.rows("value", leads)
    keys = heads.rows("key", leads)[:, None, :, entry] * heads.scale
    places = heads.out(leads, query, np.arange(values.shape[2]))
    shared = (weights * keys).sum(2, keepdims=True) * (kept @ values)
    return _through_softmax(heads, places, (kept * keys) @ values, shared, "scale a k")


def _gradient_of_key(heads: Heads, at: Index) -> Terms:
    leads, (key, entry) = heads.readers("key", at[:-2]), at[-2:]
    weights, kept, values = heads.weights(leads), heads.kept(leads), heads.rows("value", leads)
    queries = heads.rows("query", leads)[:, :, entry] * heads.scale
    places = heads.out(leads, np.arange(queries.shape[1]), np.arange(values.shape[2]))
    direct = (kept[:, :, key] * queries)[:, :, None] * values[:, None, key]
    shared = (weights[:, :, key] * queries)[:, :, None] * (kept @ values)
    return _through_softmax(heads, places, direct, shared, "scale a q")


def _gradient_of_mask(heads: Heads, at: Index) -> Terms:
    """A number of the mask is added to the scores of every query and key that its dimensions of one entry stand for."""
    shape, at = np.atleast_2d(heads.call.array(heads.mask)).shape, (0, *at) if len(at) == 1 else at
    leads = heads.readers(heads.mask, at[:-2])
    weights, kept, values = heads.weights(leads), heads.kept(leads), heads.rows("value", leads)
    rows, keys = _read(shape[-2], at[-2], weights.shape[1]), _read(shape[-1], at[-1], weights.shape[2])
    places = heads.out(leads, rows, np.arange(values.shape[2]))
    direct = kept[:, rows][:, :, keys] @ values[:, keys]
    shared = weights[:, rows][:, :, keys].sum(2, keepdims=True) * (kept[:, rows] @ values)
    return _through_softmax(heads, places, direct, shared, "a")


def _through_softmax(heads: Heads, places: Places, direct: Floats, shared: Floats, pull: str) -> Terms:
    """A larger score draws the result to its key's value, and away from what the weights gave it before, since they sum
    to 1: two tables, whose sum is often small beside each."""
    values = scaled("through the weights", heads.call, "gradient", places, direct.reshape(-1), f"{pull} v")
    result = scaled("through the softmax's sum", heads.call, "gradient", places, -shared.reshape(-1), f"- {pull} o")
    return Terms((values, result), f"sum of the output's gradient x {pull} (v - o)", {"scale": heads.scale})


def _read(own: int, index: int, whole: int) -> Places:
    """The indices along a dimension that read one index of the mask: all of them where the mask has one entry."""
    return np.arange(whole) if own == 1 else np.array([index])
