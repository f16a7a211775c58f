"""The study's side of the delivery to MLflow: start it, hear whether the store is there, end it."""

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from study.config.uris import OFFLINE
from study.tracking.sync_state import events_left, mark_unsent, read_sync_state
from tl_core.errors import InputError

# MLflow tells its makers of its use over the network, unless it was told not to when imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
_LOOK_S = 0.2
Show = Callable[[int], None]
"""Is told how many events are left."""


def _in_silence(left: int) -> None:
    pass


class Sender(Protocol):
    """Sends a ledger to MLflow while it grows."""

    def follow(self, folder: Path) -> None:
        """Send the ledger in this folder from now on."""

    def opened(self) -> str:
        """Wait for the store; return the experiment's id.

        Raises `InputError` when the store can't be used.
        """

    def close(self, show: Show = _in_silence, within_s: float = math.inf) -> str | None:
        """Wait until everything is sent; return why the rest was left, if it was.

        It is left when the store has not answered for a while, after `within_s` seconds, or at
        Ctrl-C.
        """


class NullSender:
    """Sends nothing; notes where it is to be sent."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def follow(self, folder: Path) -> None:
        """As for every sender."""
        mark_unsent(folder, self._uri)

    def opened(self) -> str:
        """As for every sender; there is no experiment."""
        return ""

    def close(self, show: Show = _in_silence, within_s: float = math.inf) -> str | None:
        """As for every sender."""
        return None


class ProcessSender:
    """In a process of its own, which takes neither the study's cores nor its time."""

    def __init__(self, uri: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "study.tracking.sync_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # A terminal's Ctrl-C is for the study.
        )
        # Not on the command line, which everybody may read.
        self._tell(uri)
        self._answer: dict[str, Any] | None = None
        self._folder: Path | None = None

    def follow(self, folder: Path) -> None:
        """As for every sender."""
        self._folder = folder
        self._tell(str(folder.resolve()))

    def opened(self) -> str:
        """As for every sender."""
        self._answer = self._answer or self._hear()
        if faults := self._answer.get("faults") or self._answer.get("error"):
            faults = faults if isinstance(faults, list) else [f"--tracking-uri: {faults}"]
            raise InputError([f"{fault}; {OFFLINE}" for fault in faults])
        return str(self._answer["experiment_id"])

    def close(self, show: Show = _in_silence, within_s: float = math.inf) -> str | None:
        """As for every sender."""
        assert self._process.stdin
        try:
            with contextlib.suppress(BrokenPipeError):  # As in `_tell`.
                self._process.stdin.close()
            if self._folder is None:
                return None
            left = _wait(self._over, self._folder, show, within_s)
            return left or self._hear()["error"]
        finally:
            self._process.kill()
            self._process.wait()

    def _over(self, wait_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        return self._process.returncode is not None

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # It has ended; its last line says why.
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            return {"error": "the process that writes to MLflow has died"}
        answer: dict[str, Any] = json.loads(line)
        return answer


class ThreadSender:
    """In a thread, for a single trial: a process of its own takes seconds to start."""

    def __init__(self, uri: str) -> None:
        from study.tracking.writer import (
            MlflowWriter,  # Imports MLflow, which a study leaves to a process.
        )

        try:
            self._tracker = MlflowWriter(uri)
        except InputError as error:
            raise InputError([f"{fault}; {OFFLINE}" for fault in error.faults]) from error
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: str | None = None

    def follow(self, folder: Path) -> None:
        """As for every sender."""
        from study.tracking.sync_process import SyncProcess

        self._folder = folder
        self._delivery = SyncProcess(folder, self._tracker)
        self._thread.start()

    def opened(self) -> str:
        """As for every sender."""
        return self._tracker.experiment_id

    def close(self, show: Show = _in_silence, within_s: float = math.inf) -> str | None:
        """As for every sender."""
        self._ended.set()
        return _wait(self._over, self._folder, show, within_s) or self._error

    def _over(self, wait_s: float) -> bool:
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._error = self._delivery.follow(self._ended)
        self._delivery.close()


def _wait(over: Callable[[float], bool], folder: Path, show: Show, within_s: float) -> str | None:
    """Wait until all is sent, and show how much is left; return why no longer."""
    end = time.monotonic() + within_s
    try:
        while not over(_LOOK_S):
            if time.monotonic() > end:
                return f"it took more than {within_s:g} s"
            show(events_left(folder))
    except KeyboardInterrupt:
        return "interrupted"
    return None


def study_run(folder: Path) -> str | None:
    """MLflow's run of the study in this folder; a single trial has none."""
    sent = read_sync_state(folder)
    return sent.runs.get("study") if sent else None
