"""Sound: one label a recording, by its spectrogram (a picture) or by its wave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_type_hints

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from pellucid import nets
from pellucid.data.sounds import SpectrogramSplit, Waves, WaveSplit, load_sounds
from pellucid.data.sounds_batches import SpectrogramBatches, WaveBatches
from pellucid.data.sounds_files import SUFFIXES, holds_recordings
from pellucid.data.sounds_preprocess import SpectrogramPreprocess, WavePreprocess
from pellucid.errors import DataError, PellucidError, UsageError
from pellucid.train import recipe
from pellucid.train.measure import Measured
from pellucid.train.predictions import Prediction, probabilities_of
from pellucid.train.settings import Settings
from pellucid.train.task import Answer, Asked
from pellucid.train.tasks.classification import EVALUATION_BATCH, Classification, answer

if TYPE_CHECKING:
    from pellucid.draw.report import Body
    from pellucid.train.model import Model
    from pellucid.train.record import RunRecord

_CHUNK = 256  # recordings that are read before the network hears them
_MOST_SHOWN = 500  # recordings in which the loudest places of filters are looked for


class SoundOptions(BaseModel):
    """Settings of sound alone; ``None`` is chosen from the data."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    form: Literal["spectrogram", "wave"] | None = Field(None, description="what the network reads; None asks it")
    rate: int | None = Field(None, ge=100, description="samples a second; None: the most frequent, at most 16,000")
    seconds: float | None = Field(None, gt=0, description="length of all recordings; None: 95% of them fit whole")
    frame: float = Field(25.0, gt=0, description="milliseconds of a frame of the spectrogram")
    hop: float = Field(10.0, gt=0, description="milliseconds from one frame to the next")
    mels: int | None = Field(None, ge=1, description="bands of the spectrogram, its height; None: up to 64")
    low: float = Field(20.0, ge=0, description="hertz where the lowest band begins")
    high: float | None = Field(None, gt=0, description="hertz where the highest band ends; None: half the rate")
    range_db: float = Field(50.0, gt=0, description="decibels from the loudest place of a recording to black")
    shift: float = Field(0.15, ge=0, lt=1, description="training moves recordings by up to this share of their length")
    names: str | None = Field(None, description="what the parts of file names are, such as label_speaker_take")
    split_by: str | None = Field(None, description="the part (speaker, take) that may not stand in two splits")
    held_out: str | None = Field(None, description="of these, those of the test split, joined by commas")


class Heard(Measured):
    """What is measured of a classifier of recordings."""

    @classmethod
    def of(cls, measured: Measured) -> Heard:
        return cls(**{name: getattr(measured, name) for name in Measured.__dataclass_fields__})

    def headline(self, things: str = "recordings") -> str:
        return super().headline(things)

    def text(self, things: str = "recordings") -> str:
        return super().text(things)


