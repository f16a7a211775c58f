"""Default settings in layers, each over the one before.

They are `DEFAULTS`, the environment, `DEMO`, `DEBUG`, a preset, and what is given.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from tl_core.aux_task import NAME, NO_NAME
from tl_core.config import BUILT_IN
from tl_core.errors import InputError
from tl_core.models.article import ARTICLE_RECIPE, default_image_size

DEFAULTS: dict[str, Any] = {
    "data": "demo",
    "root": None,
    "train": None,
    "val": None,
    "test": None,
    "group": None,
    "group_regex": None,
    "include": (),
    "exclude": (),
    "skip_bad_images": False,
    "backbone": "resnet18",
    "weights": "default",
    "precision": "auto",
    "compile": False,
    "deterministic": False,
    "augment": "none",
    "resize": "squash",
    "mode": ("freeze", "finetune"),
    "train_ratio": (0.01, 0.03, 0.1, 0.3, 0.8),
    "lr": (),
    "aux_weight": (0.0, 0.9),
    "aux": NAME,
    "aux_type": None,
    "aux_on": None,
    "aux_target": "standardized",
    "class_weights": "none",
    "unfreeze": (1,),
    "batchnorm": None,
    "epochs": 10,
    "min_steps": 200,
    "schedule": "cosine",
    "weight_decay": 0.01,
    "head_lr_ratio": None,
    "layer_decay": 1.0,
    "batch_size": 32,
    "seed": 0,
    "seeds": 8,
    "split_seed": 0,
    "metric": "val_log_loss",
    "design": "cells",
    "objective": "score",
    "sampler": "tpe",
    "confirm": True,
    "confirm_seeds": 5,
    "address": "local",
    "storage": None,
    "gpus": None,
    "trials_per_gpu": 1,
    "checkpoint_every": 30.0,
    "jobs": None,
    "max_time": None,
    "max_failures": 2,
    "name": None,
    "out": Path("runs"),
    "tracking_uri": "sqlite:///mlflow.db",
    "experiment": "tl-study",
    "offline": False,
    "debug": False,
    "preset": None,
}
DEMO: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "image_size": 64,
    "train_ratio": (0.1, 0.4),
    "epochs": 4,
    "min_steps": 40,
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
VARIABLES = {"tracking_uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME"}
"""By setting, the variable of MLflow's own client that replaces its default."""


def layers_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults for the fields that are not given; they depend on those that are.

    Raises `InputError` if there is no home folder.
    """
    preset = PRESETS.get(given.get("preset") or "")
    debug = bool(given.get("debug") or preset)
    layers = DEFAULTS | {"cache": _default_cache()} | from_environment()
    if train := given.get("train"):  # Always a folder, even one called `demo`.
        layers["data"] = f"./{train}" if train in BUILT_IN else train
    if given.get("data", layers["data"]) == "demo":
        layers |= DEMO
    if debug:
        layers |= DEBUG | {"debug": True}
    if preset:
        layers |= preset.values
    if given.get("aux") == NO_NAME:
        layers["aux_weight"] = (0.0,)
    if given.get("objective") == "pareto":  # It compares ratios, which one search must see.
        layers["design"] = "joint"
    layers = {"trials": _default_trials({**layers, **given})} | layers
    backbone = given.get("backbone", layers["backbone"])
    return {"image_size": default_image_size(str(backbone))} | layers


def from_environment() -> dict[str, str]:
    """Return the settings whose variables are set; MLflow takes an empty one for none, too."""
    values = {name: os.environ.get(variable) for name, variable in VARIABLES.items()}
    return {name: value for name, value in values.items() if value}


TRIALS_PER_CELL = 8
"""Fewest trials with which a cell's learning rate is tuned."""
_DEMO_TRIALS_PER_CELL = 2
"""The demo is to take minutes; it says that it is hardly tuned."""


def _default_trials(settings: Mapping[str, Any]) -> int:
    """Enough for each cell; a probe has no learning rate to tune."""
    modes, ratios = settings["mode"], settings["train_ratio"]
    each = _DEMO_TRIALS_PER_CELL if settings["data"] == "demo" else TRIALS_PER_CELL
    return len(ratios) * sum(1 if mode == "probe" else each for mode in modes)


def _default_cache() -> Path:
    # Other libraries would make a folder with the name ~ in the working folder.
    if os.path.expanduser("~") == "~" and not os.environ.get("XDG_CACHE_HOME"):  # noqa: PTH111
        why = f"HOME is not set and user id {os.getuid()} has no name, so caches have no place"
        raise InputError([f"{why}; set HOME to a folder that you can write, as in HOME=/tmp/me"])
    return Path(os.environ.get("TL_STUDY_CACHE") or user_cache_path("tl-study"))


@dataclass(frozen=True)
class Preset:
    """One run of the article."""

    about: str
    """What it reproduces, and what came out there."""
    values: dict[str, Any]
    """The settings it stands for; flags override them."""


def _transfer(ratio: float, mode: str = "freeze", **other: Any) -> dict[str, Any]:
    base = {"backbone": "resnet18", "image_size": 224, "lr": (1e-3,), "epochs": 10}
    base |= {"precision": "fp32"}  # As the article computed, on any hardware.
    base |= ARTICLE_RECIPE | (
        {} if mode == "freeze" else {"batchnorm": "train", "head_lr_ratio": 1.0}
    )
    return base | {"batch_size": 32, "mode": (mode,), "train_ratio": (ratio,)} | other


def _own_net(backbone: str, **other: Any) -> dict[str, Any]:
    return _transfer(0.8, "scratch", backbone=backbone, image_size=128, **other)


PRESETS: dict[str, Preset] = {
    "freeze-large": Preset(
        "ResNet18, frozen, 80 % of the images train one new unit: better after one epoch than "
        "the fully connected net ever was",
        _transfer(0.8),
    ),
    "freeze-small": Preset(
        "the same with 10 %: unsteady first epochs, then useful; the fewer the data, the more "
        "transfer is worth",
        _transfer(0.1),
    ),
    "finetune": Preset(
        "the same with 80 % and nothing frozen: also good, and not compared further",
        _transfer(0.8, "finetune"),
    ),
    "mlp": Preset(
        "the earlier net: 128 x 128 x 3 -> 1024 -> 512 -> 128 -> 32 -> 8 -> 3 -> 1 from random "
        "weights, about 70 % validation accuracy at best",
        _own_net("mlp", epochs=30),
    ),
    "multitask": Preset(
        "cat or dog and brightness from a shared 1024 -> 256, losses weighted 0.7 and 0.3; the "
        "article shows no results",
        _own_net("shared_mlp", aux_weight=(0.3,)),
    ),
    "multitask-transfer": Preset(
        "the same two heads on a pretrained, frozen ResNet18",
        _transfer(0.8, aux_weight=(0.3,)),
    ),
    "resnet50": Preset(
        "the Keras appendix: ResNet50, frozen, BatchNorm in inference mode, global average "
        "pooling, one sigmoid unit; split seed 42",
        _transfer(0.8, backbone="resnet50", split_seed=42),
    ),
}
