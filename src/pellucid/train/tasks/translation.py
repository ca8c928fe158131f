"""Translation: from a text to another, token by token; pairs to learn from, exact match and BLEU to measure by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pellucid.data.pairs import MADE, Pairs, PairSplit, load_pairs
from pellucid.data.pairs_batches import PairBatches, padded
from pellucid.data.pairs_files import recognised
from pellucid.data.pairs_preprocess import PairPreprocess
from pellucid.data.random import permutation
from pellucid.data.subwords import PADDING
from pellucid.errors import DataError, PellucidError, ShapeError, UsageError
from pellucid.train.decoding import Decoded, Decoder, beam_search, greedy
from pellucid.train.execution import Execution
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked, DataLike, Task
from pellucid.train.tasks.translation_answers import answer_of, texts_of
from pellucid.train.tasks.translation_measure import Texts, TranslationMeasured, measure

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord

_EVALUATION_BATCH = 100
_MAPS = 3  # examples of each kind of which a report draws what was looked at
# The highest learning rate at a batch of 64 pairs.
_RATES = {"sgd": 0.2, "momentum": 0.05, "adagrad": 0.02, "rmsprop": 5e-4, "adam": 1e-3, "adamw": 1e-3, "muon": 0.02}
_DECAYS = {"adamw": 0.01, "muon": 0.01}


class Options(BaseModel):
    """The settings of translation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: Literal["characters", "subwords"] | None = Field(
        None, description="what texts are made of; None: characters for texts of up to 100, else subwords"
    )
    vocabulary_size: int = Field(8000, ge=300, le=200_000, description="how many subwords, on each side")
    shared_vocabulary: bool = Field(False, description="one vocabulary for sources and targets")
    source: str | None = Field(None, description="the column, or the ending of the file, of sources")
    target: str | None = Field(None, description="the column, or the ending of the file, of targets")
    longest: int = Field(256, ge=1, description="tokens that a source or a target may have")
    sample: int = Field(200, ge=1, description="pairs that are decoded after each epoch for the exact match")
    beam: int = Field(4, ge=1, le=100, description="beams of the search at the end and in predictions; 1 is greedy")
    length_penalty: float = Field(0.6, ge=0, le=10, description="alpha of Wu et al. 2016, eq. 14")


class TokenCrossEntropy(nn.Module):
    """The mean of -sum_k t_k log p_k over tokens that are no padding, targets t smoothed (Szegedy et al. 2015, section
    7; Vaswani et al. 2017, section 5.4)."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, T, V), (N, T) int64 -> the mean"""
        return nn.functional.cross_entropy(
            outputs.flatten(0, 1), targets.flatten(), ignore_index=PADDING, label_smoothing=self.smoothing
        )


