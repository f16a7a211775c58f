"""Complete settings from what was given or stored, every fault in them, and their command line."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from study.config.defaults import DEFAULTS, layers_of
from study.config.settings import Settings, flag, spelled
from study.config.uris import without_credentials
from tl_core.errors import Fault

_STUDY_ONLY = (
    "trials", "metric", "trials_per_gpu", "design", "objective", "sampler", "confirm",
    "confirm_seeds", "max_failures", "address", "storage",
)  # fmt: skip
_FACTORS = ("mode", "train_ratio", "lr", "aux_weight")


def resolve(given: Mapping[str, Any]) -> tuple[Settings, list[Fault]]:
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
        # A tuple that lacks the items at fault is too short as well.
        own = (e for e in error.errors() if e["type"] != "too_short" or not e["input"])
        faults = [_fault(e) for e in own]
    return settings, [*faults, *_unread(settings, given)]


def _unread(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    """A setting that nothing reads is an error: its user believes that it does something."""
    if settings.debug:
        for name in _STUDY_ONLY:
            if name in given:
                yield Fault(spelled(name, given[name]), "is read by a study only, not by --debug")
        for name in _FACTORS:
            if (n := len(getattr(settings, name))) != 1:
                yield Fault(flag(name), f"takes one value in debug mode, not {n}")
    elif settings.trials > 1 and all(len(getattr(settings, name)) == 1 for name in _FACTORS):
        why = "every factor has one value, so all trials would be the same"
        yield Fault("--trials", f"{settings.trials}: {why}; use --trials 1 or --debug")
    if not settings.debug and settings.mode == ("freeze",) and "trials_per_gpu" in given:
        yield Fault("--trials-per-gpu", "is not read by --mode freeze, which needs no GPU")
    if settings.mode == ("freeze",) and settings.compile:
        yield Fault("--compile", "is not read by --mode freeze, which trains heads alone")
    if settings.mode == ("scratch",) and "weights" in given:
        why = "is not read by --mode scratch, which starts from random weights"
        yield Fault("--weights", why)
    if "freeze" not in settings.mode and "seeds" in given:
        yield Fault("--seeds", "is read by --mode freeze only; the other modes train one seed")
    if not settings.confirm and "confirm_seeds" in given:
        yield Fault("--confirm-seeds", "is not read with --no-confirm")
    if settings.objective == "pareto" and settings.design == "cells":
        yield Fault("--objective", "pareto compares ratios; --design cells searches each alone")
    if settings.objective == "pareto" and len(settings.train_ratio) == 1:
        yield Fault("--objective", "pareto needs several ratios: --train-ratio 0.1 0.8")
    cells = len(settings.mode) * len(settings.train_ratio)
    if settings.design == "cells" and not settings.debug and settings.trials < cells:
        yield Fault("--trials", f"{settings.trials}: --design cells needs one a cell, {cells}")
    if settings.skip_bad_images and settings.data == "demo":
        yield Fault("--skip-bad-images", "is not read by --data demo, which is drawn")


def _fault(error: ErrorDetails) -> Fault:
    name, value = str(error["loc"][0]), error["input"]
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    if name == "storage":
        shown = without_credentials(str(value))
    return Fault(flag(name), f"{shown}: {message}")


PLACES = {"name", "out", "cache", "tracking_uri", "offline", "address", "storage"}
"""Settings of the places of results; a new run chooses its own."""
_LAYERS = ("data", "backbone", "debug", "preset")
"""Settings that the defaults of others depend on; the command always has them."""


def settings_of(study: Mapping[str, Any]) -> Settings:
    """Return the settings of a study.json; those of earlier versions lack newer settings."""
    later = {name: DEFAULTS[name] for name in ("address", "storage")}
    return Settings.model_validate(later | study["settings"])


def command_of(settings: Settings) -> str:
    """Return the command line that gives these settings, apart from `PLACES`.

    It leaves out defaults, but never the precision, whose default depends on the hardware.
    """
    layers = {name: getattr(settings, name) for name in _LAYERS if getattr(settings, name)}
    defaults = Settings.model_validate(layers_of(layers) | layers)
    words = ["python", "study/run.py"]
    for name in Settings.model_fields:
        value = getattr(settings, name)
        written = bool(value) if name in _LAYERS else value != getattr(defaults, name)
        if not written or name in PLACES:
            continue
        if isinstance(value, bool):
            words.append(spelled(name, value))
        else:
            words += [flag(name), *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
