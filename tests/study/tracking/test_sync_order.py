"""Whatever happens while the store is away, it gets each event once, in the ledger's order."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from study.records.ledger import Event, Ledger, StudyState
from study.tracking.sync_process import LedgerSync
from study.tracking.sync_state import events_left
from study.tracking.writer import MlflowWriter
from tests.support.studies.builders import make_epoch, make_record

STEPS = ("trial", "epoch", "warning", "send", "store gone", "store back", "sender killed")


class Store:
    """What has arrived, and whether anything can."""

    def __init__(self) -> None:
        self.there, self.arrived = True, list[str]()


class Writer(MlflowWriter):
    """Writes to such a store, all that waits at once."""

    def __init__(self, store: Store) -> None:
        self.uri, self.experiment_id, self.run_ids, self.unsure = "http://host", "7", {}, False
        self._store, self._events = store, list[str]()

    def write(self, event: Event, state: StudyState) -> None:
        self.run_ids[str(event.get("trial", "study"))] = "a run"
        if event["event"] == "start":
            self._ask()
        self._events.append(f"{event['at']} {event['event']} {event.get('trial')}")

    def flush(self, arrived: Callable[[], None] = lambda: None) -> None:
        self._ask()
        self._store.arrived += self._events
        self._events.clear()
        arrived()

    def find_runs(self, study_id: str) -> None:
        self._ask()

    def discard(self) -> None:
        self._events, self.unsure = [], True

    def _ask(self) -> None:
        if not self._store.there:
            raise OSError("http://host is gone")


class Notes(Ledger):
    """Notes what it writes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written: list[str] = []

    def _write(self, event: str, durable: bool = False, **values: object) -> None:
        with patch("time.time", return_value=len(self.written)):
            super()._write(event, False, **values)
        self.written.append(f"{len(self.written)} {event} {values.get('trial')}")


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=30), piece=st.integers(1, 6))
def test_each_event_arrives_once_and_in_order(steps: Sequence[str], piece: int) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        patch("study.tracking.sync_process._MAX_EVENTS", piece),
        # The order is the test's; nothing here is killed in the middle of a write.
        patch("os.fsync"),
    ):
        folder, store, trials = Path(name), Store(), 0
        ledger = Notes(folder)
        ledger.study("mine", {"id": "0123"})
        sync = LedgerSync(folder, Writer(store))
        for step in steps:
            match step:
                case "trial":
                    ledger.start(make_record(trials), {})
                    trials += 1
                case "epoch" if trials:
                    ledger.epoch(trials - 1, make_epoch())
                case "warning" if trials:
                    ledger.warning(0, "a problem")
                case "send":
                    assert (sync.push() is None) == store.there
                case "store gone" | "store back":
                    store.there = step == "store back"
                case "sender killed":  # What it has read and not sent is lost with it.
                    sync.close()
                    sync = LedgerSync(folder, Writer(store))
            assert store.arrived == ledger.written[: len(store.arrived)]
        store.there = True
        assert sync.push() is None
        assert (store.arrived, events_left(folder)) == (ledger.written, 0)
        sync.close()
        ledger.close("done", [])
