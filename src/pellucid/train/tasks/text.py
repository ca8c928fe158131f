"""Classification of texts: one label a sentence, learned from words or characters, held against a bag of words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from pellucid.data.sentences import Sentences, SentenceSplit, load_sentences
from pellucid.data.sentences_batches import SentenceBatches
from pellucid.data.sentences_files import recognised
from pellucid.data.sentences_preprocess import TextPreprocess
from pellucid.data.text_decode import decode_text
from pellucid.data.vocabulary import UNKNOWN
from pellucid.errors import DataError, PellucidError, ShapeError
from pellucid.nets.bag_of_words import BagOfWords
from pellucid.nets.textcnn import TextCNN
from pellucid.train import losses
from pellucid.train.execution import Execution
from pellucid.train.predictions import Predictions, outputs_of, probabilities_of, quick_measures
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked, DataLike, Task
from pellucid.train.tasks.classification import answer
from pellucid.train.tasks.text_measure import TextMeasured, measure_texts
from pellucid.train.tasks.text_preparation import TextPreparation

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord

_EVALUATION_BATCH = 200
_HEAVY = 20  # words of each class in the report
# The highest learning rate at a batch of 50 sentences.
_RATES = {"sgd": 0.2, "momentum": 0.05, "adagrad": 0.02, "rmsprop": 5e-4, "adam": 1e-3, "adamw": 1e-3, "muon": 0.02}
_DECAYS = {"adamw": 0.1, "muon": 0.1}  # decoupled
_OF_BAG = 5.0  # a mean of many rows moves each of them little


class Options(BaseModel):
    """The settings of texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: Literal["auto", "words", "characters"] = Field(
        "auto", description="what texts are made of; auto: characters where most texts are one word, else words"
    )
    lower: bool = Field(True, description="whether capitals are read as small letters")
    least: int | None = Field(
        None, ge=1, description="how often a word must stand in training to be known; None: twice, once in few texts"
    )
    most: int = Field(100_000, ge=1, description="words that are known at most")
    longest: int = Field(512, ge=1, description="words of a text that are read; what follows is cut")
    text: str | None = Field(None, description="the column of texts, where its name does not say it")
    label: str | None = Field(None, description="the column of labels, likewise")
    encoding: str | None = Field(None, description="of the files: gb18030, latin-1, ...; None: UTF-8 and what is sure")


