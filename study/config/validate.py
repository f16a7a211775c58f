"""From what was given to complete settings, and every fault in it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from study.config.defaults import layers_of
from study.config.settings import Settings, flag, spelled
from study.config.uris import without_credentials

_STUDY_ONLY = (
    "trials", "metric", "trials_per_gpu", "design", "objective", "sampler", "confirm",
    "confirm_seeds", "max_failures", "address", "storage",
)  # fmt: skip
_FACTORS = ("mode", "train_ratio", "lr", "aux_weight")


def resolve(given: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Lay what was given over the defaults.

    Returns:
        The settings, and every fault. A value at fault is replaced by its default, so that the
        checks that follow can look at the rest.
    """
    layers = layers_of(given)
    try:
        settings, faults = Settings.model_validate(layers | dict(given)), []
    except ValidationError as error:
        wrong = {str(e["loc"][0]) for e in error.errors()}
        kept = {name: value for name, value in given.items() if name not in wrong}
        settings = Settings.model_validate(layers_of(kept) | kept)
        faults = [_tell(dict(e)) for e in error.errors() if not _follows(dict(e))]
    return settings, faults + _unread(settings, given)


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


def _follows(error: dict[str, Any]) -> bool:
    """Whether it only says that a tuple is short of the items found wrong one by one."""
    return bool(error["type"] == "too_short" and error["input"])


def _tell(error: dict[str, Any]) -> str:
    name, *_ = error["loc"]
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    value = error["input"]
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    if name == "storage":
        shown = without_credentials(str(value))
    return f"{flag(str(name))} {shown}: {message}"
