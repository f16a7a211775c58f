"""A trial's configuration and the metrics that it reports: plain values; imports no torch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tl_core.aux_task import NAME, NO_NAME, AuxOn, AuxWeight

Mode = Literal["freeze", "probe", "partial", "finetune", "lp_ft", "scratch"]
MODES: tuple[Mode, ...] = get_args(Mode)
FROZEN: tuple[Mode, ...] = ("freeze", "probe")
"""The modes that train heads alone, on the features of a frozen network."""
CACHED: tuple[Mode, ...] = (*FROZEN, "partial")
"""The modes that learn from what the frozen part of a network makes of each image, once."""
SOLVED: tuple[Mode, ...] = ("probe", "partial", "lp_ft")
"""The modes whose heads are solved before the first step."""
WHOLE: tuple[Mode, ...] = tuple(mode for mode in MODES if mode not in CACHED)
"""The modes whose step takes the images through the whole network, there and back."""
Precision = Literal["fp32", "fp16", "bf16"]
BatchNorm = Literal["frozen", "train"]
Schedule = Literal["cosine", "constant"]
AuxTarget = Literal["standardized", "raw"]
ClassWeights = Literal["none", "balanced"]
"""How much each class counts in training; see `tl_core.objectives.losses`."""
BUILT_IN = ("demo", "oxford-pet")
"""Names of data sets that are no files of the user's; `./demo` is a folder."""
Resize = Literal["squash", "crop", "pad"]
"""How a picture becomes a square; see `tl_core.data.decode.to_square`."""
PAD_GREY = 128
"""The level around a padded or a moved picture, in all three channels."""
Augment = Literal["none", "flip", "crop", "trivial"]
"""How each training image is changed at random; see `tl_core.inputs.augment`."""
VIEWS_NOT_CACHED: tuple[Augment, ...] = ("crop", "trivial")
"""Augmentations with too many views of an image to cache their features."""

TrainRatio = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
HeadRatio = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
LayerDecay = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
SMALLEST_SIZE, LARGEST_SIZE = 16, 1024
ImageSize = Annotated[int, Field(ge=SMALLEST_SIZE, le=LARGEST_SIZE)]

Metric = Literal[
    "val_log_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_f1",
    "val_auroc", "val_brightness_mae", "val_brightness_r2",
]  # fmt: skip
"""What a study can choose trials by."""


def direction(score: str) -> Literal["min", "max"]:
    """Which direction of a score is better, also of an auxiliary task of the user's."""
    return "min" if score.endswith(("_mae", "_loss")) else "max"


def sign(score: str) -> Literal[1, -1]:
    """The factor that makes lower values of a score better."""
    return 1 if direction(score) == "min" else -1


class TrialConfig(BaseModel):
    """One configuration and its seed: everything that decides a trial's numbers.

    Raises `pydantic.ValidationError`, a `ValueError`, on construction: it names every value out of
    range, else everything that does not fit the mode.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    """What learns: only the heads on a frozen backbone (`freeze`), the same, solved to
    convergence (`probe`), the last `unfreeze` stages, from the probe (`partial`), everything from
    pretrained weights (`finetune`), the same, from the probe (`lp_ft`), or everything from random
    weights (`scratch`)."""
    train_ratio: TrainRatio
    """Labelled training images as a share of the whole data set, up to 0.8; or of the training
    part that is given, up to 0.9 if the validation or the test part is, too, and 1 if both are."""
    lr: LearningRate | None = None
    """AdamW's highest learning rate; None for `probe`, which has none."""
    aux_weight: AuxWeight = 0.0
    """w in loss = (1 - w) * classification + w * auxiliary task; `auto` learns it with the net
    (`tl_core.objectives.weighting.LearnedWeights`). 0 for `probe`, whose heads share nothing."""
    aux: str = NAME
    """The auxiliary task: `brightness`, a column of the manifest, or `none`."""
    aux_on: AuxOn = "labelled"
    """Which images teach it: those of the training subset, or all of the training part that have
    its label (`tl_core.inputs.unlabelled`)."""
    aux_target: AuxTarget = "standardized"
    """How a number is learned: by the mean and standard deviation of the training subset, so that
    a weight means the same for any task (`tl_core.objectives.targets.TargetScale`), or as it is."""
    class_weights: ClassWeights = "none"
    """Whether all images count alike in the classification loss of training, or all classes."""
    unfreeze: Count | None = None
    """Last stages that learn in mode `partial`; None for all other modes."""
    backbone: str = "resnet18"
    """A name that `tl_core.models.backbones.load_backbone` knows."""
    weights: str = "default"
    """`default`, `none` or the path of a weights file; `scratch` ignores it."""
    image_size: ImageSize = 224
    """Side of the square images, pixels."""
    resize: Resize = "squash"
    """How an image becomes a square: its aspect ratio is lost, its middle is cut out, or bars fill
    the rest."""
    precision: Precision = "fp32"
    """Number format of the network; heads on cached features always use float32."""
    augment: Augment = "none"
    """How training images are changed in each step: `flip` mirrors with probability one half."""
    compile: bool = False
    """Compile the network that learns (`torch.compile`)."""
    batchnorm: BatchNorm = "frozen"
    """Whether BatchNorm keeps its stored statistics (`frozen`; its affine parameters still learn)
    or updates them; `train` by default for `scratch`, which has none stored."""
    epochs: Count = 10
    """Passes over the training subset, and how often the trial reports; 1 for `probe`."""
    min_steps: Steps = 200
    """Fewest steps: a small subset is passed over more often, and `epochs` reports divide them."""
    batch_size: Count = 32
    """Images in a step."""
    schedule: Schedule = "cosine"
    """Of the learning rate: `cosine` rises over the first 10 % of the steps and falls to 0."""
    weight_decay: Share = 0.01
    """AdamW's, of all parameters with two axes and more."""
    head_lr_ratio: HeadRatio = 1.0
    """Learning rate of the heads as a multiple of `lr`; by default 10 for `finetune`, whose heads
    are fresh above pretrained weights."""
    layer_decay: LayerDecay = 1.0
    """Factor of the learning rate from each stage to the one below it."""
    seed: Seed = 0
    """Draws the training subset, the initial values of random weights, and the batch order."""
    seeds: Count = 1
    """Number of seeds, from `seed` on, that a frozen trial trains together; it reports means."""
    split_seed: Seed = 0
    """Draws the fixed validation and test sets."""

    @property
    def hflip(self) -> bool:
        """Whether training sees mirror images as well."""
        return self.augment == "flip"

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_mode(cls, given: Any) -> Any:
        return default_recipe(given.get("mode", "")) | given if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Self:
        if faults := [*self._faults()]:
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        frozen, mode = self.mode in FROZEN, f"mode {self.mode}"
        if self.seeds > 1 and not frozen:
            yield f"{mode} trains one seed, not {self.seeds}; only {' and '.join(FROZEN)} can"
        if self.compile and frozen:
            yield f"{mode} trains no network that compile could speed up"
        if self.batchnorm == "train" and frozen:
            yield f"{mode} changes no BatchNorm statistics: batchnorm must be frozen"
        if (rates := (self.head_lr_ratio, self.layer_decay)) != (1, 1) and frozen:
            must = "head_lr_ratio and layer_decay must be 1, not {:g} and {:g}".format(*rates)
            yield f"{mode} trains its heads alone: {must}"
        if (self.lr is None) != (self.mode == "probe"):
            yield f"{mode} has no lr" if self.lr else f"{mode} needs an lr"
        if (self.unfreeze is None) != (self.mode != "partial"):
            yield f"unfreeze is for mode partial, not for {mode}"
        if self.mode == "probe" and self.aux_weight != 0:
            yield f"{mode} solves each task alone: aux_weight must be 0"
        if self.mode == "probe" and self.epochs != 1:
            yield f"{mode} is solved, not trained: epochs must be 1"
        if self.aux == NO_NAME and self.aux_weight != 0:
            yield f"aux {NO_NAME} has nothing to weight: aux_weight must be 0"
        if self.augment in VIEWS_NOT_CACHED and self.mode in CACHED:
            yield f"{mode} learns from cached views, which {self.augment} has not"


