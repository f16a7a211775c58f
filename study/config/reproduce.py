"""The command line that gives the settings of a study."""

import shlex
from collections.abc import Mapping
from typing import Any

from study.config.defaults import DEFAULTS, layers_of
from study.config.settings import Settings, flag, spelled

PLACES = {"name", "out", "cache", "tracking_uri", "offline", "address", "storage"}
"""Settings of the places of results; a new run chooses its own."""
_LAYERS = ("data", "backbone", "debug", "preset")
"""Settings that the defaults of others depend on; the command always has them."""


def settings_of(study: Mapping[str, Any]) -> Settings:
    """Return the settings of a study.json; an earlier one lacks what came later."""
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
