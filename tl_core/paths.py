"""Paths as people type them, and as they may be shown."""

import os
import unicodedata
from pathlib import Path


def user_path(text: str) -> Path:
    """Expand a leading `~`; one of an unknown user stays as it is, where pathlib would raise."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def printable(text: str) -> str:
    """Escape what can't be shown: control characters, and bytes of a name that are no UTF-8.

    A file's name may hold both. The first command terminals, the second fail where they are
    printed: Python holds them as lone surrogates.
    """
    return "".join(
        ascii(each)[1:-1] if unicodedata.category(each) in ("Cc", "Cs") else each for each in text
    )
