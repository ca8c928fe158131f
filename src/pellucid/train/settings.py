"""Every setting of a training run, with its meaning. ``None`` asks the recipe (recipe.py) to choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid.errors import UsageError, unknown

OptimizerName = Literal["sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "muon"]
ScheduleName = Literal["constant", "step", "cosine", "one_cycle", "inverse_square_root"]
LossName = Literal["cross_entropy", "binary_cross_entropy", "focal"]


class Settings(BaseModel):
    """What a run does. Frozen; ``config.yaml`` of a run folder holds the resolved one, every default written out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    task: str | None = Field(None, description="what is learned: classification, ...; None finds it from the data")
    task_settings: dict[str, Any] = Field(default_factory=dict, description="the task's own settings")
    net: str = Field("auto", description="network by name, or package.module:factory; auto is the task's own")
    net_settings: dict[str, Any] = Field(default_factory=dict, description="the network's own settings")
    weights: str | None = Field(None, description="a weights file to start from")
    freeze: bool = Field(False, description="train the head alone")

    image_size: int | tuple[int, int] | None = Field(None, description="size of the pictures that the network sees")
    channels: Literal[1, 3] | None = Field(None, description="1 for grey, 3 for colour")
    validation: float | None = Field(None, ge=0, lt=1, description="share of the training pictures held out")
    limit: int | None = Field(None, ge=1, description="use at most this many pictures of each split")

    epochs: int = Field(10, ge=1, description="times through the training pictures")
    batch_size: int | None = Field(None, ge=1, description="pictures in one step")
    optimizer: OptimizerName = Field("adamw", description="what turns gradients into steps")
    learning_rate: float | None = Field(None, gt=0, description="the highest learning rate of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="of momentum and muon")
    weight_decay: float | None = Field(None, ge=0, description="on kernels alone, never on biases and norms")
    schedule: ScheduleName = Field("one_cycle", description="how the learning rate goes over the run")
    warmup: float = Field(0.2, ge=0, lt=1, description="share of the run in which the learning rate rises")
    loss: LossName = Field("cross_entropy", description="what is made small")
    label_smoothing: float | None = Field(None, ge=0, lt=1, description="probability given to the other classes")
    class_weight: Literal["balanced"] | None = Field(None, description="'balanced' weighs rare classes up")
    ema: float | None = Field(None, ge=0, lt=1, description="decay of the running average of weights; 0 for none")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of all gradients together")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    early_stop: int | None = Field(None, ge=1, description="stop after so many epochs without a better one")

    crop: int | None = Field(None, ge=0, description="augmentation: pad by so many pixels, cut out anywhere")
    resized_crop: float | None = Field(None, ge=0, le=1, description="augmentation: smallest share of the area cut out")
    flip: bool | None = Field(None, description="augmentation: mirror left and right")
    rotation: float | None = Field(None, ge=0, le=180, description="augmentation: degrees")
    scale: float | None = Field(None, ge=0, description="augmentation: enlarge or shrink by up to this share")
    color: float | None = Field(None, ge=0, le=1, description="augmentation: brightness, contrast, saturation")
    cutout: int | None = Field(None, ge=0, description="augmentation: side of a square that is blanked, in pixels")
    mixup: float | None = Field(None, ge=0, description="augmentation: alpha of mixup; 0 for none")

    seed: int = Field(0, ge=0, lt=2**63, description="of everything random")
    device: str = Field("auto", description="cpu, cuda, cuda:1, or auto")
    threads: int | None = Field(None, ge=1, description="threads of PyTorch")
    precision: Literal["float32", "bf16"] = Field("float32", description="of the network's arithmetic")
    channels_last: bool | None = Field(None, description="memory layout of feature maps; None measures")
    engine: Literal["auto", "lanes", "torch"] = Field("auto", description="what runs the network; auto measures")
    checkpoint_seconds: float = Field(30.0, gt=0, description="a checkpoint at least so often")
    checkpoint_steps: int | None = Field(None, ge=1, description="and after so many steps")
    log_steps: int = Field(20, ge=1, description="a line in the log after so many steps")
    tensorboard: bool = Field(False, description="write TensorBoard events as well")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Settings from names and values.

        Raises:
            UsageError: for an unknown name (with the nearest) or a value that does not fit (with what would).
        """
        for name in values:
            if name not in cls.model_fields:
                raise unknown("setting", name, cls.model_fields)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"][:1])
            field = cls.model_fields.get(name)
            raise UsageError(
                f"{name} cannot be {values.get(name)!r}: {first['msg'][0].lower()}{first['msg'][1:]}",
                meaning=field.description if field else "",
            ) from None

    def with_values(self, **values: Any) -> Self:
        """A copy with some values replaced, checked like all others."""
        return self.parse({**self.model_dump(), **values})
