"""Every setting of a study in one place: its type, its default and its meaning.

Those of images and network are in `study.config.input_settings`. The rules of single values are in
`study.config.values`, those of several in `study.config.validate`. Each field is a flag.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from study.config.input_settings import InputSettings
from study.config.values import (
    Address,
    Bucket,
    Duration,
    PerGpu,
    Preset,
    Seeds,
    StudyName,
    UserFolder,
    Words,
    is_range,
)
from tl_core.aux_task import BUILT_IN_TASKS, NAME, AuxOn, AuxTask, AuxWeight, named_task
from tl_core.config import (
    FROZEN,
    MODES,
    AuxTarget,
    BatchNorm,
    ClassWeights,
    Count,
    HeadRatio,
    LayerDecay,
    LearningRate,
    Metric,
    Mode,
    Schedule,
    Seed,
    Share,
    Steps,
    TrainRatio,
    default_recipe,
)

Design = Literal["joint", "cells"]
Objective = Literal["score", "pareto"]
Sampler = Literal["tpe", "random", "gp", "qmc"]
FACTORS = ("mode", "train_ratio", "lr", "aux_weight", "unfreeze")
"""What a study searches."""


class Settings(InputSettings):
    """What a study is asked; a factor is a tuple of one value, the ends of a range, or choices."""

    mode: tuple[Mode, ...] = Field(
        ("freeze", "finetune"), min_length=1, description=", ".join(MODES)
    )
    train_ratio: tuple[TrainRatio, ...] = Field(
        (0.01, 0.03, 0.1, 0.3, 0.8),
        min_length=1,
        description="training images as a share of all, up to 0.8, or of a given training part, up "
        "to 1 (0.9 if validation or test is not given); one or several",
    )
    lr: tuple[LearningRate, ...] = Field(
        (),
        description="learning rate: one value, a log-uniform range of two, or three and more "
        "choices; by default a range that fits each mode",
    )
    aux_weight: tuple[AuxWeight, ...] = Field(
        (0.0, 0.9),
        min_length=1,
        description="w in loss = (1 - w) * classification + w * auxiliary task: one value, a range "
        "of two, or three and more choices; `auto`, alone or as a choice, is learned by each trial",
    )
    aux: Words = Field(
        NAME, description="the auxiliary task: `brightness`, `none`, or a column of the manifest"
    )
    aux_type: Literal["regression", "classification"] | None = Field(
        None, description="regression or classification; by default classes if text or two numbers"
    )
    aux_on: AuxOn | None = Field(
        None,
        description="what teaches the task: all images of the training part that have its label, "
        "or the labelled ones, which have a class label, too; by default all for a column",
    )
    aux_target: AuxTarget = Field(
        "standardized",
        description="standardized: a number is learned on the scale of the training images, so "
        "that w means the same for any task; raw: as it is",
    )
    class_weights: ClassWeights = Field(
        "none",
        description="balanced: all classes count alike in training, by weights N / (K n_c) of the "
        "images of each class; none: all images do; scores are never weighted",
    )
    unfreeze: tuple[Count, ...] = Field(
        (1,), min_length=1, description="last stages that learn in mode partial; one or several"
    )
    batchnorm: BatchNorm | None = Field(
        None,
        description="frozen: BatchNorm keeps its stored statistics; train: it updates them; by "
        "default frozen, and train for scratch",
    )
    epochs: Count = Field(
        10,
        description="fewest passes over the training images; a trial reports after each of so many "
        "equal parts of its steps, its epochs",
    )
    min_steps: Steps = Field(
        200, description="fewest steps: small subsets are passed over more often"
    )
    schedule: Schedule = Field(
        "cosine", description="of the learning rate: cosine (with 10 % warm-up) or constant"
    )
    weight_decay: Share = Field(0.01, description="AdamW's weight decay, without biases and norms")
    head_lr_ratio: HeadRatio | None = Field(
        None,
        description="learning rate of the heads as a multiple of the network's; by default 10 for "
        "finetune, whose heads are fresh, else 1",
    )
    layer_decay: LayerDecay = Field(
        1.0, description="factor of the learning rate from each stage to the one below it"
    )
    batch_size: Count = Field(32, description="images per step")
    # Fresh seeds lie above it, and trials take less than 2**31.
    seed: Annotated[int, Field(ge=0, lt=2**30)] = Field(
        0, description="seed of the search and of every trial"
    )
    seeds: Seeds = Field(
        8, description="seeds that a frozen trial trains at once; it reports their mean and spread"
    )
    split_seed: Seed = Field(0, description="seed that fixes the validation and test sets")
    trials: Count = Field(
        description="configurations to try; by default 8 a cell (a mode at a train ratio), 2 for "
        "demo, 1 for probe"
    )
    metric: Metric = Field(
        "val_log_loss", description=f"what the search improves: {', '.join(get_args(Metric))}"
    )
    design: Design = Field(
        "cells",
        description="cells: the trials are shared evenly among the (mode, train_ratio) cells, "
        "each with a search of its own that begins with the neighbour's best; joint: one search "
        "over all factors",
    )
    objective: Objective = Field(
        "score",
        description="score: the metric; pareto: a better metric and fewer labels, both at once",
    )
    sampler: Sampler = Field("tpe", description="Optuna's way to draw: tpe, random, gp or qmc")
    confirm: bool = Field(
        True,
        description="after the search, repeat the best three of each cell on three seeds, train "
        "the best of them on fresh seeds and read the test set; `--no-confirm` leaves both out",
    )
    confirm_seeds: Seeds = Field(5, description="fresh seeds for the chosen one of each cell")
    address: Address = Field(
        "local",
        description="a Ray cluster that is up: `auto`, this machine's, or HOST:PORT of its head; "
        "`local` starts a Ray on this machine",
    )
    storage: Bucket | None = Field(
        None,
        description="keep checkpoints and the winner in a bucket: s3://BUCKET/PATH, gs://..., or "
        "file:///PATH, a disk that all nodes share; by default the study's folder",
    )
    gpus: Annotated[int, Field(ge=0)] | None = Field(
        None, description="GPUs used at once; by default all there are, else the CPU"
    )
    max_failures: Annotated[int, Field(ge=0)] = Field(
        2, description="restarts of a trial whose worker dies"
    )
    checkpoint_every: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        30.0,
        description="seconds between two checkpoints of a network that learns: a kill loses at "
        "most these, and the time that a checkpoint takes to write",
    )
    trials_per_gpu: PerGpu = Field(
        1,
        description="full-network trials that share a GPU, or auto: as many as its memory holds, "
        "which one trial on it measures, and no more than cores",
    )
    jobs: Count | None = Field(
        None,
        description="most networks that learn at once; by default one a place on a GPU, else one a "
        "core (3 in the search, or a quarter of its trials), and no more than the memory holds",
    )
    max_time: Duration | None = Field(
        None,
        description="time for this command, as 8h, 90m or 1h30m: no trial starts that would not "
        "end in time, what there is gets confirmed and reported, and a later run goes on",
    )
    name: StudyName | None = Field(None, description="name of the study; by default data and time")
    out: UserFolder = Field(Path("runs"), description="folder for the study's own folder")
    tracking_uri: Words = Field(
        "sqlite:///mlflow.db",
        description="where MLflow keeps the runs; by default what MLFLOW_TRACKING_URI names, if "
        "it is set",
    )
    experiment: Words = Field(
        "tl-study",
        description="MLflow's experiment that has the runs; by default what MLFLOW_EXPERIMENT_NAME "
        "names, if it is set",
    )
    offline: bool = Field(
        False, description="send nothing to MLflow; `python study/sync.py NAME` does so later"
    )
    cache: UserFolder = Field(description="folder of decoded images and features")
    debug: bool = Field(False, description="one trial in this process, without Ray")
    preset: Preset | None = Field(
        None, description="one of the article's runs, in debug mode; `--preset list` shows them"
    )

    @property
    def task(self) -> AuxTask:
        """The auxiliary task, without the names of its classes; known once its column is read."""
        return named_task(self.aux, self.aux_type)

    @property
    def networks(self) -> list[Mode]:
        """The modes in which a network learns."""
        return [mode for mode in self.mode if mode not in FROZEN]

    @property
    def aux_images(self) -> AuxOn:
        """Which images teach the auxiliary task."""
        return self.aux_on or ("labelled" if self.aux in BUILT_IN_TASKS else "all")

    def batchnorm_of(self, mode: Mode) -> BatchNorm:
        """What BatchNorm does in a mode."""
        chosen = None if mode in FROZEN else self.batchnorm
        return chosen or default_recipe(mode)["batchnorm"]

    @field_validator("mode", "train_ratio", "lr", "aux_weight", "unfreeze", "include", "exclude")
    @classmethod
    def _no_repeats(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a value is given twice")
        return values

    @field_validator("lr", "aux_weight")
    @classmethod
    def _ordered_range(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if is_range(values) and not values[0] < values[1]:
            raise ValueError("a range needs its smaller end first")
        return values


def flag(name: str) -> str:
    """Return the command line's spelling of a field."""
    return "--" + name.replace("_", "-")