class Text(Task):
    """Sentences, one of K classes each."""

    name: ClassVar[str] = "text"
    things: ClassVar[str] = "sentences"
    reads: ClassVar[tuple[str, ...]] = ("tokens",)
    net: ClassVar[str] = "textcnn"
    units: ClassVar[Mapping[str, str]] = {"loss": "mean over sentences", "accuracy": "share of sentences"}
    Options: ClassVar[type[BaseModel]] = Options

    def recognises(self, where: str) -> bool:
        """A CSV file with columns of texts and labels, text files by class, or a zip of these."""
        return recognised(Path(where).expanduser())

    def load(self, where: str, settings: Settings) -> Sentences:
        """Sentences from a path, as the settings ask."""
        options = self.options(settings)
        return load_sentences(
            where,
            text=options.text,
            label=options.label,
            encoding=options.encoding,
            validation=settings.validation,
            limit=settings.limit,
            seed=settings.seed,
        )

    def load_again(self, where: str, preparation: TextPreparation, settings: Settings) -> Sentences:
        """All sentences, split as they were in training, with the network's classes."""
        options, of_text = self.options(settings), preparation.text
        return load_sentences(
            where,
            text=options.text,
            label=options.label,
            encoding=options.encoding,
            classes=preparation.classes,
            validation=of_text.validation,
            seed=of_text.seed,
        )

    def prepare(self, data: Sentences, settings: Settings) -> TextPreparation:
        """The vocabulary of the training sentences, and a bag of words learned from them."""
        options = self.options(settings)
        text = TextPreprocess.of(
            data,
            kind=options.tokens,
            lower=options.lower,
            longest=options.longest,
            least=options.least,
            most=options.most,
            seed=settings.seed,
            validation=settings.validation,
        )
        return TextPreparation.of(data, text)

    def read_preparation(self, values: Mapping[str, Any]) -> TextPreparation:
        """What ``TextPreparation.to_json`` gave."""
        return TextPreparation.from_json(values)

    def facts(self, preparation: TextPreparation, classes: tuple[str, ...]) -> dict[str, Any]:
        """classes; vocabulary: how many token numbers there are, padding and unknown among them."""
        return {"classes": len(classes), "vocabulary": len(preparation.text.vocabulary)}

    def resolve(self, settings: Settings, data: Sentences, net: nn.Module) -> Settings:
        """Good values for whatever is not set: docs/recipe.md."""
        batch_size = min(settings.batch_size or _batch_size(len(data.train)), len(data.train))
        rate = _RATES[settings.optimizer] * (batch_size / 50) ** 0.5 * (_OF_BAG if isinstance(net, BagOfWords) else 1)
        chosen = {
            "learning_rate": float(f"{rate:.3g}"),
            "weight_decay": _DECAYS.get(settings.optimizer, 1e-5),
            "label_smoothing": 0.1 if settings.loss == "cross_entropy" else 0.0,
            "ema": 0.0,
        }
        given = {name: value for name, value in settings.model_dump().items() if value is not None}
        return Settings.parse({**settings.model_dump(), **chosen, **given, "batch_size": batch_size})

    def batches(
        self,
        split: SentenceSplit,
        preparation: TextPreparation,
        settings: Settings,
        device: torch.device,
        *,
        training: bool,
    ) -> SentenceBatches:
        """In training shuffled, sentences of like lengths together; else all in order."""
        size = (settings.batch_size or 50) if training else _EVALUATION_BATCH
        encoded = preparation.text.encode(split.texts)
        return SentenceBatches(
            encoded, split.labels, batch_size=size, seed=settings.seed, shuffle=training, device=device
        )

    def loss(self, settings: Settings, data: Sentences) -> nn.Module:
        """The loss that the settings name, its classes weighted where they ask for it."""
        classes, weight = len(data.classes), None
        if settings.class_weight == "balanced":
            weight = losses.balanced_weights(torch.from_numpy(data.train.labels), classes)
        return losses.make(settings.loss, classes, smoothing=settings.label_smoothing or 0.0, weight=weight)

    def check_outputs(self, outputs: Any, count: int, data: DataLike | None, classes: tuple[str, ...]) -> None:
        """Raises ShapeError unless the outputs are (N, classes)."""
        known = len(data.classes) if data is not None else len(classes)
        found = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        if found != (count, known):
            raise ShapeError(
                f"for {count} sentences of {known} classes the network gives {found}",
                fits=f"a tensor ({count}, {known})",
            )

    def quick(
        self,
        net: nn.Module,
        split: SentenceSplit,
        preparation: TextPreparation,
        settings: Settings,
        execution: Execution,
    ) -> dict[str, float]:
        """Mean cross-entropy and accuracy."""
        batches = self.batches(split, preparation, settings, execution.device, training=False)
        return quick_measures(outputs_of(net, batches.epoch(0), execution), split.labels)

    def measure(self, model: Model, split: SentenceSplit) -> TextMeasured:
        """Accuracy, confusion, calibration, mistakes; and the bag of words on the same sentences."""
        preparation: TextPreparation = model.preprocess
        encoded = preparation.text.encode(split.texts)
        tokens = np.concatenate([np.array(text, np.int64) for text in encoded]) if encoded else np.zeros(0, np.int64)
        return measure_texts(
            self._probabilities(model, split),
            split.labels,
            split.names,
            model.classes,
            preparation.baseline.predicted(encoded),
            float((tokens == UNKNOWN).mean()) if len(tokens) else 0.0,
        )

    def _probabilities(self, model: Model, split: SentenceSplit) -> NDArray[np.float64]:
        execution = model.execution()
        execution.place(model.net)
        batches = self.batches(split, model.preprocess, model.settings, execution.device, training=False)
        return probabilities_of(outputs_of(model.net, batches.epoch(0), execution))

    def read_measured(self, values: Mapping[str, Any]) -> TextMeasured:
        """What ``TextMeasured.to_json`` gave."""
        return TextMeasured.from_json(values)

    def report(self, folder: Path, record: RunRecord, model: Model, split: SentenceSplit) -> Body:
        """The bag of words beside the network, mistakes as sentences, the loudest phrases of each kernel."""
        from pellucid.draw import text_report
        from pellucid.train.tasks.text_phrases import loudest_phrases

        preparation: TextPreparation = model.preprocess
        measured: TextMeasured = record.measured
        wrong = split.take([item.index for item in measured.of.mistakes])
        called = preparation.baseline.predicted(preparation.text.encode(wrong.texts)) if len(wrong) else ()
        mistakes = [
            text_report.Wrong(item.name, text, item.truth, item.predicted, item.confidence, model.classes[int(other)])
            for item, text, other in zip(measured.of.mistakes, wrong.texts, called, strict=True)
        ]
        filters = loudest_phrases(model.net, preparation.text, split.texts) if isinstance(model.net, TextCNN) else ()
        known = preparation.text.vocabulary
        words = [
            (name, [(known.token(number), weight) for number, weight in own])
            for name, own in zip(model.classes, preparation.baseline.heaviest(_HEAVY), strict=True)
        ]
        text_report.save_figures(folder, record)
        return text_report.body(record, mistakes, filters, words)

    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """The most probable classes of sentences: words of the command line, lines of a file or of standard input."""
        preparation: TextPreparation = model.preprocess
        texts = list(_asked_texts(asked, broken, self.options(model.settings).encoding))
        if not texts:
            return
        split = SentenceSplit(tuple(texts), np.zeros(len(texts), np.int64), texts)
        probabilities = self._probabilities(model, split).astype(np.float32)
        found = Predictions(probabilities, model.classes, tuple(" ".join(text.split()) for text in texts))
        for text, one in zip(texts, found.top(min(asked.top, len(model.classes))), strict=True):
            made = answer(one, "sentence")
            numbers = preparation.text.encode([text])[0]
            strange = all(number == UNKNOWN for number in numbers)
            note = " (it holds no word that training knew)" if strange else ""
            yield Answer(made.name, made.text + note, made.rows, {**made.record, "known": not strange})

    def whole(self, data: Sentences) -> SentenceSplit:
        """All sentences, split after split."""
        return SentenceSplit.joined(data.splits.values())


