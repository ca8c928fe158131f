"""Translation: the loss against a slow reference, measures against sacrebleu and recursion, resuming to the bit."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor, nn

from pellucid.data.pairs import Pairs, PairSplit
from pellucid.errors import ShapeError, UsageError
from pellucid.train import Model, Settings, tasks
from pellucid.train.tasks.translation import TokenCrossEntropy, Translation
from pellucid.train.tasks.translation_attention import cross_attention, map_of
from pellucid.train.tasks.translation_measure import (
    Texts,
    TranslationMeasured,
    edit_distance,
    is_unspaced,
    measure,
)
from tests.train.test_resume import ROOT, Stop, StopAt, assert_same

TASK = Translation()
SMALL: dict[str, Any] = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32}
QUICK: dict[str, Any] = {"threads": 1, "batch_size": 8, "channels_last": False, "task": "translation"}


def turned(count: int, seed: int) -> list[tuple[str, str]]:
    """Words of three letters, and the same backwards in capitals: quickly learned."""
    chance = np.random.default_rng(seed)
    words = ["".join(chance.choice(list("abcd"), 3)) for _ in range(count)]
    return [(word, word[::-1].upper()) for word in words]


@pytest.fixture
def pairs() -> Pairs:
    made = {"train": turned(60, 1), "validation": turned(12, 2), "test": turned(10, 3)}
    return Pairs({name: PairSplit.made(name, rows) for name, rows in made.items()})


def reference_loss(outputs: np.ndarray, targets: np.ndarray, smoothing: float) -> float:
    """Token by token: (1 - e) of the right one and e / V of each, over those that are not 0."""
    losses = []
    for row, wanted in zip(outputs.astype(np.float64), targets, strict=True):
        for scores, right in zip(row, wanted, strict=True):
            if right == 0:
                continue
            logarithms = scores - math.log(sum(math.exp(score) for score in scores))
            share = [smoothing / len(scores) + (1 - smoothing) * (k == right) for k in range(len(scores))]
            losses.append(-sum(t * value for t, value in zip(share, logarithms, strict=True)))
    return float(np.mean(losses))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_the_mean_over_tokens_that_are_no_padding(smoothing: float) -> None:
    chance = torch.Generator().manual_seed(2)
    outputs = torch.randn(4, 5, 7, generator=chance, requires_grad=True)
    targets = torch.tensor([[4, 5, 3, 0, 0], [6, 3, 0, 0, 0], [1, 2, 3, 4, 3], [3, 0, 0, 0, 0]])
    loss = TokenCrossEntropy(smoothing)(outputs, targets)
    assert loss.item() == pytest.approx(reference_loss(outputs.detach().numpy(), targets.numpy(), smoothing), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert gradient[targets == 0].abs().max() == 0


def test_the_loss_of_a_batch_is_that_of_its_parts_weighed_by_their_tokens() -> None:
    outputs, targets = torch.randn(2, 3, 6), torch.tensor([[4, 3, 0], [4, 5, 3]])
    loss = TokenCrossEntropy(0.1)
    parts = [loss(outputs[i : i + 1], targets[i : i + 1]) * int((targets[i] > 0).sum()) for i in range(2)]
    assert (sum(parts) / 5).item() == pytest.approx(loss(outputs, targets).item(), rel=1e-6)


def test_right_counts_tokens_without_padding() -> None:
    outputs = torch.nn.functional.one_hot(torch.tensor([[4, 3, 0], [4, 4, 3]]), 6).float()
    assert TASK.right(outputs, torch.tensor([[4, 3, 0], [4, 5, 3]])).item() == 4


@pytest.mark.parametrize("net", ["transformer", "seq2seq"])
def test_it_learns_and_measures_what_it_has_learned(net: str, pairs: Pairs) -> None:
    options = {**SMALL, "feed_forward": 64} if net == "transformer" else {}
    model = Model(net, **{**options, "width": 32, "dropout": 0.0}).compile(
        **{**QUICK, "learning_rate": 0.005, "batch_size": 16}
    )
    many = Pairs({**pairs.splits, "train": PairSplit.made("train", turned(400, 1))})
    history = model.fit(many, epochs=8, progress=False)
    assert set(history.epochs[-1]) >= {
        "train_loss",
        "train_token_accuracy",
        "validation_loss",
        "validation_token_accuracy",
        "validation_exact_match",
    }
    found = model.evaluate(pairs)
    assert isinstance(found, TranslationMeasured)
    assert found.n == 10
    assert found.score > 0.8
    assert found.score == found.greedy.exact
    assert len(found.right) == min(8, round(10 * found.score))
    assert [item.width for item in found.decoded] == [1, 4]
    words = model.answers("abc", "dab", beam=1)
    assert [word.record["texts"][0]["text"] for word in words] == ["CBA", "BAD"]


def test_measures_after_an_epoch_are_those_of_the_whole_split(pairs: Pairs) -> None:
    model = Model("transformer", **SMALL).compile(**QUICK)
    model.fit(pairs, epochs=1, progress=False)
    split, net = pairs.splits["validation"], model.net.eval()
    quick = TASK.quick(net, split, model.preprocess, model.settings, model.execution())
    total = right = count = exact = 0.0
    for source, target in zip(split.sources, split.targets, strict=True):
        numbers = torch.tensor([model.preprocess.source.encode(source)])
        said = model.preprocess.target.encode(target)
        with torch.no_grad():
            outputs = net(numbers, torch.tensor([[2, *said]]))
        wanted = np.array([[*said, 3]])
        total += reference_loss(outputs.numpy(), wanted, 0.0) * wanted.size
        right += (outputs.argmax(-1).numpy() == wanted).sum()
        count += wanted.size
        exact += model.answers(source, beam=1)[0].record["texts"][0]["text"] == target
    assert quick["loss"] == pytest.approx(total / count, rel=1e-5)
    assert quick["token_accuracy"] == pytest.approx(right / count)
    assert quick["exact_match"] == pytest.approx(exact / 12)


def test_what_is_written_stands_in_the_order_of_the_split(pairs: Pairs) -> None:
    model = Model("transformer", **SMALL).compile(**QUICK)
    model.fit(pairs, epochs=2, progress=False)
    split = PairSplit.made("test", [(word, word.upper()) for word in ("abcdabcd", "a", "dcba", "bb", "ddd", "cabc")])
    for width in (1, 3):
        found = TASK.written(model.net, split, model.preprocess, model.settings, model.execution(), width=width)
        alone = [model.answers(word, beam=width)[0].record["texts"][0] for word in split.sources]
        assert found.written == tuple(text["text"] for text in alone)
        assert found.probabilities == pytest.approx([text["probability"] for text in alone], rel=1e-4)
        assert len(set(found.written)) > 1


@pytest.mark.slow
def test_runs_that_are_killed_go_on_to_the_same_end(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("source,target\n" + "\n".join(f"{a},{b}" for a, b in turned(300, 4)), "utf-8")
    settings = {**QUICK, "net": "transformer", "net_settings": {**SMALL, "dropout": 0.2}, "epochs": 6, "accumulate": 2}
    (tmp_path / "settings.json").write_text(json.dumps(settings), "utf-8")
    arguments = ["--kills", "4", "--seed", "5", "--data", tmp_path / "pairs.csv"]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "reliability" / "kill.py", *arguments]
        + ["--settings", tmp_path / "settings.json", "--json", tmp_path / "result.json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["kills"] == 4
    assert result["runs_that_differ"] == {}


@pytest.mark.parametrize("net", ["transformer", "seq2seq"])
def test_a_run_that_failed_goes_on_to_the_same_end(net: str, pairs: Pairs, tmp_path: Path) -> None:
    options = SMALL if net == "transformer" else {"width": 12}
    settings = {**QUICK, "epochs": 3, "checkpoint_steps": 3, "accumulate": 2, "ema": 0.9, "log_steps": 1}

    def run(folder: Path, stop: int | None = None) -> None:
        listeners = [StopAt(stop)] if stop is not None else []
        model = Model(net, **options).compile(**settings)
        again = (folder / "config.yaml").exists()
        model.fit(pairs, folder=folder, resume=again, listeners=listeners, progress=False)

    run(tmp_path / "alone")
    for stop in (2, 5, 10):
        with pytest.raises(Stop):
            run(tmp_path / "failed", stop)
    run(tmp_path / "failed")
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_a_saved_model_translates_as_before(pairs: Pairs, tmp_path: Path) -> None:
    model = Model("transformer", **SMALL).compile(**QUICK)
    model.fit(pairs, epochs=2, progress=False)
    model.save(tmp_path)
    again = Model.load(tmp_path)
    assert again.preprocess == model.preprocess
    assert [one.record for one in again.answers("abc", "ddd")] == [one.record for one in model.answers("abc", "ddd")]
    assert again.evaluate(pairs) == model.evaluate(pairs)


def test_evaluating_again_splits_files_as_training_did(tmp_path: Path) -> None:
    """With another seed or share the test pairs would be others, and some of them trained on."""
    file = tmp_path / "pairs.csv"
    file.write_text("source,target\n" + "\n".join(f"{a},{b}" for a, b in turned(40, 4)), "utf-8")
    model = Model("transformer", **SMALL).compile(seed=5, validation=0.2, **QUICK)
    model.fit(str(file), epochs=1, progress=False)
    model.save(tmp_path / "saved")
    again = Model.load(tmp_path / "saved")
    first = TASK.load(str(file), Settings(seed=5, validation=0.2))
    found = TASK.load_again(str(file), again.preprocess, again.settings)
    assert found.fingerprint == first.fingerprint != TASK.load(str(file), Settings()).fingerprint


@cache
def recursive_distance(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    return min(
        recursive_distance(one[1:], other) + 1,
        recursive_distance(one, other[1:]) + 1,
        recursive_distance(one[1:], other[1:]) + (one[0] != other[0]),
    )


@given(st.text("ab你", max_size=7), st.text("ab你", max_size=7))
def test_the_edit_distance_is_that_of_its_recursion(one: str, other: str) -> None:
    assert edit_distance(one, other) == recursive_distance(one, other)


def texts(*written: str, width: int = 1) -> Texts:
    return Texts(width, written, tuple(1 / (i + 2) for i in range(len(written))), 0)


def measured(targets: tuple[str, ...], written: tuple[str, ...], *more: Texts) -> TranslationMeasured:
    sources = tuple("s" * (i + 1) for i in range(len(targets)))
    names = [f"pair {i}" for i in range(len(targets))]
    return measure(sources, targets, names, [texts(*written), *more], loss=0.5, token_accuracy=0.75)


ENGLISH = ("the cat sat on the mat today", "a dog ran over the old bridge", "we saw them there")
SAID = ("the cat sat on a mat today", "a dog ran over the old bridge", "we were there")
CHINESE = ("今天天气很好，我们去公园。", "他是一个老师")
SAID_IN_CHINESE = ("今天天气好，我们去公园。", "他是一个老师")


@pytest.mark.parametrize(("targets", "written", "tokenize"), [(ENGLISH, SAID, "13a"), (CHINESE, SAID_IN_CHINESE, "zh")])
def test_bleu_and_chrf_are_those_of_sacrebleu(
    targets: tuple[str, ...], written: tuple[str, ...], tokenize: str
) -> None:
    found = measured(targets, written)
    assert found.greedy.bleu == pytest.approx(
        BLEU(tokenize=tokenize).corpus_score(list(written), [list(targets)]).score
    )
    assert found.greedy.chrf == pytest.approx(CHRF().corpus_score(list(written), [list(targets)]).score)
    assert f"tok:{tokenize}" in found.signature
    assert found.greedy.bleu > 10


def test_texts_of_a_word_have_no_bleu() -> None:
    found = measured(("one", "two"), ("one", "two"))
    assert (found.greedy.exact, found.greedy.bleu) == (1.0, None)
    assert found.greedy.chrf == pytest.approx(100.0)
    assert "BLEU counts runs of four words, and there are none" in found.text()


def test_without_sacrebleu_the_rest_is_measured_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    found = measured(ENGLISH, SAID)
    assert (found.greedy.bleu, found.greedy.chrf) == (None, None)
    assert found.greedy.exact == pytest.approx(1 / 3)
    assert "pip install 'pellucid[translation]'" in found.text()
    assert TranslationMeasured.from_json(found.to_json()) == found


def test_exact_matches_edits_and_examples() -> None:
    found = measured(ENGLISH, SAID, texts(*ENGLISH, width=4))
    edits = [recursive_distance("the", "a"), 0, recursive_distance("saw them", "were")]
    assert found.greedy.character_error == pytest.approx(sum(edits) / sum(map(len, ENGLISH)))
    assert [item.exact for item in found.decoded] == [pytest.approx(1 / 3), 1.0]
    assert [item.name for item in found.wrong] == ["pair 0", "pair 2"]  # the surest first
    assert [item.written for item in found.right] == [ENGLISH[1]]
    assert found.headline().startswith("exact match 0.3333, BLEU ")
    assert TranslationMeasured.from_json(found.to_json()) == found


def test_lengths_are_grouped_and_none_is_lost() -> None:
    count = 50
    targets = tuple("x" * 4 for _ in range(count))
    written = tuple("x" * 4 if i < 25 else "xxxy" for i in range(count))
    groups = measured(targets, written).by_length
    assert len(groups) == 6
    assert sum(group.count for group in groups) == count
    assert [groups[0].least, groups[-1].most] == [1, count]
    assert all(one.most < other.least for one, other in zip(groups, groups[1:], strict=False))
    assert (groups[0].exact, groups[-1].exact) == (1.0, 0.0)
    assert (groups[0].character_error, groups[-1].character_error) == (0.0, 0.25)


@pytest.mark.parametrize(
    ("text", "answer"), [("今天 A", True), ("the 天 cat", False), ("1998-03-03", False), ("かな", True)]
)
def test_which_texts_have_no_spaces(text: str, answer: bool) -> None:
    assert is_unspaced([text]) == answer


@pytest.mark.parametrize("pre_norm", [False, True])
def test_what_a_token_looked_at_is_the_softmax_of_query_and_key(pre_norm: bool) -> None:
    """Against a network whose attention is written out, which keeps its weights."""
    from pellucid.nets.transformer import transformer

    torch.manual_seed(0)
    net = transformer(9, 8, **SMALL | {"layers": 2}, pre_norm=pre_norm).eval()
    source, before = torch.tensor([[4, 5, 6, 7], [8, 4, 0, 0]]), torch.tensor([[2, 4, 5], [2, 6, 0]])
    found = cross_attention(net, source, before)
    assert found is not None
    assert found.shape == (2, 2, 3, 4)
    assert torch.allclose(found.sum(-1), torch.ones(2, 2, 3), atol=1e-6)
    assert found[:, 1, :, 2:].abs().max() == 0  # nothing looks at padding
    layer = net.decoder.layers[0]
    states = net.encode(source)[0]
    kept: list[Tensor] = []
    handle = layer.encoder_attn.q_proj.register_forward_hook(lambda module, given, result: kept.append(result))
    net(source, before)
    handle.remove()
    for row in range(2):
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            query, key = kept[0][row, :, part], layer.encoder_attn.k_proj(states)[row, :, part]
            scores = (query @ key.T / 8**0.5)[:, source[row] > 0]
            weights = scores.softmax(-1)
            kept.append(weights)
        mean = (kept[-1] + kept[-2]) / 2
        assert torch.allclose(found[0, row][:, source[row] > 0], mean, atol=1e-6)


def test_a_map_has_a_row_for_each_token_that_was_written(pairs: Pairs) -> None:
    for net, options in {"transformer": SMALL, "seq2seq": {"width": 12}}.items():
        model = Model(net, **options).compile(**QUICK)
        model.fit(pairs, epochs=1, progress=False)
        found = map_of(model, "abd", "DB")
        assert found is not None
        assert found.source == ("a", "b", "d")
        assert found.written == ("D", "B", "<end>")
        assert found.mean.shape == (3, 3)
        assert np.allclose(found.mean.sum(1), 1, atol=1e-6)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


class Bag(nn.Module):
    """Trains on pairs, but cannot decode."""

    def __init__(self, outputs: int = 8) -> None:
        super().__init__()
        self.table = nn.Embedding(60, outputs)

    def forward(self, source: Tensor, before: Tensor) -> Tensor:
        return self.table(before) + self.table(source).mean(1, keepdim=True)


def test_a_network_that_cannot_write_is_told_what_is_missing(pairs: Pairs) -> None:
    with pytest.raises(UsageError, match=r"a Bag cannot write a text: it has no encode\(source\) and step"):
        Model(Bag(), task="translation").compile(**QUICK).fit(pairs, epochs=1, progress=False)


def test_texts_of_characters_get_half_the_width_unless_another_is_asked_for(pairs: Pairs) -> None:
    few, many = Model("seq2seq", task="translation"), Model("seq2seq", task="translation", width=20)
    assert few.build(pairs).encoder.embed_tokens.weight.shape == (4 + 4, 128)
    assert many.build(pairs).encoder.embed_tokens.weight.shape == (4 + 4, 20)
    long = Pairs({"train": PairSplit.made("train", [("a long text of many words " * 4, "b")] * 3)})
    options = {"vocabulary_size": 300}
    prepared = TASK.prepare(long, Settings(task_settings=options))
    assert TASK.facts(prepared, ()) == {
        "source_vocabulary": len(prepared.source),
        "target_vocabulary": len(prepared.target),
    }


@pytest.mark.parametrize(("count", "batch_size"), [(10_000, 64), (2_000, 32), (60, 8), (5, 5)])
def test_the_recipe_fills_what_is_not_set(count: int, batch_size: int) -> None:
    data = Pairs({"train": PairSplit.made("train", [("a", "b")] * count)})
    found = TASK.resolve(Settings(), data, nn.Identity())
    assert found.batch_size == batch_size
    assert found.learning_rate == pytest.approx(0.001 * (batch_size / 64) ** 0.5, rel=1e-2)
    assert (found.label_smoothing, found.clip_norm, found.weight_decay) == (0.1, 1.0, 0.01)
    given = TASK.resolve(Settings(learning_rate=0.5, label_smoothing=0.0, clip_norm=9.0), data, nn.Identity())
    assert (given.learning_rate, given.label_smoothing, given.clip_norm) == (0.5, 0.0, 9.0)


def test_outputs_that_do_not_fit_are_said() -> None:
    with pytest.raises(ShapeError, match=r"for 2 pairs the network gives \(2, 7\)"):
        TASK.check_outputs(torch.zeros(2, 7), 2, None, ())


def test_a_loss_for_pictures_is_refused(pairs: Pairs) -> None:
    with pytest.raises(UsageError, match="translation learns by cross_entropy"):
        TASK.loss(Settings(loss="focal"), pairs)


@pytest.mark.parametrize("name", ["dates", "numbers"])
def test_sets_by_name_are_translation(name: str) -> None:
    assert tasks.recognised(name).name == "translation"
