"""The ledger: what happens to a study, one line of JSON an event, in order.

It is written before anybody else hears of an event; files, MLflow and a later run are made from
it. `runs/NAME/ledger.jsonl` grows at its end only, so a kill can cut its last line and no other.
"""

import itertools
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from study.records.trial_record import TrialRecord
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.errors import InputError

FILE = "ledger.jsonl"
ENDINGS = ("done", "some trials failed")
"""How a study that needs no resuming has ended."""
Event = dict[str, Any]
"""`event` is `study`, `start`, `epoch`, `warning`, `end` or `close`; `at` is seconds since 1970."""


class Ledger:
    """Writes the events of one study, and keeps other runs out of its folder meanwhile.

    Raises `InputError` on construction if another run is at work there.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / ".run.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            why = f"another run of {folder.name} is at work in {folder}"
            raise InputError([why]) from error
        self.path = folder / FILE
        self._file = self.path.open("ab")
        self._file.truncate(_whole(self.path))

    def study(self, name: str, about: dict[str, Any], again: bool = False) -> None:
        """The study as study.json tells it at its start, or when it goes on."""
        told = {"name": name, "about": about, "again": again}
        self._write({"event": "study"} | told, durable=True)

    def start(self, record: TrialRecord, about: dict[str, Any]) -> None:
        """A trial starts, or goes on; `about` is what MLflow is told beside its configuration."""
        fixed = {name: getattr(record, name) for name in _BEGINNING}
        fixed["config"] = record.config.model_dump()
        self._write({"event": "start", "trial": record.trial, **fixed, "about": about}, True)

    def epoch(self, trial: int, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        self._write({"event": "epoch", "trial": trial, "metrics": asdict(metrics)})

    def warning(self, trial: int, text: str) -> None:
        """Something of a trial went wrong, and it goes on."""
        self._write({"event": "warning", "trial": trial, "text": text})

    def end(self, record: TrialRecord, files: list[Path], model: Path | None = None) -> None:
        """A trial has ended; `files` are its pictures, `model` the folder of the study's winner."""
        told = {name: getattr(record, name) for name in _ENDING}
        told["files"] = [str(file.resolve()) for file in files]
        told["model"] = str(model.resolve()) if model else None
        self._write({"event": "end", "trial": record.trial, **told}, durable=True)

    def close(self, status: str, files: list[Path]) -> None:
        """The study has ended; `files` are those that it leaves."""
        names = [str(file.resolve()) for file in files]
        self._write({"event": "close", "status": status, "files": names}, durable=True)
        self._file.close()
        self._lock.release()

    def _write(self, event: Event, durable: bool = False) -> None:
        line = json.dumps(event | {"at": time.time()}, default=str)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        if durable:  # Also through a loss of power; epochs alone are not worth a wait each.
            os.fsync(self._file.fileno())


_BEGINNING = ("kind", "source", "draw")
_ENDING = ("status", "error", "test", "wall_s", "node")


@dataclass
class StudyState:
    """A study as its events tell it."""

    name: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    records: dict[int, TrialRecord] = field(default_factory=dict)
    winner: TrialRecord | None = None
    """The trial that has left the study's weights."""
    status: str = "running"
    """How the study has ended, if it has."""
    _since: dict[int, float] = field(default_factory=dict)
    """When each trial would have started had it run at one go."""

    @property
    def trials(self) -> list[TrialRecord]:
        """The records, by number."""
        return [record for _, record in sorted(self.records.items())]

    def add(self, event: Event) -> None:
        """Go on by one event."""
        match event["event"]:
            case "study":
                self.name, self.about, self.status = event["name"], event["about"], "running"
            case "start":
                self._start(event)
            case "epoch":
                record = self.records[event["trial"]]
                record.history.append(EpochMetrics(**event["metrics"]))
                record.wall_s = event["at"] - self._since[event["trial"]]
            case "end":
                self._end(event)
            case "close":
                self.status = event["status"]

    def _start(self, event: Event) -> None:
        number, config = event["trial"], TrialConfig(**event["config"])
        record = self.records.setdefault(
            number, TrialRecord(number, config, started_at=event["at"])
        )
        record.status, record.error = "running", None
        for name in _BEGINNING:
            setattr(record, name, event[name])
        self._since[number] = event["at"] - record.wall_s

    def _end(self, event: Event) -> None:
        record = self.records[event["trial"]]
        for name in _ENDING:
            setattr(record, name, event.get(name))  # Older ledgers tell of no node.
        if event["model"]:
            self.winner = record


def _whole(path: Path) -> int:
    """Bytes of whole lines: what a kill has cut must not run into what follows."""
    with path.open("rb") as file:
        return sum(len(line) for line in file if line.endswith(b"\n"))


def read_events(path: Path, offset: int = 0, most: int | None = None) -> list[tuple[Event, int]]:
    """Return the events from a place on, in bytes, each with the place after it.

    A line that is being written, or that a kill has cut, is not an event yet.
    """
    events: list[tuple[Event, int]] = []
    with path.open("rb") as file:
        file.seek(offset)
        for line in itertools.islice(file, most):
            if line.endswith(b"\n"):
                offset += len(line)
                events.append((json.loads(line), offset))
    return events


def read_state(folder: Path) -> StudyState:
    """Return what the ledger in the study's folder tells."""
    state = StudyState()
    for event, _ in read_events(folder / FILE):
        state.add(event)
    return state


def read_records(folder: Path) -> list[TrialRecord]:
    """Return the records of a study's trials, by number."""
    return read_state(folder).trials
