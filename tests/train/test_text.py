"""Classification of texts: the rival against Newton's method, the test against scipy, resuming to the bit, phrases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from pellucid import nets
from pellucid.data.sentences import Sentences, load_sentences
from pellucid.data.sentences_preprocess import TextPreprocess
from pellucid.data.vocabulary import Vocabulary
from pellucid.errors import ShapeError, UsageError
from pellucid.train import Model, Settings, read_run, start, tasks
from pellucid.train.paired import Paired, mcnemar, paired
from pellucid.train.tasks.text import Text
from pellucid.train.tasks.text_baseline import WordWeights, fit
from pellucid.train.tasks.text_measure import TextMeasured, measure_texts
from pellucid.train.tasks.text_phrases import loudest_phrases
from pellucid.train.tasks.text_preparation import TextPreparation
from tests.oracles.text import word_weights
from tests.train.test_resume import Stop, StopAt, assert_same

SMALL: dict[str, Any] = {"width": 8, "kernels": (1, 2, 3), "maps": 4}
QUICK: dict[str, Any] = {"threads": 1, "batch_size": 10, "task": "text", "learning_rate": 0.01}
WORDS = ["film", "story", "cast", "music", "scene", "end"]


def sentences(count: int = 120, seed: int = 0) -> tuple[list[str], list[str]]:
    """Which of two words comes first is the class: only a network that sees order can tell."""
    chance = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(count):
        pair = ["not", "good"] if i % 2 else ["good", "not"]
        before, after = (list(chance.choice(WORDS, chance.integers(0, 4))) for _ in range(2))
        texts.append(" ".join([*before, *pair, *after, f"n{i}"]))
        labels.append("bad" if i % 2 else "fine")
    return texts, labels


@pytest.fixture
def data() -> Sentences:
    return Sentences.of(*sentences(), validation=0.2, test=0.2)


def encoded(count: int = 40, vocabulary: int = 15) -> tuple[list[list[int]], np.ndarray]:
    chance = np.random.default_rng(2)
    texts = [chance.integers(1, vocabulary, chance.integers(1, 9)).tolist() for _ in range(count)]
    return texts, chance.integers(0, 3, count)


@pytest.mark.parametrize("penalty", [0.5, 3.0])
def test_the_bag_of_words_is_the_minimum_that_newton_finds(penalty: float) -> None:
    texts, labels = encoded()
    found = fit(texts, labels, 3, 15, penalty)
    for one in range(3):
        wanted = word_weights(texts, labels == one, 15, penalty)
        np.testing.assert_allclose(found.weights[:, one], wanted[:-1], rtol=0, atol=2e-5)
        assert abs(float(found.bias[one]) - wanted[-1]) < 2e-5


def test_two_classes_are_told_apart_by_one_regression() -> None:
    texts, labels = encoded()
    found = fit(texts, labels % 2, 2, 15)
    wanted = word_weights(texts, labels % 2 == 1, 15, 3.0)
    np.testing.assert_allclose(found.weights[:, 1], wanted[:-1], rtol=0, atol=2e-5)
    assert not found.weights[:, 0].any()


def test_scores_count_each_word_once_and_no_unknown_one() -> None:
    weights = np.arange(10, dtype=np.float32).reshape(5, 2)
    found = WordWeights(weights, np.array([0.5, -1], np.float32)).scores([[2, 2, 3], [1, 1], []])
    np.testing.assert_array_equal(found, [[4 + 6 + 0.5, 5 + 7 - 1], [0.5, -1], [0.5, -1]])


def test_the_heaviest_words_speak_for_their_class() -> None:
    weights = np.array([[0, 0], [0, 0], [3, 0], [1, 2], [0, 5]], np.float32)
    assert WordWeights(weights, np.zeros(2, np.float32)).heaviest(2) == [[(2, 3.0)], [(4, 5.0), (3, 1.0)]]


def test_the_preparation_comes_back_to_the_bit(data: Sentences) -> None:
    made = Text().prepare(data, Settings())
    again = TextPreparation.from_json(json.loads(json.dumps(made.to_json())))
    assert again.text == made.text
    np.testing.assert_array_equal(again.baseline.weights, made.baseline.weights)
    np.testing.assert_array_equal(again.baseline.bias, made.baseline.bias)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 5), (10, 10), (30, 12), (200, 251), (0, 3), (1500, 1400)])
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    wanted = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(wanted, rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_the_interval_of_a_difference_covers_it_19_times_in_20() -> None:
    """2,000 experiments of 400 things, the first right with 0.8 and the second with 0.75, not independently."""
    chance = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        hardness = chance.random(400)
        first, second = hardness < 0.8, (hardness + 0.2 * chance.random(400) - 0.1) < 0.75
        low, high = paired(first, second).interval
        covered += low <= 0.05 <= high
    assert 0.93 <= covered / 2000 <= 0.97


def test_the_interval_is_that_of_the_mean_of_differences() -> None:
    chance = np.random.default_rng(1)
    first, second = chance.random(50) < 0.9, chance.random(50) < 0.3
    differences = first.astype(float) - second
    half = 1.959964 * differences.std() / np.sqrt(50)
    np.testing.assert_allclose(paired(first, second).interval, [differences.mean() - half, differences.mean() + half])


@pytest.mark.parametrize(
    ("only_first", "only_second", "verdict"),
    [(30, 10, "better"), (10, 30, "worse"), (14, 10, "not distinguishable"), (0, 0, "not distinguishable")],
)
def test_the_verdict(only_first: int, only_second: int, verdict: str) -> None:
    both = [True] * 50
    first = np.array([*both, *[True] * only_first, *[False] * only_second])
    second = np.array([*both, *[False] * only_first, *[True] * only_second])
    found = paired(first, second)
    assert found.verdict == verdict
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.difference == pytest.approx((only_first - only_second) / len(first))
    assert Paired.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_answers_of_different_things_are_not_compared() -> None:
    with pytest.raises(ShapeError, match="one for each of the same things"):
        paired(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize(
    ("right", "says", "briefly"),
    [
        (range(90), "The network is better.", "the network is better"),
        (
            range(20),
            "The network is worse: the bag of words is smaller, faster, and to be preferred.",
            "the network is worse",
        ),
        (range(52), "On these sentences neither can be said to be better.", "the two cannot be told apart"),
    ],
)
def test_what_is_measured_says_plainly_who_is_better(right: range, says: str, briefly: str) -> None:
    labels = np.arange(100) % 2
    p = np.full((100, 2), 0.1)
    called = np.where(np.isin(np.arange(100), right), labels, 1 - labels)
    p[np.arange(100), called] = 0.9
    rival = np.where(np.arange(100) < 50, labels, 1 - labels)
    found = measure_texts(p, labels, [f"t{i}" for i in range(100)], ("no", "yes"), rival, 0.125)
    assert found.sentence().endswith(says)
    assert says in found.text()
    assert found.headline() == f"accuracy {found.score:.4f} on 100 sentences; bag of words 0.5000: {briefly}"
    assert found.baseline_accuracy == 0.5
    assert found.score == found.of.accuracy == len(right) / 100
    assert TextMeasured.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_order_is_what_a_network_of_phrases_adds(data: Sentences) -> None:
    """The words of both classes are the same, so a bag of them can only guess."""
    model = Model("textcnn", **SMALL).compile(**QUICK, validation=0.2)
    model.fit(data, epochs=12, progress=False)
    found = model.evaluate(data)
    assert found.score == 1.0
    assert found.baseline_accuracy < 0.8
    assert found.verdict == "better"


@pytest.mark.parametrize(("net", "settings"), [("textcnn", SMALL), ("bag_of_words", {"width": 8})])
def test_failed_in_the_midst_of_an_epoch(net: str, settings: dict[str, Any], data: Sentences, tmp_path: Path) -> None:
    def run(folder: Path, stop: int | None = None) -> None:
        model = Model(net, **settings).compile(
            **QUICK, ema=0.8, checkpoint_steps=3, class_weight="balanced", log_steps=1
        )
        told = [StopAt(stop)] if stop is not None else []
        again = (folder / "config.yaml").exists()
        model.fit(data, epochs=3, folder=folder, resume=again, listeners=told, progress=False)

    run(tmp_path / "alone")
    for stop in (2, 7, 14):
        with pytest.raises(Stop):
            run(tmp_path / "failed", stop)
    run(tmp_path / "failed")
    assert_same(tmp_path / "alone", tmp_path / "failed")


def test_a_later_evaluation_measures_on_what_was_not_learned_from(tmp_path: Path) -> None:
    """The run's own seed and share split the file again, though evaluation is given neither."""
    texts, labels = sentences(100)
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + "".join(f"{t},{c}\n" for t, c in zip(texts, labels, strict=True)))
    settings = Settings.parse({**QUICK, "epochs": 1, "seed": 9, "validation": 0.3, "net_settings": SMALL})
    start(file, settings, folder=tmp_path / "run")
    model = Model.load(tmp_path / "run")
    again = model.task.load_again(str(file), model.preprocess, model.settings)
    wanted = load_sentences(file, seed=9, validation=0.3)
    assert again.splits["test"].texts == wanted.splits["test"].texts
    assert again.fingerprint == wanted.fingerprint
    assert load_sentences(file).splits["test"].texts != wanted.splits["test"].texts


