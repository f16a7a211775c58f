"""Temporary folders of workers that may be killed at any moment, on any node."""

import secrets
import shutil
import tempfile
from pathlib import Path


def scratch_name() -> str:
    """A name that nobody else has, for one folder on each node."""
    return f"tl-doctor-{secrets.token_hex(8)}"


def make_scratch(name: str) -> Path:
    """Make a folder of this process's own in that folder."""
    root = Path(tempfile.gettempdir(), name)
    root.mkdir(mode=0o700, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=root))


def sweep(name: str) -> None:
    """Remove that folder from this node, whoever has made what in it; there may be none."""
    root = Path(tempfile.gettempdir(), name)
    if root.exists():
        shutil.rmtree(root)
