"""Sends a ledger to MLflow: in order, in batches, each event once, whenever the store answers.

It runs as a process of its own beside a study (`python -m study.tracking.sync_process`), so that
MLflow's work and a slow server take no time from the study. `runs/NAME/mlflow.json` says how much
was sent.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from study.config.uris import reason, store_name
from study.records.ledger import Event, StudyState, lies_in, locate, read_events, read_state
from study.records.study_folder import LEDGER
from study.tracking.database import made_ahead
from study.tracking.sync_state import SyncState, read_sync_state
from tl_core.errors import InputError
from tl_core.files import file_lock
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.runtime import rarely_collecting

if TYPE_CHECKING:
    from study.tracking.writer import MlflowWriter

_PAUSE_S = 0.5
_TIMEOUT_S = 10.0
_PIECE_S = 2.0
_SAVE_S = 1.0
"""Between two saves while runs arrive, which take the longer the more runs there are."""
_MAX_EVENTS = 500
_NICE = 19  # Ray's workers have 15.


class LedgerSync:
    """Sends the ledger of one study with a writer, from where it was left.

    Raises `InputError` on construction if another process sends it and does not end soon.
    """

    def __init__(self, folder: Path, writer: "MlflowWriter") -> None:
        self._folder, self._writer = folder, writer
        self._lock = file_lock(folder / ".mlflow.lock")
        try:
            self._lock.acquire(timeout=_TIMEOUT_S)
        except Timeout as error:
            why = f"the ledger in {folder} is being sent to MLflow by another process"
            raise InputError([why]) from error
        self.sent = 0
        """Bytes of the ledger that the store has."""
        self._state = StudyState()
        before = read_sync_state(folder)
        self._unsure = writer.unsure = before is not None  # Whoever sent it may have been killed.
        if before and before.store == store_name(writer.uri):  # Another store gets everything.
            self.sent = before.sent
            writer.run_ids |= before.runs
            self._state = read_state(folder, self.sent)
        self._save()

    def follow(
        self, ended: threading.Event, progress: Callable[[], None] = lambda: None
    ) -> str | None:
        """Send new events until the study has ended and all is sent.

        Calls `progress` after each piece. Returns the reason if some is left, because the store
        has not answered for a while at the end.
        """
        answered, pause = time.monotonic(), _PAUSE_S
        while True:
            last, before = ended.is_set(), self.sent  # Events written before the end are sent.
            error = self.push(progress)
            if last and error is None:
                return None
            if error is None or self.sent > before:
                answered, pause = time.monotonic(), _PAUSE_S
            elif ended.is_set() and time.monotonic() - answered > _TIMEOUT_S:
                return error
            else:  # Each attempt takes time from the study's cores.
                pause = min(2 * pause, _TIMEOUT_S)
            time.sleep(_PAUSE_S) if last else ended.wait(pause)

    def push(self, progress: Callable[[], None] = lambda: None) -> str | None:
        """Send the events that there are; return the reason if some could not be sent."""
        try:
            while self._push_piece():
                self._save()
                progress()
            if self._unsure and self._state.about:  # A run may have been created twice.
                self._writer.find_runs(self._state.about["id"])
            self._unsure = False
        except BaseException as error:
            self._save()  # It has the ids of the runs that were created.
            if not isinstance(error, Exception):
                raise
            # Each store has its own exceptions, and may answer again later.
            self._writer.discard()
            self._unsure = True
            self._state = read_state(self._folder, self.sent)
            return f"{type(error).__name__}: {reason(error, self._writer.uri)}"
        return None

    def find_lost_runs(self) -> int:
        """Begin with the first event again if the store has lost runs; return how many it has.

        The file, or a run in it, was deleted, or another server has the old one's address.
        """
        if not self._writer.run_ids:
            return 0
        about = self._state.about or read_state(self._folder).about
        lost = self._writer.lost_runs(about["id"])
        if lost:
            for key in lost:
                del self._writer.run_ids[key]
            self.sent, self._state = 0, StudyState()
            self._unsure = self._writer.unsure = True
            self._save()
        return len(lost)

    def close(self) -> None:
        """Let another process send the same ledger."""
        self._lock.release()

    def _push_piece(self) -> bool:
        """Send as many events as take a few seconds; return whether there were any."""
        end, sent = time.monotonic() + _PIECE_S, self.sent
        for event, offset in read_events(self._folder / LEDGER, sent, _MAX_EVENTS):
            if sent > self.sent and time.monotonic() > end:
                break
            self._state.add(event)
            self._writer.write(self._located(event), self._state)
            sent = offset
        self._writer.flush(self._save_seldom)  # Whoever waits sees that something has arrived.
        self.sent, before = sent, self.sent
        return sent > before

    def _located(self, event: Event) -> Event:
        """The event with the paths that its files have now, without those that are gone.

        What is not in the study's folder counts as gone: a study of somebody else could have any
        file of this machine sent.
        """
        names, model = event.get("files"), event.get("model")
        files = [place for name in names or () if (place := self._place(name))]
        weights = self._place(model, CARD, WEIGHTS) if model else None
        return event | ({"files": files} if names else {}) | ({"model": weights} if model else {})

    def _place(self, name: str, *parts: str) -> str | None:
        """Where a file, or a folder with these parts, is now; None if it is gone."""
        place = locate(name, self._folder)
        if place and all(lies_in(place / part, self._folder) for part in parts):
            return str(place)
        self._writer.gone.add(name)
        return None

    def _save(self) -> None:
        state = SyncState(store_name(self._writer.uri), self.sent, self._writer.run_ids)
        state.save(self._folder)
        self._saved_at = time.monotonic()

    def _save_seldom(self) -> None:
        # Without the ids of the latest runs, a later process finds these in the store.
        if time.monotonic() - self._saved_at > _SAVE_S:
            self._save()


def main() -> int:
    """Open the store whose URI is the first line of input, then send the folder in the third.

    The second is the experiment's name, and comes when the study can start: before, nothing is made
    in the store. Lines are JSON, which is ASCII in any locale. Answers when the store is open, and
    at the end; the end of the input says that the study has ended.
    """
    os.nice(_NICE)  # Training goes first; what is late is sent after it.
    uri = json.loads(sys.stdin.readline())
    with rarely_collecting():
        from study.tracking.client import configure_client  # MLflow, two seconds.
        from study.tracking.writer import MlflowWriter, import_store

        configure_client()
        import_store(uri)
        with made_ahead(uri) as put_store:
            if not (experiment := sys.stdin.readline()):
                return 0
            put_store()
        try:
            writer = MlflowWriter(uri, json.loads(experiment))
        except InputError as error:
            return _answer(faults=[str(fault) for fault in error.faults])
        _answer(experiment_id=writer.experiment_id)
        # Now, and not when the study waits for it. It only saves time: what is wrong with an
        # installation is told when the winner is registered, and keeps no event from the store.
        with contextlib.suppress(Exception):
            from study.tracking.registry import prepare_to_register

            prepare_to_register()
    folder = sys.stdin.readline()
    return _send(Path(json.loads(folder)), writer) if folder else 0


def _send(folder: Path, writer: "MlflowWriter") -> int:
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    while True:
        try:
            sync = LedgerSync(folder, writer)
        except InputError as error:  # The sender of a run that was killed ends by itself.
            if ended.is_set():
                return _answer(error=str(error.faults[0]))
        else:
            error_text = sync.follow(ended)
            sync.close()
            return _answer(error=error_text, notes=sorted(writer.notes))


def _answer(**values: Any) -> int:
    with contextlib.suppress(BrokenPipeError):  # The study was killed and does not read it.
        print(json.dumps(values), flush=True)
    return 0


if __name__ == "__main__":
    # The study says itself that its disk has no locks.
    logging.getLogger("tl_core.files").setLevel(logging.ERROR)
    sys.exit(main())