def test_the_report_names_the_rival_the_mistakes_and_the_phrases(tmp_path: Path) -> None:
    texts, labels = sentences(100)
    texts[0] += " <b>bold</b>"
    for label in ("bad", "fine"):
        own = [t for t, c in zip(texts, labels, strict=True) if c == label]
        (tmp_path / f"{label}.txt").write_text("\n".join(own))
    settings = Settings.parse({**QUICK, "epochs": 1, "net": "textcnn", "net_settings": SMALL})
    done = start(tmp_path, settings, folder=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    record = read_run(tmp_path / "run")
    assert record.measured == done.measured
    for title in ("Beside a bag of words", "Mistakes", "Loudest phrases", "Confusion", "Classes", "Calibration"):
        assert f">{title}</h2>" in page
    assert "McNemar&#x27;s exact test" in page
    assert "Kernels of 1 token<" in page
    assert "Kernels of 3 tokens<" in page
    assert "<b>bold" not in page
    assert (tmp_path / "run" / "confusion.png").is_file()
    for mistake in done.measured.of.mistakes:
        assert mistake.name in page


def heard(net: Any, kind: int, kernel: int, numbers: list[int]) -> list[float]:
    """The number of a kernel at each window of one sentence, by loops."""
    weight, bias = net.convs[kind].weight[kernel].double(), float(net.convs[kind].bias[kernel])
    span, table = weight.shape[1], net.embedding.weight.double()
    found = []
    for first in range(1 - span, len(numbers)):
        inside = [(tap, numbers[first + tap]) for tap in range(span) if 0 <= first + tap < len(numbers)]
        found.append(max(0.0, bias + sum(float(weight[:, tap] @ table[token]) for tap, token in inside)))
    return found


@torch.no_grad()
def test_the_loudest_phrases_are_those_of_a_search_by_loops() -> None:
    torch.manual_seed(0)
    texts = ["a b c d", "b a", "d", "c c a new", "d c b a b", "a b c d"]
    preprocess = TextPreprocess(Vocabulary(("a", "b", "c", "d")), "words", True, 10, ("no", "yes"))
    net = nets.make("textcnn", classes=2, vocabulary=6, width=5, kernels=(1, 3), maps=2).eval()
    net.embedding.weight[1:] *= 8
    found = {(one.span, one.number): one for one in loudest_phrases(net, preprocess, texts, count=3)}
    assert set(found) == {(1, 0), (1, 1), (3, 0), (3, 1)}
    for kind, span in enumerate((1, 3)):
        for kernel in range(2):
            best: dict[str, float] = {}
            top = []
            for text in texts:
                tokens = preprocess.tokens(text)
                numbers = heard(net, kind, kernel, preprocess.encode([text])[0])
                place = int(np.argmax(numbers)) - span + 1
                words = [tokens[i] if 0 <= i < len(tokens) else "·" for i in range(place, place + span)]
                shown = " ".join(word if word != "new" else "[new]" for word in words)
                best[shown] = max(numbers[place + span - 1], best.get(shown, 0.0))
                top.append(max(numbers))
            wanted = sorted(((value, text) for text, value in best.items() if value > 0), reverse=True)[:3]
            one = found[span, kernel]
            assert [phrase.text for phrase in one.phrases] == [text for _, text in wanted]
            np.testing.assert_allclose(
                [phrase.value for phrase in one.phrases], [value for value, _ in wanted], rtol=1e-5
            )
            weights = net.fc.weight[:, 2 * kind + kernel].double().numpy()
            assert one.speaks_for == ("no", "yes")[int(weights.argmax())]
            assert one.weight == pytest.approx(weights.max() - weights.min())
            assert one.influence == pytest.approx(one.weight * np.std(top), rel=1e-5)


def test_chinese_needs_no_word_list() -> None:
    good = ["这部电影真好看", "音乐很好听", "演员演得真好", "故事很感人"]
    bad = ["这部电影真难看", "音乐很难听", "演员演得真差", "故事很无聊"]
    texts = [f"{text}{i}" for i in range(8) for text in (*good, *bad)]
    data = Sentences.of(texts, (["好"] * 4 + ["差"] * 4) * 8, validation=0, test=0.2)
    model = Model("textcnn", **SMALL).compile(**QUICK)
    model.fit(data, epochs=30, progress=False)
    assert "难" in model.preprocess.text.vocabulary
    assert model.evaluate(data).score == 1.0
    assert [found.text.split()[0] for found in model.answers("真好看", "真难看")] == ["好", "差"]


def test_names_are_read_by_their_characters() -> None:
    data = Sentences.of(
        [f"{stem}{end}" for stem in "abcdefgh" for end in ("ova", "sen")], ["cz", "dk"] * 8, validation=0
    )
    preparation = Text().prepare(data, Settings())
    assert preparation.text.kind == "characters"
    assert Text().prepare(data, Settings(task_settings={"tokens": "words"})).text.kind == "words"


def test_a_network_of_pictures_is_refused(data: Sentences) -> None:
    with pytest.raises(ShapeError, match="the network refuses sentences of"):
        Model("lenet").compile(task="text").fit(data, epochs=1, progress=False)


def test_a_network_with_other_outputs_is_refused(data: Sentences) -> None:
    net = nets.make("textcnn", classes=5, vocabulary=500, width=4, maps=2)
    with pytest.raises(ShapeError, match=r"for 2 sentences of 2 classes the network gives \(2, 5\)"):
        Model(net).compile(task="text").fit(data, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "syllables"}, "tokens cannot be 'syllables'"),
        ({"least": 0}, "least cannot be 0"),
        ({"tokenz": "words"}, "there is no setting of text named 'tokenz'; did you mean 'tokens'"),
    ],
)
def test_an_option_that_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Text().options(Settings(task_settings=options))


def test_data_find_their_task(data: Sentences, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    assert tasks.of_data(data).name == "text"
    assert tasks.recognised(tmp_path / "a.csv").name == "text"


@pytest.mark.parametrize(("count", "size"), [(20, 8), (500, 12), (1200, 25), (9000, 50)])
def test_small_data_get_small_batches(count: int, size: int) -> None:
    texts = [f"t{i}" for i in range(count)]
    data = Sentences.of(texts, ["x", "y"] * (count // 2), validation=0, test=0.0)
    net = nets.make("textcnn", vocabulary=5, width=2, maps=1)
    assert Text().resolve(Settings(), data, net).batch_size == size
    assert Text().resolve(Settings(batch_size=7), data, net).batch_size == 7
