"""Processes of Ray that outlive a study that was killed: its next start ends them.

A Ray that `study.cluster.local_ray` starts has a folder of its own, whose random name is in the
environment of each of its processes. So those of one study are told from all others.
"""

import json
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tl_core.text import pluralize

PREFIX = "tl"
"""How the folder of a study's Ray begins."""
RAY_TMPDIR = "RAY_TMPDIR"
_OWNER = "owner.json"
_log = logging.getLogger(__name__)


def mark_owner(ray_folder: Path, study: Path) -> None:
    """Write down in the folder of a Ray that this process has started it, for this study."""
    with suppress(OSError):  # Not on macOS, which has no /proc.
        about = {"study": str(study.resolve()), **_identity(os.getpid())}
        (ray_folder / _OWNER).write_text(json.dumps(about), encoding="utf-8")


def end_leftovers(base: Path, study: Path) -> None:
    """End what earlier runs of a study that were killed have left, and remove its folders.

    Args:
        base: where the folders of studies' Rays are.
        study: the folder of the study.
    """
    for owner in base.glob(f"{PREFIX}*/{_OWNER}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if owner.parent.lstat().st_uid != os.getuid():
                continue  # Everybody may write into /tmp.
            about = json.loads(owner.read_text(encoding="utf-8"))
            if about.pop("study") != str(study.resolve()) or not _is_gone(about):
                continue
            ended = sum(_end(process, owner.parent) for process in _own_processes())
            shutil.rmtree(owner.parent, ignore_errors=True)
            if ended:
                what = pluralize(ended, "process", "processes")
                _log.warning("note: ended %s of Ray that a killed run of this study had left", what)


def _is_gone(about: dict[str, object]) -> bool:
    """Whether a process has ended; one of another machine or container is none of ours."""
    here = _identity(os.getpid())
    if any(about[name] != here[name] for name in ("boot", "namespace")):
        return False
    with suppress(OSError):
        return about != _identity(int(str(about["pid"])))
    return True


def _identity(process: int) -> dict[str, object]:
    """What a process has that no other has, also after a restart; raises `OSError` if it ended."""
    # The name, in brackets, may have spaces; the 20th field after it is the start.
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    namespace = str(Path("/proc/self/ns/pid").readlink())
    return {"pid": process, "since": fields[19], "boot": boot, "namespace": namespace}


def _own_processes() -> Iterator[int]:
    """Yield the other processes of this user."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and int(folder.name) != os.getpid():
                yield int(folder.name)


def _end(process: int, ray_folder: Path) -> bool:
    """End a process if it belongs to the Ray with this folder; return whether it did."""
    wanted = f"{RAY_TMPDIR}={ray_folder}".encode()
    with suppress(OSError):
        handle = os.pidfd_open(process)  # Stays with the process, whose number may be used again.
        try:
            if wanted in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False
