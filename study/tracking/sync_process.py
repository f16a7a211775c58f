"""From the ledger to MLflow: in order, in batches, each event once, whenever the store answers.

A program of its own beside a study (`python -m study.tracking.sync_process`), so that neither
MLflow's work nor a slow server takes anything from it. `runs/NAME/mlflow.json` tells how far it has
come.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from study.config.uris import reason, store_name
from study.records.ledger import FILE, StudyState, read_events
from study.tracking.sync_state import SyncState, events_left, read_sync_state
from study.tracking.writer import MlflowWriter
from tl_core.errors import InputError

_EVERY_S = 1.0
_PATIENCE_S = 10.0
_PIECE_S = 2.0
_MOST_EVENTS = 500
_NICE = 19  # Ray's workers have 15.


def _in_silence() -> None:
    pass


class SyncProcess:
    """Hands the ledger of one study to a tracker.

    Raises `InputError` on construction if another delivery of it is at work, and goes on with it.
    """

    def __init__(self, folder: Path, tracker: MlflowWriter) -> None:
        self._folder, self._ledger = folder, folder / FILE
        self._tracker = tracker
        self._lock = FileLock(folder / ".mlflow.lock")
        try:
            self._lock.acquire(timeout=_PATIENCE_S)
        except Timeout as error:
            why = f"the ledger in {folder} is being sent to MLflow by another process"
            raise InputError([why]) from error
        self.sent = 0
        """Bytes of the ledger that the store has."""
        self._state = StudyState()
        self._unsure = False
        self._go_on()

    def follow(self, ended: threading.Event, tell: Callable[[], None] = _in_silence) -> str | None:
        """Deliver what comes until the study has ended and all is sent; `tell` after each piece.

        Returns why the rest was left, if the store has not answered for a while by then.
        """
        answered, pause = time.monotonic(), _EVERY_S
        while True:
            last, before = ended.is_set(), self.sent  # What was written before the end is sent.
            error = self.push(tell)
            if last and error is None:
                return None
            if error is None or self.sent > before:
                answered, pause = time.monotonic(), _EVERY_S
            elif ended.is_set() and time.monotonic() - answered > _PATIENCE_S:
                return error
            else:  # To tell the ledger again takes from the study's cores.
                pause = min(2 * pause, _PATIENCE_S)
            time.sleep(_EVERY_S) if last else ended.wait(pause)

    def push(self, tell: Callable[[], None] = _in_silence) -> str | None:
        """Deliver what there is; return why it could not be delivered."""
        try:
            while self._push_piece():
                self._save()
                tell()
            self._settle()
        except BaseException as error:
            self._save()  # Of runs that were made the ids are known.
            if not isinstance(error, Exception):
                raise
            # Each store has its own exceptions; it may come back.
            self._tracker.forget()
            self._unsure = True
            self._state = self._told_so_far()
            return f"{type(error).__name__}: {reason(error, self._tracker.uri)}"
        return None

    def close(self) -> None:
        """Let another delivery of the same study begin."""
        self._lock.release()

    def left(self) -> int:
        """Events that wait."""
        return events_left(self._folder)

    def _push_piece(self) -> bool:
        """Deliver some events, as many as a few seconds take; return whether there were any."""
        end, sent = time.monotonic() + _PIECE_S, self.sent
        for event, after in read_events(self._ledger, sent, _MOST_EVENTS):
            if sent > self.sent and time.monotonic() > end:
                break
            self._state.add(event)
            self._tracker.tell(event, self._state)
            sent = after
        self._tracker.flush()
        self.sent, before = sent, self.sent
        return sent > before

    def _settle(self) -> None:
        """After a failure: a run may have been made twice, the first time without an answer."""
        if self._unsure and self._state.about:
            self._tracker.find(self._state.about["id"])
        self._unsure = False

    def _save(self) -> None:
        SyncState(store_name(self._tracker.uri), self.sent, self._tracker.run_ids).save(
            self._folder
        )

    def _go_on(self) -> None:
        """After another delivery, which may have been cut short; another store gets everything."""
        before = read_sync_state(self._folder)
        if before:
            self._tracker.unsure = self._unsure = True
        if before and before.store == store_name(self._tracker.uri):
            self.sent = before.sent
            self._tracker.run_ids |= before.runs
            self._state = self._told_so_far()
        self._save()

    def _told_so_far(self) -> StudyState:
        state = StudyState()
        for event, after in read_events(self._ledger):
            if after <= self.sent:
                state.add(event)
        return state


def main() -> int:
    """Open the store whose URI is the first line of input, then deliver the folder in the second.

    Answers each with a line; the end of the input tells that the study has ended.
    """
    os.nice(_NICE)  # Training goes first; what is late is sent when it is over.
    uri = sys.stdin.readline().rstrip("\n")
    try:
        tracker = MlflowWriter(uri)
    except InputError as error:
        return _answer(faults=[str(fault) for fault in error.faults])
    _answer(experiment_id=tracker.experiment_id)
    importlib.import_module("study.tracking.registry")  # Now, while Ray starts: it takes a second.
    folder = sys.stdin.readline().rstrip("\n")
    return _deliver(Path(folder), tracker) if folder else 0


def _deliver(folder: Path, tracker: MlflowWriter) -> int:
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    while True:
        try:
            delivery = SyncProcess(folder, tracker)
        except InputError as error:  # The delivery of a run that was killed ends by itself.
            if ended.is_set():
                return _answer(error=str(error.faults[0]))
        else:
            why = delivery.follow(ended)
            delivery.close()
            return _answer(error=why)


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _answer(**told: Any) -> int:
    with contextlib.suppress(BrokenPipeError):  # The study was killed; it asks no more.
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
