"""The settings that a study has stored, read as this version has them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.config.settings import Settings

_OLDEST = ("data", "backbone", "mode", "train_ratio", "metric", "seed", "split_seed")
"""Settings that each study has stored; one that lacks some is damaged."""


def settings_of(study: Mapping[str, Any]) -> Settings:
    """Return the settings of a study.json; what it lacks is newer than it, and has its default.

    Raises `ValueError` if it lacks what no study has lacked, or a value is at fault.
    """
    stored = dict(study["settings"])
    if lacking := [name for name in _OLDEST if name not in stored]:
        raise ValueError(f"the settings of the study lack {', '.join(lacking)}")
    return Settings.model_validate(stored)


def found_in(settings: Settings, folder: Path) -> Settings:
    """The settings of a study where its folder was found.

    It may have been moved or renamed since. But its files in a bucket have the first name, and a
    name that a study can't be given would be a fault once it is stored.
    """
    keeps = settings.storage or folder.name.startswith((".", "-"))
    name = {} if keeps else {"name": folder.name}
    return settings.model_copy(update={"out": folder.parent, **name})
