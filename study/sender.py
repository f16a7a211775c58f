"""The study's side of the delivery to MLflow: start it, hear whether the store is there, end it."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from tl_core.errors import InputError

# MLflow tells its makers of its use over the network, unless it was told not to when imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


class Sender(Protocol):
    """Sends a ledger to MLflow while it grows."""

    study_run: str | None
    """MLflow's run of the study, once the sender is closed; a single trial has none."""

    def follow(self, folder: Path) -> None:
        """Send the ledger in this folder from now on."""

    def opened(self) -> str:
        """Wait for the store; return the experiment's id.

        Raises `InputError` when the store can't be used.
        """

    def close(self) -> str | None:
        """Wait until everything is sent; return why the rest was left, if it was."""


class OwnProcess:
    """In a process of its own, which takes neither the study's cores nor its time."""

    def __init__(self, uri: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "study.delivery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # A terminal's Ctrl-C is for the study.
        )
        # Not on the command line, which everybody may read.
        self._tell(uri)
        self._answer: dict[str, Any] | None = None
        self._follows = False
        self.study_run: str | None = None

    def follow(self, folder: Path) -> None:
        """As for every sender."""
        self._follows = True
        self._tell(str(folder.resolve()))

    def opened(self) -> str:
        """As for every sender."""
        self._answer = self._answer or self._hear()
        if faults := self._answer.get("faults") or self._answer.get("error"):
            raise InputError(faults if isinstance(faults, list) else [f"--tracking-uri: {faults}"])
        return str(self._answer["experiment_id"])

    def close(self) -> str | None:
        """As for every sender; Ctrl-C leaves the rest."""
        assert self._process.stdin
        try:
            with contextlib.suppress(BrokenPipeError):  # As in `_tell`.
                self._process.stdin.close()
            told = self._hear() if self._follows else {"error": None}
        except BaseException:
            self._process.kill()
            raise
        finally:
            self._process.wait()
        self.study_run = told.get("study")
        return str(told["error"]) if told["error"] else None

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


class OwnThread:
    """In a thread, for a single trial: a process of its own takes seconds to start."""

    def __init__(self, uri: str) -> None:
        from study.tracking import Tracker  # Imports MLflow, which a study leaves to a process.

        self._tracker = Tracker(uri)
        self.study_run: str | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: str | None = None

    def follow(self, folder: Path) -> None:
        """As for every sender."""
        from study.delivery import Delivery

        self._delivery = Delivery(folder, self._tracker)
        self._thread.start()

    def opened(self) -> str:
        """As for every sender."""
        return self._tracker.experiment_id

    def close(self) -> str | None:
        """As for every sender."""
        self._ended.set()
        self._thread.join()
        self._delivery.close()
        return self._error

    def _run(self) -> None:
        self._error = self._delivery.follow(self._ended)
