"""Disks that are small, full or read-only.

Programs see them at a folder, in a mount namespace of their own. Linux lets anybody make one,
unless the administrator forbids it; then these tests are skipped. Permissions alone would not do:
they don't bind root.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit of the system, bytes: to write beyond it fails as on a full disk, in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def on_small_disk(folder: Path, size: str, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run a Python program while `folder` is an empty disk of this size, such as `1m`."""
    return _run(f'mount -t tmpfs -o size={size} none "$0"', folder, *words)


def read_only(folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run a Python program that can read `folder` but not write."""
    return _run('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"', folder, *words)


def _run(mount: str, folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(parents=True, exist_ok=True)
    if not _permitted(mount):
        pytest.skip("this system does not let a user mount in a namespace")
    python = [sys.executable, *(str(word) for word in words)]
    return _in_namespace(f'{mount} && exec "$@"', str(folder), *python)


@cache
def _permitted(mount: str) -> bool:
    return sys.platform == "linux" and _in_namespace(mount, "/tmp").returncode == 0


def _in_namespace(script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, *words],
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
