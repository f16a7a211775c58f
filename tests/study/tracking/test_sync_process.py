import io
import json
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from study.records.ledger import Event, Ledger, StudyState
from study.tracking import registry
from study.tracking.sync_process import LedgerSync, main
from study.tracking.sync_state import SyncState, events_left
from study.tracking.writer import MlflowWriter
from tests.support.studies.builders import make_record, write_record
from tests.support.study_fixtures import Capture, Patch
from tl_core.errors import InputError


class FakeWriter(MlflowWriter):
    """Records the events that are flushed; fails `faults` times."""

    def __init__(self, uri: str = "http://me:secret@host:5000") -> None:
        self.uri, self.experiment_id, self.run_ids, self.unsure = uri, "7", {}, False
        self.sent: list[str] = []
        self.faults = 0
        self._events: list[str] = []

    def write(self, event: Event, state: StudyState) -> None:
        self.run_ids[str(event.get("trial", "study"))] = "a run"
        self._events.append(f"{event['event']} {event.get('trial', state.name)}")

    def flush(self, arrived: Callable[[], None] = lambda: None) -> None:
        if self.faults:
            self.faults -= 1
            raise OSError("http://me:secret@host:5000 is gone\nand more")
        self.sent, self._events = self.sent + self._events, []
        arrived()

    def find_runs(self, study_id: str) -> None:
        """There is no store."""

    def discard(self) -> None:
        self._events, self.unsure = [], True


@pytest.fixture
def ledger() -> Ledger:
    """The ledger of a study with one trial."""
    ledger = Ledger(Path())
    ledger.study("mine", {})
    write_record(ledger, make_record(0, log_losses=(0.5,)))
    return ledger


@pytest.fixture
def sync(ledger: Ledger) -> LedgerSync:
    return LedgerSync(Path(), FakeWriter())


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    module = "study.tracking.sync_process"
    with patch(f"{module}._PAUSE_S", 0.001), patch(f"{module}._TIMEOUT_S", 0.05):
        yield


def write_rest(ledger: Ledger) -> None:
    write_record(ledger, make_record(1, log_losses=(0.5,)))
    ledger.close("done", [])


ALL = ["study mine", "start 0", "epoch 0", "end 0", "start 1", "epoch 1", "end 1", "close mine"]
ENDED = threading.Event()
ENDED.set()


def test_all_is_sent_in_order(ledger: Ledger, sync: LedgerSync) -> None:
    writer: Any = sync._writer
    assert (sync.push(), sync.push()) == (None, None)
    assert writer.sent == ALL[:4]
    write_rest(ledger)
    with patch("study.tracking.sync_process._MAX_EVENTS", 3):
        assert sync.follow(ENDED) is None
    assert (writer.sent, events_left(Path())) == (ALL, 0)
    state = json.loads(Path("mlflow.json").read_text())
    assert state["sent"] == ledger.path.stat().st_size
    assert state["runs"] == {"study": "a run", "0": "a run", "1": "a run"}


def test_what_failed_is_sent_again(ledger: Ledger, sync: LedgerSync) -> None:
    writer: Any = sync._writer
    writer.faults = 1
    assert sync.push() == "OSError: http://host:5000 is gone"
    assert (writer.sent, writer.unsure, events_left(Path())) == ([], True, 4)
    write_rest(ledger)
    writer.faults = 10**6  # A store that does not answer is given up at the end.
    assert sync.follow(ENDED) == "OSError: http://host:5000 is gone"
    assert events_left(Path()) == 8
    writer.faults = 3
    with patch("study.tracking.sync_process._TIMEOUT_S", 60):  # However busy the machine is.
        assert sync.follow(ENDED) is None
    assert writer.sent == ALL


def test_a_later_process_continues(ledger: Ledger, sync: LedgerSync) -> None:
    sync.push()
    with pytest.raises(InputError, match="is being sent to MLflow by another process"):
        LedgerSync(Path(), FakeWriter())
    sync.close()
    later_sync = LedgerSync(Path(), later := FakeWriter())
    assert (later.unsure, later.run_ids["0"]) == (True, "a run")
    write_rest(ledger)
    assert later_sync.follow(ENDED) is None
    assert later.sent == ALL[4:]  # `close mine`: it knows the name from the start of the ledger.
    later_sync.close()
    other = FakeWriter("http://elsewhere:5000")
    assert LedgerSync(Path(), other).push() is None
    assert other.sent == ALL, "another store gets everything"


@pytest.mark.parametrize(("run_s", "saves"), [(0.25, 2), (2.0, 9)])
def test_what_has_arrived_is_saved_once_a_second(
    run_s: float, saves: int, ledger: Ledger, monkeypatch: Patch
) -> None:
    now, saved = 100.0, list[int]()

    class SlowWriter(FakeWriter):
        def flush(self, arrived: Callable[[], None] = lambda: None) -> None:
            nonlocal now
            for _ in range(8 if self._events else 0):
                now += run_s
                arrived()
            super().flush()

    monkeypatch.setattr("study.tracking.sync_process.time.monotonic", lambda: now)
    sync = LedgerSync(Path(), SlowWriter())
    monkeypatch.setattr(SyncState, "save", lambda state, _: saved.append(state.sent))
    assert sync.push() is None
    size = ledger.path.stat().st_size
    assert saved == [0] * (saves - 1) + [size]  # The last is that of the piece, which is sent.


@pytest.mark.parametrize("missing", ["torch", "MLflow's list"])
def test_what_only_saves_time_may_fail(
    missing: str, uri: str, monkeypatch: Patch, capsys: Capture
) -> None:
    def fail(name: str) -> None:
        raise PackageNotFoundError(name)

    if missing == "torch":
        monkeypatch.setattr(registry, "version", fail)
    else:
        monkeypatch.delattr(
            "mlflow.utils.requirements_utils.warn_dependency_requirement_mismatches"
        )
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("sys.stdin", io.StringIO(f'"{uri}"\n"cats"\n'))
    assert main() == 0
    assert [*json.loads(capsys.readouterr().out)] == ["experiment_id"]
    with pytest.raises((PackageNotFoundError, ImportError)):
        registry.prepare_to_register()
