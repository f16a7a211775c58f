"""The study's side of sending to MLflow: start it, learn whether the store answers, end it."""

import contextlib
import json
import math
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from study.config.settings import Settings
from study.config.uris import OFFLINE, store_name
from study.records.study_folder import sync_command
from study.tracking.links import where_to_look
from study.tracking.sync_state import SyncState, events_left, last_saved, read_sync_state, study_run
from tl_core.errors import InputError
from tl_core.runtime import module_process
from tl_core.text import pluralize

_POLL_S = 0.2
_OPENING_S = 180.0
"""Longest wait until a store is open, seconds: MLflow makes the tables of an empty one."""
_STALLED_S = 600.0
"""Longest wait at the end while nothing arrives in the store, seconds: a large model on a slow line
takes minutes, and a database's driver may wait for ever."""
_INTERRUPTED_S = 8.0
"""Longest wait after the user has interrupted the study."""
Show = Callable[[int], None]
"""Called with the number of events that are left."""


def show_nothing(left: int) -> None:
    """The default `Show`."""


class NullSender:
    """Sends nothing; notes where `study/sync.py` is to send the ledger."""

    notes: Sequence[str] = ()
    """There is nothing in a store."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def open_store(self) -> None:
        """There is none."""

    def follow(self, folder: Path) -> None:
        """Note the store in this folder, of a study."""
        if read_sync_state(folder) is None:  # Otherwise a store is noted already.
            SyncState(store_name(self._uri)).save(folder)

    def wait_for_store(self) -> str:
        """There is no experiment."""
        return ""

    def close(self, show: Show = show_nothing, within_s: float = math.inf) -> str | None:
        """There is nothing to wait for."""
        return None


class ProcessSender:
    """Sends a ledger while it grows, in a process that leaves the study its cores and its time.

    The process imports MLflow for that kind of store at once.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        command, environment = module_process("study.tracking.sync_process")
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in a terminal must reach the study only.
        )
        # By standard input: every user of the machine can read a command line.
        self._write(uri)
        self._experiment: str | None = experiment
        self._opened: dict[str, Any] | None = None
        self._folder: Path | None = None
        self.notes: Sequence[str] = ()
        """Once it is closed: what users must know of the winner in the store."""

    def open_store(self) -> None:
        """Open the store, or make it; a second call does nothing."""
        if self._experiment is not None:
            self._write(self._experiment)
            self._experiment = None

    def follow(self, folder: Path) -> None:
        """Send the ledger in this folder from now on."""
        self.open_store()
        self._folder = folder
        self._write(str(folder.resolve()))

    def wait_for_store(self) -> str:
        """Open the store and wait until it answers; return the experiment's id.

        Raises `InputError` when the store can't be used.
        """
        self.open_store()
        self._opened = self._opened or self._first_answer()
        if error := self._opened.get("error"):
            raise InputError([f"--tracking-uri: {error}; {OFFLINE}"])
        if faults := self._opened.get("faults"):
            raise InputError([f"{fault}; {OFFLINE}" for fault in faults])
        return str(self._opened["experiment_id"])

    def close(self, show: Show = show_nothing, within_s: float = math.inf) -> str | None:
        """Wait until everything is sent; return the reason if some of it is not.

        The wait ends when the store has not answered for a while, after `within_s` seconds, or at
        Ctrl-C.
        """
        assert self._process.stdin
        try:
            with contextlib.suppress(BrokenPipeError):  # As in `_write`.
                self._process.stdin.close()
            if self._folder is None:
                return None
            if why := self._wait(self._folder, show, within_s):
                return why
            answer = self._read()
            self.notes = answer.get("notes", ())
            error: str | None = answer["error"]
            return error
        finally:
            self._process.kill()
            self._process.wait()

    def _wait(self, folder: Path, show: Show, within_s: float) -> str | None:
        """Wait until all is sent, and show how much is left; return why the wait ended earlier."""
        end = time.monotonic() + within_s
        moved, before = time.monotonic(), (-1, 0)
        try:
            while not self._has_ended():
                if time.monotonic() > end:
                    return f"it took more than {within_s:g} s"
                left, saved = events_left(folder), last_saved(folder)
                if (left, saved) != before:
                    moved, before = time.monotonic(), (left, saved)
                elif time.monotonic() - moved > _STALLED_S:
                    return f"nothing has arrived there for {_STALLED_S:g} s"
                show(left)
        except KeyboardInterrupt:
            return "interrupted"
        return None

    def _has_ended(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_POLL_S)
        return self._process.returncode is not None

    def _write(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # It has ended; its last line says why.
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _first_answer(self) -> dict[str, Any]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], _OPENING_S)[0]:
            self._process.kill()
            return {"error": f"the store has not answered in {_OPENING_S:g} s"}
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        return dict(json.loads(line or '{"error": "the process that writes to MLflow has died"}'))


Sender = NullSender | ProcessSender


def make_sender(settings: Settings) -> Sender:
    """Return what sends a study with these settings."""
    if settings.offline:
        return NullSender(settings.tracking_uri)
    return ProcessSender(settings.tracking_uri, settings.experiment)


def close_sender(sender: Sender, folder: Path, console: Console, interrupted: bool = False) -> None:
    """Close a sender; show how much is left, and warn if something stays unsent."""
    status = console.status("")

    def show(left: int) -> None:
        rest = pluralize(left, "event")
        status.update(f"waiting for MLflow: {rest} left (Ctrl-C leaves them for later)")
        status.start()  # The first time, as a sender may have nothing to wait for.

    try:
        why = sender.close(show, _INTERRUPTED_S if interrupted else math.inf)
    finally:
        status.stop()
    # A sender may end late, or die, after it has sent the last event.
    if why and (n := events_left(folder)):
        left = f"{pluralize(n, 'event is', 'events are')} not in MLflow yet ({why})"
        what = "it" if n == 1 else "them"
        console.print(f"warning: {left}; {sync_command(folder)} sends {what}", style="yellow")
    for note in sender.notes:
        console.print(f"note: {note}", style="yellow")


def print_link(sender: Sender, folder: Path, settings: Settings, console: Console) -> None:
    """Print where to look at the runs, or how to send them."""
    if settings.offline:
        # Not of the study: what an earlier command left may have been sent since.
        nothing = "this command sent nothing to MLflow (--offline)"
        console.print(f"{nothing}; {sync_command(folder)} sends what it lacks")
        return
    run = None if settings.debug else study_run(folder)
    console.print(where_to_look(settings.tracking_uri, sender.wait_for_store(), run))