class Translation(Task):
    """Pairs of texts: what a source becomes."""

    name: ClassVar[str] = "translation"
    things: ClassVar[str] = "pairs"
    reads: ClassVar[tuple[str, ...]] = ("pairs",)
    net: ClassVar[str] = "transformer"
    score: ClassVar[str] = "exact_match"
    train_score: ClassVar[str] = "token_accuracy"
    units: ClassVar[Mapping[str, str]] = {
        "loss": "mean over tokens",
        "token_accuracy": "share of tokens, given those before",
        "exact_match": "share of pairs that are right to the character",
    }
    Options: ClassVar[type[BaseModel]] = Options

    def recognises(self, where: str) -> bool:
        """A known name, a CSV file with columns of sources and targets, parallel files, or a zip of these."""
        path = Path(where).expanduser()
        return (where in MADE and not path.exists()) or recognised(path)

    def load(self, where: str, settings: Settings) -> Pairs:
        """Pairs from a path or a known name, as the settings ask."""
        self.loss(settings, None)  # what does not fit is said before anything is read
        options = self.options(settings)
        return load_pairs(
            where,
            source=options.source,
            target=options.target,
            validation=settings.validation,
            limit=settings.limit,
            seed=settings.seed,
        )

    def load_again(self, where: str, preparation: PairPreprocess, settings: Settings) -> Pairs:
        """All pairs, split as they were in training."""
        options = self.options(settings)
        held, seed = preparation.validation, preparation.seed
        return load_pairs(where, source=options.source, target=options.target, validation=held, seed=seed)

    def prepare(self, data: Pairs, settings: Settings) -> PairPreprocess:
        """Vocabularies of the training pairs."""
        options = self.options(settings)
        return PairPreprocess.of(
            data,
            kind=options.vocabulary,
            size=options.vocabulary_size,
            shared=options.shared_vocabulary,
            most=options.longest,
            seed=settings.seed,
            validation=settings.validation,
        )

    def read_preparation(self, values: Mapping[str, Any]) -> PairPreprocess:
        """What ``PairPreprocess.to_json`` gave."""
        return PairPreprocess.from_json(values)

    def facts(self, preparation: PairPreprocess, classes: tuple[str, ...]) -> dict[str, Any]:
        """source_vocabulary, target_vocabulary: how many tokens there are; and for texts that are read by characters,
        of which there are few, width and feed_forward of half the usual size."""
        made = {"source_vocabulary": len(preparation.source), "target_vocabulary": len(preparation.target)}
        few = not (preparation.source.with_bytes or preparation.target.with_bytes)
        return {**made, "width": 128, "feed_forward": 512} if few else made

    def resolve(self, settings: Settings, data: Pairs, net: nn.Module) -> Settings:
        """Good values for whatever is not set."""
        batch_size = min(settings.batch_size or _batch_size(len(data.train)), len(data.train))
        chosen = {
            "batch_size": batch_size,
            "learning_rate": float(f"{_RATES[settings.optimizer] * (batch_size / 64) ** 0.5:.3g}"),
            "weight_decay": _DECAYS.get(settings.optimizer, 0.0),
            "label_smoothing": 0.1,
            "ema": 0.0,
            "clip_norm": 1.0,
        }
        given = {name: value for name, value in settings.model_dump().items() if value is not None}
        return Settings.parse({**settings.model_dump(), **chosen, **given, "batch_size": batch_size})

    def batches(
        self, split: PairSplit, preparation: PairPreprocess, settings: Settings, device: torch.device, *, training: bool
    ) -> PairBatches:
        """Pairs of like lengths together; in training shuffled."""
        size = (settings.batch_size or 64) if training else _EVALUATION_BATCH
        sources, targets = preparation.encode(split)
        return PairBatches(sources, targets, batch_size=size, seed=settings.seed, shuffle=training, device=device)

    def loss(self, settings: Settings, data: Pairs | None) -> nn.Module:
        """Cross-entropy over tokens.

        Raises:
            UsageError: for another loss, or what makes no sense for tokens.
        """
        if settings.loss != "cross_entropy" or settings.class_weight or settings.mixup:
            raise UsageError("translation learns by cross_entropy, without class_weight and mixup")
        return TokenCrossEntropy(settings.label_smoothing or 0.0)

    def right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """How many tokens are the most probable: outputs (N, T, V), labels (N, T)."""
        return ((outputs.argmax(-1) == labels) & (labels != PADDING)).sum()

    def check_outputs(self, outputs: Any, count: int, data: DataLike | None, classes: tuple[str, ...]) -> None:
        """Raises ShapeError unless the outputs are (N, T, V)."""
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if not isinstance(outputs, Tensor) or outputs.ndim != 3 or len(outputs) != count:
            raise ShapeError(
                f"for {count} pairs the network gives {found}", fits=f"a tensor ({count}, tokens, vocabulary)"
            )

    def quick(
        self, net: nn.Module, split: PairSplit, preparation: PairPreprocess, settings: Settings, execution: Execution
    ) -> dict[str, float]:
        """Loss and accuracy of the tokens of a whole split; the exact match of a sample of it, greedily decoded."""
        measures = self._taught(net, split, preparation, settings, execution)
        count = min(self.options(settings).sample, len(split))
        sample = split.take(sorted(permutation(settings.seed, 0, len(split))[:count].tolist()))
        written = self.written(net, sample, preparation, settings, execution, width=1).written
        right = sum(one == other for one, other in zip(written, sample.targets, strict=True))
        return {**measures, "exact_match": right / count}

    @torch.no_grad()
    def _taught(
        self, net: nn.Module, split: PairSplit, preparation: PairPreprocess, settings: Settings, execution: Execution
    ) -> dict[str, float]:
        """``loss`` and ``token_accuracy``, each token given those before it in the target (teacher forcing)."""
        loss, training, batches = (
            TokenCrossEntropy(0.0),
            net.training,
            self.batches(split, preparation, settings, execution.device, training=False),
        )
        total, right, count = 0.0, 0, 0
        net.eval()
        try:
            for batch in batches.epoch(0):
                outputs = execution.run(net, batch)
                total += float(loss(outputs.float(), batch.targets)) * batch.count
                right += int(self.right(outputs, batch.labels))
                count += batch.count
        finally:
            net.train(training)
        return {"loss": total / count, "token_accuracy": right / count}

    def written(
        self,
        net: nn.Module,
        split: PairSplit,
        preparation: PairPreprocess,
        settings: Settings,
        execution: Execution,
        *,
        width: int,
    ) -> Texts:
        """What the network writes for each source of a split, in its order; ``width`` beams, 1 is greedy."""
        alpha = self.options(settings).length_penalty
        batches = self.batches(split, preparation, settings, execution.device, training=False)
        found: dict[int, Decoded] = {}
        for batch in batches.epoch(0):
            best = [texts[0] for texts in decode(net, batch.source, preparation.limit, execution, width, alpha)]
            found |= dict(zip(batch.indices.tolist(), best, strict=True))
        ordered = [found[i] for i in range(len(split))]
        return Texts(
            width,
            tuple(preparation.target.decode(item.tokens) for item in ordered),
            tuple(item.probability for item in ordered),
            sum(item.cut for item in ordered),
        )

    def measure(self, model: Model, split: PairSplit) -> TranslationMeasured:
        """Exact match, edits, BLEU and chrF of greedy and beam decoding; loss and accuracy of tokens; examples."""
        settings, execution = model.settings, model.execution()
        execution.place(model.net)
        taught = self._taught(model.net, split, model.preprocess, settings, execution)
        decoded = [
            self.written(model.net, split, model.preprocess, settings, execution, width=width)
            for width in sorted({1, self.options(settings).beam})
        ]
        return measure(split.sources, split.targets, split.names, decoded, **taught)

    def read_measured(self, values: Mapping[str, Any]) -> TranslationMeasured:
        """What ``TranslationMeasured.to_json`` gave."""
        return TranslationMeasured.from_json(values)

    def report(self, folder: Path, record: RunRecord, model: Model, split: PairSplit) -> Body:
        """Examples right and wrong, what each written token looked at, errors by length."""
        from pellucid.draw import translation_report
        from pellucid.train.tasks.translation_attention import maps_of

        measured: TranslationMeasured = record.measured
        shown = [*measured.right[:_MAPS], *measured.wrong[:_MAPS]]
        maps = maps_of(model, [(item.source, item.written) for item in shown])
        return translation_report.body(record, maps)

    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """The translations of texts: words of the command line, lines of a file, or lines of standard input."""
        options = self.options(
            model.settings.with_values(task_settings={**model.settings.task_settings, **asked.options})
        )
        execution = model.execution()
        execution.place(model.net)
        preparation: PairPreprocess = model.preprocess
        good: list[tuple[str, list[int]]] = []
        for name, text in texts_of(asked, broken):
            try:
                good.append((text, preparation.source_of(text, name)))
            except DataError as error:
                broken.append(error)
        for first in range(0, len(good), _EVALUATION_BATCH):
            part = good[first : first + _EVALUATION_BATCH]
            source = padded([numbers for _, numbers in part]).to(execution.device)
            found = decode(model.net, source, preparation.limit, execution, options.beam, options.length_penalty)
            for (text, _), texts in zip(part, found, strict=True):
                yield answer_of(text, texts[: asked.top], preparation)

    def whole(self, data: Pairs) -> PairSplit:
        """All pairs, split after split."""
        parts = list(data.splits.values())
        return PairSplit(
            tuple(text for part in parts for text in part.sources),
            tuple(text for part in parts for text in part.targets),
            tuple(str(name) for part in parts for name in part.names),
        )


def decode(
    net: nn.Module, source: Tensor, limit: int, execution: Execution, width: int, alpha: float
) -> Sequence[Sequence[Decoded]]:
    """The best texts for each source (N, S), in evaluation mode; the mode is put back.

    Raises:
        UsageError: where the network cannot decode.
    """
    if not (callable(getattr(net, "encode", None)) and callable(getattr(net, "step", None))):
        raise UsageError(
            f"a {type(net).__name__} cannot write a text: it has no encode(source) and step(tokens, memory, cache)",
            fits="--net transformer, or the two methods (pellucid.train.decoding.Decoder)",
        )
    training, decoder = net.training, cast(Decoder, net)
    net.eval()
    try:
        with execution.precision():
            if width == 1:
                return [[text] for text in greedy(decoder, source, limit)]
            return beam_search(decoder, source, limit, width=width, alpha=alpha)
    finally:
        net.train(training)


def _batch_size(count: int) -> int:
    """64; smaller where an epoch would have fewer than 40 steps, but no smaller than 8."""
    size = 64
    while size > 8 and count // size < 40:
        size //= 2
    return size