def _batch_size(count: int) -> int:
    """50; smaller where an epoch would have fewer than 40 steps, but no smaller than 8."""
    size = 50
    while size > 8 and count // size < 40:
        size = max(8, size // 2)
    return size


def _asked_texts(asked: Asked, broken: list[PellucidError], encoding: str | None) -> Iterator[str]:
    """The sentences that are asked about; what cannot be read goes to ``broken``."""
    for thing in asked.things:
        try:
            yield from _texts_of(thing, asked, encoding)
        except PellucidError as error:
            broken.append(error)


def _texts_of(thing: str, asked: Asked, encoding: str | None) -> list[str]:
    """A sentence as it stands; the lines of a text file, or of standard input.

    Raises:
        DataError: for an empty text, a folder, a missing file, or a file that is no text.
    """
    if not thing.strip():
        raise DataError("there is an empty text among the sentences", fits="a text with something in it")
    if thing == "-":
        content, name = decode_text(asked.standard_input(), "standard input", encoding)[0], "standard input"
    elif path := _file(thing):
        content, name = decode_text(path.read_bytes(), thing, encoding)[0], thing
    else:
        return [thing]
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{name} is empty", fits="a sentence on each line")
    return lines


def _file(thing: str) -> Path | None:
    """The file that a word of the command line names, if it names one rather than being a sentence."""
    path = Path(thing).expanduser()
    try:
        if path.is_dir():
            raise DataError(f"{thing} is a folder", fits="a sentence, a text file with a sentence on each line, or -")
        if path.is_file():
            return path
    except OSError:  # too long for a name: a sentence
        return None
    if path.suffix.lower() == ".txt" and len(thing.split()) == 1:
        raise DataError(f"there is no file {thing}", fits="a sentence, a text file with a sentence on each line, or -")
    return None
