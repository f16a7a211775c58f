"""Default settings in layers, each over the one before.

They are `DEFAULTS`, `DEMO`, `DEBUG`, a preset, and what is given.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from study.config.presets import PRESETS
from tl_core.config import default_image_size

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
    "address": "local",
    "storage": None,
    "gpus": None,
    "trials_per_gpu": 1,
    "max_failures": 2,
    "name": None,
    "out": Path("runs"),
    "tracking_uri": "sqlite:///mlflow.db",
    "offline": False,
    "debug": False,
    "preset": None,
}
DEMO: dict[str, Any] = {
    "backbone": "efficientnet_lite0",
    "image_size": 128,
    "train_ratio": (0.05, 0.1, 0.3),
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


def layers_of(given: Mapping[str, Any]) -> dict[str, Any]:
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
    backbone = given.get("backbone", layers["backbone"])
    return {"image_size": default_image_size(str(backbone))} | layers


def _default_cache() -> Path:
    return Path(os.environ.get("TL_STUDY_CACHE") or user_cache_path("tl-study"))
