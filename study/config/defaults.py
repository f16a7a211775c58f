"""Default settings in layers, each over the one before.

They are `DEFAULTS`, the environment, `DEMO`, `DEBUG`, a preset, and what is given.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from study.config.presets import PRESETS
from study.config.settings import Settings
from tl_core.aux_task import NO_NAME
from tl_core.config import BUILT_IN
from tl_core.errors import InputError
from tl_core.files import user_path
from tl_core.models.article import default_image_size

DEFAULTS: dict[str, Any] = {
    name: field.default for name, field in Settings.model_fields.items() if not field.is_required()
}
"""Those that depend on nothing; `study/config/settings.py` has them beside their meaning."""
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
CACHE_VARIABLE = "TL_STUDY_CACHE"


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
    layers = {"trials": default_trials({**layers, **given})} | layers
    backbone = given.get("backbone", layers["backbone"])
    return {"image_size": default_image_size(str(backbone))} | layers


def from_environment() -> dict[str, str]:
    """Return the settings whose variables are set; MLflow takes an empty one for none, too."""
    values = {name: os.environ.get(variable) for name, variable in VARIABLES.items()}
    return {name: value for name, value in values.items() if value}


TRIALS_PER_CELL = 8
"""Fewest trials with which a cell's learning rate is tuned."""
_DEMO_TRIALS_PER_CELL = 2
"""The demo is to take minutes; it says that it has too few trials."""


def default_trials(settings: Mapping[str, Any]) -> int:
    """Enough for each cell; a probe has no learning rate to tune."""
    modes, ratios = settings["mode"], settings["train_ratio"]
    each = _DEMO_TRIALS_PER_CELL if settings["data"] == "demo" else TRIALS_PER_CELL
    return len(ratios) * sum(1 if mode == "probe" else each for mode in modes)


def _default_cache() -> Path:
    # Other libraries would make a folder with the name ~ in the working folder.
    if os.path.expanduser("~") == "~" and not os.environ.get("XDG_CACHE_HOME"):  # noqa: PTH111
        why = f"HOME is not set and user id {os.getuid()} has no name, so caches have no place"
        raise InputError([f"{why}; set HOME to a folder that you can write, as in HOME=/tmp/me"])
    return named_cache() or user_cache_path("tl-study")


def named_cache() -> Path | None:
    """Return the cache that the environment names, if it does."""
    named = os.environ.get(CACHE_VARIABLE)
    return user_path(named) if named else None
