"""The recurrent encoder and decoder against torch.nn's packed two-way layers and single cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pellucid import nets
from pellucid.errors import UsageError
from pellucid.graph import capture
from pellucid.nets.decoding import rows
from pellucid.nets.recurrent_seq2seq import Seq2Seq, seq2seq

LENGTHS = (7, 5, 3)


def small(**settings: Any) -> Seq2Seq:
    torch.manual_seed(0)
    return seq2seq(**{"source_vocabulary": 20, "target_vocabulary": 24, "width": 6, **settings}).eval()


def pairs() -> tuple[Tensor, Tensor]:
    """Sources of 7, 5 and 3 tokens, filled up with padding."""
    generator = torch.Generator().manual_seed(2)
    left = torch.randint(1, 20, (3, 7), generator=generator)
    for row, length in enumerate(LENGTHS):
        left[row, length:] = 0
    return left, torch.randint(1, 24, (3, 4), generator=generator)


class Twin(nn.Module):
    """The same network out of torch.nn's recurrent layers, with packed sequences and sums by einsum."""

    def __init__(self, own: Seq2Seq, cell: str, layers: int) -> None:
        super().__init__()
        weights = dict(own.named_parameters())
        self.given = weights
        kind: Any = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        single: Any = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}[cell]
        self.layers = nn.ModuleList(
            kind(6 if not layer else 12, 6, batch_first=True, bidirectional=True) for layer in range(layers)
        )
        self.cell = single(18, 6)
        self.double()
        with torch.no_grad():
            for layer, module in enumerate(self.layers):
                for name, weight in module.named_parameters():
                    way = "backwards" if name.endswith("_reverse") else "forwards"
                    weight.copy_(weights[f"encoder.layers.{layer}.{way}.{name.removesuffix('_reverse')}"])
            for name, weight in self.cell.named_parameters():
                weight.copy_(weights[f"decoder.cell.{name}"])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        w = {name: weight.detach() for name, weight in self.given.items()}
        x = w["encoder.embed_tokens.weight"][source]
        for layer in self.layers:
            packed = layer(pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True))[0]
            x = pad_packed_sequence(packed, batch_first=True)[0]
        state = torch.tanh(x[:, 0, 6:] @ w["decoder.first_state.weight"].T + w["decoder.first_state.bias"])
        memory = torch.zeros_like(state)
        keys = torch.einsum("nsk,ak->nsa", x, w["decoder.attention.key.weight"]) + w["decoder.attention.key.bias"]
        outputs = []
        for step in range(target.shape[1]):
            asked = torch.einsum("nq,aq->na", state, w["decoder.attention.query.weight"])
            scores = torch.einsum("nsa,a->ns", (asked[:, None] + keys).tanh(), w["decoder.attention.score.weight"][0])
            weights = torch.exp(scores) * (source != 0)
            context = torch.einsum("ns,nsk->nk", weights / weights.sum(1, keepdim=True), x)
            token = w["decoder.embed_tokens.weight"][target[:, step]]
            given = torch.cat([token, context], 1)
            if isinstance(self.cell, nn.LSTMCell):
                state, memory = self.cell(given, (state, memory))
            else:
                state = self.cell(given, state)
            matrix, bias = w["decoder.output_projection.weight"], w["decoder.output_projection.bias"]
            outputs.append(torch.cat([state, context, token], 1) @ matrix.T + bias)
        return torch.stack(outputs, 1)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_forward_and_gradients_against_torch(cell: str, layers: int) -> None:
    own = small(cell=cell, layers=layers).double()
    twin = Twin(own, cell, layers)
    source, target = pairs()
    found, wanted = own(source, target), twin(source, target)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    factors = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
    (found * factors).sum().backward()
    (wanted * factors).sum().backward()
    gradients = {name: weight.grad for name, weight in own.named_parameters()}
    for name, weight in twin.cell.named_parameters():
        torch.testing.assert_close(gradients[f"decoder.cell.{name}"], weight.grad, rtol=1e-8, atol=1e-11, msg=name)
    for layer, module in enumerate(twin.layers):
        for name, weight in module.named_parameters():
            way = "backwards" if name.endswith("_reverse") else "forwards"
            ours = gradients[f"encoder.layers.{layer}.{way}.{name.removesuffix('_reverse')}"]
            torch.testing.assert_close(ours, weight.grad, rtol=1e-8, atol=1e-11, msg=name)


def test_padding_changes_nothing() -> None:
    net = small().double()
    source, target = pairs()
    longer = torch.cat([source, torch.zeros(3, 4, dtype=torch.long)], 1)
    torch.testing.assert_close(net(longer, target), net(source, target), rtol=1e-12, atol=1e-12)
    alone = net(source[2:, :3], target[2:])
    torch.testing.assert_close(net(source, target)[2:], alone, rtol=1e-12, atol=1e-12)


def test_what_comes_later_changes_nothing() -> None:
    net = small()
    source, target = pairs()
    before = net(source, target)
    target[:, 2:] = target[:, 2:] % 23 + 1
    after = net(source, target)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("steps", [(1, 1, 1, 1), (4,), (2, 1, 1)], ids=str)
def test_the_cache_gives_what_the_whole_gives(steps: tuple[int, ...], cell: str) -> None:
    net = small(cell=cell).double()
    source, target = pairs()
    memory, cache, found, start = net.encode(source), (), [], 0
    for length in steps:
        outputs, cache = net.step(target[:, start : start + length], memory, cache)
        found.append(outputs)
        start += length
    torch.testing.assert_close(torch.cat(found, 1), net(source, target), rtol=1e-12, atol=1e-12)


def test_rows_of_a_cache_are_the_cache_of_rows() -> None:
    net = small(cell="lstm").double()
    source, target = pairs()
    chosen = torch.tensor([2, 0, 0])
    _, cache = net.step(target[:, :3], net.encode(source))
    found, _ = net.step(target[chosen, 3:4], rows(net.encode(source), chosen), rows(cache, chosen))
    torch.testing.assert_close(found, net(source, target)[chosen, 3:4], rtol=1e-12, atol=1e-12)


def test_parameters_by_the_paper_s_sums() -> None:
    """W and U of three gates in three cells, the tables, first state, alignment and output."""
    e = n = 6
    encoder = 20 * e + 2 * (3 * n * e + 3 * n * n + 6 * n)
    decoder = 24 * e + (n * n + n) + (n * n + n * 2 * n + n + n) + (3 * n * (e + 2 * n) + 3 * n * n + 6 * n)
    output = 24 * (n + 2 * n + e) + 24
    assert sum(weight.numel() for weight in small().parameters()) == encoder + decoder + output


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_nothing_in_the_graph_is_unknown(cell: str, training: bool) -> None:
    net = small(cell=cell)
    graph = capture(net, inputs=net.example_inputs(3), training=training)
    assert not graph.opaque
    assert not graph.specialized
    assert graph.account(2).macs == 2 * graph.account(1).macs > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "gruu"}, "no cell named 'gruu'; did you mean 'gru'"),
        ({"layers": 0}, "layers of seq2seq is 0"),
        ({"width": 0}, "width of seq2seq is 0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nets.make("seq2seq", **settings)
