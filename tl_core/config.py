"""A trial's configuration and the metrics that it reports: plain values; imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

Mode = Literal["freeze", "finetune", "lp_ft", "scratch"]
MODES: tuple[Mode, ...] = get_args(Mode)
Precision = Literal["fp32", "bf16"]

TrainRatio = Annotated[float, Field(gt=0, le=0.8, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1)]
ImageSize = Annotated[int, Field(ge=16, le=1024)]

ARTICLE_WIDTHS = {"mlp": (1024, 512, 128, 32, 8, 3), "shared_mlp": (1024, 256)}
"""The article's fully connected nets: the width of each layer below the heads."""
ARTICLE_SIZE = 128
"""Side of the article's images, pixels."""


def _weight_or_word(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    # pydantic reports one fault for each member of a union; this is one for all.
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("must be a number from 0 to 1, or auto") from None


AuxWeight = Annotated[
    Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal["auto"],
    WrapValidator(_weight_or_word),
]

Metric = Literal[
    "val_log_loss",
    "val_loss",
    "val_accuracy",
    "val_auroc",
    "val_brightness_mae",
    "val_brightness_r2",
]
DIRECTIONS: dict[Metric, Literal["min", "max"]] = {
    "val_log_loss": "min",
    "val_loss": "min",
    "val_accuracy": "max",
    "val_auroc": "max",
    "val_brightness_mae": "min",
    "val_brightness_r2": "max",
}
"""The metrics that a study can choose trials by, and which direction is better."""


class TrialConfig(BaseModel):
    """One configuration and its seed: everything that decides a trial's numbers.

    Raises `pydantic.ValidationError` on construction; it names every value out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    """Which weights learn: only the heads on a frozen backbone (`freeze`), everything from
    pretrained weights (`finetune`), first the heads and then everything (`lp_ft`), or everything
    from random weights (`scratch`)."""
    train_ratio: TrainRatio
    """Labelled training images as a share of the whole data set, up to 0.8."""
    lr: LearningRate
    """Adam's learning rate; for `lp_ft` that of the second stage, where everything learns."""
    aux_weight: AuxWeight = 0.0
    """w in loss = (1 - w) * classification + w * brightness; `auto` learns it with the net
    (`tl_core.training.weighting.LearnedWeights`)."""
    backbone: str = "resnet18"
    """A name that `tl_core.models.backbones.load_backbone` knows."""
    weights: str = "default"
    """`default`, `none` or the path of a weights file; `scratch` ignores it."""
    image_size: ImageSize = 224
    """Side of the square images, pixels."""
    precision: Precision = "fp32"
    """Number format of the network; heads on cached features always use float32."""
    hflip: bool = False
    """Mirror each training image left to right with probability one half."""
    compile: bool = False
    """Compile the network that learns (`torch.compile`)."""
    epochs: Count = 10
    """Passes over the training subset."""
    batch_size: Count = 32
    """Images in a step."""
    seed: Seed = 0
    """Draws the training subset, the initial values of random weights, and the batch order."""
    seeds: Count = 1
    """Number of seeds, from `seed` on, that a frozen trial trains together; it reports means."""
    split_seed: Seed = 0
    """Draws the fixed validation and test sets."""

    @model_validator(mode="after")
    def _several_seeds_need_features(self) -> Self:
        if self.seeds > 1 and self.mode != "freeze":
            raise ValueError(f"mode {self.mode} trains one seed, not {self.seeds}; only freeze can")
        return self

    @model_validator(mode="after")
    def _heads_are_not_compiled(self) -> Self:
        if self.compile and self.mode == "freeze":
            raise ValueError("mode freeze trains no network that compile could speed up")
        return self


def default_image_size(backbone: str) -> int:
    """Side of the images that a backbone gets unless the user gives one, pixels."""
    return ARTICLE_SIZE if backbone in ARTICLE_WIDTHS else 224


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch: means over the seeds; losses in nats (plus squared error)."""

    epoch: int
    """1 for the first."""
    train_loss: float
    """Mean over the epoch's images, where the weights before each step score its images. This and
    `val_loss` use the fixed `aux_weight`, or the one at the end of the epoch."""
    train_accuracy: float
    val_loss: float
    val_log_loss: float
    """Classification alone, so that trials with different auxiliary weights are comparable."""
    val_accuracy: float
    val_auroc: float
    val_brightness_mae: float
    val_brightness_r2: float
    images_per_s: float
    """Training images per second, summed over all seeds; without validation."""
    val_log_loss_std: float | None = None
    """Standard deviation over the seeds of a frozen trial; None for one seed."""
    val_accuracy_std: float | None = None
    aux_weight_learned: float | None = None
    """The w that `auto` has learned, mean over the seeds; None for a fixed weight."""


Report = Callable[[EpochMetrics], None]