class Sound(Classification):
    """Recordings, one of K classes each."""

    name: ClassVar[str] = "sound"
    things: ClassVar[str] = "recordings"
    reads: ClassVar[tuple[str, ...]] = ("pictures", "waves")
    net: ClassVar[str] = "basic_cnn"
    units: ClassVar[Mapping[str, str]] = {"loss": "mean over recordings", "accuracy": "share of recordings"}
    Options: ClassVar[type[BaseModel]] = SoundOptions

    def recognises(self, where: str) -> bool:
        """Whether there are WAV files at a path, in an archive or on the lines of a table."""
        return holds_recordings(where)

    def load(self, where: str, settings: Settings) -> Any:
        """Recordings as the settings ask, in the form that the network reads."""
        return self._load(where, settings)

    def load_again(self, where: str, preparation: Any, settings: Settings) -> Any:
        """Recordings at the network's rate and length."""
        return self._load(where, settings, hearing=preparation.hearing)

    def _load(self, where: str, settings: Settings, **more: Any) -> Any:
        options: SoundOptions = self.options(settings)
        chosen = options.model_dump(exclude={"form", "shift", "held_out"})
        if more:  # a trained network says it all
            kept = {"names", "split_by"}
            chosen = {name: value for name, value in chosen.items() if name in kept}
        form = more["hearing"].form if more else options.form or form_of(settings.net)
        return load_sounds(
            where,
            form=form,
            held_out=_listed(options.held_out),
            validation=settings.validation,
            limit=settings.limit,
            seed=settings.seed,
            **chosen,
            **more,
        )

    def prepare(self, data: Any, settings: Settings) -> Any:
        """Mean and deviation of the training spectrograms, or the loudness of the training waves."""
        return WavePreprocess.of(data) if isinstance(data, Waves) else SpectrogramPreprocess.of(data)

    def read_preparation(self, values: Mapping[str, Any]) -> Any:
        """What its ``to_json`` gave."""
        kind = WavePreprocess if "image_size" not in values else SpectrogramPreprocess
        return kind.from_json(values)

    def facts(self, preparation: Any, classes: tuple[str, ...]) -> dict[str, Any]:
        """Of spectrograms those of pictures; of waves classes, length and rate."""
        if isinstance(preparation, WavePreprocess):
            hearing = preparation.hearing
            return {"classes": len(classes), "in_channels": 1, "length": hearing.length, "rate": hearing.rate}
        return super().facts(preparation, classes)

    def resolve(self, settings: Settings, data: Any, net: nn.Module) -> Settings:
        """The recipe of pictures, but for what may be done to a spectrogram: never mirrored nor turned, for time and
        pitch have a direction.

        Raises:
            UsageError: where the network reads waves and the data are pictures, or the other way round.
        """
        waves = isinstance(data, Waves)
        if waves != (getattr(net, "reads", None) == "waves") and isinstance(getattr(net, "reads", None), str):
            form = "spectrogram" if waves else "wave"
            raise UsageError(
                f"the network reads {net.reads}, and the data are {data.hearing.form}s", fits=f"form={form}"
            )
        plain = dict.fromkeys(("crop", "cutout"), 0) | dict.fromkeys(
            ("resized_crop", "rotation", "scale", "color"), 0.0
        )
        own = {**plain, "flip": False, "mixup": 0.0, **({} if waves else _of_spectrograms(data))}
        unset = {name: value for name, value in own.items() if getattr(settings, name) is None}
        shaped: Any = _Shaped(data) if waves else data
        return recipe.resolve(settings.with_values(**unset), shaped, net)

    def batches(self, split: Any, preparation: Any, settings: Settings, device: torch.device, *, training: bool) -> Any:
        """In training shuffled and moved, without the rest that fills no batch; else all in order."""
        waves = isinstance(split, WaveSplit)
        if not training:
            kind: Any = WaveBatches if waves else SpectrogramBatches
            return kind(split, preparation, batch_size=EVALUATION_BATCH, device=device)
        size, shift = settings.batch_size or 128, self.options(settings).shift
        common: dict[str, Any] = {
            "batch_size": size,
            "seed": settings.seed,
            "shuffle": True,
            "drop_last": len(split) >= size,
            "device": device,
        }
        if waves:
            return WaveBatches(split, preparation, shift=round(shift * preparation.hearing.length), **common)
        columns = round(shift * preparation.image_size[1])
        return SpectrogramBatches(split, preparation, shift=columns, augment=recipe.augment(settings), **common)

    def measure(self, model: Model, split: Any) -> Heard:
        """Accuracy, confusion, precision and recall, calibration, mistakes."""
        return Heard.of(super().measure(model, split))

    def read_measured(self, values: Mapping[str, Any]) -> Heard:
        """What ``Heard.to_json`` gave."""
        return Heard.of(Measured.from_json(values))

    def report(self, folder: Path, record: RunRecord, model: Model, split: Any) -> Body:
        """Mistakes as spectrograms and as sound, confusion, classes, calibration, the loudest places of each filter."""
        from pellucid.draw import classification_report, sound_report
        from pellucid.train.tasks.sound_filters import filter_banks

        hearing = model.preprocess.hearing
        waves = {item.index: np.asarray(split.waves[item.index]) for item in record.measured.mistakes}
        pictures = {index: hearing.mel.picture(wave) for index, wave in waves.items()}
        classification_report.save_figures(folder, record, pictures)
        shown = split.take(np.arange(min(len(split), _MOST_SHOWN)))
        batches = self.batches(shown, model.preprocess, model.settings, torch.device("cpu"), training=False)
        banks = filter_banks(model.net, batches.epoch(0), shown, model.classes, hearing)
        return sound_report.body(record, pictures, waves, hearing.rate, banks)

    def answers(self, model: Model, asked: Asked, broken: list[PellucidError]) -> Iterator[Answer]:
        """The most probable classes of WAV files, of all in a folder; - is one on standard input."""
        found = [file for given in asked.things for file in _files(given)]
        top = min(asked.top, len(model.classes))
        for first in range(0, len(found), _CHUNK):
            good = []
            for name in found[first : first + _CHUNK]:
                try:
                    given = asked.standard_input() if name == "-" else name
                    good.append((name, model.preprocess.hearing.wave(given, name)))
                except DataError as error:
                    broken.append(error)
            if good:
                yield from (answer(item, "recording") for item in _predictions(model, good, top))

    def whole(self, data: Any) -> Any:
        """All recordings, split after split."""
        parts = list(data.splits.values())
        labels = np.concatenate([part.labels for part in parts])
        names = [str(called) for part in parts for called in part.names]
        waves = np.concatenate([part.waves for part in parts])
        if isinstance(data, Waves):
            return WaveSplit(waves, labels, names)
        return SpectrogramSplit(np.concatenate([part.images for part in parts]), labels, names, waves)


