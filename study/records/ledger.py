"""The ledger: the events of a study in order, one line of JSON each, in `runs/NAME/ledger.jsonl`.

An event is written there first; files, MLflow and a resumed run are made from it. The file only
grows at its end, so a kill can cut its last line and no other.
"""

import itertools
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, Timeout

from study.records.study_folder import LEDGER
from study.records.trial_record import TrialRecord, as_text, best_of
from tl_core.config import EpochMetrics, Metric, TrialConfig
from tl_core.errors import InputError
from tl_core.files import file_lock, is_there

ENDINGS = ("done", "some trials failed")
"""Status of a study that needs no resuming."""
OUT_OF_TIME = "out of time"
"""Status of a study that `--max-time` has ended: it has a report, and can be resumed."""
Event = dict[str, Any]
"""`event` is `study`, `start`, `epoch`, `warning`, `end` or `close`; `at` is seconds since 1970."""
_AT_START = ("kind", "source", "draw")
_AT_END = ("status", "error", "test", "outputs", "wall_s", "node")


class Ledger:
    """Writes the events of one study, and locks its folder against other runs.

    Raises `InputError` on construction if another run has the lock, or has written more than the
    first `read` bytes, which this run knows.
    """

    def __init__(self, folder: Path, read: int | None = None) -> None:
        self._lock = lock_study(folder)
        self.path = folder / LEDGER
        self._file = self.path.open("ab")
        self._waits = False
        # Remove a line that a kill has cut: the next event must not continue it.
        with self.path.open("rb") as lines:
            size = sum(len(line) for line in lines if line.endswith(b"\n"))
        self._file.truncate(size)
        if read is not None and size != read:
            self._file.close()
            self._lock.release()
            why = "another run has gone on with it meanwhile; give the command again"
            raise InputError([f"{folder}: {why}"])

    def study(self, name: str, about: dict[str, Any], again: bool = False) -> None:
        """The study starts, or is resumed; `about` is the content of study.json."""
        self._write("study", True, name=name, about=about, again=again)

    def start(self, record: TrialRecord, about: dict[str, Any]) -> None:
        """A trial starts, or is resumed; MLflow gets `about` beside its configuration."""
        fixed = {name: getattr(record, name) for name in _AT_START}
        config = record.config.model_dump()
        self._write("start", True, trial=record.trial, **fixed, config=config, about=about)

    def epoch(self, trial: int, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        self._write("epoch", trial=trial, metrics=metrics.plain())

    def warning(self, trial: int, text: str) -> None:
        """A trial has a problem and continues."""
        self._write("warning", trial=trial, text=text)

    def end(self, record: TrialRecord, files: list[Path], model: Path | None = None) -> None:
        """A trial has ended; `files` are its pictures, `model` the folder of the study's winner."""
        result = {name: getattr(record, name) for name in _AT_END}
        weights = self._name(model) if model else None
        names = [self._name(file) for file in files]
        self._write("end", True, trial=record.trial, **result, files=names, model=weights)

    def close(
        self, status: str, files: list[Path], outcome: Mapping[str, Any] | None = None
    ) -> None:
        """The study has ended and leaves `files`; `outcome` is its answer, for MLflow."""
        names = [self._name(file) for file in files]
        self._write("close", True, status=status, files=names, outcome=outcome or {})
        self._file.close()
        self._lock.release()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Have the events inside survive a loss of power from the end on, and not one by one.

        A disk takes milliseconds for each, as long as a trial of a sweep. A kill loses none.
        """
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            os.fsync(self._file.fileno())

    def _name(self, file: Path) -> str:
        """Its path below the study's folder, which may be moved before the ledger is sent."""
        file, folder = file.resolve(), self.path.parent.resolve()
        return str(file.relative_to(folder) if file.is_relative_to(folder) else file)

    def _write(self, event: str, durable: bool = False, **values: Any) -> None:
        line = json.dumps({"event": event, **values, "at": time.time()}, default=str)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        # Survives a loss of power. An epoch alone is not worth the wait.
        if durable and not self._waits:
            os.fsync(self._file.fileno())


def lock_study(folder: Path) -> BaseFileLock:
    """Take the lock of a study's folder; raises `InputError` if another run has it."""
    lock = file_lock(folder / ".run.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError([f"another run of {folder.name} is using {folder}"]) from error
    return lock


def locate(name: str, folder: Path) -> Path | None:
    """Where a file that an event names is; None if it is gone, or not in the study's folder."""
    place = folder / name
    return place if is_there(place) and lies_in(place, folder) else None


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder: a study of somebody else may have links and `..`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


@dataclass
class StudyState:
    """A study as its events describe it."""

    name: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    records: dict[int, TrialRecord] = field(default_factory=dict)
    winner: TrialRecord | None = None
    """The trial that has left the study's weights."""
    status: str = "running"
    """How the study has ended, if it has."""
    size: int = 0
    """Bytes of the ledger that tell it."""
    _since: dict[int, float] = field(default_factory=dict)
    """When each trial would have started without an interruption."""
    _running: set[int] = field(default_factory=set)
    _best: TrialRecord | None = None
    _unranked: list[TrialRecord] = field(default_factory=list)
    """Trials that have ended since the best was asked for."""

    @property
    def trials(self) -> list[TrialRecord]:
        """The records, by number."""
        return [record for _, record in sorted(self.records.items())]

    @property
    def n_finished(self) -> int:
        """How many trials do not run any more."""
        return len(self.records) - len(self._running)

    def best(self, metric: Metric) -> TrialRecord | None:
        """The best trial so far by the study's metric; see `best_of`."""
        self._best = best_of([*filter(None, [self._best]), *self._unranked], metric)
        self._unranked.clear()
        return self._best

    def add(self, event: Event) -> None:
        """Apply the next event."""
        match event["event"]:
            case "study":
                self.name, self.about, self.status = event["name"], event["about"], "running"
            case "start":
                self._start(event)
            case "epoch":
                record = self.records[event["trial"]]
                record.history.append(EpochMetrics.read(event["metrics"]))
                # The clock may have been put back.
                record.wall_s = max(record.wall_s, event["at"] - self._since[event["trial"]])
            case "end":
                record = self.records[event["trial"]]
                for name in _AT_END:
                    setattr(record, name, event.get(name))  # Older ledgers lack some.
                record.error = as_text(record.error)
                self._running.discard(record.trial)
                self._unranked.append(record)
                if event["model"]:
                    self.winner = record
            case "close":
                self.status = event["status"]

    def _start(self, event: Event) -> None:
        number, config = event["trial"], TrialConfig(**event["config"])
        new = TrialRecord(number, config, started_at=event["at"])
        record = self.records.setdefault(number, new)
        record.status, record.error = "running", None
        for name in _AT_START:
            setattr(record, name, event[name])
        self._running.add(number)
        self._since[number] = event["at"] - record.wall_s


def read_events(path: Path, offset: int = 0, most: int | None = None) -> list[tuple[Event, int]]:
    """Return the events from a byte offset on, each with the offset after it.

    An incomplete line, which is being written or was cut by a kill, is not an event.
    """
    events: list[tuple[Event, int]] = []
    with path.open("rb") as file:
        file.seek(offset)
        for line in itertools.islice(file, most):
            if line.endswith(b"\n"):
                offset += len(line)
                events.append((json.loads(line), offset))
    return events


def read_state(folder: Path, until: float = math.inf) -> StudyState:
    """Return the state of the study in a folder, after the first `until` bytes of its ledger."""
    state = StudyState()
    for event, offset in read_events(folder / LEDGER):
        if offset <= until:
            state.add(event)
            state.size = offset
    return state


def read_records(folder: Path) -> list[TrialRecord]:
    """Return the records of a study's trials, by number."""
    return read_state(folder).trials
