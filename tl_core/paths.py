"""Paths as people type them."""

import os
from pathlib import Path


def user_path(text: str) -> Path:
    """Expand a leading `~`; one of an unknown user stays as it is, where pathlib would raise."""
    return Path(os.path.expanduser(text))  # noqa: PTH111
