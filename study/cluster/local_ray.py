"""Ray on this machine, for one study: up before its first task, down when it ends.

It has a folder of its own, whose random name is in the environment of each of its processes. So
what a study that was killed has left is told from all other processes, and its next start ends it.
"""

import errno
import json
import logging
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import ray

from study.cluster.ray_environment import RAY_TMPDIR, ray_base
from study.cluster.ray_private import keep_sigterm, only_what_runs_tasks, start
from tl_core.runtime import processes_of_user, usable_cpus
from tl_core.text import pluralize

_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
_PREFIX = "tl"
"""How the folder of a study's Ray begins."""
_OWNER = "owner.json"
_TRIES, _PAUSE_S = 50, 0.1
"""How often processes of a killed run are looked for and ended, and how long each time takes."""
_log = logging.getLogger(__name__)


@contextmanager
def local_ray(gpus: int, cpus: int | None = None, study: Path | None = None) -> Iterator[None]:
    """Start Ray on the loopback address; `study.cluster.ray_environment` has set the environment.

    Its files lie in a folder that only this user can enter, and go when it ends: Ray opens its own
    folder, with the sockets that its processes trust, to everybody on the machine. If Ray fails to
    start, they stay, for its logs. What killed runs of the `study` in this folder have left is
    ended first.
    """
    base = ray_base()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    own_token = keep_logs = False
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if study:
            end_leftovers(base, study)
            _mark_owner(folder, study)
        own_token = _give_token(folder)
        try:
            _start(gpus, cpus or usable_cpus(), folder)
        except BaseException as error:
            keep_logs = isinstance(error, Exception)  # It names them. An interrupt does not.
            _end_all(folder)
            raise
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has reset it, unseen by Python.
        if not keep_logs:
            shutil.rmtree(folder, ignore_errors=True)
        if own_token:
            del os.environ[_TOKEN_PATH]


def _start(gpus: int, cpus: int, folder: Path) -> None:
    named = _variable(RAY_TMPDIR, str(folder))
    with named, _children_in_own_groups(), only_what_runs_tasks(), keep_sigterm():
        start(gpus, cpus, folder, end_processes=lambda: _end_all(folder))


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable inside."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


_in_own_groups = False


@contextmanager
def _children_in_own_groups() -> Iterator[None]:
    """Give each process that starts inside a process group of its own.

    Ctrl-C and `timeout` send their signal to all processes of a group, and a study can't end in
    order without its Ray. Ray itself ends with the study.
    """
    global _in_own_groups
    _in_own_groups = True
    try:
        yield
    finally:
        _in_own_groups = False


def _leave_group() -> None:
    if _in_own_groups:
        os.setpgid(0, 0)


# `subprocess` calls it in a new process if it is given a `preexec_fn`, as it is by Ray.
os.register_at_fork(after_in_child=_leave_group)


def _give_token(folder: Path) -> bool:
    """Have Ray ask for a token of this run, unless the user has one or wants none."""
    asked = os.environ.get("RAY_AUTH_MODE") == "token"
    if not asked or "RAY_AUTH_TOKEN" in os.environ or _TOKEN_PATH in os.environ:
        return False
    path = folder / "token"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_token())
    os.environ[_TOKEN_PATH] = str(path)
    return True


@cache
def _token() -> str:
    """One for all: Ray keeps the first token that a process has read until the process ends."""
    return secrets.token_hex(32)


def _mark_owner(ray_folder: Path, study: Path) -> None:
    """Write down in the folder of a Ray that this process has started it, for this study."""
    with suppress(OSError):  # Not on macOS, which has no /proc.
        about = {"study": str(study.resolve()), **_identity(os.getpid())}
        (ray_folder / _OWNER).write_text(json.dumps(about), encoding="utf-8")


def end_leftovers(base: Path, study: Path) -> None:
    """End what earlier runs of a study that were killed have left, and remove its folders.

    A folder whose processes can't all be ended stays, so that the next start tries again.

    Args:
        base: where the folders of studies' Rays are.
        study: the folder of the study.
    """
    for owner in base.glob(f"{_PREFIX}*/{_OWNER}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if owner.parent.lstat().st_uid != os.getuid():
                continue  # Everybody may write into /tmp.
            about = json.loads(owner.read_text(encoding="utf-8"))
            if about.pop("study") != str(study.resolve()) or not _is_gone(about):
                continue
            ended, left = _end_all(owner.parent)
            if ended:
                what = pluralize(ended, "process", "processes")
                _log.warning("note: ended %s of Ray that a killed run of this study had left", what)
            if left:
                ids = " ".join(map(str, left))
                why = "processes of a killed run of this study still run"
                _log.warning("note: %s, and their folder %s stays: %s", why, owner.parent, ids)
            else:
                shutil.rmtree(owner.parent, ignore_errors=True)


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


def _end_all(ray_folder: Path) -> tuple[int, list[int]]:
    """End the processes of the Ray with this folder; return how many, and those that still run."""
    ended = set[int]()
    for _ in range(_TRIES):  # One that ends may have started another meanwhile.
        others = {int(folder.name) for folder in processes_of_user()} - {os.getpid()}
        left = [process for process in others if _belongs(process, ray_folder)]
        if not left:
            break
        ended |= {process for process in left if _end(process, ray_folder)}
        time.sleep(_PAUSE_S)
    return len(ended.difference(left)), left


def _belongs(process: int, ray_folder: Path) -> bool:
    """Whether a process runs and is one of the Ray with this folder."""
    with suppress(OSError):
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        return f"{RAY_TMPDIR}={ray_folder}".encode() in variables
    return False


def _end(process: int, ray_folder: Path) -> bool:
    """End a process if it belongs to the Ray with this folder; return whether it did."""
    with suppress(OSError):
        handle = _handle(process)
        try:
            if _belongs(process, ray_folder):
                if handle is None:
                    os.kill(process, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            if handle is not None:
                os.close(handle)
    return False


def _handle(process: int) -> int | None:
    """What stays with a process, whose number may be used again; None where there is no such.

    Pythons of conda do not have it, nor do kernels before 5.3 and some containers. Raises `OSError`
    if the process has ended.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(process)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise
        return None