def default_recipe(mode: str) -> dict[str, Any]:
    """Return the recipe's values that depend on the mode."""
    return {
        "batchnorm": "train" if mode == "scratch" else "frozen",
        "head_lr_ratio": 10.0 if mode == "finetune" else 1.0,
        "unfreeze": 1 if mode == "partial" else None,
        "epochs": 1 if mode == "probe" else 10,
    }


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch: means over the seeds; losses in nats (plus squared error)."""

    epoch: int
    """1 for the first; each is one of `TrialConfig.epochs` equal parts of the trial's steps."""
    train_loss: float
    """Mean over the epoch's images, where the weights before each step score its images. This and
    `val_loss` use the fixed `aux_weight`, or the one at the end of the epoch. `class_weights` count
    here alone: validation and test scores have none."""
    train_accuracy: float
    val_loss: float
    val_log_loss: float
    """Classification alone, so that trials with different auxiliary weights are comparable."""
    val_accuracy: float
    val_auroc: float
    images_per_s: float
    """Training images per second, summed over all seeds; without validation."""
    aux: Mapping[str, float] = field(default_factory=dict)
    """Scores of the auxiliary task, by names such as `val_brightness_mae` (`AuxTask.scores`)."""
    val_balanced_accuracy: float | None = None
    """Mean recall of the classes; studies of earlier versions lack this and the next."""
    val_macro_f1: float | None = None
    """Mean F1 of the classes."""
    val_log_loss_std: float | None = None
    """Standard deviation over the seeds of a frozen trial; None for one seed."""
    val_accuracy_std: float | None = None
    aux_weight_learned: float | None = None
    """The w that `auto` has learned, mean over the seeds; None for a fixed weight."""
    step: int | None = None
    """Steps so far; None for a probe, which takes none."""
    l2: float | None = None
    """The penalty that a probe's validation chose, geometric mean over the seeds; else None."""

    def plain(self) -> dict[str, float | None]:
        """All metrics by name, those of the auxiliary task after those of the classes."""
        values: dict[str, float | None] = {}
        for name in _NAMES:
            if name == "images_per_s":
                values |= self.aux
            if name != "aux":
                values[name] = getattr(self, name)
        return values

    def value(self, name: str) -> float | None:
        """One of `plain`; raises `KeyError` if there is no such metric."""
        if name in _NAMES and name != "aux":
            found: float | None = getattr(self, name)
            return found
        return self.aux[name]

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return what `plain` gave; names that are no field's are the auxiliary task's."""
        own = {name: value for name, value in values.items() if name in _NAMES}
        return cls(**own, aux={name: values[name] for name in values if name not in _NAMES})


_NAMES = tuple(each.name for each in fields(EpochMetrics))
Report = Callable[[EpochMetrics], None]
