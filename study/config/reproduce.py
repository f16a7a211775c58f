"""What it takes to run a study again: the command line that its settings came from."""

import shlex
from collections.abc import Mapping
from typing import Any

from study.config.defaults import DEFAULTS, layers_of
from study.config.settings import Settings, flag, spelled

PLACES = {"name", "out", "cache", "tracking_uri", "offline", "address", "storage"}
"""Settings that say where results go; a new run chooses its own."""
_LAYERS = ("data", "backbone", "debug", "preset")
"""Settings that the defaults of others depend on, so that they are always told."""


def settings_of(study: Mapping[str, Any]) -> Settings:
    """Return the settings of a study.json; an earlier one lacks what came later."""
    later = {name: DEFAULTS[name] for name in ("address", "storage")}
    return Settings.model_validate(later | study["settings"])


def command_of(settings: Settings) -> str:
    """Return the command line that gives these settings, apart from `PLACES`.

    What is as it would be by default is left out; the precision never is, as by default the
    hardware decides it.
    """
    layers = {name: getattr(settings, name) for name in _LAYERS if getattr(settings, name)}
    defaults = Settings.model_validate(layers_of(layers) | layers)
    words = ["python", "study/run.py"]
    for name in Settings.model_fields:
        value = getattr(settings, name)
        told = bool(value) if name in _LAYERS else value != getattr(defaults, name)
        if told and name not in PLACES:
            words += _words(name, value)
    return shlex.join(words)


def _words(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [spelled(name, value)]
    values = value if isinstance(value, tuple) else (value,)
    return [flag(name), *map(str, values)]
