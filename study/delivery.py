"""From the ledger to MLflow: in order, in batches, each event once, whenever the store answers.

A program of its own beside a study (`python -m study.delivery`), so that neither MLflow's work
nor a slow server takes anything from it. How far it has come lies in `runs/NAME/mlflow.json`.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

from study.addresses import reason, store_name
from study.ledger import FILE, Story, read_events
from study.tracking import Tracker
from tl_core.errors import InputError
from tl_core.files import replace_file

STATE = "mlflow.json"
_EVERY_S = 1.0
_PATIENCE_S = 10.0
_MOST_EVENTS = 500
_NICE = 10


class Delivery:
    """Hands the ledger of one study to a tracker."""

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self._ledger, self._state = folder / FILE, folder / STATE
        self._tracker = tracker
        self._lock = FileLock(folder / ".mlflow.lock")
        self._lock.acquire(timeout=_PATIENCE_S)
        self._sent = 0
        self._story = Story()
        if self._state.exists():
            self._go_on(json.loads(self._state.read_text()))
        else:
            self._save()

    def follow(self, ended: threading.Event) -> str | None:
        """Deliver what comes until the study has ended and all is sent.

        Returns why the rest was left, if the store has not answered for a while by then.
        """
        answered = time.monotonic()
        while True:
            last = ended.is_set()  # Asked first: what was written before the end will be sent.
            error = self.push()
            if error is None:
                answered = time.monotonic()
                if last:
                    return None
            elif last and time.monotonic() - answered > _PATIENCE_S:
                return error
            time.sleep(_EVERY_S) if last else ended.wait(_EVERY_S)

    def push(self) -> str | None:
        """Deliver what there is; return why it could not be delivered."""
        try:
            while self._push_some():
                self._save()
        except Exception as error:  # Each store has its own exceptions; it may come back.
            self._tracker.forget()
            self._save()  # Of runs that were made the ids are known.
            self._story = self._told_so_far()
            return f"{type(error).__name__}: {reason(error, self._tracker.uri)}"
        self._tracker.unsure = False  # Everything up to here is known to be there.
        return None

    def close(self) -> None:
        """Let another delivery of the same study begin."""
        self._lock.release()

    def left(self) -> int:
        """Events that wait."""
        return len(read_events(self._ledger, self._sent))

    def _push_some(self) -> bool:
        events = read_events(self._ledger, self._sent, _MOST_EVENTS)
        for event, _ in events:
            self._story.add(event)
            self._tracker.tell(event, self._story)
        self._tracker.flush()
        if events:
            self._sent = events[-1][1]
        return bool(events)

    def _save(self) -> None:
        state = {"sent": self._sent, "runs": self._tracker.run_ids}
        state |= {"store": store_name(self._tracker.uri)}
        replace_file(self._state, json.dumps(state) + "\n")

    def _go_on(self, state: dict[str, Any]) -> None:
        """After another delivery, which may have been cut short; another store gets everything."""
        self._tracker.unsure = True
        if state["store"] != store_name(self._tracker.uri):
            return
        self._sent = state["sent"]
        self._tracker.run_ids |= state["runs"]
        self._story = self._told_so_far()

    def _told_so_far(self) -> Story:
        story = Story()
        for event, after in read_events(self._ledger):
            if after <= self._sent:
                story.add(event)
        return story


def main() -> int:
    """Open the store whose URI is the first line of input, then deliver the folder in the second.

    Answers each with a line; the end of the input tells that the study has ended.
    """
    os.nice(_NICE)  # Training goes first; what is late is sent when it is over.
    uri = sys.stdin.readline().rstrip("\n")
    try:
        tracker = Tracker(uri)
    except InputError as error:
        return _answer(faults=error.faults)
    _answer(experiment_id=tracker.experiment_id)
    importlib.import_module("study.registry")  # Now, while Ray starts: it takes a second.
    folder = sys.stdin.readline().rstrip("\n")
    return _deliver(Path(folder), tracker) if folder else 0


def _deliver(folder: Path, tracker: Tracker) -> int:
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    delivery = Delivery(folder, tracker)
    error = delivery.follow(ended)
    delivery.close()
    return _answer(error=error, left=delivery.left(), study=tracker.run_ids.get("study"))


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _answer(**told: Any) -> int:
    with contextlib.suppress(BrokenPipeError):  # The study was killed; it asks no more.
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