def _of_spectrograms(data: Any) -> dict[str, Any]:
    """Up or down by a few bands, for voices differ so; and a square blanked, lest one place decides (a simple form of
    SpecAugment, Park et al. 2019)."""
    mels = data.image_size[0]
    return {"crop": mels // 20, "cutout": mels // 6}


class _Shaped:
    """Waves as far as the recipe of pictures looks at them."""

    def __init__(self, data: Waves) -> None:
        self.train, self.classes = data.train, data.classes
        self.image_size, self.channels = (1, data.hearing.length), 1


def form_of(net: str) -> str:
    """What a network reads, by the class that its factory says it makes: ``wave`` where that is ``reads = "waves"``."""
    build: Any = nets.factory(net) if net not in ("auto", "given:module") else None
    while isinstance(build, partial):
        build = build.func
    try:
        made = build if isinstance(build, type) else get_type_hints(build).get("return") if build else None
    except (NameError, TypeError):  # somebody's function, whose annotations are nobody's business
        made = None
    return "wave" if getattr(made, "reads", None) == "waves" else "spectrogram"


def _listed(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(names).split(",") if name.strip()) if names is not None else ()


def _files(given: str) -> list[str]:
    path = Path(given).expanduser()
    if given == "-" or not path.is_dir():
        return [given]
    files = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise UsageError(f"there is no WAV file in {given}", fits="pellucid predict RUN FILE.wav")
    return files


def _predictions(model: Model, named: list[tuple[str, Any]], top: int) -> Iterator[Prediction]:
    waves = np.stack([wave for _, wave in named])
    names, labels = [name for name, _ in named], np.zeros(len(named), np.int64)
    if isinstance(model.preprocess, WavePreprocess):
        split: Any = WaveSplit(waves, labels, names)
    else:
        mel = model.preprocess.hearing.mel
        split = SpectrogramSplit(np.stack([mel.picture(wave) for wave in waves]), labels, names, waves)
    probabilities = probabilities_of(model.outputs(split))
    for name, row in zip(names, probabilities, strict=True):
        order = np.argsort(-row, kind="stable")[:top]
        yield Prediction(name, tuple((model.classes[i], float(row[i])) for i in order))
